"""The guest's LRU lists: what moves a page between them, and who goes next (model section 4)."""

import numpy as np

from memsim.balance import may_deactivate, note_scan
from memsim.blocks import block_of, guest_weight
from memsim.hugepages import is_guest_huge, split_guest, was_used
from memsim.jit import kernel
from memsim.lists import guest_push, guest_remove, guest_row
from memsim.machine import Machine
from memsim.quiet import stirred
from memsim.state import (
    ACTIVE_ANON,
    ACTIVE_FILE,
    ANON,
    ASYNC,
    DIRECT,
    FILE,
    G_AHEAD,
    G_BACK,
    G_BITS,
    G_DIRTY,
    G_FILL,
    G_HINT,
    G_IO,
    G_REF,
    G_SEEN,
    G_VOID,
    G_WORKINGSET,
    INACTIVE_ANON,
    INACTIVE_FILE,
    NOBODY,
    WANTED,
)


@kernel
def activate(m: Machine, g: int, p: int) -> None:
    """Move a page to the head of its active list."""
    pg = m.page[p]
    guest_remove(m, g, p)
    guest_push(m, g, ACTIVE_FILE if pg.gstate == FILE else ACTIVE_ANON, p)
    pg.gflags &= np.uint16(G_BITS - G_SEEN)
    m.guest[g].age += np.uint32(1)
    note_scan(m, g, p, 0, 1)


@kernel
def mark_accessed(m: Machine, g: int, p: int) -> None:
    """What read(2) and write(2) do to the LRU: the second use activates."""
    if m.page[p].glist == 0 and is_guest_huge(m, p):
        p = m.block[block_of(m, p)].first
    pg = m.page[p]
    if pg.glist == 0:
        return
    if m.guest[g].lru_exact:
        which = pg.glist - 1
        guest_remove(m, g, p)
        guest_push(m, g, which, p)
    elif not pg.gflags & G_SEEN:
        pg.gflags |= np.uint16(G_SEEN)
    elif pg.glist == 1 + INACTIVE_FILE or pg.glist == 1 + INACTIVE_ANON:
        activate(m, g, p)
        note_scan(m, g, p, 1, 0)


@kernel
def deactivate(m: Machine, g: int, inactive: int, force: bool) -> int:
    """Move a batch from the active tail if reclaim may, or by force; returns how many.

    The guest bit is cleared, and the page deactivated whatever it was.
    """
    hs = m.host[0]
    b = m.lists[guest_row(g, inactive + 1)]
    if m.guest[g].lru_exact or not (force or may_deactivate(m, g, inactive)):
        return 0
    n = 0
    stirred(m, g)
    while n < hs.batch and b.tail != NOBODY:
        p = b.tail
        guest_remove(m, g, p)
        used = (m.page[p].gflags & G_REF) != 0
        if is_guest_huge(m, p):
            used = was_used(m, block_of(m, p))
        weight = guest_weight(m, p)
        note_scan(m, g, p, weight, weight if used else 0)
        m.page[p].gflags = np.uint16((m.page[p].gflags & (G_BITS - G_REF)) | G_WORKINGSET)
        guest_push(m, g, inactive, p)
        n += weight
    return n


@kernel
def count_scan(m: Machine, g: int, who: int, pages: int) -> None:
    """Count pages that kswapd (ASYNC) or direct reclaim (DIRECT) looked at."""
    gs = m.guest[g]
    if who == ASYNC:
        gs.async_scan += pages
    else:
        gs.direct_scan += pages


@kernel
def count_reclaim(m: Machine, g: int, who: int, pages: int) -> None:
    """Count pages that kswapd (ASYNC) or direct reclaim (DIRECT) made free."""
    gs = m.guest[g]
    if who == ASYNC:
        gs.async_reclaim += pages
    elif who == DIRECT:
        gs.direct_reclaim += pages


@kernel
def _come_apart(m: Machine, p: int) -> bool:
    # Split a huge page at the tail, unless it was used, or is being filled.
    b = block_of(m, p)
    if m.block[b].filled < m.block[b].pages or was_used(m, b):
        return False
    split_guest(m, b)
    return True


@kernel
def look_at_tail(m: Machine, g: int, inactive: int) -> int:
    """Look at the page at an inactive tail: reclaim (1), keep (0) or write it first (2)."""
    p = m.lists[guest_row(g, inactive)].tail
    pg = m.page[p]
    exact = m.guest[g].lru_exact
    if is_guest_huge(m, p) and not _come_apart(m, p):
        # one page that any use of a part keeps
        pg.gflags |= np.uint16(G_REF)
    if pg.gflags & (G_IO | G_BACK | G_FILL):
        if pg.gstate == FILE and pg.gflags & G_BACK:
            m.vpage[pg.vpn].age = WANTED
        guest_remove(m, g, p)
        guest_push(m, g, inactive, p)
        return 0
    note_scan(m, g, p, 1, 0)
    if pg.gflags & G_REF and not exact:
        pg.gflags &= np.uint16(G_BITS - G_REF)
        stirred(m, g)
        # Until 5.9 one use of anonymous memory was enough.
        if pg.gstate == ANON and m.guest[g].lru_2011:
            activate(m, g, p)
        elif pg.gflags & G_SEEN:
            activate(m, g, p)
            pg.gflags |= np.uint16(G_SEEN)  # page_check_references leaves it, unlike read(2)
        else:
            pg.gflags |= np.uint16(G_SEEN)
            guest_remove(m, g, p)
            guest_push(m, g, inactive, p)
        return 0
    if pg.gflags & G_HINT:
        # Its owner has no use for it, but it stays allocated: clear the bit, then it is as any.
        pg.gflags = np.uint16((pg.gflags & (G_BITS - G_HINT)) | G_VOID)
        stirred(m, g)
    if inactive == INACTIVE_FILE and not pg.gflags & G_DIRTY:
        return 1
    if pg.gstate == ANON and pg.gflags & G_AHEAD:  # never used, and its copy is in swap still
        return 1
    return 2
