"""Resizing by blocks of 2 MiB: a balloon of huge pages, and virtio-mem.

Both need blocks without a page in use, and keep huge pages of the host whole.  The balloon takes
whatever block is free, 256 to a message, and compacts for one more if there is none.  virtio-mem
goes through memory from its end, a block at a time, and moves what is in use out of it; memory that
it took is gone from the guest's total.  With nothing to be had it tries again after 50 s, and then
more rarely (drivers/virtio/virtio_mem.c).  A single page that nothing can move, of the kernel or
long under I/O, keeps its block.
"""

import numpy as np

from memsim.account import BALLOON as BY_BALLOON
from memsim.backing import BURN, DONE, KILL_GUEST, NEVER, STOPPED, touched
from memsim.blocks import block_push, block_remove
from memsim.compaction import BUSY, NO_ROOM, UNMOVABLE, has_unmovable, migrate_page
from memsim.frames import in_memory
from memsim.free_memory import free_block, isolate, kswapd_of, let_go, next_page
from memsim.hinting import on_free, on_take
from memsim.host import drop_pages
from memsim.huge_alloc import NOT_TRIED, leave_to_kswapd, make_block
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.params import (
    BALLOON_BATCH,
    BALLOON_HUGE_DEFLATE_S,
    BALLOON_HUGE_INFLATE_S,
    COMPACT_BATCH,
    CONGESTION_S,
    HUGE_PAGES,
    OUT_OF_PUFF_S,
    VIRTIO_MEM_PLUG_S,
    VIRTIO_MEM_RETRY_MOST_S,
    VIRTIO_MEM_RETRY_S,
    VIRTIO_MEM_TRIES,
    VIRTIO_MEM_UNPLUG_S,
)
from memsim.reporting import dontneed_s
from memsim.shrink import shrink
from memsim.state import BALLOON, FREE, G_WATCHED, NOBODY

BALLOON_HUGE, VIRTIO_MEM = 4, 5  # memsim.spec.Resize
SOON_S = 1e-7  # [s] so that time passes


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
        pg.gflags &= np.uint16(G_WATCHED)
        backed += in_memory(m, p)
    drop_pages(m, bl.first, bl.pages)
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
    cost = 0.0
    n = 0
    while n < BALLOON_BATCH and want >= m.host[0].block_pages:
        b = free_block(m, g)
        if b == NOBODY:
            break
        cost += _take_block(m, g, b) + _per_block(m, BALLOON_HUGE_INFLATE_S)
        want -= m.host[0].block_pages
        n += 1
    return cost


@kernel
def _next_block(m: Machine, g: int) -> int:
    # virtio-mem: the next whole block, from the end of memory, that it does not have yet.
    gs = m.guest[g]
    while gs.resize_hand > 0:
        gs.resize_hand -= 1
        b = gs.block0 + gs.resize_hand
        bl = m.block[b]
        gone = bl.free == 0 and m.page[bl.first].gstate == BALLOON
        if bl.pages == m.host[0].block_pages and not gone:
            return int(b)
    return NOBODY


@kernel
def _vacate(m: Machine, e: int, k: int, b: int, t: float) -> tuple[int, float, int]:
    # Go on moving what is in the block to wherever the allocator has a page (alloc_contig_range):
    # DONE, it is free; BUSY, what is left is under I/O; UNMOVABLE; else as `migrate_page`.
    g = m.task[k].guest
    hs = m.host[0]
    bl = m.block[b]
    cost = 0.0
    if m.guest[g].source_block != b:
        cost += bl.pages * hs.c_cscan
        if has_unmovable(m, b):
            return UNMOVABLE, cost, BY_BALLOON
        isolate(m, g, b)
    moved = 0
    for p in range(bl.first, bl.first + bl.pages):
        if m.page[p].gstate == FREE:
            continue
        q = next_page(m, g)
        if q == NOBODY:
            return NO_ROOM, cost, BY_BALLOON
        what, more, cls = migrate_page(m, e, k, p, q, t)
        cost += more
        if what == BUSY:
            continue
        if what != DONE:
            return what, cost, cls
        moved += 1
        if bl.free == bl.pages:
            return DONE, cost, BY_BALLOON
        if moved >= COMPACT_BATCH / hs.sub:
            break
    return BURN if moved > 0 else BUSY, cost, BY_BALLOON


@kernel
def _drop_trial(m: Machine, g: int) -> None:
    # Leave the block that is being emptied as it is.
    gs = m.guest[g]
    if gs.resize_block != NOBODY and gs.source_block == gs.resize_block:
        let_go(m, g)
    gs.resize_block = NOBODY


@kernel
def _unplug(m: Machine, e: int, k: int, t: float) -> tuple[float, float, int]:
    # Go on with the block under trial, or take up the next; (0, 0) if there is none.
    g = m.task[k].guest
    gs = m.guest[g]
    if gs.resize_block == NOBODY:
        gs.resize_block = _next_block(m, g)
        gs.resize_tries = 0
    b = gs.resize_block
    if b == NOBODY:
        return 0.0, 0.0, BY_BALLOON
    bl = m.block[b]
    cost, cls = 0.0, BY_BALLOON
    if bl.free < bl.pages:
        what, cost, cls = _vacate(m, e, k, b, t)
        if what == BUSY and gs.resize_tries < VIRTIO_MEM_TRIES:
            gs.resize_tries += 1
            return max(cost, SOON_S), t + CONGESTION_S, cls
        if what == UNMOVABLE or what == NO_ROOM or what == BUSY:
            gs.resize_failures += 1
            _drop_trial(m, g)
            return max(cost, SOON_S), 0.0, cls
        if what != DONE:
            return touched(what, cost, cls)
    gs.resize_block = NOBODY
    gs.resize_retry_s = VIRTIO_MEM_RETRY_S
    gs.hypercalls += 1
    return cost + _take_block(m, g, b) + _per_block(m, VIRTIO_MEM_UNPLUG_S), 0.0, cls


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
def _reclaim(m: Machine, k: int, t: float) -> tuple[float, bool]:
    # One batch; (CPU seconds, whether more may come of it).
    cost, freed, _ = shrink(m, k, t)
    return cost, freed > 0 or m.task[k].fails > 0


@kernel
def _try_later(m: Machine, g: int, t: float) -> float:
    gs = m.guest[g]
    gs.resize_failures += 1
    gs.resize_hand = gs.blocks
    again = t + gs.resize_retry_s
    gs.resize_retry_s = min(2.0 * gs.resize_retry_s, VIRTIO_MEM_RETRY_MOST_S)
    return float(again)


@kernel
def _shrink_balloon(m: Machine, e: int, k: int, change: int, t: float) -> tuple[float, float, int]:
    # What is there, else what an allocation makes, once (__GFP_NORETRY); it wakes kswapd too.
    tk = m.task[k]
    cost = _inflate(m, tk.guest, change)
    if cost > 0.0:
        m.guest[tk.guest].hypercalls += 1
        tk.compacting = NOT_TRIED
        return cost, 0.0, BY_BALLOON
    if tk.compacting == NOT_TRIED:
        leave_to_kswapd(m, tk.guest, t)
    what, cost, cls = make_block(m, e, k, t)
    if what == NO_ROOM:
        m.guest[tk.guest].resize_failures += 1
        tk.compacting = NOT_TRIED
        return cost, t + OUT_OF_PUFF_S, BY_BALLOON
    if what == STOPPED or what == KILL_GUEST:
        return touched(what, cost, cls)
    return max(cost, SOON_S), 0.0, cls


@kernel
def _shrink_virtio_mem(m: Machine, e: int, k: int, t: float) -> tuple[float, float, int]:
    g = m.task[k].guest
    if not _can_spare(m, g):
        cost, more = _reclaim(m, k, t)
        if more:
            return cost, 0.0, BY_BALLOON
        _drop_trial(m, g)
        return 0.0, _try_later(m, g, t), BY_BALLOON
    cost, again, cls = _unplug(m, e, k, t)
    if cost <= 0.0 and again == 0.0:
        return 0.0, _try_later(m, g, t), BY_BALLOON
    return cost, again, cls


@kernel
def resize_blocks(m: Machine, e: int, k: int, t: float) -> tuple[float, float, int]:
    """Do the next batch of resizing by blocks, in the guest's balloon task k on vCPU e.

    Returns:
        (CPU seconds, when to look again, account class), as `kernel_tasks.kernel_step`.
    """
    g = m.task[k].guest
    gs = m.guest[g]
    change = missing(m, g)
    taken = gs.balloon_pages
    cost, again, cls = 0.0, NEVER, BY_BALLOON
    if change <= 0:
        _drop_trial(m, g)
    if change < 0:
        cost, again = _give_back(m, g, -change), 0.0
        gs.hypercalls += 1
    elif change > 0 and gs.resize == BALLOON_HUGE:
        cost, again, cls = _shrink_balloon(m, e, k, change, t)
    elif change > 0:
        cost, again, cls = _shrink_virtio_mem(m, e, k, t)
    if gs.balloon_pages != taken:
        gs.moved_s = t
    gs.resize_s += cost
    return cost, again, cls
