"""How MOM tunes same-page merging (KSM): upstream's rule and vdsm's, after ksmtuned.

Source: as `_mom`.  KSM runs while the host is short of memory or could be filled by its guests;
it scans more pages before each sleep while free memory is below 20 %, fewer otherwise.

Quirks: what guests might fill is the virtual size of all emulators, which counts no page twice
that is shared already and all that never was touched; upstream's sleep becomes 0 ms on hosts of
more than 160 GiB; vdsm keeps it at 10 ms or above.
"""

from dataclasses import dataclass
from typing import NamedTuple

from agents.baselines import _checks

STOP, RUN, UNMERGE = 0, 1, 2  # of /sys/kernel/mm/ksm/run


@dataclass(frozen=True)
class KsmSettings:
    """Constants of the KSM controller, the same upstream, in vdsm and in ksmtuned."""

    ksm: bool = False  # set anything of KSM at all
    ksm_pages_boost: int = 300  # pages more before each sleep when memory is short
    ksm_pages_decay: int = -50  # and otherwise
    ksm_pages_min: int = 64
    ksm_pages_max: int = 1250
    ksm_sleep_ms_baseline: int = 10  # on a host of 16 GiB
    ksm_free_percent: float = 0.20  # of host memory free: not short (a share)

    def __post_init__(self) -> None:
        """Refuse settings without sense."""
        _checks.positive(self, "ksm_sleep_ms_baseline", "ksm_pages_min")
        _checks.shares(self, "ksm_free_percent")
        _checks.in_order(self, "ksm_pages_min", "ksm_pages_max")
        _checks.in_order(self, "ksm_pages_decay", "ksm_pages_boost")


class KsmSeen(NamedTuple):
    """What the rules look at."""

    mem_available: float  # [KiB] total memory of the host
    mem_free: float  # [KiB] free, buffers and cached, mean over the samples
    ksm_shareable: int  # [KiB] virtual size of all emulators
    ksm_pages_to_scan: int
    ksm_pages_shared: int
    ksm_merge_across_nodes: int  # -1 unknown


class KsmControls(NamedTuple):
    """What a rule sets before it is cut to integers; None is left alone."""

    ksm_run: int | None = None
    ksm_pages_to_scan: int | None = None
    ksm_sleep_millisecs: float | None = None
    ksm_merge_across_nodes: int | None = None


def upstream(seen: KsmSeen, c: KsmSettings) -> KsmControls:
    """The rule of mom's own doc/ksm.rules."""
    return KsmControls(ksm_run=STOP) if _is_idle(seen, c) else _run(seen, c)


def deployed(seen: KsmSeen, c: KsmSettings, *, enabled: bool, across_nodes: int) -> KsmControls:
    """The rule of vdsm: a switch, and one setting that can be changed only when all is unmerged."""
    has_nodes = seen.ksm_merge_across_nodes >= 0  # a kernel without NUMA has no such setting
    asked = across_nodes if has_nodes and seen.ksm_pages_shared == 0 else None
    other = has_nodes and seen.ksm_merge_across_nodes != across_nodes
    unmerge = seen.ksm_pages_shared > 0 and (other or not enabled)
    if unmerge or not enabled or _is_idle(seen, c):
        controls = KsmControls(ksm_run=UNMERGE if unmerge else STOP)
    else:
        controls = _run(seen, c)
        sleep_ms = max(c.ksm_sleep_ms_baseline, controls.ksm_sleep_millisecs or 0)
        controls = controls._replace(ksm_sleep_millisecs=sleep_ms)
    return controls._replace(ksm_merge_across_nodes=asked)


def _is_idle(seen: KsmSeen, c: KsmSettings) -> bool:
    least = c.ksm_free_percent * seen.mem_available
    return least + seen.ksm_shareable < seen.mem_available and seen.mem_free > least


def _run(seen: KsmSeen, c: KsmSettings) -> KsmControls:
    short = seen.mem_free < c.ksm_free_percent * seen.mem_available
    pages = seen.ksm_pages_to_scan + (c.ksm_pages_boost if short else c.ksm_pages_decay)
    return KsmControls(
        ksm_run=RUN,
        ksm_pages_to_scan=min(max(pages, c.ksm_pages_min), c.ksm_pages_max),
        ksm_sleep_millisecs=c.ksm_sleep_ms_baseline * (16 << 20) / seen.mem_available,
    )
