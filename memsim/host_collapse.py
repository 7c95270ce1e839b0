"""khugepaged of the host: backs blocks with one huge page that small ones back (mm/khugepaged.c).

One thread for all guests, at the pace and by the rule of a guest's own (`collapse`).  It reads what
is in host swap of a block, copies, and gives the small pages back; what was never there, or was
given away by balloon or report, is backed again.  Frames have no addresses, so that it finds 2 MiB
wherever a huge fault would.
"""

import numpy as np

from memsim.collapse import is_worth
from memsim.content import ZERO, put
from memsim.host import NEED_READ, NOW, fault
from memsim.hugepages import can_take, set_host_huge, take_frames
from memsim.jit import kernel
from memsim.lists import host_remove
from memsim.machine import Machine
from memsim.params import COLLAPSE_EVERY_S, COLLAPSE_PAGES, COLLAPSE_RETRY_S, RETRY_S
from memsim.sharing import is_shared
from memsim.state import (
    CACHED,
    H_BACK,
    H_DIRTY,
    H_EVER,
    H_ISOLATED,
    H_PINNED,
    H_REF,
    H_UNMAPPED,
    NOBODY,
    READING,
    RESIDENT,
    SWAPPED,
    UNBACKED,
)
from memsim.swap import leave_swap

_READS_MOST = 10_000  # as `collapse`
_HELD = H_ISOLATED | H_UNMAPPED | H_BACK | H_PINNED


@kernel
def host_khugepaged(m: Machine) -> int:
    """Return the thread, the last of the host's."""
    return int(m.host[0].cpus - 1)


@kernel
def _next_block(m: Machine) -> int:
    # The block that the hand stands at, or the first one behind it that is or could be huge; NOBODY
    # at the end.
    hs = m.host[0]
    for g in range(hs.guests):
        gs = m.guest[g]
        if gs.state == 0:
            continue
        for b in range(max(hs.collapse_hand, gs.block0), gs.block0 + gs.blocks):
            if m.block[b].pages == hs.block_pages:
                return int(b)
    return NOBODY


@kernel
def _look(m: Machine, b: int) -> tuple[int, int, int]:
    # As `collapse._look`, of what backs a block.
    bl = m.block[b]
    present, swapped, used = 0, 0, 0
    for p in range(bl.first, bl.first + bl.pages):
        pg = m.page[p]
        if pg.hflags & _HELD or is_shared(m, p):
            return -1, 0, 0
        if pg.hstate == SWAPPED or pg.hstate == READING or pg.hstate == CACHED:
            swapped += 1
        elif pg.hstate == RESIDENT:
            present += 1
            used += (pg.hflags & H_REF) != 0
        elif pg.hstate != UNBACKED:
            return -1, 0, 0
    return present, swapped, used


@kernel
def _bring_in(m: Machine, b: int, t: float) -> tuple[int, float]:
    # Go on reading what is in swap; what it still needs, as `fault`, and CPU seconds.
    bl = m.block[b]
    cost = 0.0
    for p in range(bl.first, bl.first + bl.pages):
        if m.page[p].hstate == UNBACKED:
            continue
        need, more, _ = fault(m, p, False, False, t)
        cost += more
        if need != NOW:
            return need, cost
    return NOW, cost


@kernel
def _collapse(m: Machine, b: int) -> None:
    bl = m.block[b]
    g = m.page[bl.first].guest
    fresh = 0
    for p in range(bl.first, bl.first + bl.pages):
        pg = m.page[p]
        if pg.hstate == UNBACKED:
            fresh += 1
            pg.hstate = RESIDENT
            pg.hflags = np.uint8(0)
            put(m, p, ZERO)
        else:
            host_remove(m, p)
            leave_swap(m, p)
        pg.hflags |= np.uint8(H_DIRTY | H_EVER)
    take_frames(m, g, fresh)
    m.page[bl.first].hflags |= np.uint8(H_REF)
    bl.host_table = 0
    m.guest[g].host_thp_collapse += 1
    set_host_huge(m, b)


@kernel
def _leave(m: Machine, b: int) -> None:
    # Go on behind a block.
    hs = m.host[0]
    hs.collapse_hand = b + 1
    hs.collapse_left -= hs.block_pages
    hs.collapse_reads = 0


@kernel
def _try(m: Machine, b: int, t: float) -> float:
    # A block that is worth it; returns CPU seconds.
    hs = m.host[0]
    if not can_take(m, m.page[m.block[b].first].guest, hs.block_pages):
        hs.collapse_left = hs.collapse_reads = 0
        hs.collapse_at = t + COLLAPSE_RETRY_S
        return 0.0
    need, cost = _bring_in(m, b, t)
    if need == NEED_READ and hs.collapse_reads < _READS_MOST:
        hs.collapse_reads += 1
        hs.collapse_wait = t + RETRY_S
        return cost
    present, swapped, _ = _look(m, b)
    if need == NOW and present > 0 and swapped == 0:  # what came back may share a frame
        _collapse(m, b)
        cost += hs.block_pages * hs.c_collapse
    _leave(m, b)
    return cost


@kernel
def step(m: Machine, t: float) -> tuple[float, float]:
    """Go on with a pass: CPU seconds, or 0 and until when it sleeps."""
    hs = m.host[0]
    if t < hs.collapse_wait:
        return 0.0, hs.collapse_wait
    if hs.collapse_left <= 0:
        if t < hs.collapse_at:
            return 0.0, hs.collapse_at
        hs.collapse_left = int(COLLAPSE_PAGES / hs.sub)
        hs.collapse_at = t + COLLAPSE_EVERY_S
    b = _next_block(m)
    if b == NOBODY:
        hs.collapse_hand = 0
        hs.collapse_left = hs.collapse_reads = 0
        return 0.0, hs.collapse_at
    if b != hs.collapse_hand:
        hs.collapse_reads = 0
    hs.collapse_hand = b
    if m.block[b].host_huge:  # one entry, but of the pass as any (khugepaged_scan_mm_slot)
        _leave(m, b)
        return hs.c_scan, 0.0
    present, swapped, used = _look(m, b)
    cost = hs.block_pages * hs.c_scan
    if hs.collapse_reads > 0:  # it slept until what it reads is there, and goes on
        cost = 0.0
    if present >= 0 and (
        hs.collapse_reads > 0 or is_worth(m, hs.lru_2011 != 0, present, swapped, used)
    ):
        cost += _try(m, b, t)
        return (cost, 0.0) if cost > 0.0 else (0.0, max(t, hs.collapse_wait))
    _leave(m, b)
    return cost, 0.0
