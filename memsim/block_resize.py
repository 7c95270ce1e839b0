"""Resizing by blocks of 2 MiB: a balloon of huge pages, and virtio-mem.

Both need blocks without a page in use, and keep huge pages of the host whole.  The balloon takes
whatever block is free, 256 to a message.  virtio-mem goes through memory from its end, a block at a
time, and memory that it took is gone from the guest's total; with nothing to be had it tries again
after 50 s, and then more rarely (drivers/virtio/virtio_mem.c).  A single page that nothing moves,
of the kernel or under I/O, keeps its block.
"""

import numpy as np

from memsim.blocks import block_push, block_remove
from memsim.free_memory import kswapd_of
from memsim.hinting import on_free, on_take
from memsim.host import drop_page
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.params import (
    BALLOON_BATCH,
    BALLOON_HUGE_DEFLATE_S,
    BALLOON_HUGE_INFLATE_S,
    HUGE_PAGES,
    OUT_OF_PUFF_S,
    VIRTIO_MEM_PLUG_S,
    VIRTIO_MEM_RETRY_MOST_S,
    VIRTIO_MEM_RETRY_S,
    VIRTIO_MEM_UNPLUG_S,
)
from memsim.reporting import dontneed_s
from memsim.shrink import shrink
from memsim.state import BALLOON, CACHED, FREE, NOBODY, RESIDENT

BALLOON_HUGE, VIRTIO_MEM = 4, 5  # memsim.spec.Resize


@kernel
def by_blocks(m: Machine, g: int) -> bool:
    """Tell a guest that is resized by blocks."""
    return m.guest[g].resize == BALLOON_HUGE or m.guest[g].resize == VIRTIO_MEM


@kernel
def missing(m: Machine, g: int) -> int:
    """Return how many pages are still to be taken (to be given back if negative), in blocks."""
    gs = m.guest[g]
    change = gs.pages - gs.goal_pages - gs.balloon_pages
    return 0 if 0 <= change < m.host[0].block_pages else int(change)


@kernel
def _per_block(m: Machine, seconds: float) -> float:
    # A page beyond 2 MiB stands for several blocks.
    return seconds * max(1.0, m.host[0].sub / HUGE_PAGES)


@kernel
def _take_block(m: Machine, g: int, b: int) -> float:
    # A wholly free block leaves the guest; returns the host's CPU time to drop what backs it.
    gs = m.guest[g]
    bl = m.block[b]
    on_take(m, bl.first)
    block_remove(m, g, b)
    backed = 0
    for p in range(bl.first, bl.first + bl.pages):
        pg = m.page[p]
        pg.gstate = BALLOON
        pg.gflags = np.uint16(0)
        backed += pg.hstate == RESIDENT or pg.hstate == CACHED
        drop_page(m, p)
    bl.free = 0
    bl.next = gs.gone_head
    gs.gone_head = b
    gs.free_pages -= bl.pages
    gs.balloon_pages += bl.pages
    gs.inflated += bl.pages
    return dontneed_s(m, backed)


@kernel
def give_block(m: Machine, g: int) -> int:
    """Give the guest back the block that was taken last; returns its pages."""
    gs = m.guest[g]
    b = gs.gone_head
    if b == NOBODY:
        return 0
    bl = m.block[b]
    gs.gone_head = bl.next
    bl.free = bl.pages
    for p in range(bl.first, bl.first + bl.pages):
        m.page[p].gstate = FREE
    block_push(m, g, b)
    gs.free_pages += bl.pages
    gs.balloon_pages -= bl.pages
    gs.deflated += bl.pages
    m.task[kswapd_of(m, g)].rounds = 0
    for p in range(bl.first, bl.first + bl.pages):
        on_free(m, p)
    return int(bl.pages)


@kernel
def _can_spare(m: Machine, g: int) -> bool:
    return m.guest[g].free_pages - m.host[0].block_pages >= m.guest[g].wm_min


@kernel
def _inflate(m: Machine, g: int, want: int) -> float:
    # One message of free blocks, the emptied ones of late first; 0 if there is none.
    gs = m.guest[g]
    cost = 0.0
    n = 0
    while n < BALLOON_BATCH and want >= m.host[0].block_pages and _can_spare(m, g):
        b = gs.block_head
        if b == NOBODY or m.block[b].pages < m.host[0].block_pages:
            break
        cost += _take_block(m, g, b) + _per_block(m, BALLOON_HUGE_INFLATE_S)
        want -= m.host[0].block_pages
        n += 1
    return cost


@kernel
def _next_free_block(m: Machine, g: int) -> int:
    # virtio-mem: the next whole block below the last one tried that has nobody's page in it.
    gs = m.guest[g]
    while gs.resize_hand > 0:
        gs.resize_hand -= 1
        b = gs.block0 + gs.resize_hand
        bl = m.block[b]
        if bl.pages == m.host[0].block_pages and bl.free == bl.pages:
            return int(b)
    return NOBODY


@kernel
def _unplug(m: Machine, g: int) -> float:
    # One block, from the end of memory; 0 if there is none.
    if not _can_spare(m, g):
        return 0.0
    b = _next_free_block(m, g)
    if b == NOBODY:
        return 0.0
    m.guest[g].resize_retry_s = VIRTIO_MEM_RETRY_S
    return _take_block(m, g, b) + _per_block(m, VIRTIO_MEM_UNPLUG_S)


@kernel
def _give_back(m: Machine, g: int, pages: int) -> float:
    # One message of the balloon, or one block of virtio-mem.
    gs = m.guest[g]
    huge = gs.resize == BALLOON_HUGE
    each = _per_block(m, BALLOON_HUGE_DEFLATE_S if huge else VIRTIO_MEM_PLUG_S)
    cost = 0.0
    for _ in range(BALLOON_BATCH if huge else 1):
        if pages <= 0:
            break
        given = give_block(m, g)
        if given == 0:
            break
        pages -= given
        cost += each
    gs.resize_hand = gs.blocks
    return cost


@kernel
def _fail(m: Machine, k: int, t: float) -> tuple[float, float]:
    # No block is to be had.  The allocation of the balloon tries reclaim once (__GFP_NORETRY);
    # virtio-mem reclaims while memory is short, then says that it is busy.
    g = m.task[k].guest
    gs = m.guest[g]
    gs.resize_failures += 1
    if gs.resize == BALLOON_HUGE or not _can_spare(m, g):
        cost, freed, _ = shrink(m, k, t)
        gs.resize_s += cost
        if gs.resize == BALLOON_HUGE:
            return cost, t + OUT_OF_PUFF_S
        if freed > 0 or m.task[k].fails > 0:
            return cost, 0.0
    gs.resize_hand = gs.blocks
    again = t + gs.resize_retry_s
    gs.resize_retry_s = min(2.0 * gs.resize_retry_s, VIRTIO_MEM_RETRY_MOST_S)
    return 0.0, again


@kernel
def resize_blocks(m: Machine, k: int, t: float) -> tuple[float, float]:
    """Do the next batch of resizing by blocks, in the guest's balloon task k.

    Returns:
        (CPU seconds, when to look again), as `memsim.resize.resize_step`.
    """
    g = m.task[k].guest
    gs = m.guest[g]
    change = missing(m, g)
    if change == 0:
        return 0.0, -1.0
    if change < 0:
        cost = _give_back(m, g, -change)
    elif gs.resize == BALLOON_HUGE:
        cost = _inflate(m, g, change)
    else:
        cost = _unplug(m, g)
    if cost <= 0.0:
        return _fail(m, k, t)
    gs.hypercalls += 1
    gs.resize_s += cost
    return cost, 0.0
