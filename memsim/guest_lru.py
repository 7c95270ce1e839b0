"""The guest's LRU lists: what moves a page between them, and who goes next (model section 4)."""

import numpy as np

from memsim.jit import kernel
from memsim.lists import guest_push, guest_remove, guest_row, inactive_is_low
from memsim.machine import Machine
from memsim.quiet import stirred
from memsim.state import (
    ACTIVE_ANON,
    ACTIVE_FILE,
    ASYNC,
    DIRECT,
    FILE,
    G_BACK,
    G_BITS,
    G_DIRTY,
    G_FILL,
    G_HINT,
    G_IO,
    G_REF,
    G_SEEN,
    G_VOID,
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
    if pg.gstate == FILE:
        m.guest[g].age += np.uint32(1)


@kernel
def mark_accessed(m: Machine, g: int, p: int) -> None:
    """What read(2) and write(2) do to the LRU: the second use activates."""
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


@kernel
def deactivate(m: Machine, g: int, inactive: int, force: bool) -> int:
    """Move a batch from the active tail if the inactive list is low, or by force; returns how many.

    The guest bit is cleared, and the page deactivated whatever it was.
    """
    hs = m.host[0]
    a, b = m.lists[guest_row(g, inactive)], m.lists[guest_row(g, inactive + 1)]
    gib = (a.count + b.count) * hs.page_bytes / 1073741824.0
    if m.guest[g].lru_exact or not (force or inactive_is_low(a.count, b.count, gib)):
        return 0
    n = 0
    stirred(m, g)
    while n < hs.batch and b.tail != NOBODY:
        p = b.tail
        guest_remove(m, g, p)
        m.page[p].gflags &= np.uint16(G_BITS - G_REF)
        guest_push(m, g, inactive, p)
        n += 1
    return n


@kernel
def choose_type(m: Machine, g: int) -> int:
    """Choose the inactive list to scan: anonymous or file memory.

    Without swap, or with plenty of inactive cache, file only; else in turns, in proportion to
    their sizes.
    """
    gs = m.guest[g]
    files = m.lists[guest_row(g, INACTIVE_FILE)].count + m.lists[guest_row(g, ACTIVE_FILE)].count
    anons = m.lists[guest_row(g, INACTIVE_ANON)].count + m.lists[guest_row(g, ACTIVE_ANON)].count
    if gs.swap_used_pages >= gs.gslots or anons == 0:
        return INACTIVE_FILE
    if files == 0:
        return INACTIVE_ANON
    gib = files * m.host[0].page_bytes / 1073741824.0
    inactive = m.lists[guest_row(g, INACTIVE_FILE)].count
    if inactive > m.host[0].batch and not inactive_is_low(inactive, files - inactive, gib):
        return INACTIVE_FILE
    gs.scan_credit += anons
    if gs.scan_credit >= files:
        gs.scan_credit -= files + anons
        return INACTIVE_ANON
    return INACTIVE_FILE


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
def look_at_tail(m: Machine, g: int, inactive: int) -> int:
    """Look at the page at an inactive tail: reclaim (1), keep (0) or write it first (2)."""
    p = m.lists[guest_row(g, inactive)].tail
    pg = m.page[p]
    exact = m.guest[g].lru_exact
    if pg.gflags & (G_IO | G_BACK | G_FILL):
        if pg.gstate == FILE and pg.gflags & G_BACK:
            m.vpage[pg.vpn].age = WANTED
        guest_remove(m, g, p)
        guest_push(m, g, inactive, p)
        return 0
    if pg.gflags & G_REF and not exact:
        pg.gflags &= np.uint16(G_BITS - G_REF)
        stirred(m, g)
        if pg.gflags & G_SEEN:
            activate(m, g, p)
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
    return 2
