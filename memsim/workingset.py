"""Workingset detection: how long a page was away decides where it comes back (mm/workingset.c).

The clock of a pair of lists counts evictions and activations.  A page that goes leaves a shadow
entry, the clock of that moment; if it comes back within a distance that memory could have bridged
it goes to the active list.  Files have shadow entries since Linux 3.15, anonymous memory since 5.9.
"""

import numpy as np

from memsim.balance import note_cost
from memsim.host_balance import note_host_cost
from memsim.jit import kernel
from memsim.lists import guest_row, host_row, lru_of
from memsim.machine import Machine
from memsim.state import (
    ACTIVE_ANON,
    ACTIVE_FILE,
    FILE,
    G_BITS,
    G_SEEN,
    G_WORKINGSET,
    INACTIVE_ANON,
    INACTIVE_FILE,
    NOBODY,
    WORKING,
)

AGES = (1 << 31) - 1  # clocks are compared modulo this, plus one


@kernel
def leave_shadow(m: Machine, g: int, v: int, p: int) -> None:
    """Leave the shadow entry of virtual page v, whose page goes.

    Its lowest bit says whether the page was part of the workingset, that is, active once.
    """
    gs = m.guest[g]
    active_once = (m.page[p].gflags & G_WORKINGSET) != 0
    m.vpage[v].age = (np.int64(gs.age) & AGES) << 1 | active_once
    gs.age += np.uint32(1)


@kernel
def reach(m: Machine, g: int, file: bool) -> int:
    """Return the distance that a page may have been away for [evictions and activations].

    What the workingset could have had: the active pages of its own kind and, if the page is
    anonymous or there is swap to be had, all that the other kind could have made room for.
    """
    gs = m.guest[g]
    pages = m.lists[guest_row(g, ACTIVE_FILE)].count
    if not file:
        pages += m.lists[guest_row(g, INACTIVE_FILE)].count
    if gs.swap_used_pages < gs.gslots:
        pages += m.lists[guest_row(g, ACTIVE_ANON)].count
        if file:
            pages += m.lists[guest_row(g, INACTIVE_ANON)].count
    return pages


@kernel
def come_back(m: Machine, g: int, p: int, shadow: int) -> None:
    """Judge a page that is read again: G_SEEN sends it to the active list when it is there."""
    gs = m.guest[g]
    if gs.lru_2011 or gs.lru_exact:
        return
    pg = m.page[p]
    file = pg.gstate == FILE
    if ((np.int64(gs.age) - (shadow >> 1)) & AGES) > reach(m, g, file):
        return
    pg.gflags |= np.uint16(G_SEEN)
    gs.age += np.uint32(1)
    if file:
        gs.file_activated += 1
    else:
        gs.anon_activated += 1
    if shadow & 1:
        pg.gflags |= np.uint16(G_WORKINGSET)
        note_cost(m, g, file, 1)


@kernel
def leave_host_shadow(m: Machine, p: int) -> None:
    """Leave the shadow entry of a guest page whose frame goes and whose content is in swap."""
    gr = m.group[lru_of(m, m.page[p].guest)]
    m.page[p].hnext = np.int64(gr.age) & AGES
    gr.age += np.uint32(1)


@kernel
def comes_back_to_host(m: Machine, p: int) -> bool:
    """Judge a guest page that is swapped in; True if it belongs on the active list.

    To the host it is anonymous memory; the files are the emulators' code.  It stays part of the
    workingset only if it was when it went, and is back in time.
    """
    hs = m.host[0]
    pg = m.page[p]
    working = pg.gflags & WORKING
    pg.gflags &= np.uint16(G_BITS - WORKING)
    lru = lru_of(m, pg.guest)
    gr = m.group[lru]
    gr.refaults += 1
    if hs.lru_2011 or pg.hnext == NOBODY:
        return False
    pages = hs.cached_pages if lru == 0 else m.guest[pg.guest].code_resident
    if hs.swap_used_pages < hs.swap_pages:
        pages += m.lists[host_row(m, lru, 1)].count
    if ((np.int64(gr.age) - pg.hnext) & AGES) > pages:
        return False
    gr.age += np.uint32(1)
    gr.activated += 1
    if working:
        pg.gflags |= np.uint16(WORKING)
        note_host_cost(m, lru, False, 1)
    return True
