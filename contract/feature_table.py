"""The table of features: what a learned policy sees of a guest and of its host, each fact once.

Observation spaces, documentation and the digest of the contract are generated from it.  Guest
features come first, then host features; within a scope values come first, then one `known` flag
for each group of values that may be unknown.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from contract.arrays import GIB, MIB, Floats, Floats32

MEANS_S = (10.0, 60.0, 300.0)  # time constants of the moving averages

Scope = Literal["guest", "host"]
Transform = Literal["linear", "log", "flag"]


@dataclass(frozen=True)
class Feature:
    """One number of an observation.

    The value in `unit` is clipped to [low, high].  `linear` divides it by the larger bound;
    `log` gives log2(1 + value / knee) / log2(1 + high / knee), the logarithm being linear between
    powers of two so that it is exact arithmetic; `flag` is 0 or 1.  Unknown values are 0.
    """

    name: str
    scope: Scope
    unit: str
    low: float
    high: float
    transform: Transform
    meaning: str
    known: str = ""  # the flag that tells whether the value is known; "": it always is
    knee: float = 1.0  # of `log`, in the unit
    mean_s: float = 0.0  # time constant of the moving average; 0: the value itself

    @property
    def span(self) -> tuple[float, float]:
        """Bounds of the number after its transform."""
        return (-1.0, 1.0) if self.low < 0 else (0.0, 1.0)


def _share(name: str, known: str, meaning: str, high: float = 1.0, low: float = 0.0) -> Feature:
    return Feature(name, "guest", "share", low, high, "linear", meaning, known)


def _log(
    name: str, unit: str, knee: float, high: float, known: str, meaning: str, scope: Scope = "guest"
) -> Feature:
    return Feature(name, scope, unit, 0.0, high, "log", meaning, known, knee)


def _flag(name: str, meaning: str, scope: Scope = "guest") -> Feature:
    return Feature(name, scope, "flag", 0.0, 1.0, "flag", meaning)


def _bytes(name: str, known: str, meaning: str, scope: Scope = "guest") -> Feature:
    return _log(name, "bytes/s", 64 * 1024, 4.0 * GIB, known, meaning, scope)


def _count(name: str, known: str, meaning: str) -> Feature:
    return _log(name, "1/s", 1.0, 1e5, known, meaning)


def _of_ram(name: str, known: str, meaning: str, high: float = 1.0) -> Feature:
    return Feature(name, "host", "share", 0.0, high, "linear", meaning, known)


_GUEST = (
    _share("max_of_ram", "max_of_ram", "largest size / RAM of the host"),
    _share("min_of_max", "min", "guaranteed size / largest size"),
    _share("size_of_max", "size", "current size / largest size"),
    _share("applied_of_max", "applied", "target in force / largest size"),
    _share("pending_of_max", "pending", "(target in force - current size) / largest", low=-1.0),
    _log("applied_age_s", "s", 1.0, 3600.0, "applied_age", "since the target in force was sent"),
    _share("cut_of_max", "asked", "(target in force - asked last) / largest size", low=-1.0),
    _flag("applied_as_asked", "the target in force is the one asked last"),
    _flag("applied_below", "the target in force is below the one asked last"),
    _flag("applied_above", "the target in force is above the one asked last"),
    _share("resident_of_max", "resident", "guest RAM in host frames / largest size"),
    _share("swapped_of_max", "swapped", "guest RAM in host swap / largest size"),
    _count("host_faults_per_s", "host_faults", "major faults of the emulator"),
    _share("cgroup_of_max", "cgroup", "memory.current / largest size", high=2.0),
    _share("cgroup_high_of_max", "cgroup_high", "memory.high / largest size", high=2.0),
    _share("cgroup_some", "cgroup_some", "share of time some task of the cgroup stalled"),
    _share("cgroup_full", "cgroup_full", "share of time all tasks of the cgroup stalled"),
    _log("stats_age_s", "s", 1.0, 3600.0, "stats", "age of the balloon statistics"),
    _share("free_of_size", "free", "free / size when the guest answered"),
    _share("available_of_size", "available", "available / size when the guest answered"),
    _share("caches_of_size", "caches", "disk caches / size when the guest answered"),
    _share("used_of_max", "used", "total - available - what ballooning hides in it / largest size"),
    _bytes("swap_in_per_s", "swap_in", "the guest's own swap-in"),
    _bytes("swap_out_per_s", "swap_out", "the guest's own swap-out"),
    _count("major_faults_per_s", "major_faults", "major faults in the guest"),
    _count("minor_faults_per_s", "minor_faults", "minor faults in the guest"),
    _log("oom_age_s", "s", 1.0, 3600.0, "oom", "since the guest was seen to kill a process"),
    _count("alloc_stalls_per_s", "alloc_stalls", "direct reclaims in the guest"),
    _bytes("async_scan_per_s", "async_scan", "scanned by kswapd in the guest"),
    _bytes("direct_scan_per_s", "direct_scan", "scanned by allocating tasks in the guest"),
    _bytes("async_reclaim_per_s", "async_reclaim", "reclaimed by kswapd in the guest"),
    _bytes("direct_reclaim_per_s", "direct_reclaim", "reclaimed by allocating tasks in the guest"),
    _log("weight", "1", 1000.0, 1e5, "weight", "importance, 1000 is usual"),
    _log("seen_s", "s", 1.0, 86400.0, "", "since the guest was first seen"),
    _flag("booting", "the guest boots"),
    _flag("running", "the guest runs"),
    _flag("migrating", "the guest is being migrated"),
    _flag("paused", "the guest is paused"),
    _flag("resize_none", "it ignores targets"),
    _flag("resize_balloon", "it follows its target by a balloon"),
    _flag("resize_free_target", "it follows its target by keeping memory free"),
    _flag("resize_virtio_mem", "it follows its target by virtio-mem"),
    _flag("hinting_bitmap", "free pages are told by a bitmap"),
    _flag("hinting_reporting", "free pages are told by reporting"),
    _flag("async_halt", "a fault halts the vCPU"),
    _flag("async_user", "a fault in user mode lets the vCPU go on"),
    _flag("async_any", "any sleepable fault lets the vCPU go on"),
    _flag("deflates_on_oom", "the balloon gives way before the guest kills"),
    _share("active_of_size", "active", "memory touched in the last sampling period / size"),
    _log("agent_age_s", "s", 1.0, 3600.0, "agent", "age of the agent's report"),
    _share("committed_of_max", "committed", "Committed_AS / largest size", high=2.0),
    _share("reserve_of_max", "reserve", "totalreserve / largest size"),
    _share("guest_swap_of_max", "guest_swap", "the guest's own swap in use / largest size"),
    _share("anonymous_of_max", "anonymous", "anonymous memory / largest size"),
    _log("load", "tasks", 1.0, 1024.0, "load", "load average over 1 min"),
    _count("refaults_per_s", "refaults", "evicted pages read again in the guest"),
    _share("agent_some", "agent_some", "share of time some task of the guest stalled"),
    _share("agent_full", "agent_full", "share of time all tasks of the guest stalled"),
    _share("working_set_1min_of_max", "working_set", "working set over 1 min / largest size"),
    _share("working_set_10min_of_max", "working_set", "working set over 10 min / largest size"),
    _share("working_set_60min_of_max", "working_set", "working set over 60 min / largest size"),
)

_HOST = (
    _log("ram_bytes", "bytes", float(MIB), 65536.0 * GIB, "ram", "RAM of the host", "host"),
    _of_ram("free_of_ram", "free", "free / RAM"),
    _of_ram("cached_of_ram", "cached", "(buffers + cached) / RAM"),
    _of_ram("available_of_ram", "available", "available / RAM"),
    _of_ram("swap_of_ram", "swap", "size of swap / RAM", high=4.0),
    _of_ram("swap_used_of_ram", "swap_used", "swap in use / RAM", high=4.0),
    _bytes("swap_in_per_s", "swap_in", "read back from swap", "host"),
    _bytes("swap_out_per_s", "swap_out", "written to swap", "host"),
    _of_ram("psi_some", "psi_some", "share of time some task stalled, since the last reading"),
    _of_ram("psi_full", "psi_full", "share of time all tasks stalled, since the last reading"),
    _of_ram("psi_some_avg10", "psi_some_avg10", "the kernel's average over 10 s"),
    _of_ram("psi_some_avg60", "psi_some_avg60", "the kernel's average over 60 s"),
    _of_ram("psi_some_avg300", "psi_some_avg300", "the kernel's average over 300 s"),
    _of_ram("psi_full_avg10", "psi_full_avg10", "the kernel's average over 10 s"),
    _of_ram("psi_full_avg60", "psi_full_avg60", "the kernel's average over 60 s"),
    _of_ram("psi_full_avg300", "psi_full_avg300", "the kernel's average over 300 s"),
    _flag("ksm_runs", "KSM merges pages", "host"),
    _flag("ksm_across_nodes", "KSM merges across NUMA nodes", "host"),
    _log("ksm_scan_per_s", "1/s", 100.0, 1e6, "ksm_scan", "pages scanned by KSM", "host"),
    _of_ram("ksm_shared_of_ram", "ksm_shared", "frames shared by KSM / RAM"),
    _of_ram("ksm_shareable_of_ram", "ksm_shareable", "size of all emulators / RAM", high=8.0),
    _flag("swap_none", "the host has no swap", "host"),
    _flag("swap_rotating", "the host swaps to a rotating disk", "host"),
    _flag("swap_solid", "the host swaps to a solid state disk", "host"),
    _flag("swap_zram", "the host swaps to compressed memory", "host"),
    _log("guests", "1", 1.0, 1023.0, "", "guests on the host", "host"),
    _of_ram("sum_max_of_ram", "sum_max", "sum of largest sizes / RAM", high=8.0),
    _of_ram("sum_min_of_ram", "sum_min", "sum of guaranteed sizes / RAM", high=8.0),
    _of_ram("sum_size_of_ram", "sum_size", "sum of current sizes / RAM", high=8.0),
    _of_ram("sum_applied_of_ram", "sum_applied", "sum of targets in force / RAM", high=8.0),
    _of_ram("sum_resident_of_ram", "sum_resident", "sum of resident guest RAM / RAM", high=2.0),
    _of_ram("sum_swapped_of_ram", "sum_swapped", "sum of swapped guest RAM / RAM", high=4.0),
)

GUEST_AVERAGED = (
    "resident_of_max",
    "swapped_of_max",
    "host_faults_per_s",
    "cgroup_some",
    "available_of_size",
    "used_of_max",
    "swap_in_per_s",
    "major_faults_per_s",
    "alloc_stalls_per_s",
)
HOST_AVERAGED = ("available_of_ram", "swap_in_per_s", "swap_out_per_s", "psi_some")


def _complete(values: tuple[Feature, ...], averaged: tuple[str, ...]) -> tuple[Feature, ...]:
    by_name = {feature.name: feature for feature in values}
    means = [
        replace(
            by_name[name],
            name=f"{name}_{mean_s:.0f}s",
            mean_s=mean_s,
            meaning=f"moving average of {name} over {mean_s:.0f} s",
        )
        for name in averaged
        for mean_s in MEANS_S
    ]
    scope = values[0].scope
    known = dict.fromkeys(feature.known for feature in values if feature.known)
    flags = [_flag(f"known_{name}", f"1 if {name} is known", scope) for name in known]
    return (*values, *means, *flags)


FEATURES: tuple[Feature, ...] = (
    *_complete(_GUEST, GUEST_AVERAGED),
    *_complete(_HOST, HOST_AVERAGED),
)
GUEST_FEATURES = tuple(feature for feature in FEATURES if feature.scope == "guest")
HOST_FEATURES = tuple(feature for feature in FEATURES if feature.scope == "host")


def bounds(features: tuple[Feature, ...]) -> tuple[Floats32, Floats32]:
    """(F,) lowest and highest numbers that an observation can hold."""
    spans = np.array([feature.span for feature in features], np.float32)
    return spans[:, 0], spans[:, 1]


def describe() -> str:
    """The table as Markdown, for the documentation."""
    lines = [
        "| # | scope | feature | unit | low | high | transform | known by | meaning |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for table in (GUEST_FEATURES, HOST_FEATURES):
        for number, entry in enumerate(table):
            how = f"log, knee {entry.knee:g}" if entry.transform == "log" else entry.transform
            flag = f"known_{entry.known}" if entry.known else ""
            cells = [number, entry.scope, entry.name, entry.unit, f"{entry.low:g}"]
            cells += [f"{entry.high:g}", how, flag, entry.meaning]
            lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


class Scaling:
    """The transforms of one scope, compiled into arrays."""

    def __init__(self, features: tuple[Feature, ...]) -> None:
        """Compile the values of `features`; its flags of knowledge are formed from them."""
        values = [entry for entry in features if not entry.name.startswith("known_")]
        flags = [entry.name for entry in features if entry.name.startswith("known_")]
        self.names = tuple(entry.name for entry in values if not entry.mean_s)
        self.low = np.array([entry.low for entry in values])
        self.high = np.array([entry.high for entry in values])
        largest = np.maximum(np.abs(self.low), self.high)
        self.log = np.array([i for i, entry in enumerate(values) if entry.transform == "log"])
        self.knee = np.array([values[i].knee for i in self.log])
        self.divisor = largest.copy()
        self.divisor[self.log] = doublings(1.0 + largest[self.log] / self.knee)
        always = len(flags)  # index of a flag that is always up
        numbers = {name: i for i, name in enumerate(flags)}
        self.flag_of = np.array(
            [numbers[f"known_{entry.known}"] if entry.known else always for entry in values]
        )
        self.witness = np.array(
            [next(i for i, entry in enumerate(values) if f"known_{entry.known}" == name)
             for name in flags]
        )  # fmt: skip

    def apply(self, raw: Floats) -> Floats32:
        """Transform values (..., V), NaN unknown, to numbers (..., F): values, then flags."""
        unknown = np.isnan(raw)
        known = ~unknown[..., self.witness]
        always = np.ones((*known.shape[:-1], 1), bool)
        shown = np.concatenate([known, always], axis=-1)[..., self.flag_of] & ~unknown
        clipped = np.clip(np.where(shown, raw, 0.0), self.low, self.high)
        clipped[..., self.log] = doublings(1.0 + clipped[..., self.log] / self.knee)
        scaled = np.where(shown, clipped / self.divisor, 0.0)
        return np.concatenate([scaled, known], axis=-1, dtype=np.float32)


def doublings(x: Floats) -> Floats:
    """log2 of x >= 1, exact at powers of two and linear between them.

    Made of exact operations, so that every machine and every batch size gets the same bits.
    """
    mantissa, exponent = np.frexp(x)
    return np.asarray(exponent + 2.0 * mantissa - 2.0, np.float64)
