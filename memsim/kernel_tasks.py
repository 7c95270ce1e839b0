"""What the guest kernel's own tasks do: kswapd, the balloon driver, the statistics queue."""

from memsim.account import BALLOON, KSWAPD
from memsim.backing import NEVER, host_frame, touched
from memsim.block_resize import BALLOON_HUGE
from memsim.collapse import khugepaged
from memsim.compaction import ask_kcompactd, kcompactd
from memsim.guest import available, committed
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.params import CONGESTION_S, SCAN_ROUNDS, STATS_S
from memsim.reclaim import IDLE as NO_BATCH
from memsim.reporting import periodic
from memsim.resize import is_soft, resize_step, taken
from memsim.shrink import shrink
from memsim.state import BALLOONER, COLLAPSER, COMPACTOR, REPORTER
from memsim.state import KSWAPD as KSWAPD_TASK


@kernel
def _kswapd(m: Machine, k: int, t: float) -> tuple[float, float]:
    tk = m.task[k]
    gs = m.guest[tk.guest]
    if gs.free_pages >= gs.wm_target_high and gs.huge_left <= 0:
        if gs.compact_asked:
            ask_kcompactd(m, tk.guest, t)
        return 0.0, NEVER
    for_target = gs.free_pages >= gs.wm_high
    cost, freed, wrote = shrink(m, k, t)
    gs.huge_left -= freed
    if for_target:
        gs.resize_s += cost
    if freed + wrote > 0:
        return cost, 0.0
    if tk.fails > 0:
        return cost, 0.0
    # A whole round without progress.
    gs.huge_left = 0
    if gs.writeback_pages > 0:
        return cost, t + CONGESTION_S
    return cost, NEVER if tk.rounds >= SCAN_ROUNDS else 0.0


@kernel
def polled(m: Machine, g: int, t: float) -> None:
    """Answer the balloon's statistics queue: what the guest says of itself at time t.

    As update_balloon_stats of drivers/virtio/virtio_balloon.c: PGMAJFAULT counts faults on mapped
    pages alone, not what read(2) waits for, and PGFAULT counts all faults, the major ones too.
    """
    gs = m.guest[g]
    out = taken(m, g)
    gs.stats_time_s = t
    # Without deflate-on-oom ballooned memory leaves the total; with it, it only looks used.
    hides = (gs.resize > 1 and gs.resize != BALLOON_HUGE) or not gs.deflate_on_oom
    gs.stats_total = gs.pages - gs.reserved_pages - (out if hides else 0)
    soft = out if is_soft(m, g) else 0
    gs.stats_free = max(0, gs.free_pages - soft)
    gs.stats_available = max(0, available(m, g) - soft)
    gs.stats_disk_caches = gs.file_pages
    gs.stats_swap_in = gs.guest_swap_in
    gs.stats_swap_out = gs.guest_swap_out
    gs.stats_major = gs.guest_major - gs.missed_reads
    gs.stats_minor = gs.guest_minor + gs.stats_major
    gs.stats_oom_kills = gs.oom_kills
    gs.stats_alloc_stalls = gs.alloc_stalls
    gs.stats_async_scan = gs.async_scan
    gs.stats_direct_scan = gs.direct_scan
    gs.stats_async_reclaim = gs.async_reclaim
    gs.stats_direct_reclaim = gs.direct_reclaim
    gs.committed_pages = committed(m, g)


@kernel
def kernel_step(m: Machine, e: int, k: int, t: float) -> tuple[float, float, int]:
    """Let a kernel task, on vCPU e, do its next piece of work at time t.

    Returns:
        (CPU seconds, when to look again, account class): 0 means at once; else a time, or NEVER,
        WAITS, NO_FRAME.
    """
    tk = m.task[k]
    g = tk.guest
    if m.cpu[e].stage != NO_BATCH:  # it reclaims in the host, for a page that it touches
        what, cost, cls = host_frame(m, e, k, t)
        return touched(what, cost, cls)
    if tk.kind == KSWAPD_TASK:
        cost, again = _kswapd(m, k, t)
        return cost, again, KSWAPD
    if tk.kind == BALLOONER:
        return resize_step(m, e, k, t)
    if tk.kind == REPORTER:
        cost, again = periodic(m, g, t)
        return cost, again, BALLOON
    if tk.kind == COLLAPSER:
        return khugepaged(m, e, k, t)
    if tk.kind == COMPACTOR:
        return kcompactd(m, e, k, t)
    gs = m.guest[g]
    if gs.stats_period_s <= 0.0:
        return 0.0, NEVER, BALLOON
    polled(m, g, t)
    return STATS_S, t + gs.stats_period_s, BALLOON
