"""Linked lists of pages: LRU lists of guests and host, the guests' order-0 free list.

Links are page indices inside the page records, so that a page moves in constant time.  A huge page
is one entry; lists count pages.
"""

from memsim.blocks import guest_weight, host_weight
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.state import GUEST_LISTS, NOBODY


@kernel
def guest_row(g: int, which: int) -> int:
    """Row of a guest's list."""
    return g * GUEST_LISTS + which


@kernel
def host_row(m: Machine, lru: int, active: int) -> int:
    """Row of a host LRU list."""
    return m.host[0].guests * GUEST_LISTS + 2 * lru + active


@kernel
def guest_push(m: Machine, g: int, which: int, p: int) -> None:
    """Add a page at the head of a guest's list."""
    li = m.lists[guest_row(g, which)]
    pg = m.page[p]
    pg.glist = 1 + which
    pg.gprev = NOBODY
    pg.gnext = li.head
    if li.head == NOBODY:
        li.tail = p
    else:
        m.page[li.head].gprev = p
    li.head = p
    li.count += guest_weight(m, p)


@kernel
def guest_push_tail(m: Machine, g: int, which: int, p: int) -> None:
    """Add a page at the tail of a guest's list: it goes next."""
    li = m.lists[guest_row(g, which)]
    pg = m.page[p]
    pg.glist = 1 + which
    pg.gnext = NOBODY
    pg.gprev = li.tail
    if li.tail == NOBODY:
        li.head = p
    else:
        m.page[li.tail].gnext = p
    li.tail = p
    li.count += guest_weight(m, p)


@kernel
def guest_remove(m: Machine, g: int, p: int) -> None:
    """Take a page off whichever guest list it is on."""
    pg = m.page[p]
    if pg.glist == 0:
        return
    li = m.lists[guest_row(g, pg.glist - 1)]
    if pg.gprev == NOBODY:
        li.head = pg.gnext
    else:
        m.page[pg.gprev].gnext = pg.gnext
    if pg.gnext == NOBODY:
        li.tail = pg.gprev
    else:
        m.page[pg.gnext].gprev = pg.gprev
    li.count -= guest_weight(m, p)
    pg.glist = 0


@kernel
def lru_of(m: Machine, g: int) -> int:
    """Return the host LRU that a guest's pages are on: 0, or 1 + its cgroup."""
    c = m.guest[g].cgroup
    return 1 + c if m.group[1 + c].own else 0


@kernel
def host_push(m: Machine, lru: int, active: int, p: int) -> None:
    """Add a page at the head of a host list."""
    li = m.lists[host_row(m, lru, active)]
    pg = m.page[p]
    pg.hlist = 1 + active
    pg.hprev = NOBODY
    pg.hnext = li.head
    if li.head == NOBODY:
        li.tail = p
    else:
        m.page[li.head].hprev = p
    li.head = p
    li.count += host_weight(m, p)


@kernel
def host_remove(m: Machine, p: int) -> None:
    """Take a page off whichever host list it is on."""
    pg = m.page[p]
    if pg.hlist == 0:
        return
    li = m.lists[host_row(m, lru_of(m, pg.guest), pg.hlist - 1)]
    if pg.hprev == NOBODY:
        li.head = pg.hnext
    else:
        m.page[pg.hprev].hnext = pg.hnext
    if pg.hnext == NOBODY:
        li.tail = pg.hprev
    else:
        m.page[pg.hnext].hprev = pg.hprev
    li.count -= host_weight(m, p)
    pg.hlist = 0


@kernel
def inactive_is_low(inactive: int, active: int, gib: float) -> bool:
    """Linux's inactive_is_low: ratio int_sqrt(10 * GiB of the pair), 1 below 1 GiB."""
    ratio = 1
    if gib >= 1.0:
        ratio = int((10.0 * gib) ** 0.5)
    return inactive * ratio < active
