"""A free block of 2 MiB for an allocation: what the guest's kernel tries, and in which order.

With `defrag` first touches do as __alloc_pages_slowpath of mm/page_alloc.c: compact, reclaim,
compact once more, give up.  Reclaim for a block takes pages until it has freed twice a block, or
twice a block is free above the high watermark (should_continue_reclaim and compaction_ready of
mm/vmscan.c), for compaction needs the room.  If there is too little room to begin with, the kernels
of 2011 reclaim first; today's do so only for khugepaged, and an ordinary first touch fails at once
(__GFP_NORETRY and COMPACT_SKIPPED).  With `defer` first touches fail at once as well, but wake
kswapd, which reclaims as much (kswapd_shrink_node) and then has kcompactd make one block.
"""

from memsim.account import COMPACTION, GUEST_RECLAIM
from memsim.backing import BURN, DONE
from memsim.compaction import NO_ROOM, ask_kcompactd, compact, has_room, is_deferred
from memsim.compaction import judge_compaction as judge
from memsim.free_memory import free_block, kswapd_of, wake_kswapd
from memsim.jit import kernel
from memsim.lists import guest_row
from memsim.machine import Machine
from memsim.params import SCAN_ROUNDS
from memsim.shrink import shrink
from memsim.state import COLLAPSER, INACTIVE_ANON, INACTIVE_FILE, NOBODY

# task.compacting
NOT_TRIED, COMPACTS, DOES_WITHOUT, RECLAIMS, COMPACTS_AGAIN = range(5)


@kernel
def _room(m: Machine) -> int:
    # [pages] that compaction for a block needs: compact_gap.
    return int(2 * m.host[0].block_pages)


@kernel
def _worth_reclaim(m: Machine, g: int) -> bool:
    # Whether more than the room is left on the inactive lists.
    gs = m.guest[g]
    pages = m.lists[guest_row(g, INACTIVE_FILE)].count
    if gs.swap_used_pages < gs.gslots:
        pages += m.lists[guest_row(g, INACTIVE_ANON)].count
    return pages > _room(m)


@kernel
def _reclaim(m: Machine, k: int, t: float) -> float:
    # One batch; after the last one it is compaction's turn again.
    tk = m.task[k]
    gs = m.guest[tk.guest]
    gs.alloc_stalls += tk.fails == 0 and tk.huge_freed == 0
    cost, freed, _ = shrink(m, k, t)
    tk.huge_freed += freed
    enough = tk.huge_freed >= _room(m) or gs.free_pages >= gs.wm_high + _room(m)
    in_vain = freed == 0 and (tk.huge_freed > 0 or tk.fails == 0)
    if enough or in_vain or (tk.huge_freed > 0 and not _worth_reclaim(m, tk.guest)):
        tk.compacting = COMPACTS_AGAIN
        tk.fails = tk.rounds = 0
    return cost


@kernel
def _begin(m: Machine, k: int) -> int:
    # What is tried first.
    tk = m.task[k]
    gs = m.guest[tk.guest]
    tk.huge_freed = 0
    if is_deferred(m, tk.guest):
        return DOES_WITHOUT
    if has_room(m, tk.guest):
        return COMPACTS
    return RECLAIMS if gs.lru_2011 or tk.kind == COLLAPSER else DOES_WITHOUT


@kernel
def make_block(m: Machine, e: int, k: int, t: float) -> tuple[int, float, int]:
    """Go on making a free block for task k on vCPU e at time t.

    Returns:
        (what became of it, CPU seconds, class): DONE, there is one (`free_block`); NO_ROOM, it is
        to do without, and so for every further call until `compacting` is NOT_TRIED; else as
        `compaction.compact`, to be called again.
    """
    tk = m.task[k]
    g = tk.guest
    if tk.compacting == DOES_WITHOUT:
        return NO_ROOM, 0.0, COMPACTION
    if free_block(m, g) != NOBODY:
        if tk.compacting == COMPACTS or tk.compacting == COMPACTS_AGAIN:
            judge(m, g, True)
        tk.compacting = NOT_TRIED
        return DONE, 0.0, COMPACTION
    if tk.compacting == NOT_TRIED:
        tk.compacting = _begin(m, k)
        m.guest[g].compact_stall += tk.compacting == COMPACTS
        if tk.compacting == DOES_WITHOUT:
            return NO_ROOM, 0.0, COMPACTION
    if tk.compacting == RECLAIMS:
        return BURN, _reclaim(m, k, t), GUEST_RECLAIM
    if not has_room(m, g) and m.guest[g].source_block == NOBODY:
        again = tk.compacting == COMPACTS
        tk.compacting = RECLAIMS if again else DOES_WITHOUT
        return BURN if again else NO_ROOM, 0.0, COMPACTION
    what, cost, cls = compact(m, e, k, t)
    if what != NO_ROOM:
        return BURN if what == DONE else what, cost, cls
    if tk.compacting == COMPACTS:
        tk.compacting = RECLAIMS
        return BURN, cost, cls
    judge(m, g, False)
    tk.compacting = DOES_WITHOUT
    return NO_ROOM, cost, cls


@kernel
def leave_to_kswapd(m: Machine, g: int, t: float) -> None:
    """Have kswapd reclaim for a block, and kcompactd make one of it."""
    gave_up = m.task[kswapd_of(m, g)].rounds >= SCAN_ROUNDS
    m.guest[g].huge_left = 0 if gave_up else _room(m)
    wake_kswapd(m, g, t)
    ask_kcompactd(m, g, t)
