"""The host's swap readahead: what is read beside the page that somebody waits for.

Windows lie in slot space (2011, and where a disk rotates) or in the guest's memory, which is one
mapping of the emulator's (VMA readahead, since 4.15).  Since 3.14 they follow what came of the
last ones (mm/swap_state.c); before, every read was of 2^page-cluster slots.
"""

import numpy as np

from memsim.account import HOST_SWAP
from memsim.disk import ROTATING, new_request, submit
from memsim.frames import take_frame
from memsim.hinting import is_free
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.state import AHEAD, G_BITS, H_KEPT, H_REF, NOBODY, READING, SEEN, SWAP_READ, SWAPPED
from memsim.workingset import comes_back_to_host

HITS_MAX = 63  # SWAP_RA_HITS_MAX


@kernel
def _read_in(m: Machine, r: int, p: int) -> None:
    pg = m.page[p]
    rq = m.request[r]
    gs = m.guest[pg.guest]
    pg.gflags &= np.uint16(G_BITS - AHEAD - SEEN)
    pg.hflags &= np.uint8(H_KEPT)
    if comes_back_to_host(m, p):
        pg.hflags |= np.uint8(H_REF)
    pg.hstate = READING
    pg.hprev = r
    pg.hnext = rq.head
    rq.head = p
    gs.host_swapped_pages -= 1
    gs.host_swap_in += 1
    m.host[0].swap_in_pages += 1


@kernel
def window(prev: int, at: int, hits: int, most: int, last: int) -> int:
    """Return how much to read at once (__swapin_nr_pages): what was read ahead and used decides.

    Two more than the hits since the last read, rounded up to a power of two from 4; 1 without any
    hit if the last read was not next to this one; never less than half the last window.
    """
    pages = hits + 2
    if hits == 0:
        pages = 2 if at == prev + 1 or at == prev - 1 else 1
    else:
        pages = 4
        while pages < hits + 2:
            pages *= 2
    return max(min(pages, most), last // 2)


@kernel
def note_hit(m: Machine, p: int) -> None:
    """Note that a page was found in the swap cache, and whether readahead had brought it."""
    hs = m.host[0]
    pg = m.page[p]
    gs = m.guest[pg.guest]
    hit = 1 if pg.gflags & AHEAD else 0
    pg.gflags &= np.uint16(G_BITS - AHEAD)
    gs.ahead_hits += hit
    if hs.ra_virtual:
        gs.ra_prev = p
        gs.ra_hits = min(gs.ra_hits + hit, HITS_MAX)
    else:
        hs.ra_hits += hit


@kernel
def _window_pages(m: Machine, p: int, scattered: bool) -> tuple[int, int]:
    # The window for a fault [pages], and the page or slot of the fault before it.
    #
    # A coarse page touched in order stands for small ones that were each read ahead but the first
    # of every window: its window is counted in small pages, and its own are hits.  Touched at
    # random it stands for as many faults elsewhere, each with a window of its own: as many pages.
    hs = m.host[0]
    gs = m.guest[m.page[p].guest]
    at, prev, hits, last = p, gs.ra_prev, gs.ra_hits, gs.ra_win
    if not hs.ra_virtual:
        at, prev, hits, last = m.page[p].slot, hs.ra_prev, hs.ra_hits, hs.ra_win
    most = int(hs.ra_small)
    if hs.ra_adapts:
        small = hits if scattered else hits * int(hs.sub) + int(hs.sub) - 1
        win = window(prev, at, small, most, last)
    else:
        win = most
    if hs.ra_virtual:
        gs.ra_prev, gs.ra_win, gs.ra_hits = at, win, 0
    else:
        if hits == 0:
            hs.ra_prev = at
        hs.ra_win, hs.ra_hits = win, 0
    if not scattered or not hs.ra_adapts:
        win = max(1, int(win / hs.sub))
    return win, prev


@kernel
def _ahead(m: Machine, r: int, i: int, t: float) -> bool:
    # One neighbour of the faulting page: read as well if a frame is to be had for nothing.
    if m.page[i].hstate != SWAPPED or is_free(m, i):
        return False
    if m.host[0].free_pages <= m.host[0].low_pages or not take_frame(m, m.page[i].guest, t):
        return False
    _read_in(m, r, i)
    m.page[i].gflags |= np.uint16(AHEAD)
    m.guest[m.page[i].guest].ahead_pages += 1
    return True


@kernel
def _read_virtual(m: Machine, r: int, p: int, win: int, prev: int, t: float) -> tuple[int, float]:
    # Neighbours in the same mapping, which is the guest's memory or the emulator's own, within the
    # table of page-table entries (2 MiB): on in the direction of the last fault, else around
    # (swap_ra_info).
    hs = m.host[0]
    gs = m.guest[m.page[p].guest]
    first = p - (win - 1) // 2
    if p == prev + 1:
        first = p
    elif p == prev - 1:
        first = p - win + 1
    mapping, end = gs.page0, gs.page0 + gs.pages
    if p >= end:
        mapping, end = end, end + gs.emulator_pages
    table = p - (p - mapping) % hs.block_pages
    end = min(first + win, table + hs.block_pages, end)
    n, ops = 0, 0.0
    before = NOBODY
    for i in range(max(first, table), end):
        if i == p:
            _read_in(m, r, p)
        elif not _ahead(m, r, i, t):
            continue
        n += 1
        if before == NOBODY or m.page[i].slot != before + 1:
            ops += 1.0
        before = m.page[i].slot
    return n, ops


@kernel
def _read_slots(m: Machine, r: int, p: int, win: int, t: float) -> int:
    # The aligned window of slots that the page stands in (swap_cluster_readahead).
    hs = m.host[0]
    slot = m.page[p].slot
    first = slot - slot % win
    n = 0
    for s in range(first, min(first + win, hs.swap_pages)):
        if s == slot:
            _read_in(m, r, p)
        elif m.slot[s] == NOBODY or not _ahead(m, r, m.slot[s], t):
            continue
        if n == 0:
            m.request[r].sector = s
        n += 1
    return n


@kernel
def swap_in(m: Machine, p: int, scattered: bool, t: float) -> int:
    """Read a page, and the window that it stands in; the caller has charged its frame.

    The pages go to the lists in the order of the window, the one that is needed too.

    Returns:
        The request, or NOBODY if none is to be had.
    """
    hs = m.host[0]
    pg = m.page[p]
    r = new_request(m, SWAP_READ, hs.swap_device, pg.guest, HOST_SWAP)
    if r == NOBODY:
        return NOBODY
    rq = m.request[r]
    rq.sector = pg.slot
    win, prev = _window_pages(m, p, scattered)
    ops = 1.0
    if hs.ra_virtual:
        n, ops = _read_virtual(m, r, p, win, prev, t)
        dev = m.device[hs.swap_device]
        if dev.kind != ROTATING:  # runs of slots are requests of their own, served side by side
            ops = 1.0 + (ops - 1.0) / dev.parallel
    else:
        n = _read_slots(m, r, p, win, t)
    rq.count = n
    rq.bytes = float(n * hs.page_bytes)
    # A coarse page stands for small ones: touched at random, each is read by itself; in order, one
    # window after the other, where the last one ended, so that nothing that rotates has to seek.
    if scattered:
        ops *= hs.sub
    elif m.device[hs.swap_device].kind != ROTATING:
        ops = max(ops, n * hs.sub / hs.ra_small)
    rq.ops = ops
    submit(m, r, t)
    return r
