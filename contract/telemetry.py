"""What a host tells: the one reading that every policy, guard and encoder works from.

Columns are what virtio-balloon, libvirt, cgroup v2 and /proc give on a stock host.  The annotation
of each field is its documentation; `COLUMNS` is read off the annotations.  Optional columns are
None where no host of the batch has them.  A real machine is a batch of one.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, get_args, get_type_hints

import numpy as np

from contract.arrays import UNKNOWN, Bools, Floats, Ints
from contract.descriptors import GuestState
from contract.state import take_rows

WORKING_SET_WINDOWS_S = tuple(60.0 * minutes for minutes in range(1, 61))  # W = 60 windows

Scope = Literal["host", "guest", "window"]  # shapes (H,), (H, G), (H, G, W)
Unit = Literal["bytes", "count", "code", "s", "share", "tasks", "flag"]

DTYPES: dict[Unit, type[np.generic]] = {
    "bytes": np.int64,
    "count": np.int64,
    "code": np.int64,
    "s": np.float64,
    "share": np.float64,  # 0..1
    "tasks": np.float64,
    "flag": np.bool_,
}


@dataclass(frozen=True)
class Column:
    """What one column of the telemetry means."""

    scope: Scope
    unit: Unit
    meaning: str
    total: bool = False  # counts up since some start that the reader does not know
    name: str = ""
    optional: bool = False

    @property
    def dtype(self) -> type[np.generic]:
        """The numpy type of the column, which follows from its unit."""
        return DTYPES[self.unit]


def _host(unit: Unit, meaning: str, total: bool = False) -> Column:
    return Column("host", unit, meaning, total)


def _guest(unit: Unit, meaning: str, total: bool = False) -> Column:
    return Column("guest", unit, meaning, total)


class Telemetry(NamedTuple):
    """One reading of H hosts with G guest slots each; arrays are never changed in place."""

    # The host: /proc/meminfo, /proc/vmstat, /proc/pressure/memory, /sys/kernel/mm/ksm.
    time_s: Annotated[Floats, _host("s", "the host's clock; never unknown, never falls")]
    total_bytes: Annotated[Ints, _host("bytes", "MemTotal: the host's RAM")]
    free_bytes: Annotated[Ints, _host("bytes", "MemFree")]
    buffers_bytes: Annotated[Ints, _host("bytes", "Buffers")]
    cached_bytes: Annotated[Ints, _host("bytes", "Cached")]
    available_bytes: Annotated[Ints, _host("bytes", "MemAvailable")]
    swap_total_bytes: Annotated[Ints, _host("bytes", "SwapTotal; 0 without swap")]
    swap_used_bytes: Annotated[Ints, _host("bytes", "SwapTotal - SwapFree")]
    swap_in_bytes: Annotated[Ints, _host("bytes", "pswpin, read back from swap", total=True)]
    swap_out_bytes: Annotated[Ints, _host("bytes", "pswpout, written to swap", total=True)]
    psi_some_avg10: Annotated[Floats, _host("share", "memory pressure, some, over 10 s")]
    psi_some_avg60: Annotated[Floats, _host("share", "memory pressure, some, over 60 s")]
    psi_some_avg300: Annotated[Floats, _host("share", "memory pressure, some, over 300 s")]
    psi_full_avg10: Annotated[Floats, _host("share", "memory pressure, full, over 10 s")]
    psi_full_avg60: Annotated[Floats, _host("share", "memory pressure, full, over 60 s")]
    psi_full_avg300: Annotated[Floats, _host("share", "memory pressure, full, over 300 s")]
    psi_some_s: Annotated[Floats, _host("s", "memory pressure, some", total=True)]
    psi_full_s: Annotated[Floats, _host("s", "memory pressure, full", total=True)]
    ksm_run: Annotated[Ints, _host("code", "KSM: 0 stopped, 1 runs, 2 stopped and unmerged")]
    ksm_pages_to_scan: Annotated[Ints, _host("count", "KSM: pages scanned before each sleep")]
    ksm_sleep_s: Annotated[Floats, _host("s", "KSM: sleep between batches")]
    ksm_shared_bytes: Annotated[Ints, _host("bytes", "KSM: pages_shared, frames in use by it")]
    ksm_shareable_bytes: Annotated[Ints, _host("bytes", "virtual size of all emulators")]
    ksm_merge_across_nodes: Annotated[Ints, _host("code", "KSM: 1 merges across NUMA nodes")]
    swap_class: Annotated[Ints, _host("code", "what the host swaps to (SwapClass)")]

    # Each guest slot: identity, limits and what its emulator and cgroup show on the host.
    guest_id: Annotated[Ints, _guest("code", "who is in the slot, unique on its host; -1 nobody")]
    present: Annotated[Bools, _guest("flag", "a guest is in the slot; all else is unknown if not")]
    state: Annotated[Ints, _guest("code", "booting, running, migrating or paused (GuestState)")]
    min_bytes: Annotated[Ints, _guest("bytes", "guaranteed size")]
    max_bytes: Annotated[Ints, _guest("bytes", "largest size: what the guest booted with")]
    weight: Annotated[Ints, _guest("count", "importance, 1000 is usual, 0: leave alone")]
    current_bytes: Annotated[Ints, _guest("bytes", "size now: max less what resizing has taken")]
    resident_bytes: Annotated[Ints, _guest("bytes", "in host frames: VmRSS of its emulator")]
    swapped_bytes: Annotated[Ints, _guest("bytes", "in host swap: VmSwap of its emulator")]
    host_major_faults: Annotated[Ints, _guest("count", "the emulator's", total=True)]
    cgroup_current_bytes: Annotated[Ints, _guest("bytes", "memory.current of its host cgroup")]
    cgroup_high_bytes: Annotated[Ints, _guest("bytes", "memory.high; unknown if none is set")]
    cgroup_psi_some_s: Annotated[Floats, _guest("s", "memory.pressure, some", total=True)]
    cgroup_psi_full_s: Annotated[Floats, _guest("s", "memory.pressure, full", total=True)]

    # Balloon statistics (virtio tags 0-15), all of one moment.  The guest must answer to be
    # polled again: a guest that thrashes freezes them without any error, and only the age tells.
    stats_age_s: Annotated[Floats, _guest("s", "since the guest last answered; unknown: never")]
    stats_current_bytes: Annotated[
        Ints, _guest("bytes", "size when the guest answered; unknown: take current_bytes")
    ]
    stats_swap_in_bytes: Annotated[Ints, _guest("bytes", "tag 0, the guest's own", total=True)]
    stats_swap_out_bytes: Annotated[Ints, _guest("bytes", "tag 1, the guest's own", total=True)]
    stats_major_faults: Annotated[Ints, _guest("count", "tag 2, inside the guest", total=True)]
    stats_minor_faults: Annotated[Ints, _guest("count", "tag 3, inside the guest", total=True)]
    stats_free_bytes: Annotated[Ints, _guest("bytes", "tag 4, MemFree (libvirt: unused)")]
    stats_total_bytes: Annotated[
        Ints,
        _guest("bytes", "tag 5, MemTotal (libvirt: available); counts ballooned memory if and only"
               " if deflate_on_oom is 1"),
    ]  # fmt: skip
    stats_available_bytes: Annotated[Ints, _guest("bytes", "tag 6, MemAvailable (usable)")]
    stats_caches_bytes: Annotated[Ints, _guest("bytes", "tag 7, disk caches")]
    stats_hugetlb_allocations: Annotated[Ints, _guest("count", "tag 8", total=True)]
    stats_hugetlb_failures: Annotated[Ints, _guest("count", "tag 9", total=True)]
    stats_oom_kills: Annotated[Ints, _guest("count", "tag 10, in the guest", total=True)]
    stats_alloc_stalls: Annotated[Ints, _guest("count", "tag 11, direct reclaims", total=True)]
    stats_async_scan_bytes: Annotated[Ints, _guest("bytes", "tag 12, by kswapd", total=True)]
    stats_direct_scan_bytes: Annotated[Ints, _guest("bytes", "tag 13, by allocators", total=True)]
    stats_async_reclaim_bytes: Annotated[Ints, _guest("bytes", "tag 14, by kswapd", total=True)]
    stats_direct_reclaim_bytes: Annotated[
        Ints, _guest("bytes", "tag 15, by allocators", total=True)
    ]

    # What the Host remembers of its own commands.
    applied_target_bytes: Annotated[Ints, _guest("bytes", "last target sent; unknown: none yet")]
    applied_age_s: Annotated[Floats, _guest("s", "since that target was first sent")]

    # What an operator knows.
    resize_mechanism: Annotated[Ints, _guest("code", "how it follows a target (ResizeMechanism)")]
    hinting: Annotated[Ints, _guest("code", "how free pages are told to the host (Hinting)")]
    async_mode: Annotated[Ints, _guest("code", "asynchronous page faults (AsyncMode)")]
    deflate_on_oom: Annotated[
        Ints, _guest("code", "1: a balloon with DEFLATE_ON_OOM, so MemTotal never shrinks; 0: not")
    ]

    # Optional: accessed memory, sampled on the host by idle page tracking or DAMON.
    active_bytes: Annotated[Ints | None, _guest("bytes", "touched in the last sampling period")] = (
        None
    )
    active_age_s: Annotated[Floats | None, _guest("s", "of the sample")] = None

    # Optional: an agent in the guest.
    agent_age_s: Annotated[Floats | None, _guest("s", "since the agent last reported")] = None
    agent_committed_bytes: Annotated[Ints | None, _guest("bytes", "Committed_AS")] = None
    agent_reserve_bytes: Annotated[Ints | None, _guest("bytes", "totalreserve_pages")] = None
    agent_swap_used_bytes: Annotated[Ints | None, _guest("bytes", "of the guest's own swap")] = None
    agent_anonymous_bytes: Annotated[Ints | None, _guest("bytes", "AnonPages")] = None
    agent_load: Annotated[Floats | None, _guest("tasks", "load average over 1 min")] = None
    agent_refaults: Annotated[Ints | None, _guest("count", "workingset_refault", total=True)] = None
    agent_psi_some_s: Annotated[Floats | None, _guest("s", "memory, some", total=True)] = None
    agent_psi_full_s: Annotated[Floats | None, _guest("s", "memory, full", total=True)] = None
    agent_working_set_bytes: Annotated[
        Ints | None, Column("window", "bytes", "used over the last 1, 2, ... 60 min")
    ] = None


def _columns() -> dict[str, Column]:
    table = {}
    for name, hint in get_type_hints(Telemetry, include_extras=True).items():
        column = get_args(hint)[1]
        table[name] = Column(
            column.scope,
            column.unit,
            column.meaning,
            column.total,
            name,
            optional=name in Telemetry._field_defaults,
        )
    return table


COLUMNS: dict[str, Column] = _columns()


def shape(column: Column, hosts: int, guests: int) -> tuple[int, ...]:
    """The shape of a column in a batch of H hosts with G slots."""
    shapes = {
        "host": (hosts,),
        "guest": (hosts, guests),
        "window": (hosts, guests, len(WORKING_SET_WINDOWS_S)),
    }
    return shapes[column.scope]


def _blank(column: Column, hosts: int, guests: int) -> np.ndarray:
    value = {np.int64: UNKNOWN, np.float64: np.nan, np.bool_: False}[column.dtype]
    return np.full(shape(column, hosts, guests), value, column.dtype)


def unknown(hosts: int, guests: int, optional: tuple[str, ...] = ()) -> Telemetry:
    """A reading in which nothing is known and every slot is empty, at time 0.

    Hosts fill it in with `_replace`.  Of the optional columns only those named are arrays.
    """
    filled = {
        name: _blank(column, hosts, guests)
        for name, column in COLUMNS.items()
        if not column.optional or name in optional
    }
    filled["time_s"] = np.zeros(hosts)
    return Telemetry(**filled)


def column(telemetry: Telemetry, name: str) -> np.ndarray:
    """A column by name; an optional one that is absent comes as an array of unknowns."""
    values: np.ndarray | None = getattr(telemetry, name)
    if values is None:
        return _blank(COLUMNS[name], *telemetry.guest_id.shape)
    return values


def select(telemetry: Telemetry, rows: Ints) -> Telemetry:
    """The reading of some of the hosts, in the order of `rows`."""
    return take_rows(telemetry, rows)


def check(telemetry: Telemetry) -> None:
    """Raise ValueError naming every column whose type or shape is not as pinned."""
    hosts, guests = telemetry.guest_id.shape
    wrong = []
    for name, expected in COLUMNS.items():
        values = getattr(telemetry, name)
        if values is None and expected.optional:
            continue
        found = (np.asarray(values).dtype, np.shape(values))
        wanted = (np.dtype(expected.dtype), shape(expected, hosts, guests))
        if found != wanted:
            wrong.append(f"{name}: {found[0]} {found[1]}, expected {wanted[0]} {wanted[1]}")
    if not np.isfinite(telemetry.time_s).all():
        wrong.append("time_s: must be known")
    if (telemetry.present & (telemetry.guest_id < 0)).any():
        wrong.append("guest_id: a guest that is present must have one")
    if wrong:
        raise ValueError("telemetry: " + "; ".join(wrong))


def running(telemetry: Telemetry) -> Bools:
    """(H, G) guests that are present and neither booting, migrating nor paused.

    An unknown state counts as running: most backends cannot tell.
    """
    state = telemetry.state
    usable: Bools = (state == GuestState.RUNNING) | (state == GuestState.UNKNOWN)
    return telemetry.present & usable


def used_bytes(telemetry: Telemetry) -> Ints:
    """(H, G) memory that the guest cannot easily give up: total - available, -1 unknown.

    With deflate-on-oom the guest's total keeps counting what the balloon holds, so that part,
    max less the size at the moment of the statistics, is taken off again.  Whether a host has the
    feature may be unknown: then a total above the size betrays it.
    """
    total, available = telemetry.stats_total_bytes, telemetry.stats_available_bytes
    size = np.where(
        telemetry.stats_current_bytes < 0, telemetry.current_bytes, telemetry.stats_current_bytes
    )
    betrayed = (telemetry.deflate_on_oom < 0) & (size >= 0) & (total > size)
    counted = (telemetry.deflate_on_oom > 0) | betrayed
    taken = telemetry.max_bytes - size
    known = (total >= 0) & (available >= 0)
    known &= ~counted | ((telemetry.max_bytes >= 0) & (size >= 0))
    used = total - available - np.where(counted, taken, 0)
    return np.where(known, np.maximum(used, 0), UNKNOWN)
