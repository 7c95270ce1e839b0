"""Memory cgroups of cgroup v2: what `low` protects and what `high` costs (Linux 5.13).

All guests' cgroups are children of one slice, which is a child of the root.  Without `low` of its
own the slice leaves each cgroup's as it is; with it, children that claim more than the slice has
share it in proportion to what they use of their claim, and what nobody claims goes to those above
their claim, in proportion (cgroup2 mounted with memory_recursiveprot, as systemd does).

Protection: a cgroup that uses no more than its effective `low` is passed over by global reclaim;
one that uses more is scanned for `scan_target` of its size.  If a vCPU's direct reclaim finds
nothing in two rounds through all priorities, the second with deactivation by force, the third
ignores `low` and counts an event (do_try_to_free_pages of mm/vmscan.c).  kswapd never ignores it,
but where it stands in for an emulator, which reclaims nothing itself here.

`high`: a charge above it is paid for on the way back into the guest (mem_cgroup_handle_over_high
of mm/memcontrol.c, called by xfer_to_guest_mode_work of kernel/entry/kvm.c): see `throttle`.
"""

from memsim.jit import kernel
from memsim.machine import Machine
from memsim.params import CHARGE_BATCH, THROTTLE_HZ, THROTTLE_MOST_S
from memsim.state import NOBODY

_PRECISION_SHIFT, _SCALING_SHIFT = 20, 14  # MEMCG_DELAY_*_SHIFT


@kernel
def effective_protection(
    usage: int, parent_usage: int, setting: int, parent_effective: int, siblings_protected: int
) -> int:
    """effective_protection of mm/memcontrol.c, recursive: pages of a cgroup that are protected.

    Args:
        usage: of the cgroup [pages], as all that follows.
        parent_usage: of all its siblings and itself.
        setting: its `low`.
        parent_effective: what its parent can give.
        siblings_protected: sum over all children of min(usage, low).
    """
    protected = min(usage, setting)
    if siblings_protected > parent_effective:
        return protected * parent_effective // siblings_protected
    value = protected
    if (
        parent_effective > siblings_protected
        and parent_usage > siblings_protected
        and usage > protected
    ):
        unclaimed = parent_effective - siblings_protected
        value += unclaimed * (usage - protected) // (parent_usage - siblings_protected)
    return value


@kernel
def scan_target(size: int, low: int, usage: int, batch: int) -> int:
    """get_scan_count of mm/vmscan.c: pages of a list to scan, before the shift by priority.

    Args:
        size: of the list [pages].
        low: effective protection of its cgroup [pages].
        usage: of its cgroup [pages].
        batch: SWAP_CLUSTER_MAX [pages].
    """
    if low <= 0:
        return size
    return max(size - size * low // (max(usage, low) + 1), batch)


@kernel
def siblings(m: Machine) -> tuple[int, int]:
    """Usage of all cgroups, and how much of it their own `low` protects [pages].

    Only what a slice with a `low` of its own needs; else 0, 0.
    """
    usage = protected = 0
    if m.host[0].slice_low == NOBODY:
        return usage, protected
    for row in range(1, m.host[0].groups + 1):
        gr = m.group[row]
        usage += gr.usage
        protected += min(gr.usage, gr.low)
    return usage, protected


@kernel
def effective_low(m: Machine, row: int, usage: int, protected: int) -> int:
    """Effective protection of a cgroup [pages], given its `siblings` (mem_cgroup_protected)."""
    gr = m.group[row]
    most = m.host[0].slice_low
    if most == NOBODY:
        return int(gr.low)
    return effective_protection(gr.usage, usage, gr.low, most, protected)


@kernel
def throttle_s(usage: int, high: int, small_pages: int) -> float:
    """Seconds that a task owes for so many small pages charged above `high`, at most 2.

    calculate_high_delay of mm/memcontrol.c in jiffies of 1 ms, which its table is given in:
    overage = (usage - high) * 2^20 / high, jiffies = overage^2 * HZ / 2^34 for a batch of 32.
    """
    if usage <= high:
        return 0.0
    base = max(high, 1)
    # From twice the limit on the cap holds anyway; this keeps the square within 64 bits.
    overage = (min(usage - high, base) << _PRECISION_SHIFT) // base
    jiffies = (overage * overage * THROTTLE_HZ) >> (_PRECISION_SHIFT + _SCALING_SHIFT)
    jiffies = jiffies * small_pages // CHARGE_BATCH
    return min(jiffies / THROTTLE_HZ, THROTTLE_MOST_S)


@kernel
def above_high(m: Machine, row: int) -> bool:
    """Tell whether a cgroup uses more than its `high`."""
    gr = m.group[row]
    return gr.high != NOBODY and gr.usage > gr.high


@kernel
def charge(m: Machine, e: int, row: int, pages: int) -> None:
    """Note what a vCPU charged, in batches of 32 small pages, if that is above `high`.

    try_charge of mm/memcontrol.c: a stock of pages charged ahead spares the next ones the check.
    """
    cpu = m.cpu[e]
    small = int(pages * m.host[0].sub)
    if cpu.stock >= small:
        cpu.stock -= small
        return
    batch = max(CHARGE_BATCH, small)
    cpu.stock += batch - small
    if above_high(m, row):
        cpu.owed += batch
