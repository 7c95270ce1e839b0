"""khugepaged of the guest: makes huge pages out of small ones, a few at a time (mm/khugepaged.c).

Every 10 s it looks at 16 MiB of virtual memory.  Where a part is not huge yet, is in use, and at
most 64 of its pages are in the guest's swap, these are read, and all are copied to a free block,
which compaction may have to make; what was never touched is cleared.  To copy is to touch: all of
it has to be backed by the host.  `host_collapse` is the same for the host.
"""

import numpy as np

from memsim.account import COMPACTION
from memsim.backing import BURN, DONE, KILL_GUEST, NEVER, STOPPED, back_page, touched
from memsim.balance import note_scan
from memsim.compaction import BUSY, NO_ROOM
from memsim.content import ZERO, content_of, put
from memsim.free_memory import free_block, give_page, take_block
from memsim.guest_readahead import read_swap
from memsim.guest_swap import free_gslot
from memsim.hinting import on_alloc
from memsim.huge_alloc import NOT_TRIED, make_block
from memsim.hugepages import set_guest_huge
from memsim.jit import kernel
from memsim.lists import guest_push
from memsim.machine import Machine
from memsim.params import (
    COLLAPSE_EVERY_S,
    COLLAPSE_MAX_SWAP,
    COLLAPSE_PAGES,
    COLLAPSE_RETRY_S,
    COMPACT_BATCH,
    RETRY_S,
)
from memsim.state import (
    ANON,
    G_AHEAD,
    G_BACK,
    G_BITS,
    G_FILL,
    G_HINT,
    G_IO,
    G_KEPT,
    G_REF,
    G_VOID,
    H_DIRTY,
    H_REF,
    INACTIVE_ANON,
    KERNEL,
    NOBODY,
    RESIDENT,
    SWAPPED_BASE,
)
from memsim.state import NEVER as NOT_MAPPED

_READS_MOST = 10_000  # looks for what it reads from swap, 10 s, before it goes on elsewhere
_ANON = 0  # memsim.spec.RegionKind


@kernel
def _next_part(m: Machine, g: int) -> int:
    # The part of a region that the hand stands at, or the first one behind it; NOBODY at the end.
    gs = m.guest[g]
    pages = m.host[0].block_pages
    v = gs.collapse_hand
    for i in range(gs.region0, gs.region0 + gs.regions):
        rg = m.region[i]
        v = max(v, rg.vpage0)
        if rg.kind == _ANON and v + pages <= rg.vpage0 + rg.pages:
            return int(v)
        v = max(v, rg.vpage0 + rg.pages)
    return NOBODY


@kernel
def is_worth(m: Machine, old: bool, present: int, swapped: int, used: int) -> bool:
    """Tell whether small pages, so many of a block, are to become a huge one, in guest or host.

    Any number may be missing (max_ptes_none), few may be in swap, since 4.8, and then half of all
    must have been used (khugepaged_scan_pmd).
    """
    hs = m.host[0]
    if present <= 0 or swapped * hs.sub > (0 if old else COLLAPSE_MAX_SWAP):
        return False
    return used > 0 and (swapped == 0 or 2 * used >= hs.block_pages)


@kernel
def _look(m: Machine, v: int) -> tuple[int, int, int]:
    # How many pages of a part are mapped (-1: one is huge, or somebody holds it), how many are in
    # swap or on their way from there, how many of the mapped ones were used.
    present, swapped, used = 0, 0, 0
    for i in range(v, v + m.host[0].block_pages):
        p = m.vpage[i].page
        if p == NOT_MAPPED:
            continue
        if p < 0 or m.page[p].gflags & G_IO:
            swapped += 1
            continue
        pg = m.page[p]
        if pg.glist == 0 or pg.gflags & (G_BACK | G_FILL | G_HINT | G_VOID):
            return -1, 0, 0
        if pg.gflags & G_AHEAD:  # in the swap cache alone
            swapped += 1
            continue
        used += (pg.gflags & G_REF) != 0
        present += 1
    return present, swapped, used


@kernel
def _bring_in(m: Machine, g: int, v: int, t: float) -> int:
    # What of a part is in swap is read, one page after the other (__collapse_huge_page_swapin):
    # DONE, BUSY until the next one is there, NO_ROOM.
    for i in range(v, v + m.host[0].block_pages):
        p = int(np.int64(m.vpage[i].page))
        if p <= SWAPPED_BASE:
            r, _ = read_swap(m, g, i, False, t)
            m.guest[g].guest_major += r != NOBODY
            return BUSY if r != NOBODY else NO_ROOM
        if p >= 0 and m.page[p].gflags & G_IO:
            return BUSY
        if p >= 0 and m.page[p].gflags & G_AHEAD:
            m.page[p].gflags &= np.uint16(G_BITS - G_AHEAD)
            free_gslot(m, g, m.guest[g].gslot0 + m.vpage[i].age)
    return DONE


@kernel
def _begin(m: Machine, g: int, b: int, v: int) -> None:
    # The block is the kernel's own until all is copied.
    gs = m.guest[g]
    bl = m.block[b]
    take_block(m, b)
    for p in range(bl.first, bl.first + bl.pages):
        m.page[p].gstate = KERNEL
        m.page[p].gflags |= np.uint16(G_FILL)
    gs.kernel_pages += bl.pages
    bl.filled = 0
    gs.collapse_block = b
    gs.collapse_hand = v


@kernel
def _copy(m: Machine, e: int, k: int, t: float) -> tuple[int, float, int]:
    # Go on copying, page by page.
    hs = m.host[0]
    gs = m.guest[m.task[k].guest]
    bl = m.block[gs.collapse_block]
    cost = 0.0
    copied = 0
    while bl.filled < bl.pages and copied < COMPACT_BATCH / hs.sub:
        q = int(np.int64(bl.first + bl.filled))
        p = int(np.int64(m.vpage[gs.collapse_hand + bl.filled].page))
        for page in (p, q):
            if page < 0:
                continue
            if cost > 0.0 and m.page[page].hstate != RESIDENT:  # what was done is paid first
                return BURN, cost, COMPACTION
            what, more, cls = back_page(m, e, k, page, page == q, True, False, t)
            if what != DONE or more > 0.0:
                return BURN if what == DONE else what, cost + more, cls
        on_alloc(m, q)
        put(m, q, content_of(m, p) if p >= 0 else ZERO)
        m.page[q].gflags &= np.uint16(G_BITS - G_FILL)
        m.page[q].hflags |= np.uint8(H_REF | H_DIRTY)
        cost += hs.c_migrate if p >= 0 else hs.c_gfault_huge
        bl.filled += 1
        copied += 1
    return DONE if bl.filled == bl.pages else BURN, cost, COMPACTION


@kernel
def _is_copied(m: Machine, g: int) -> bool:
    # Whether the copy is still that of the small pages.  Linux lets nobody store while it copies,
    # so what was stored meanwhile goes over as well; what the host has put elsewhere cannot.
    gs = m.guest[g]
    bl = m.block[gs.collapse_block]
    if not m.host[0].ksm:
        return True
    for i in range(bl.pages):
        p = m.vpage[gs.collapse_hand + i].page
        q = bl.first + i
        number = content_of(m, p) if p >= 0 else ZERO
        if content_of(m, q) != number:
            if m.page[q].hstate != RESIDENT:
                return False
            put(m, q, number)
    return True


@kernel
def _end(m: Machine, g: int) -> None:
    # All is copied: the block takes the place of the small pages, unless they changed meanwhile.
    gs = m.guest[g]
    b = gs.collapse_block
    bl = m.block[b]
    present, swapped, _ = _look(m, gs.collapse_hand)
    done = present > 0 and swapped == 0 and _is_copied(m, g)
    gs.collapse_block = NOBODY
    if not done:
        for p in range(bl.first, bl.first + bl.pages):
            give_page(m, p)
        return
    for i in range(bl.pages):
        v = gs.collapse_hand + i
        old, pg = m.vpage[v].page, m.page[bl.first + i]
        m.vpage[v].page = bl.first + i
        pg.gstate = ANON
        pg.vpn = v
        pg.gflags = np.uint16((pg.gflags & G_KEPT) | G_REF)
        if old >= 0:
            give_page(m, old)
    gs.kernel_pages -= bl.pages
    gs.anon_pages += bl.pages
    gs.thp_collapse_alloc += 1
    set_guest_huge(m, b)
    guest_push(m, g, INACTIVE_ANON, bl.first)
    note_scan(m, g, bl.first, bl.pages, 0)


@kernel
def _rest_until(m: Machine, g: int, when: float) -> None:
    m.guest[g].collapse_left = 0
    m.guest[g].collapse_at = when


@kernel
def khugepaged(m: Machine, e: int, k: int, t: float) -> tuple[float, float, int]:
    """Go on with a pass of the guest's khugepaged.

    Returns:
        As `kernel_tasks.kernel_step`.
    """
    hs = m.host[0]
    g = m.task[k].guest
    gs = m.guest[g]
    if not gs.huge_pages:
        return 0.0, NEVER, COMPACTION
    if gs.collapse_block != NOBODY:
        what, cost, cls = _copy(m, e, k, t)
        if what == STOPPED or what == KILL_GUEST:
            return touched(what, cost, cls)
        if what == DONE:
            _end(m, g)
            gs.collapse_hand += hs.block_pages
        return max(cost, 1e-7), 0.0, cls
    if gs.collapse_left <= 0:
        if t < gs.collapse_at:
            return 0.0, gs.collapse_at, COMPACTION
        gs.collapse_left = int(COLLAPSE_PAGES / hs.sub)
        gs.collapse_at = t + COLLAPSE_EVERY_S
    v = _next_part(m, g)
    if v == NOBODY:
        gs.collapse_hand = gs.vpage0
        gs.collapse_left = 0
        return 0.0, gs.collapse_at, COMPACTION
    gs.collapse_hand = v
    scan = hs.block_pages * hs.c_cscan
    present, swapped, used = _look(m, v)
    if gs.collapse_reads > 0 or is_worth(m, gs.lru_2011, present, swapped, used):
        what = _bring_in(m, g, v, t)
        gs.collapse_reads = gs.collapse_reads + 1 if what == BUSY else 0
        if what == BUSY and gs.collapse_reads < _READS_MOST:
            return scan, t + RETRY_S, COMPACTION
        if what != DONE:
            gs.collapse_hand = v + hs.block_pages
            gs.collapse_reads = 0
            return scan, 0.0, COMPACTION
        what, cost, cls = make_block(m, e, k, t)
        if what == NO_ROOM:
            m.task[k].compacting = NOT_TRIED
            _rest_until(m, g, t + COLLAPSE_RETRY_S)
            return scan, gs.collapse_at, COMPACTION
        if what == STOPPED or what == KILL_GUEST:
            return touched(what, cost, cls)
        if what != DONE:
            return max(cost, 1e-7), 0.0, cls
        gs.collapse_left -= hs.block_pages
        _begin(m, g, free_block(m, g), v)
        return scan, 0.0, COMPACTION
    gs.collapse_left -= hs.block_pages
    gs.collapse_hand = v + hs.block_pages
    return scan, 0.0 if gs.collapse_left > 0 else gs.collapse_at, COMPACTION
