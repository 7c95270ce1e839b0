"""How the host learns which guest pages are free: one interface for every mechanism.

The talk's bitmap is pulled: the guest sets a page's bit when it frees the page, and the host looks
only when it is about to pay for the content.  Allocation touches the page while the bit is still
set (so that a swapped page needs no I/O), clears the bit, then fills.

Free page reporting is pushed: a task of the guest tells the host of free pieces of memory
(`memsim.reporting`), and the host drops them at once.  A piece is marked as reported until it is
split by an allocation or grows by a neighbour that comes free: then it is a new piece, of which
the host has not heard (mm/page_reporting.h, page_alloc.c: `page_reported` goes with every piece
that leaves a free list).
"""

import numpy as np

from memsim.blocks import block_of, block_push, block_remove, piece
from memsim.cpu import rests, sleep_until
from memsim.jit import kernel
from memsim.lists import guest_push, guest_remove
from memsim.machine import Machine
from memsim.state import BALLOON, G_BITS, G_HINT, G_REPORTED, REPORTER

NONE, BITMAP, REPORTING = range(3)  # memsim.spec.Hinting


@kernel
def _forget_report(m: Machine, first: int, n: int) -> None:
    # What was reported is a new piece now: at the head of its list, as all that is new.
    for q in range(first + n - 1, first - 1, -1):
        pg = m.page[q]
        if pg.gflags & G_REPORTED:
            pg.gflags &= np.uint16(G_BITS - G_REPORTED)
            if pg.glist:
                which = pg.glist - 1
                guest_remove(m, pg.guest, q)
                guest_push(m, pg.guest, which, q)
            elif q == m.block[block_of(m, q)].first and not m.block[block_of(m, q)].isolated:
                block_remove(m, pg.guest, block_of(m, q))
                block_push(m, pg.guest, block_of(m, q))


@kernel
def _ask_for_report(m: Machine, g: int) -> None:
    gs = m.guest[g]
    if gs.report_asked:
        return
    gs.report_asked = 1
    if gs.report_active:
        return
    gs.report_at = m.host[0].time_s + gs.report_every_s
    k = gs.task0 + gs.tasks + REPORTER - 1
    if rests(m, k):
        sleep_until(m, k, gs.report_at)


@kernel
def on_free(m: Machine, p: int) -> None:
    """Tell that the guest's allocator, which has the page again, has no use for its content."""
    pg = m.page[p]
    gs = m.guest[pg.guest]
    if gs.hinting == BITMAP:
        pg.gflags |= np.uint16(G_HINT)
    elif gs.hinting == REPORTING:
        whole = pg.glist == 0  # its block came free as a whole
        if gs.report_pages < m.host[0].block_pages:
            first, n = piece(m, p)
            _forget_report(m, first, n)
            if n >= gs.report_pages:
                _ask_for_report(m, pg.guest)
        elif whole:
            _ask_for_report(m, pg.guest)


@kernel
def on_take(m: Machine, p: int) -> None:
    """Tell that the allocator is about to give a free page away, split from its piece."""
    if m.page[p].gflags & G_REPORTED:
        first, n = piece(m, p)
        _forget_report(m, first, n)


@kernel
def on_claim(m: Machine, p: int) -> None:
    """Tell that the host is about to back a page that is free, for somebody who may take it later.

    If nobody does its piece is free memory that the host has to be told of again, as when
    compaction gives back what it had set aside (release_freepages of mm/compaction.c).
    """
    if not m.page[p].gflags & G_REPORTED:
        return
    on_take(m, p)
    _, n = piece(m, p)
    if n >= m.guest[m.page[p].guest].report_pages:
        _ask_for_report(m, m.page[p].guest)


@kernel
def on_alloc(m: Machine, p: int) -> None:
    """Tell that the page, just touched, is about to be filled."""
    pg = m.page[p]
    pg.gflags &= np.uint16(G_BITS - G_HINT)


@kernel
def is_free(m: Machine, p: int) -> bool:
    """Ask, from the host, whether the page's content may be thrown away."""
    return (m.page[p].gflags & G_HINT) != 0


@kernel
def is_given(m: Machine, p: int) -> bool:
    """Tell whether the guest gave the page to the host: in its balloon, or reported free."""
    return m.page[p].gstate == BALLOON or (m.page[p].gflags & G_REPORTED) != 0


@kernel
def checks(m: Machine, p: int) -> bool:
    """Tell whether the host has a bit to look at, which costs it a little."""
    return m.guest[m.page[p].guest].hinting == BITMAP
