"""Resizing: the balloon, and the talk's free-memory target; `block_resize` does it by blocks.

Both take a target in pages.  The balloon allocates pages wherever they are and gives their frames
to the host, at the price of guest CPU.  A free-memory target only raises the watermarks up to
which the guest's kswapd reclaims: the freed pages stay in the allocator, any burst may use them,
and the host gains them through hinting.
"""

from math import ceil

import numpy as np

from memsim.account import BALLOON as BY_BALLOON
from memsim.backing import NEVER
from memsim.block_resize import (
    BALLOON_HUGE,
    VIRTIO_MEM,
    by_blocks,
    give_block,
    missing,
    resize_blocks,
)
from memsim.cpu import rests, wake
from memsim.frames import in_memory
from memsim.free_memory import give_page, kswapd_of, pop_page, wake_kswapd
from memsim.host import drop_page
from memsim.jit import kernel
from memsim.lists import guest_push, guest_row
from memsim.machine import Machine
from memsim.params import (
    AS_NEAR_S,
    BALLOON_BATCH,
    BALLOON_HUGE_DEFLATE_S,
    OUT_OF_PUFF_S,
    VIRTIO_MEM_RETRY_S,
)
from memsim.shrink import shrink
from memsim.state import (
    BALLOON,
    BALLOONER,
    CACHED,
    G_BITS,
    G_HINT,
    IN_BALLOON,
    NOBODY,
    UNBACKED,
)

NONE, BALLOONS, FREE_TARGET_2011, FREE_TARGET = range(4)  # memsim.spec.Resize
MAX_SCALE_FACTOR = 1000  # of watermark_scale_factor: 10 % of memory


@kernel
def is_soft(m: Machine, g: int) -> bool:
    """Tell a free-memory target: what it takes stays in the guest's allocator."""
    return m.guest[g].resize == FREE_TARGET_2011 or m.guest[g].resize == FREE_TARGET


@kernel
def ballooner(m: Machine, g: int) -> int:
    """Return the guest's balloon task."""
    return m.guest[g].task0 + m.guest[g].tasks + BALLOONER - 1


@kernel
def _raise_watermarks(m: Machine, g: int) -> None:
    gs = m.guest[g]
    extra = gs.pages - gs.goal_pages
    managed = gs.pages - gs.kernel_size
    if gs.resize == FREE_TARGET_2011:
        gs.wm_target_low = gs.wm_low + extra
        gs.wm_target_high = gs.wm_high + extra
        return
    factor = min(MAX_SCALE_FACTOR, ceil(1e4 * extra / (2.0 * managed)))
    distance = managed * factor // 10000
    gs.wm_target_low = max(gs.wm_low, gs.wm_min + distance)
    gs.wm_target_high = max(gs.wm_high, gs.wm_min + 2 * distance)


@kernel
def _act(m: Machine, g: int, t: float) -> None:
    # Take the target up.  The balloon then works for it; watermarks are raised at once.
    gs = m.guest[g]
    gs.goal_pages = gs.target_pages
    gs.resize_hand = gs.blocks
    gs.resize_retry_s = VIRTIO_MEM_RETRY_S
    if not is_soft(m, g):
        return
    gs.hypercalls += 1
    _raise_watermarks(m, g)
    if gs.free_pages < gs.wm_target_high:
        wake_kswapd(m, g, t)


@kernel
def set_target(m: Machine, g: int, pages: int, t: float) -> None:
    """Ask a guest to have a size; it follows later, partly or never."""
    gs = m.guest[g]
    if gs.resize == NONE or gs.state == 0:
        return
    pages = min(max(pages, 1), gs.pages)
    if pages == gs.target_pages:
        return
    gs.target_pages = pages
    gs.resize_at = gs.moved_s = t + gs.resize_delay_s
    if gs.stuck:
        return
    if is_soft(m, g) and gs.resize_delay_s <= 0.0:
        _act(m, g, t)
        return
    k = ballooner(m, g)
    if rests(m, k):
        m.task[k].clock = t
        wake(m, k, t)


@kernel
def taken(m: Machine, g: int) -> int:
    """Pages that resizing keeps from the guest's use."""
    gs = m.guest[g]
    if not is_soft(m, g) or gs.goal_pages == NOBODY:
        return gs.balloon_pages
    return min(gs.pages - gs.goal_pages, max(0, gs.free_pages - gs.wm_high))


@kernel
def reached(m: Machine, g: int, t: float) -> bool:
    """Tell whether a guest has the size that it was asked to have, as near as its way allows.

    A free-memory target is soft: kswapd fills up to the raised high watermark, which the scale
    factor may leave below what was asked for, and rests until free memory is below the low one.
    A balloon, or who plugs blocks, goes on trying where there is nothing more to be had; what has
    not moved for AS_NEAR_S is as near as it gets, who never answers too.
    """
    gs = m.guest[g]
    if not is_soft(m, g) and t >= gs.moved_s + AS_NEAR_S:
        return True
    if gs.goal_pages != gs.target_pages or gs.target_pages == NOBODY:
        return gs.target_pages == NOBODY
    if by_blocks(m, g):
        return missing(m, g) == 0
    if gs.resize == BALLOONS:
        return gs.balloon_pages == gs.pages - gs.goal_pages
    settled = rests(m, kswapd_of(m, g))
    return gs.free_pages >= (gs.wm_target_low if settled else gs.wm_target_high)


@kernel
def _inflate(m: Machine, g: int, most: int) -> tuple[float, int]:
    # One message's worth of pages out of the free lists; their content is lost without I/O.
    hs = m.host[0]
    gs = m.guest[g]
    cost = 0.0
    n = 0
    while n < most and gs.free_pages > gs.wm_min:
        p = pop_page(m, g)
        if p == NOBODY:
            break
        pg = m.page[p]
        pg.gstate = BALLOON
        pg.gflags &= np.uint16(G_BITS - G_HINT)
        guest_push(m, g, IN_BALLOON, p)
        gs.balloon_pages += 1
        mapped = in_memory(m, p) and pg.hstate != CACHED
        cost += hs.c_inflate + (hs.c_dontneed if mapped else 0.0)
        if pg.hstate != UNBACKED:
            drop_page(m, p)
        n += 1
    gs.inflated += n
    return cost, n


@kernel
def deflate(m: Machine, g: int, most: int) -> int:
    """Give pages of the balloon back to the guest; returns how many."""
    n = 0
    while n < most:
        p = m.lists[guest_row(g, IN_BALLOON)].head
        if p == NOBODY:
            break
        give_page(m, p)
        n += 1
    m.guest[g].deflated += n
    return n


@kernel
def batch_pages(m: Machine) -> int:
    """Pages in one message of the balloon."""
    return max(1, int(BALLOON_BATCH / m.host[0].sub))


@kernel
def deflate_on_oom(m: Machine, g: int) -> float:
    """Let the OOM notifier free a batch of the balloon, if the driver has that feature.

    Returns:
        What that costs who asked for memory [CPU seconds], 0 if nothing came free.
    """
    gs = m.guest[g]
    if not gs.deflate_on_oom or gs.balloon_pages == 0 or gs.resize == VIRTIO_MEM:
        return 0.0
    if gs.resize == BALLOON_HUGE:
        give_block(m, g)
        cost = BALLOON_HUGE_DEFLATE_S
    else:
        cost = deflate(m, g, batch_pages(m)) * m.host[0].c_deflate
    gs.hypercalls += 1
    gs.resize_s += cost
    return cost


@kernel
def _move_balloon(m: Machine, k: int, t: float) -> tuple[float, float]:
    # One message of the balloon, in or out; (CPU seconds, when to look again).
    hs = m.host[0]
    g = m.task[k].guest
    gs = m.guest[g]
    change = gs.pages - gs.goal_pages - gs.balloon_pages
    if change == 0:
        return 0.0, NEVER
    n = min(abs(change), batch_pages(m))
    if change < 0:
        n = deflate(m, g, n)
        gs.moved_s = t
        gs.hypercalls += 1
        gs.resize_s += n * hs.c_deflate
        return n * hs.c_deflate, 0.0
    cost, n = _inflate(m, g, n)
    if gs.free_pages < gs.wm_target_low:
        wake_kswapd(m, g, t)
    if n > 0:
        gs.moved_s = t
        gs.hypercalls += 1
        gs.resize_s += cost
        return cost, 0.0
    cost, freed, _ = shrink(m, k, t)
    gs.resize_s += cost
    return cost, 0.0 if freed > 0 or m.task[k].fails > 0 else t + OUT_OF_PUFF_S


@kernel
def resize_step(m: Machine, e: int, k: int, t: float) -> tuple[float, float, int]:
    """Take a new target up when its delay is over, or do the next batch of work for it.

    Returns:
        As `kernel_tasks.kernel_step`, for the balloon task k on vCPU e.
    """
    g = m.task[k].guest
    gs = m.guest[g]
    if gs.stuck or gs.target_pages == NOBODY:
        return 0.0, NEVER, BY_BALLOON
    if t < gs.resize_at:
        return 0.0, gs.resize_at, BY_BALLOON
    if gs.goal_pages != gs.target_pages:
        _act(m, g, t)
    if by_blocks(m, g):
        return resize_blocks(m, e, k, t)
    if gs.resize != BALLOONS:
        return 0.0, NEVER, BY_BALLOON
    cost, again = _move_balloon(m, k, t)
    return cost, again, BY_BALLOON
