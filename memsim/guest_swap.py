"""The guest's own swap: slots on its disk, and the requests that write to them."""

import numpy as np

from memsim.account import GUEST_SWAP
from memsim.disk import new_request
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.state import DISK_WRITE, G_BACK, NOBODY


@kernel
def _alloc_gslot(m: Machine, g: int, v: int) -> int:
    gs = m.guest[g]
    if gs.swap_used_pages >= gs.gslots:
        return NOBODY
    s = gs.gslot_next
    while m.gslot[gs.gslot0 + s] != NOBODY:
        s = s + 1 if s + 1 < gs.gslots else 0
    gs.gslot_next = s + 1 if s + 1 < gs.gslots else 0
    m.gslot[gs.gslot0 + s] = v
    gs.swap_used_pages += 1
    return gs.gslot0 + s


@kernel
def free_gslot(m: Machine, g: int, s: int) -> None:
    """Give back a slot of the guest's own swap."""
    m.gslot[s] = NOBODY
    m.guest[g].swap_used_pages -= 1


@kernel
def swap_out(m: Machine, g: int, p: int) -> int:
    """Make a request that writes an anonymous page to the swap; NOBODY if none is to be had."""
    gs = m.guest[g]
    r = new_request(m, DISK_WRITE, gs.disk, g, GUEST_SWAP)
    if r == NOBODY:
        return NOBODY
    rq = m.request[r]
    rq.head = _alloc_gslot(m, g, m.page[p].vpn)
    rq.swap = 1
    rq.page = p
    rq.count = 1
    rq.sector = gs.sector0 + rq.head - gs.gslot0
    rq.bytes = float(m.host[0].page_bytes)
    m.page[p].gflags |= np.uint16(G_BACK)
    gs.writeback_pages += 1
    gs.guest_swap_out += 1
    return r
