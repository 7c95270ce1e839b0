"""The guest's free memory by blocks of 2 MiB, and the call for kswapd (model section 4)."""

import numpy as np

from memsim.blocks import block_of, block_push, block_remove
from memsim.cpu import wake
from memsim.hinting import on_free, on_take
from memsim.jit import kernel
from memsim.lists import guest_push, guest_remove, guest_row
from memsim.machine import Machine
from memsim.params import SCAN_ROUNDS
from memsim.quiet import stirred
from memsim.state import (
    ANON,
    BALLOON,
    FILE,
    FREE,
    G_BACK,
    G_DIRTY,
    G_HINT,
    KERNEL,
    KSWAPD,
    NOBODY,
    ORDER_0,
    TIMER,
)


@kernel
def kswapd_of(m: Machine, g: int) -> int:
    """Return the guest's kswapd."""
    return int(m.guest[g].task0 + m.guest[g].tasks + KSWAPD - 1)


@kernel
def give_page(m: Machine, p: int) -> None:
    """Free a guest page: onto the order-0 list, and blocks that are wholly free coalesce."""
    pg = m.page[p]
    g = pg.guest
    gs = m.guest[g]
    guest_remove(m, g, p)
    stirred(m, g)
    kind = pg.gstate
    if kind == ANON:
        gs.anon_pages -= 1
    elif kind == FILE:
        gs.file_pages -= 1
        if pg.gflags & G_DIRTY:
            gs.dirty_pages -= 1
    elif kind == KERNEL:
        gs.kernel_pages -= 1
    elif kind == BALLOON:
        gs.balloon_pages -= 1
    if pg.gflags & G_BACK:
        gs.writeback_pages -= 1
    pg.gstate = FREE
    pg.gflags &= np.uint16(G_HINT)
    pg.vpn = NOBODY
    gs.free_pages += 1
    m.task[kswapd_of(m, g)].rounds = 0
    b = block_of(m, p)
    bl = m.block[b]
    bl.free += 1
    guest_push(m, g, ORDER_0, p)
    if bl.free == bl.pages:
        for q in range(bl.first, bl.first + bl.pages):
            guest_remove(m, g, q)
        block_push(m, g, b)
    on_free(m, p)


@kernel
def pop_page(m: Machine, g: int) -> int:
    """Take a free page: the most recently freed of order 0, else break a free block."""
    gs = m.guest[g]
    p = m.lists[guest_row(g, ORDER_0)].head
    if p == NOBODY:
        b = gs.block_head
        if b == NOBODY:
            return NOBODY
        block_remove(m, g, b)
        bl = m.block[b]
        for q in range(bl.first + bl.pages - 1, bl.first - 1, -1):
            guest_push(m, g, ORDER_0, q)
        p = bl.first
    on_take(m, p)
    guest_remove(m, g, p)
    m.block[block_of(m, p)].free -= 1
    gs.free_pages -= 1
    return p


@kernel
def wake_kswapd(m: Machine, g: int, t: float) -> None:
    """Wake the guest's kswapd if it sleeps and has not given up."""
    k = kswapd_of(m, g)
    if m.task[k].state == TIMER and m.task[k].rounds < SCAN_ROUNDS:
        m.task[k].clock = t
        wake(m, k, t)
