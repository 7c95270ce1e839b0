"""Options of the backends of real guests, apart from what they need to run."""

from pathlib import Path

from pydantic import Field

from configs.loading import Config, Seconds


class RealOptions(Config):
    """Options that all backends of real guests have."""

    cgroup: Path | None = Field(
        default=None, description="a cgroup whose limit counts as the host's memory"
    )
    ksm: bool = Field(default=False, description="let the policy set KSM, where we may")
    memory_low: bool = Field(default=False, description="let it set memory.low and memory.high")


class QmpOptions(RealOptions):
    """Options of the backend `qmp`."""

    sockets: str = Field(description="pattern of the sockets, such as /run/qemu/*.qmp")
    stats_period: Seconds = Field(default=2.0, ge=1, description="set where guests are not polled")
    timeout: Seconds = Field(default=2.0, gt=0, description="for one answer of an emulator")
    agents: str | None = Field(
        default=None, description="guest agent's socket, {name} stands for the QMP socket's stem"
    )
    free_target: tuple[str, ...] = Field(
        default=(), description="names of guests that are steered by their free-memory target"
    )


class LibvirtOptions(RealOptions):
    """Options of the backend `libvirt`."""

    uri: str = Field(default="qemu:///system", description="of the connection")
    stats_period: Seconds = Field(default=2.0, ge=1, description="set where guests are not polled")
    free_target: tuple[str, ...] = Field(
        default=(), description="names of guests that are steered by their free-memory target"
    )
