"""The guest's readahead: of files read in order (mm/readahead.c), and of its own swap.

Files: the first window is four pages, each next one twice as long, up to 128 KiB; the first page of
what was read ahead is marked, and who comes to it has the next window read while it goes on.
Swap: an aligned window of slots, as long as the last ones brought what was used; virtual disks
count as rotating, so that windows lie in slot space in every preset.
"""

import numpy as np

from memsim.account import GUEST_SWAP, NOMINAL, REFAULT
from memsim.disk import ROTATING, new_request
from memsim.emulator import start_io
from memsim.guest import alloc_page
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.page_cache import add_file, read_request
from memsim.params import FILE_READAHEAD, SWAP_WINDOW
from memsim.readahead import window
from memsim.state import (
    ANON,
    DISK_READ,
    EVICTED,
    G_AHEAD,
    G_IO,
    G_KEPT,
    G_REF,
    NOBODY,
    SWAPPED_BASE,
)
from memsim.workingset import come_back


@kernel
def first_window(request: int, most: int) -> int:
    """Return get_init_ra_size of a request."""
    size = 1
    while size < request:
        size *= 2
    if size <= most // 32:
        return size * 4
    return size * 2 if size <= most // 4 else most


@kernel
def next_window(size: int, most: int) -> int:
    """Return get_next_ra_size after a window."""
    if size < most // 16:
        return 4 * size
    return 2 * size if size <= most // 2 else most


@kernel
def plan(ph: np.record, at: int, request: int, miss: int) -> None:
    """Set the next window of a phase's file (ondemand_readahead), all in small pages.

    Args:
        ph: its `ra_start`, `ra_size` and, at the window's end, `ra_async` are set.
        at: the page that is missing, or that bears the mark.
        request: how much is asked for.
        miss: if it bears the mark, the first page behind it that is not there; else -1.
    """
    most = max(FILE_READAHEAD, request)
    end = ph.ra_start + ph.ra_size
    if at > 0 and ph.ra_size > 0 and (at == end - ph.ra_async or at == end):
        ph.ra_start = end
        ph.ra_size = next_window(ph.ra_size, most)
        ph.ra_async = ph.ra_size
    elif miss >= 0:  # somebody else's mark
        ph.ra_start = miss
        ph.ra_size = next_window(miss - at + request, most)
        ph.ra_async = ph.ra_size
    else:
        ph.ra_start = at
        ph.ra_size = first_window(request, most)
        ph.ra_async = ph.ra_size - request if ph.ra_size > request else ph.ra_size
    if at == ph.ra_start and ph.ra_size == ph.ra_async:
        # It would meet its own mark at once: let the window be this one and the next.
        more = next_window(ph.ra_size, most)
        if ph.ra_size + more <= most:
            ph.ra_async = more
            ph.ra_size += more
        else:
            ph.ra_size = most
            ph.ra_async = most // 2


@kernel
def read_run(m: Machine, k: int, v: int, most: int, scattered: bool, t: float) -> tuple[int, int]:
    """Read file pages from v on that are not cached, `most` at the most, in one request.

    Returns:
        (the request or NOBODY, how many pages).
    """
    hs = m.host[0]
    g = m.task[k].guest
    gs = m.guest[g]
    r = read_request(m, g, v, 0, True)
    if r == NOBODY:
        return NOBODY, 0
    rq = m.request[r]
    again = m.vpage[v].page == EVICTED
    n = 0
    while n < most and m.vpage[v + n].page < 0:
        p = alloc_page(m, g, t)
        if p == NOBODY:
            break
        refault = m.vpage[v + n].page == EVICTED
        gs.refaults += 1 if refault else 0
        add_file(m, g, p, v + n, refault)
        m.page[p].gprev = r
        n += 1
    if n == 0:
        hs.requests_used -= 1
        rq.state = 0
        return NOBODY, 0
    rq.count = n
    rq.bytes = float(n * hs.page_bytes)
    rq.cls = REFAULT if again else NOMINAL
    gs.disk_read += n
    # A coarse page that is read at random stands for small ones read one by one.
    in_order = not scattered and v > m.region[m.phase[m.task[k].phase].region].vpage0
    start_io(m, r, hs.sub if scattered else 1.0, in_order, t)
    return r, n


@kernel
def read_window(m: Machine, k: int, t: float) -> None:
    """Read what is missing of the window that `plan` set, and mark where it is to go on."""
    sub = int(m.host[0].sub)
    ph = m.phase[m.task[k].phase]
    rg = m.region[ph.region]
    first = rg.vpage0 + ph.ra_start // sub
    end = min(first + max(1, ph.ra_size // sub), rg.vpage0 + rg.pages)
    v = first
    while v < end:
        if m.vpage[v].page >= 0:
            v += 1
            continue
        _, n = read_run(m, k, v, end - v, False, t)
        if n == 0:
            break
        v += n
    mark = rg.vpage0 + (ph.ra_start + ph.ra_size - ph.ra_async + sub - 1) // sub
    if first <= mark < end and m.vpage[mark].page >= 0:
        m.page[m.vpage[mark].page].gflags |= np.uint16(G_AHEAD)


@kernel
def go_on_ahead(m: Machine, k: int, v: int, t: float) -> None:
    """A reader in order came to the mark: have the next window read while it goes on."""
    sub = int(m.host[0].sub)
    ph = m.phase[m.task[k].phase]
    rg = m.region[ph.region]
    miss = v + 1
    while miss < rg.vpage0 + rg.pages and m.vpage[miss].page >= 0:
        if (miss - v) * sub > FILE_READAHEAD:
            return
        miss += 1
    plan(ph, (v - rg.vpage0) * sub, sub, (miss - rg.vpage0) * sub)
    read_window(m, k, t)


@kernel
def _swap_window(m: Machine, g: int, slot: int, scattered: bool) -> int:
    # Pages to read at once; coarse ones as in `readahead`.
    sub = int(m.host[0].sub)
    gs = m.guest[g]
    hits = gs.swap_ra_hits
    if gs.lru_2011:
        return max(1, SWAP_WINDOW // sub)
    small = hits if scattered else hits * sub + sub - 1
    win = window(gs.swap_ra_prev, slot, small, SWAP_WINDOW, gs.swap_ra_win)
    if hits == 0:
        gs.swap_ra_prev = slot
    gs.swap_ra_win, gs.swap_ra_hits = win, 0
    return win if scattered else max(1, win // sub)


@kernel
def _join(m: Machine, r: int, p: int, v: int, flags: int) -> None:
    # Page p is to hold virtual page v, which request r reads from swap.
    pg = m.page[p]
    g = pg.guest
    gs = m.guest[g]
    pg.gstate = ANON
    pg.vpn = v
    pg.gflags = np.uint16((pg.gflags & G_KEPT) | G_IO | flags)
    pg.gprev = r
    come_back(m, g, p, m.vpage[v].age)
    m.vpage[v].page = p
    gs.anon_refaults += 1
    gs.anon_pages += 1
    gs.guest_swap_in += 1
    m.request[r].count += 1


@kernel
def _page_for(m: Machine, g: int, s: int, t: float) -> int:
    # A free page for what is in slot s, if it is only there and memory is plenty; else NOBODY.
    gs = m.guest[g]
    v = m.gslot[s]
    if v == NOBODY or m.vpage[v].page != SWAPPED_BASE - s or gs.free_pages <= gs.wm_low:
        return NOBODY
    return alloc_page(m, g, t)


@kernel
def read_swap(m: Machine, g: int, v: int, scattered: bool, t: float) -> tuple[int, bool]:
    """Read virtual page v from the guest's swap, and what readahead adds.

    Neighbours are read in one request as far as their slots follow each other.

    Returns:
        (the request, True); or NOBODY and whether it was memory that lacked.
    """
    hs = m.host[0]
    gs = m.guest[g]
    r = new_request(m, DISK_READ, gs.disk, g, GUEST_SWAP)
    if r == NOBODY:
        return NOBODY, False
    p = alloc_page(m, g, t)
    if p == NOBODY:
        hs.requests_used -= 1
        m.request[r].state = 0
        return NOBODY, True
    rq = m.request[r]
    s = SWAPPED_BASE - m.vpage[v].page
    win = _swap_window(m, g, s, scattered)
    first = s - (s - gs.gslot0) % win
    end = min(first + win, gs.gslot0 + gs.gslots)
    rq.swap = 1
    rq.count = 0
    _join(m, r, p, v, G_REF)
    m.page[p].gnext = NOBODY
    rq.page = last = p
    rq.head = s
    while rq.head > first:
        q = _page_for(m, g, rq.head - 1, t)
        if q == NOBODY:
            break
        rq.head -= 1
        _join(m, r, q, m.gslot[rq.head], G_AHEAD)
        m.page[q].gnext = rq.page
        rq.page = q
    while rq.head + rq.count < end:
        q = _page_for(m, g, rq.head + rq.count, t)
        if q == NOBODY:
            break
        _join(m, r, q, m.gslot[rq.head + rq.count], G_AHEAD)
        m.page[q].gnext = NOBODY
        m.page[last].gnext = q
        last = q
    rq.sector = gs.sector0 + rq.head - gs.gslot0
    rq.bytes = float(rq.count * hs.page_bytes)
    # A coarse page stands for small ones: touched at random, each is read by itself; in order, one
    # window after the other, so that no disk that rotates has to seek.
    ops = 1.0
    if scattered:
        ops = hs.sub
    elif m.device[gs.disk].kind != ROTATING:
        ops = max(ops, rq.count * hs.sub / SWAP_WINDOW)
    start_io(m, r, ops, False, t)
    return r, True
