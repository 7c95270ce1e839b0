"""The daemon's configuration file: every field, its meaning and its default."""

from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, model_validator

from configs.loading import Bytes, Config, Seconds
from contract.caution import CautionConfig
from contract.guard import GuardConfig

Share = Annotated[float, Field(gt=0, le=1)]
Period = Annotated[Seconds, Field(ge=0.1)]


class Mode(StrEnum):
    """How far the daemon goes."""

    OBSERVE = "observe"  # reads and records
    SHADOW = "shadow"  # also decides and explains
    ACT = "act"  # also applies


class OnStop(StrEnum):
    """What becomes of guests when the daemon is told to end."""

    STAY = "stay"
    RELEASE = "release"


class Rule(Config):
    """Terms for guests of some names; what is left out is as in `defaults`."""

    min: Bytes | None = Field(default=None, description="guaranteed size; goes before min_share")
    min_share: Share | None = Field(default=None, description="of the largest size")
    max: Bytes | None = Field(default=None, description="most that it is given")
    weight: Annotated[int, Field(ge=0)] | None = Field(default=None, description="importance")
    manage: bool | None = Field(default=None, description="false: is left alone")


class Terms(NamedTuple):
    """What a guest is entitled to."""

    min_bytes: int
    max_bytes: int
    weight: int  # 0: left alone


class Guests(Config):
    """Which guests are the daemon's business, and on which terms."""

    select: tuple[str, ...] = Field(default=("*",), description="names; * and ? stand for anything")
    defaults: Rule = Field(
        default=Rule(min_share=0.25, weight=1000, manage=True), description="for every guest"
    )
    by_name: dict[str, Rule] = Field(
        default={}, description="for guests whose name matches; a later entry goes before"
    )

    def selected(self, name: str) -> bool:
        """Whether a guest of that name is the daemon's business."""
        return any(fnmatchcase(name, pattern) for pattern in self.select)

    def terms(self, name: str, size_bytes: int, own: Rule | None = None) -> Terms:
        """The terms for a guest that has booted with `size_bytes`; `own` is what it says itself."""
        fields = Rule(min_share=0.25, weight=1000, manage=True).model_dump()
        rules = [self.defaults, *(r for p, r in self.by_name.items() if fnmatchcase(name, p))]
        for rule in [*rules, own or Rule()]:
            said = {key: value for key, value in rule.model_dump().items() if value is not None}
            if "min_share" in said and "min" not in said:
                fields["min"] = None  # a share that was said later goes before an older size
            fields |= said
        most = min(size_bytes, fields["max"] or size_bytes)
        least = (
            fields["min"] if fields["min"] is not None else int(size_bytes * fields["min_share"])
        )
        return Terms(min(least, most), most, fields["weight"] if fields["manage"] else 0)


class Guard(Config):
    """What stands between the policy and the host."""

    level: str = Field(default="full", description="`limits` is for the simulated backend alone")
    caution: dict[str, float | int] = Field(
        default={}, description="thresholds of level full that differ, by name"
    )

    @model_validator(mode="after")
    def _check(self) -> "Guard":
        self.build()
        return self

    def build(self) -> GuardConfig:
        """The guard's own settings.

        Raises:
            ValueError: a level or threshold that does not exist, or is not positive.
        """
        names = sorted(CautionConfig.__dataclass_fields__)
        strange = sorted(set(self.caution) - set(names))
        if strange:
            raise ValueError(f"caution: {strange[0]!r}: expected one of {', '.join(names)}")
        return GuardConfig(self.level, CautionConfig(**self.caution))  # type: ignore[arg-type]  # checked by both


class Backend(Config):
    """Where the guests are."""

    kind: str = Field(description="qmp, libvirt, simulated, or one that another package brings")
    options: dict[str, Any] = Field(default={}, description="of that backend")


class Fallback(Config):
    """Who decides when the policy cannot."""

    policy: str = Field(default="slides", description="a baseline")
    settings: dict[str, Any] = Field(default={}, description="that differ from its defaults")
    decide_within: Period = Field(default=1.0, description="a slower decision is thrown away")
    hold: Seconds = Field(default=30.0, description="targets stay so long before the fall-back")
    retry: Period = Field(default=300.0, description="the policy is tried again so often")


class Record(Config):
    """The telemetry file."""

    folder: str | None = Field(default=None, description="default: `telemetry` in state_dir")
    size: Annotated[Bytes, Field(ge=1 << 16)] = Field(
        default=64 << 20, description="of one file before the next begins"
    )
    files: Annotated[int, Field(ge=1)] = Field(default=8, description="kept; the oldest goes")


class Metrics(Config):
    """Where Prometheus finds the metrics."""

    address: str = Field(default="127.0.0.1", description="loopback unless you mean it")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(default=9177, description="0: any")


class DaemonConfig(Config):
    """All of /etc/overcommit/daemon.yaml."""

    backend: Backend = Field(description="where the guests are")
    mode: Mode = Field(default=Mode.SHADOW, description="reads; also decides; also applies")
    policy: str = Field(default="slides", description="a baseline, or a run folder's path")
    settings: dict[str, Any] = Field(default={}, description="of a baseline that differ")
    fallback: Fallback = Field(default=Fallback(), description="when the policy cannot decide")
    guard: Guard = Field(default=Guard(), description="between the policy and the host")
    guests: Guests = Field(default=Guests(), description="which, and on which terms")
    period: Period = Field(
        default=5.0, description="between readings in mode observe, and tries after a failure"
    )
    on_stop: OnStop = Field(default=OnStop.STAY, description="what becomes of guests when it ends")
    state_dir: str = Field(default="/var/lib/overcommit", description="survives restarts")
    runtime_dir: str = Field(default="/run/overcommit", description="control socket")
    host_lock: str = Field(
        default="overcommitd", description="daemons of one name refuse to share a host"
    )
    record: Record | None = Field(default=Record(), description="telemetry file; null: none")
    metrics: Metrics | None = Field(default=Metrics(), description="for Prometheus; null: none")

    @model_validator(mode="after")
    def _limits_only_simulated(self) -> "DaemonConfig":
        if self.guard.level != "full" and self.backend.kind != "simulated":
            raise ValueError(
                f"guard.level: {self.guard.level}: expected full on any backend but the simulated"
            )
        return self

    @property
    def control_socket(self) -> Path:
        """Where overcommitctl finds the daemon."""
        return Path(self.runtime_dir, "control.sock")

    @property
    def record_folder(self) -> Path:
        """Where telemetry is recorded."""
        if self.record is not None and self.record.folder is not None:
            return Path(self.record.folder)
        return Path(self.state_dir, "telemetry")
