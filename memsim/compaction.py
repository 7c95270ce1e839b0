"""Moving pages, so that a block of guest memory becomes free as a whole (mm/compaction.c).

A page is moved in one step once the host backs both the old and the new one: to touch them is
what makes compaction dear under overcommit.  What is free in the block under work is kept from
the allocator meanwhile, and given back if anybody is left without.
"""

import numpy as np

from memsim.account import COMPACTION
from memsim.backing import BURN, DONE, KILL_GUEST, NEVER, STOPPED, back_page, touched
from memsim.blocks import block_of
from memsim.content import content_of, put
from memsim.cpu import wake
from memsim.free_memory import free_block, give_page, isolate, let_go, take_page
from memsim.hinting import on_claim
from memsim.host import drop_page
from memsim.hugepages import is_guest_huge, split_guest
from memsim.jit import kernel
from memsim.lists import guest_push, guest_remove, guest_row
from memsim.machine import Machine
from memsim.params import (
    COMPACT_BATCH,
    COMPACT_EVERY_S,
    COMPACT_MAX_DEFER_SHIFT,
    COMPACT_PROACTIVENESS,
)
from memsim.quiet import stirred
from memsim.state import (
    ANON,
    BALLOON,
    COMPACTOR,
    FILE,
    FREE,
    G_BACK,
    G_BITS,
    G_DIRTY,
    G_FILL,
    G_HINT,
    G_HOST,
    G_IO,
    G_KEPT,
    G_REPORTED,
    G_VOID,
    G_WATCHED,
    H_DIRTY,
    H_REF,
    H_UNMAPPED,
    KERNEL,
    NOBODY,
    ORDER_0,
    RESIDENT,
    TIMER,
    UNBACKED,
)

# What became of it, beside what `backing` says.
UNMOVABLE, BUSY, NO_ROOM = 4, 5, 6


@kernel
def is_unmovable(m: Machine, p: int) -> bool:
    """Tell whether a page can never be moved: the kernel's own, or in a balloon of old."""
    state = m.page[p].gstate
    if state != BALLOON:
        return state == KERNEL
    # In a balloon of huge pages, or gone with virtio-mem, it is on no list.
    return m.page[p].glist == 0 or not m.guest[m.page[p].guest].movable_balloon


@kernel
def _is_busy(m: Machine, p: int) -> bool:
    # Under I/O, or not filled yet.
    pg = m.page[p]
    return pg.glist == 0 or (pg.gflags & (G_IO | G_BACK | G_FILL)) != 0


@kernel
def find_target(m: Machine, g: int, breaks: bool) -> int:
    """Return a free page for a moved one, from the upper end of memory down, or NOBODY.

    It comes out of partly used blocks, if `breaks` out of wholly free ones too; never out of one
    that the kernel fills (suitable_migration_target).
    """
    gs = m.guest[g]
    if m.lists[guest_row(g, ORDER_0)].count > 0:
        for _ in range(gs.blocks + 1):
            bl = m.block[gs.block0 + gs.target_block]
            if 0 < bl.free < bl.pages and not bl.isolated and not bl.kernel:
                for q in range(bl.first + bl.pages - 1, bl.first - 1, -1):
                    if m.page[q].gstate == FREE:
                        return int(q)
            gs.target_block = gs.target_block - 1 if gs.target_block > 0 else gs.blocks - 1
    if breaks and gs.block_tail != NOBODY:
        return int(m.block[gs.block_tail].first)
    return NOBODY


@kernel
def _become(m: Machine, g: int, p: int, q: int) -> None:
    # Page q takes the place of page p, which comes free.
    gs = m.guest[g]
    take_page(m, q)
    old, new = m.page[p], m.page[q]
    which = old.glist - 1
    new.gstate = old.gstate
    new.vpn = old.vpn
    stays = new.gflags & (G_HOST | G_WATCHED)
    new.gflags = np.uint16((old.gflags & (G_BITS - G_KEPT - G_REPORTED)) | stays)
    if old.gstate == ANON:
        gs.anon_pages += 1
    elif old.gstate == FILE:
        gs.file_pages += 1
        gs.dirty_pages += 1 if old.gflags & G_DIRTY else 0
    else:
        gs.balloon_pages += 1
    if old.vpn != NOBODY:
        m.vpage[old.vpn].page = q
    guest_remove(m, g, p)
    guest_push(m, g, which, q)
    give_page(m, p)
    gs.compact_migrated += 1


@kernel
def _move_in_balloon(m: Machine, g: int, p: int, q: int) -> float:
    # The new page goes to the host, the old one comes back (virtballoon_migratepage).
    hs = m.host[0]
    cost = hs.c_inflate + hs.c_deflate
    _become(m, g, p, q)
    if m.page[q].hstate == RESIDENT:
        cost += hs.c_dontneed
    if m.page[q].hstate != UNBACKED:
        drop_page(m, q)
    m.guest[g].hypercalls += 2
    return cost


@kernel
def migrate_page(m: Machine, e: int, k: int, p: int, q: int, t: float) -> tuple[int, float, int]:
    """Move page p to the free page q, on behalf of task k on vCPU e, as far as can be done at t.

    Returns:
        As `backing.back_page`, DONE once the page was moved; else call again, with another
        target if that is no longer free.  Or BUSY, UNMOVABLE.
    """
    pg = m.page[p]
    g = pg.guest
    if is_unmovable(m, p):
        return UNMOVABLE, 0.0, COMPACTION
    if is_guest_huge(m, p):
        if m.block[block_of(m, p)].filled < m.host[0].block_pages:
            return BUSY, 0.0, COMPACTION
        split_guest(m, block_of(m, p))
    if _is_busy(m, p):
        return BUSY, 0.0, COMPACTION
    if pg.gstate == BALLOON:
        return DONE, _move_in_balloon(m, g, p, q), COMPACTION
    if pg.gflags & G_HINT:  # its owner hinted it free: the bit goes before the page is read
        pg.gflags = np.uint16((pg.gflags & (G_BITS - G_HINT)) | G_VOID)
        stirred(m, g)
    on_claim(m, q)  # it will be backed before it is taken, if it still is free then
    for page in (p, q):
        what, cost, cls = back_page(m, e, k, page, page == q, True, False, t)
        if what != DONE or cost > 0.0:
            return BURN if what == DONE else what, cost, cls
    put(m, q, content_of(m, p))
    _become(m, g, p, q)
    m.page[q].hflags |= np.uint8(H_REF | H_DIRTY)
    return DONE, m.host[0].c_migrate, COMPACTION


@kernel
def has_unmovable(m: Machine, b: int) -> bool:
    """Tell whether a page of the block can never be moved."""
    bl = m.block[b]
    n = 0
    for p in range(bl.first, bl.first + bl.pages):
        n += is_unmovable(m, p)
    return n > 0


@kernel
def _is_there(m: Machine, p: int) -> bool:
    # Whether the host backs a page, so that to touch it neither waits nor reclaims.
    return m.page[p].hstate == RESIDENT and not m.page[p].hflags & H_UNMAPPED


@kernel
def empty_block(
    m: Machine, e: int, k: int, b: int, breaks: bool, t: float
) -> tuple[int, float, int]:
    """Go on moving all pages out of block b, on behalf of task k on vCPU e at time t.

    `breaks`: wholly free blocks may be broken for their sake.

    Returns:
        (what became of it, CPU seconds, class): DONE, the block is on the list of free ones; BURN,
        call again after that time; STOPPED or KILL_GUEST as `backing.back_page`; BUSY, only
        pages under I/O are left, call again later or `let_go`; UNMOVABLE or NO_ROOM, in vain.
    """
    bl = m.block[b]
    hs = m.host[0]
    if bl.free == bl.pages:
        return DONE, 0.0, COMPACTION
    g = m.page[bl.first].guest
    gs = m.guest[g]
    cost = 0.0
    if gs.source_block != b:
        cost += bl.pages * hs.c_cscan
        gs.compact_scanned += bl.pages
        if has_unmovable(m, b):
            return UNMOVABLE, cost, COMPACTION
        isolate(m, g, b)
    moved = 0
    for p in range(bl.first, bl.first + bl.pages):
        if m.page[p].gstate == FREE:
            continue
        q = find_target(m, g, breaks)
        if q == NOBODY or is_unmovable(m, p):
            let_go(m, g)
            return NO_ROOM if q == NOBODY else UNMOVABLE, cost, COMPACTION
        if cost > 0.0 and not (_is_there(m, p) and _is_there(m, q)):  # what was done is paid first
            return BURN, cost, COMPACTION
        what, more, cls = migrate_page(m, e, k, p, q, t)
        cost += more
        if what == BUSY:
            continue
        if what != DONE:
            return what, cost, cls
        moved += 1
        if bl.free == bl.pages:
            return DONE, cost, COMPACTION
        if moved >= COMPACT_BATCH / hs.sub:
            return BURN, cost, COMPACTION
    if moved > 0:
        return BURN, cost, COMPACTION
    return BUSY, cost, COMPACTION


@kernel
def has_room(m: Machine, g: int) -> bool:
    """Tell whether twice a block is free above the low watermark (compaction_suitable)."""
    gs = m.guest[g]
    return gs.free_pages - 2 * m.host[0].block_pages > gs.wm_low


@kernel
def is_deferred(m: Machine, g: int) -> bool:
    """Tell whether compaction for an allocation is not worth a try, and count that it was asked.

    After the n-th failure in a row only every 2**n-th allocation tries (compaction_deferred).
    """
    gs = m.guest[g]
    gs.compact_considered += 1
    return gs.compact_considered < 1 << gs.compact_shift


@kernel
def judge_compaction(m: Machine, g: int, good: bool) -> None:
    """Note whether compaction gave an allocation its block."""
    gs = m.guest[g]
    gs.compact_considered = 0
    gs.compact_shift = 0 if good else min(gs.compact_shift + 1, COMPACT_MAX_DEFER_SHIFT)
    if good:
        gs.compact_success += 1
    else:
        gs.compact_fail += 1


@kernel
def _sparsest(m: Machine, g: int) -> int:
    # The block with most free pages that could become free as a whole, or NOBODY.
    hs = m.host[0]
    gs = m.guest[g]
    best, most = NOBODY, 0
    if gs.free_pages - gs.free_blocks * hs.block_pages < hs.block_pages:
        return NOBODY  # what is to be moved has no place
    for b in range(gs.block0, gs.block0 + gs.blocks):
        bl = m.block[b]
        if most < bl.free < bl.pages and bl.pages == hs.block_pages and not bl.stuck:
            best, most = b, bl.free
    return int(best)


@kernel
def compact(m: Machine, e: int, k: int, t: float) -> tuple[int, float, int]:
    """Go on making one block of the guest of task k free, the one with least to move first.

    Returns:
        As `empty_block`, but never BUSY or UNMOVABLE; NO_ROOM if no block is left to try.
    """
    g = m.task[k].guest
    gs = m.guest[g]
    b = gs.source_block if gs.source_block != NOBODY else _sparsest(m, g)
    if b == NOBODY:
        for i in range(gs.block0, gs.block0 + gs.blocks):
            m.block[i].stuck = 0
        return NO_ROOM, 0.0, COMPACTION
    what, cost, cls = empty_block(m, e, k, b, False, t)
    if what == UNMOVABLE or what == BUSY or what == NO_ROOM:
        let_go(m, g)
        m.block[b].stuck = 1
        return BURN, cost, cls
    return what, cost, cls


@kernel
def _score(m: Machine, g: int) -> float:
    # Share of free memory that is not in free blocks [%] (fragmentation_score_zone).
    gs = m.guest[g]
    if gs.free_pages == 0:
        return 0.0
    return 100.0 * (1.0 - gs.free_blocks * m.host[0].block_pages / gs.free_pages)


@kernel
def ask_kcompactd(m: Machine, g: int, t: float) -> None:
    """Have kcompactd make one free block (wakeup_kcompactd)."""
    m.guest[g].compact_asked = 1
    k = int(m.guest[g].task0 + m.guest[g].tasks + COMPACTOR - 1)
    if m.task[k].state == TIMER:
        m.task[k].clock = t
        wake(m, k, t)


@kernel
def _makes_one(m: Machine, e: int, k: int, t: float) -> tuple[int, float, int]:
    # kcompactd for who asked: NO_ROOM when there is a free block, or none to be made.
    g = m.task[k].guest
    gs = m.guest[g]
    what, cost, cls = NO_ROOM, 0.0, COMPACTION
    if free_block(m, g) == NOBODY and (has_room(m, g) or gs.source_block != NOBODY):
        what, cost, cls = compact(m, e, k, t)
    if what == NO_ROOM:
        gs.compact_asked = 0
    return what, cost, cls


@kernel
def kcompactd(m: Machine, e: int, k: int, t: float) -> tuple[float, float, int]:
    """Compact ahead of need: every 0.5 s, if free memory is in pieces, until it is less so.

    After a round that brought nothing it waits for 64 times as long (kcompactd of mm/compaction.c).
    Who asked for one block is served first, once kswapd has made room.

    Returns:
        As `kernel_tasks.kernel_step`.
    """
    tk = m.task[k]
    gs = m.guest[tk.guest]
    if not gs.huge_pages or gs.lru_2011:
        return 0.0, NEVER, COMPACTION
    again = t + COMPACT_EVERY_S
    if gs.compact_asked and gs.huge_left <= 0:
        what, cost, cls = _makes_one(m, e, k, t)
        if what == STOPPED or what == KILL_GUEST:
            return touched(what, cost, cls)
        return max(cost, 1e-7), 0.0, cls
    score = _score(m, tk.guest)
    if not tk.compacting:
        if t < gs.compact_at or score <= 100.0 - COMPACT_PROACTIVENESS + 10.0:
            return 0.0, again, COMPACTION
        tk.compacting = 1
        gs.compact_score = score
    what, cost, cls = compact(m, e, k, t)
    if what == STOPPED or what == KILL_GUEST:
        return touched(what, cost, cls)
    if what == NO_ROOM or _score(m, tk.guest) < 100.0 - COMPACT_PROACTIVENESS:
        tk.compacting = 0
        if _score(m, tk.guest) >= gs.compact_score:
            gs.compact_at = t + COMPACT_EVERY_S * (1 << COMPACT_MAX_DEFER_SHIFT)
        return cost, again, COMPACTION
    return max(cost, 1e-7), 0.0, cls
