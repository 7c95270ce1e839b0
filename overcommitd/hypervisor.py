"""What the daemon needs of a hypervisor; QMP and libvirt are two of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from contract.arrays import UNKNOWN
from contract.descriptors import AsyncMode, GuestState, Hinting, ResizeMechanism
from overcommitd.config import Rule

NEVER = 0.0  # of `answered_at`: the guest has not answered yet
STATISTICS = {  # column of the telemetry <- name in QMP; those of libvirt are mapped to these
    "stats_swap_in_bytes": "stat-swap-in",
    "stats_swap_out_bytes": "stat-swap-out",
    "stats_major_faults": "stat-major-faults",
    "stats_minor_faults": "stat-minor-faults",
    "stats_free_bytes": "stat-free-memory",
    "stats_total_bytes": "stat-total-memory",
    "stats_available_bytes": "stat-available-memory",
    "stats_caches_bytes": "stat-disk-caches",
    "stats_hugetlb_allocations": "stat-htlb-pgalloc",
    "stats_hugetlb_failures": "stat-htlb-pgfail",
    "stats_oom_kills": "stat-oom-kills",
    "stats_alloc_stalls": "stat-alloc-stalls",
    "stats_async_scan_bytes": "stat-async-scans",
    "stats_direct_scan_bytes": "stat-direct-scans",
    "stats_async_reclaim_bytes": "stat-async-reclaims",
    "stats_direct_reclaim_bytes": "stat-direct-reclaims",
}


@dataclass(frozen=True)
class Seen:
    """One guest at one reading."""

    key: str  # one life of one emulator
    name: str
    state: GuestState = GuestState.UNKNOWN
    pid: int | None = None
    size_bytes: int = UNKNOWN  # what it booted with: the largest it can have
    current_bytes: int = UNKNOWN
    mechanism: ResizeMechanism = ResizeMechanism.UNKNOWN
    hinting: Hinting = Hinting.UNKNOWN
    async_mode: AsyncMode = AsyncMode.UNKNOWN
    deflate_on_oom: int = UNKNOWN
    answered_at: float = NEVER  # [s] Unix time of the statistics
    statistics: dict[str, int] = field(default_factory=dict)  # by column, known ones alone
    own: Rule | None = None  # terms that stand with the guest


class Finding(NamedTuple):
    """What `overcommitd check` says of one thing."""

    about: str  # "host" or a guest's name
    what: str
    ok: bool
    advice: str = ""  # what to do, if it is not


class Hypervisor(Protocol):
    """All guests of a host."""

    name: str

    def guests(self) -> list[Seen]:
        """Everyone who is there now; who cannot be read but is there comes with what is known.

        Raises:
            contract.host.BackendUnavailable: nobody can be asked at all.
        """

    def resize(self, key: str, target_bytes: int) -> None:
        """Ask a guest for a size; returns at once.

        Raises:
            contract.host.GuestGone, contract.host.Refused: as there.
        """

    def examine(self) -> Iterator[Finding]:
        """Test what the daemon will need, guest by guest."""

    def close(self) -> None:
        """End all connections; guests go on."""


def findings(seen: Seen) -> Iterator[Finding]:
    """What there is to say of a guest that was read."""
    answers = seen.answered_at > NEVER
    advice = "load virtio_balloon in the guest (Windows: its balloon service); it may still boot"
    yield Finding(seen.name, "statistics arrive", answers, advice)
    if answers:
        available = "stats_available_bytes" in seen.statistics
        advice = "a guest kernel of 4.6 or newer tells MemAvailable"
        yield Finding(seen.name, "statistics tell available memory", available, advice)
    reports = seen.hinting is Hinting.REPORTING
    advice = "free-page-reporting=on (QEMU 5.1, guest 5.7): freed memory comes back by itself"
    yield Finding(seen.name, "free page reporting", reports, advice)
    sleeps = seen.async_mode is not AsyncMode.OFF
    advice = "-cpu ...,kvm-asyncpf-int=on, and KVM: a guest's other tasks run while one waits"
    yield Finding(seen.name, "asynchronous page faults", sleeps, advice)
