"""Huge pages of 2 MiB: what guest and host map as one, and how it comes apart (model section 4).

A guest maps a block of its memory as one page of a task (`block.guest_huge`), the host backs a
block with one (`block.host_huge`), each for itself.  Such a page is one entry of an LRU list, its
first page, that counts as all of them; it is referenced if any page of it is.  `G_HUGE` marks pages
that are huge in both, where a walk through both page tables is short.

Host frames have no addresses here, so that the host finds a free one of 2 MiB whenever it has that
much memory above its low watermark.
"""

import numpy as np

from memsim.balance import note_scan
from memsim.blocks import block_of
from memsim.content import ZERO, put
from memsim.frames import give_frame, group_of
from memsim.jit import kernel
from memsim.lists import guest_push, guest_row, host_push, host_remove, host_row, lru_of
from memsim.machine import Machine
from memsim.quiet import stirred
from memsim.state import (
    ACTIVE_ANON,
    ANON,
    G_BITS,
    G_FILL,
    G_HUGE,
    G_KEPT,
    G_REF,
    H_BACK,
    H_DIRTY,
    H_EVER,
    H_PINNED,
    H_REF,
    INACTIVE_ANON,
    NOBODY,
    RESIDENT,
    UNBACKED,
)


@kernel
def is_guest_huge(m: Machine, p: int) -> bool:
    """Tell whether the guest maps the page as part of a huge one."""
    return m.guest[m.page[p].guest].thp_blocks > 0 and m.block[block_of(m, p)].guest_huge != 0


@kernel
def is_host_huge(m: Machine, p: int) -> bool:
    """Tell whether the host backs the page as part of a huge one."""
    return m.guest[m.page[p].guest].host_thp_blocks > 0 and m.block[block_of(m, p)].host_huge != 0


@kernel
def _mark(m: Machine, b: int) -> None:
    # Keep G_HUGE as it is defined.
    bl = m.block[b]
    both = 1 if bl.guest_huge and bl.host_huge else 0
    if both == bl.both_huge:
        return
    g = m.page[bl.first].guest
    bl.both_huge = both
    m.guest[g].both_thp_blocks += 1 if both else -1
    for p in range(bl.first, bl.first + bl.pages):
        if both:
            m.page[p].gflags |= np.uint16(G_HUGE)
        else:
            m.page[p].gflags &= np.uint16(G_BITS - G_HUGE)
    stirred(m, g)


@kernel
def map_huge(m: Machine, g: int, b: int, v: int) -> None:
    """Map a block that was taken whole from virtual page v on; all its fills are still to come."""
    bl = m.block[b]
    gs = m.guest[g]
    for i in range(bl.pages):
        pg = m.page[bl.first + i]
        pg.gstate = ANON
        pg.vpn = v + i
        pg.gflags = np.uint16((pg.gflags & G_KEPT) | G_FILL | G_REF)
        m.vpage[v + i].page = bl.first + i
    gs.anon_pages += bl.pages
    bl.filled = 0
    set_guest_huge(m, b)
    old = gs.lru_2011  # as `guest.add_anon`
    guest_push(m, g, ACTIVE_ANON if old else INACTIVE_ANON, bl.first)
    note_scan(m, g, bl.first, bl.pages, bl.pages if old else 0)


@kernel
def set_guest_huge(m: Machine, b: int) -> None:
    """Say that the guest maps a block as one page; none of it is on a list yet."""
    bl = m.block[b]
    bl.guest_huge = 1
    m.guest[m.page[bl.first].guest].thp_blocks += 1
    _mark(m, b)


@kernel
def unset_guest_huge(m: Machine, b: int) -> None:
    """Say that the guest no longer maps a block as one page; none of it is on a list any more."""
    bl = m.block[b]
    bl.guest_huge = 0
    m.guest[m.page[bl.first].guest].thp_blocks -= 1
    _mark(m, b)


@kernel
def split_guest(m: Machine, b: int) -> None:
    """Split the guest's mapping: all pages stand where the huge one stood, the first one last."""
    bl = m.block[b]
    g = m.page[bl.first].guest
    unset_guest_huge(m, b)
    m.guest[g].thp_split += 1
    head = m.page[bl.first]
    if head.glist == 0:
        return
    li = m.lists[guest_row(g, head.glist - 1)]
    after = bl.first
    for p in range(bl.first + 1, bl.first + bl.pages):
        pg = m.page[p]
        pg.glist = head.glist
        pg.gnext = after
        pg.gprev = m.page[after].gprev
        if pg.gprev == NOBODY:
            li.head = p
        else:
            m.page[pg.gprev].gnext = p
        m.page[after].gprev = p
        after = p


@kernel
def was_used(m: Machine, b: int) -> bool:
    """Tell whether the guest's bit is set on any page of a huge one, and clear it."""
    bl = m.block[b]
    used = False
    for p in range(bl.first, bl.first + bl.pages):
        if m.page[p].gflags & G_REF:
            m.page[p].gflags &= np.uint16(G_BITS - G_REF)
            used = True
    if used:
        stirred(m, m.page[bl.first].guest)
    return used


@kernel
def back_huge(m: Machine, p: int, t: float) -> bool:
    """Back the whole block of a page by one huge page, if the host has nothing of it yet.

    Nor may it have had small pages there: dropping those leaves their table, and a fault then adds
    to that.  It takes what an allocation that does not reclaim takes: memory above the low
    watermark, and room in the cgroup.
    """
    hs = m.host[0]
    b = block_of(m, p)
    bl = m.block[b]
    g = m.page[p].guest
    if bl.host_table or bl.pages < hs.block_pages or not can_take(m, g, bl.pages):
        return False
    for q in range(bl.first, bl.first + bl.pages):
        if m.page[q].hstate != UNBACKED:
            return False
    take_frames(m, g, bl.pages)
    for q in range(bl.first, bl.first + bl.pages):
        m.page[q].hstate = RESIDENT
        m.page[q].hflags = np.uint8(H_DIRTY | H_EVER)
        put(m, q, ZERO)
    m.page[p].hflags |= np.uint8(H_REF)
    m.guest[g].host_fresh += 1
    m.guest[g].host_thp_fault += 1
    set_host_huge(m, b)
    return True


@kernel
def can_take(m: Machine, g: int, n: int) -> bool:
    """Tell whether a guest may have n frames without anybody's reclaim."""
    hs = m.host[0]
    gr = m.group[group_of(m, g)]
    return hs.free_pages - n > hs.low_pages and (gr.max == NOBODY or gr.usage + n <= gr.max)


@kernel
def take_frames(m: Machine, g: int, n: int) -> None:
    """Charge frames, of which there are enough."""
    m.host[0].free_pages -= n
    gr = m.group[group_of(m, g)]
    gr.usage += n
    gr.charged += n
    m.guest[g].resident_pages += n


@kernel
def set_host_huge(m: Machine, b: int) -> None:
    """Say that the host backs a block with one page: resident, without slots, on no list yet."""
    bl = m.block[b]
    g = m.page[bl.first].guest
    bl.host_huge = 1
    m.guest[g].host_thp_blocks += 1
    host_push(m, lru_of(m, g), 0, bl.first)
    _mark(m, b)


@kernel
def split_host(m: Machine, b: int) -> None:
    """Split the host's huge page: all pages stand where it stood, the first one last."""
    bl = m.block[b]
    g = m.page[bl.first].guest
    bl.host_huge = 0
    bl.host_table = 1
    gs = m.guest[g]
    gs.host_thp_blocks -= 1
    gs.host_thp_split += 1
    _mark(m, b)
    head = m.page[bl.first]
    li = m.lists[host_row(m, lru_of(m, g), head.hlist - 1)]
    after = bl.first
    for p in range(bl.first + 1, bl.first + bl.pages):
        pg = m.page[p]
        pg.hlist = head.hlist
        pg.hnext = after
        pg.hprev = m.page[after].hprev
        if pg.hprev == NOBODY:
            li.head = p
        else:
            m.page[pg.hprev].hnext = p
        m.page[after].hprev = p
        after = p


@kernel
def unset_host_huge(m: Machine, b: int) -> None:
    """Say that the host backs a block by small pages from now on, all of them on no list."""
    bl = m.block[b]
    g = m.page[bl.first].guest
    host_remove(m, bl.first)
    bl.host_huge = 0
    bl.host_table = 1
    m.guest[g].host_thp_blocks -= 1
    _mark(m, b)
    stirred(m, g)


@kernel
def drop_huge(m: Machine, b: int) -> None:
    """Take the frames of a block that the host backs with one page, whose content nobody needs."""
    bl = m.block[b]
    g = m.page[bl.first].guest
    unset_host_huge(m, b)
    bl.host_table = 0
    for p in range(bl.first, bl.first + bl.pages):
        m.page[p].hstate = UNBACKED
        m.page[p].hflags &= np.uint8(H_EVER)
        give_frame(m, g)


@kernel
def clear_host_bits(m: Machine, b: int) -> int:
    """Clear the host bit of all pages of a huge one; returns all flags that they had together."""
    bl = m.block[b]
    flags = 0
    for p in range(bl.first, bl.first + bl.pages):
        flags |= m.page[p].hflags
        m.page[p].hflags &= np.uint8(255 - H_REF)
    stirred(m, m.page[bl.first].guest)
    return flags & (H_REF | H_PINNED | H_BACK)
