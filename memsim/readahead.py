"""The host's swap readahead: what is read beside the page that somebody waits for."""

import numpy as np

from memsim.account import HOST_SWAP
from memsim.disk import ROTATING, new_request, submit
from memsim.frames import take_frame
from memsim.hinting import is_free
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.state import G_BITS, H_EVER, H_REF, NOBODY, READING, SEEN, SWAP_READ, SWAPPED
from memsim.workingset import comes_back_to_host


@kernel
def _read_in(m: Machine, r: int, p: int) -> None:
    pg = m.page[p]
    rq = m.request[r]
    gs = m.guest[pg.guest]
    pg.gflags &= np.uint16(G_BITS - SEEN)
    pg.hflags &= np.uint8(H_EVER)
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
def _ahead(m: Machine, r: int, p: int, i: int, t: float) -> bool:
    # One neighbour of the faulting page: read as well if a frame is to be had for nothing.
    if i < 0 or i >= m.host[0].pages or i == p or m.page[i].hstate != SWAPPED or is_free(m, i):
        return False
    if m.host[0].free_pages <= m.host[0].low_pages or not take_frame(m, m.page[i].guest, t):
        return False
    _read_in(m, r, i)
    return True


@kernel
def swap_in(m: Machine, p: int, scattered: bool, t: float) -> int:
    """Read a page, and the window that it stands in; the caller has charged its frame.

    Returns:
        The request, or NOBODY if none is to be had.
    """
    hs = m.host[0]
    pg = m.page[p]
    r = new_request(m, SWAP_READ, hs.swap_device, pg.guest, HOST_SWAP)
    if r == NOBODY:
        return NOBODY
    rq = m.request[r]
    slot, n, ops = pg.slot, 1, 1.0
    first = slot
    # The pages go to the lists in the order of the window, the one that is needed too.
    if hs.ra_virtual:
        base = p - (p - m.guest[pg.guest].page0) % hs.ra_pages
        end = min(base + hs.ra_pages, m.guest[pg.guest].page0 + m.guest[pg.guest].pages)
        before = NOBODY
        for i in range(base, end):
            if i == p:
                _read_in(m, r, p)
            if i == p or _ahead(m, r, p, i, t):
                n += 0 if i == p else 1
                if before != NOBODY and m.page[i].slot != before + 1:
                    ops += 1.0
                before = m.page[i].slot
    else:
        base = slot - slot % hs.ra_pages
        for s in range(base, min(base + hs.ra_pages, hs.swap_pages)):
            if s == slot:
                _read_in(m, r, p)
            elif m.slot[s] != NOBODY and _ahead(m, r, p, m.slot[s], t):
                n += 1
                first = min(first, s)
    rq.sector = first
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
