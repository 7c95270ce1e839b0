"""Free page reporting as Linux ships it: passes of a guest's task over its free lists.

A pass begins `report_every_s` after a piece of the asked order came free, unless free memory is
close to the low watermark.  It takes 1 + ceil(n / (16 * batch)) reports from a list of n pieces, so
that an idle guest has told of all its memory after 16 passes, and the next pass follows if that
was not all.  A piece is as large as the allocator keeps it, 4 MiB at most: a guest with little
memory tells of 256 MiB a pass.  What is new stands at the head of a list, what was reported at its
tail, so that the allocator prefers what the host still backs (mm/page_reporting.c).

The host drops frames and slots at once, needed or not: the next touch is a fresh fault.
"""

import numpy as np

from memsim.blocks import block_to_tail, piece
from memsim.frames import in_memory
from memsim.hinting import REPORTING
from memsim.host import drop_pages
from memsim.jit import kernel
from memsim.lists import guest_push_tail, guest_remove, guest_row
from memsim.machine import Machine
from memsim.params import (
    DONTNEED_HUGE_S,
    DONTNEED_S,
    HUGE_PAGES,
    LARGEST_PIECE,
    REPORT_PASSES,
    REPORT_PIECE_S,
    USER_EXIT_S,
)
from memsim.state import FREE, G_REPORTED, KERNEL_0, NOBODY, ORDER_0

NEVER = -1.0


@kernel
def dontneed_s(m: Machine, pages: int) -> float:
    """CPU time of the host to drop resident pages that it is told of in one piece.

    Between what one small page and what a block of them take, in proportion; more blocks in turn.
    """
    if pages <= 0:
        return 0.0
    small = pages * m.host[0].sub
    blocks = max(1.0, small / HUGE_PAGES)
    share = (small / blocks - 1.0) / (HUGE_PAGES - 1.0)
    return blocks * (DONTNEED_S + share * (DONTNEED_HUGE_S - DONTNEED_S))


@kernel
def _report(m: Machine, g: int, first: int, n: int) -> float:
    # One piece: its pages are marked and dropped; pages of broken blocks go behind all others.
    backed = 0
    for p in range(first, first + n):
        pg = m.page[p]
        pg.gflags |= np.uint16(G_REPORTED)
        if pg.glist:
            which = pg.glist - 1
            guest_remove(m, g, p)
            guest_push_tail(m, g, which, p)
        backed += in_memory(m, p)
    drop_pages(m, first, n)
    m.guest[g].reported += n
    return dontneed_s(m, backed)


@kernel
def _room(m: Machine, n: int) -> int:
    # Entries of a report that a piece of n pages takes: more than one if it is beyond the largest.
    return max(1, int(n * m.host[0].sub / LARGEST_PIECE))


@kernel
def _fit(m: Machine, n: int) -> int:
    # Blocks of n pages that the largest piece holds.
    return max(1, int(LARGEST_PIECE / (n * m.host[0].sub)))


@kernel
def _report_pieces(m: Machine, g: int, which: int, most: int) -> tuple[float, int]:
    # Up to `most` entries of free pieces in blocks that are partly used, of one migrate type.
    gs = m.guest[g]
    cost = 0.0
    entries = 0
    p = m.lists[guest_row(g, which)].head
    while p != NOBODY and entries < most and gs.report_left > 0:
        if m.page[p].gflags & G_REPORTED:
            break
        first, n = piece(m, p)
        while p != NOBODY and first <= p < first + n:
            p = m.page[p].gnext
        if n >= gs.report_pages:
            cost += _report(m, g, first, n)
            gs.report_left -= 1
            entries += 1
    return cost, entries


@kernel
def _is_new(m: Machine, g: int, b: int) -> bool:
    # Whether a block is one of the guest's, wholly free and not told of.
    gs = m.guest[g]
    if b >= gs.block0 + gs.blocks or m.block[b].free < m.block[b].pages:
        return False
    return m.page[m.block[b].first].gflags & G_REPORTED == 0


@kernel
def _report_blocks(m: Machine, g: int, most: int) -> tuple[float, int]:
    # Up to `most` entries of wholly free blocks, two neighbours being one piece.
    gs = m.guest[g]
    cost = 0.0
    entries = 0
    while entries < most and gs.report_blocks_left > 0 and gs.block_head != NOBODY:
        b = gs.block_head
        bl = m.block[b]
        if m.page[bl.first].gflags & G_REPORTED:
            break
        cost += _report(m, g, bl.first, bl.pages)
        block_to_tail(m, g, b)
        other = gs.block0 + ((b - gs.block0) ^ 1)
        if _fit(m, bl.pages) > 1 and _is_new(m, g, other):
            cost += _report(m, g, m.block[other].first, m.block[other].pages)
            block_to_tail(m, g, other)
        gs.report_blocks_left -= 1
        entries += _room(m, bl.pages)
    return cost, entries


@kernel
def _unreported(m: Machine, g: int) -> bool:
    # Whether the pass ended because its share was used up.
    gs = m.guest[g]
    b = gs.block_head
    if b != NOBODY and not m.page[m.block[b].first].gflags & G_REPORTED:
        return True
    return gs.report_pages < m.host[0].block_pages and gs.report_left <= 0


@kernel
def _share(n: int, batch: int) -> int:
    # Entries of a list of n that a pass may take: whole reports, and one for what came since.
    return batch * (1 + -(-n // (REPORT_PASSES * batch)))


@kernel
def _pieces(m: Machine, g: int) -> int:
    # Free pieces of the asked order and above in blocks that are partly used: nr_free of their
    # lists, so those that were told of count as well.
    gs = m.guest[g]
    n = 0
    for b in range(gs.block0, gs.block0 + gs.blocks):
        bl = m.block[b]
        if bl.free == bl.pages or bl.isolated:
            continue
        p = bl.first
        while p < bl.first + bl.pages:
            size = 1
            if m.page[p].gstate == FREE:
                _, size = piece(m, p)
                n += size >= gs.report_pages
            p += size
    return n


@kernel
def _begin_pass(m: Machine, g: int) -> bool:
    gs = m.guest[g]
    hs = m.host[0]
    gs.report_asked = 0
    if gs.free_pages <= gs.wm_low + gs.report_batch * gs.report_pages:
        return False
    gs.report_left = 0
    if gs.report_pages < hs.block_pages:
        gs.report_left = _share(_pieces(m, g), gs.report_batch)
    pieces = -(-gs.free_blocks // _fit(m, hs.block_pages))
    gs.report_blocks_left = _share(pieces, gs.report_batch)
    gs.report_active = 1
    return True


@kernel
def periodic(m: Machine, g: int, t: float) -> tuple[float, float]:
    """Make the next report, if a pass is under way or due at time t.

    Returns:
        (CPU seconds, when to look again): 0 means at once, negative when asked.
    """
    gs = m.guest[g]
    if gs.hinting != REPORTING or not (gs.report_active or gs.report_asked):
        return 0.0, NEVER
    if not gs.report_active:
        if t < gs.report_at:
            return 0.0, gs.report_at
        if not _begin_pass(m, g):
            return 0.0, NEVER
    cost, entries = 0.0, 0
    for which in (ORDER_0, KERNEL_0):
        more, n = _report_pieces(m, g, which, gs.report_batch - entries)
        cost += more
        entries += n
    more, n = _report_blocks(m, g, gs.report_batch - entries)
    entries += n
    if entries > 0:
        gs.hypercalls += 1
        gs.reports += 1
        cost += USER_EXIT_S + entries * REPORT_PIECE_S + more
        gs.report_s += cost
        return cost, 0.0
    gs.report_active = 0
    if not gs.report_asked and not _unreported(m, g):
        return 0.0, NEVER
    gs.report_asked = 1
    gs.report_at = t + gs.report_every_s
    return 0.0, gs.report_at
