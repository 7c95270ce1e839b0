"""The guest's free memory by blocks of 2 MiB, and the call for kswapd (model section 4).

Blocks have a migrate type, as pageblocks of Linux (mm/page_alloc.c): in those that the kernel lies
in from its boot, free pages are the kernel's first.  All else (programs, page cache, balloon)
takes them only when there is nothing free elsewhere.  A block that comes wholly free has no type
any more; in Linux it keeps it until somebody else takes it.  What work makes the kernel allocate
later takes the page freed last where its own blocks are full.  Linux takes the largest piece and
all that is free around it (steal_suitable_fallback); slab, which is single pages here, would lie
together then as it does not (V11 of docs/validation.md: 1 GiB kept from hosts after drop_caches
where the source has 8.3).
"""

import numpy as np

from memsim.blocks import block_of, block_push, block_remove
from memsim.content import keep_file
from memsim.cpu import rests, wake
from memsim.hinting import on_free, on_take
from memsim.jit import kernel
from memsim.lists import guest_push, guest_push_tail, guest_remove, guest_row
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
    G_KEPT,
    G_REPORTED,
    KERNEL,
    KERNEL_0,
    KSWAPD,
    NOBODY,
    ORDER_0,
)


@kernel
def kswapd_of(m: Machine, g: int) -> int:
    """Return the guest's kswapd."""
    return int(m.guest[g].task0 + m.guest[g].tasks + KSWAPD - 1)


@kernel
def free_list(m: Machine, p: int) -> int:
    """Return the list that a free page of a partly used block is on."""
    return KERNEL_0 if m.block[block_of(m, p)].kernel else ORDER_0


@kernel
def give_page(m: Machine, p: int) -> None:
    """Free a guest page: onto a list of order 0, and blocks that are wholly free coalesce."""
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
        keep_file(m, p, pg.vpn)
        if pg.gflags & G_DIRTY:
            gs.dirty_pages -= 1
    elif kind == KERNEL:
        gs.kernel_pages -= 1
    elif kind == BALLOON:
        gs.balloon_pages -= 1
    if pg.gflags & G_BACK:
        gs.writeback_pages -= 1
    pg.gstate = FREE
    pg.gflags &= np.uint16(G_KEPT)
    pg.vpn = NOBODY
    gs.free_pages += 1
    m.task[kswapd_of(m, g)].rounds = 0
    b = block_of(m, p)
    bl = m.block[b]
    bl.free += 1
    if not bl.isolated:
        guest_push(m, g, free_list(m, p), p)
    if bl.free == bl.pages:
        for q in range(bl.first, bl.first + bl.pages):
            guest_remove(m, g, q)
        if bl.isolated:
            bl.isolated = 0
            gs.source_block = NOBODY
        bl.kernel = 0
        block_push(m, g, b)
    on_free(m, p)


@kernel
def next_page(m: Machine, g: int) -> int:
    """Return the page that the allocator would give next to all but the kernel, or NOBODY."""
    p = m.lists[guest_row(g, ORDER_0)].head
    if p != NOBODY:
        return int(p)
    if m.guest[g].block_head != NOBODY:
        return int(m.block[m.guest[g].block_head].first)
    return int(m.lists[guest_row(g, KERNEL_0)].head)


@kernel
def pop_page(m: Machine, g: int) -> int:
    """Take a free page: the most recently freed of order 0, else break a free block."""
    p = next_page(m, g)
    if p == NOBODY:
        let_go(m, g)
        p = next_page(m, g)
    if p != NOBODY:
        take_page(m, p)
    return p


@kernel
def take_page(m: Machine, p: int) -> None:
    """Take a given page that is free; a free block that it is part of is broken."""
    g = m.page[p].guest
    b = block_of(m, p)
    bl = m.block[b]
    if bl.free == bl.pages:
        block_remove(m, g, b)
        for q in range(bl.first + bl.pages - 1, bl.first - 1, -1):
            guest_push(m, g, ORDER_0, q)
    on_take(m, p)
    guest_remove(m, g, p)
    bl.free -= 1
    m.guest[g].free_pages -= 1


@kernel
def _push(m: Machine, g: int, which: int, p: int) -> None:
    # What was reported stands behind what was not.
    if m.page[p].gflags & G_REPORTED:
        guest_push_tail(m, g, which, p)
    else:
        guest_push(m, g, which, p)


@kernel
def claim_block(m: Machine, b: int) -> None:
    """Make a partly used block the kernel's own."""
    bl = m.block[b]
    if bl.kernel or bl.free == bl.pages:
        return
    bl.kernel = 1
    g = m.page[bl.first].guest
    for p in range(bl.first, bl.first + bl.pages):
        if m.page[p].glist and m.page[p].gstate == FREE:
            guest_remove(m, g, p)
            _push(m, g, KERNEL_0, p)


@kernel
def pop_kernel_page(m: Machine, g: int) -> int:
    """Take a free page for the kernel itself, out of the blocks that it fills if there is one."""
    p = m.lists[guest_row(g, KERNEL_0)].head
    if p == NOBODY:
        return pop_page(m, g)
    take_page(m, p)
    return int(p)


@kernel
def free_block(m: Machine, g: int) -> int:
    """Return a wholly free block of 2 MiB that may be taken above the min watermark, or NOBODY."""
    gs = m.guest[g]
    b = gs.block_head
    if b != NOBODY and m.block[b].pages < m.host[0].block_pages:  # the last one of memory
        b = m.block[b].next
    if b == NOBODY or gs.free_pages - m.host[0].block_pages < gs.wm_min:
        return NOBODY
    return int(b)


@kernel
def take_block(m: Machine, b: int) -> None:
    """Take a wholly free block."""
    bl = m.block[b]
    g = m.page[bl.first].guest
    on_take(m, bl.first)
    block_remove(m, g, b)
    bl.free = 0
    m.guest[g].free_pages -= bl.pages


@kernel
def isolate(m: Machine, g: int, b: int) -> None:
    """Keep what is free in a block from the allocator, as it is to become free as a whole."""
    let_go(m, g)
    bl = m.block[b]
    bl.isolated = 1
    m.guest[g].source_block = b
    for p in range(bl.first, bl.first + bl.pages):
        if m.page[p].gstate == FREE:
            guest_remove(m, g, p)


@kernel
def let_go(m: Machine, g: int) -> None:
    """Give what is free in the isolated block, if there is one, back to the allocator."""
    gs = m.guest[g]
    if gs.source_block == NOBODY:
        return
    bl = m.block[gs.source_block]
    bl.isolated = 0
    gs.source_block = NOBODY
    for p in range(bl.first, bl.first + bl.pages):
        if m.page[p].gstate == FREE:
            _push(m, g, free_list(m, p), p)


@kernel
def wake_kswapd(m: Machine, g: int, t: float) -> None:
    """Wake the guest's kswapd if it sleeps and has not given up."""
    k = kswapd_of(m, g)
    if rests(m, k) and m.task[k].rounds < SCAN_ROUNDS:
        m.task[k].clock = t
        wake(m, k, t)
