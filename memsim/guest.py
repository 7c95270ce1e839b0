"""The guest kernel: pages go to tasks and come back, at once or when I/O ends (model section 4)."""

import numpy as np

from memsim.balance import note_scan
from memsim.blocks import block_of
from memsim.free_memory import give_page, pop_kernel_page, pop_page, wake_kswapd
from memsim.guest_lru import count_reclaim
from memsim.guest_swap import free_gslot, swap_out
from memsim.hugepages import is_guest_huge, split_guest, unset_guest_huge
from memsim.jit import kernel
from memsim.lists import guest_push, guest_push_tail, guest_remove, guest_row
from memsim.machine import Machine
from memsim.page_cache import drop_file, write_back
from memsim.quiet import stirred
from memsim.state import (
    ACTIVE_ANON,
    ANON,
    FILE,
    G_AHEAD,
    G_BACK,
    G_BITS,
    G_DIRTY,
    G_FILL,
    G_IO,
    G_KEPT,
    G_REF,
    G_SEEN,
    INACTIVE_ANON,
    INACTIVE_FILE,
    KERNEL,
    NEVER,
    NOBODY,
    SWAPPED_BASE,
    WANTED,
)
from memsim.workingset import leave_shadow


@kernel
def _evict_oldest(m: Machine, g: int) -> None:
    # Exact LRU: one page goes for each that comes, as in a cache simulator.
    p = m.lists[guest_row(g, INACTIVE_FILE)].tail
    if p != NOBODY and not m.page[p].gflags & (G_DIRTY | G_IO | G_BACK | G_FILL):
        drop_file(m, g, p)


@kernel
def _may_allocate(m: Machine, g: int, t: float) -> bool:
    # Whether free memory is above the min watermark; kswapd is woken below low.
    gs = m.guest[g]
    if gs.lru_exact:
        if gs.free_pages <= gs.wm_min:
            _evict_oldest(m, g)
    elif gs.free_pages < gs.wm_target_low:
        wake_kswapd(m, g, t)
    return bool(gs.free_pages > gs.wm_min)


@kernel
def alloc_page(m: Machine, g: int, t: float) -> int:
    """Take a free page as a task may, down to the min watermark; NOBODY if it has to reclaim."""
    return pop_page(m, g) if _may_allocate(m, g, t) else NOBODY


@kernel
def alloc_kernel_page(m: Machine, g: int, t: float) -> int:
    """As `alloc_page`, for the kernel itself: a page that nothing will move."""
    return pop_kernel_page(m, g) if _may_allocate(m, g, t) else NOBODY


@kernel
def add_anon(m: Machine, g: int, p: int, v: int) -> None:
    """Make a page anonymous memory at virtual page v; its fill is still to come."""
    pg = m.page[p]
    pg.gstate = ANON
    pg.vpn = v
    pg.gflags = np.uint16((pg.gflags & G_KEPT) | G_FILL | G_REF)
    m.vpage[v].page = p
    m.guest[g].anon_pages += 1
    old = m.guest[g].lru_2011  # since 5.9 it has to be used twice first
    guest_push(m, g, ACTIVE_ANON if old else INACTIVE_ANON, p)
    note_scan(m, g, p, 1, old)


@kernel
def add_kernel(m: Machine, g: int, p: int, v: int) -> None:
    """Make a page memory of the kernel itself, known by v: on no list, and nobody can move it."""
    pg = m.page[p]
    pg.gstate = KERNEL
    pg.vpn = v
    pg.gflags = np.uint16((pg.gflags & G_KEPT) | G_FILL)
    m.vpage[v].page = p
    m.guest[g].kernel_pages += 1


@kernel
def start_write(m: Machine, g: int, p: int, cls: int) -> int:
    """Begin to write a page out, so that it can be reclaimed; the request or NOBODY.

    `cls` is the reclaimer's class.
    """
    if m.page[p].gstate == FILE:
        r = write_back(m, g, m.page[p].vpn, cls)
        if r != NOBODY:
            m.vpage[m.page[p].vpn].age = WANTED
        return r
    if m.guest[g].swap_used_pages >= m.guest[g].gslots:
        return NOBODY
    return swap_out(m, g, p)


@kernel
def request_page(m: Machine, r: int, i: int) -> int:
    """Return the guest page that a disk request's i-th page goes to or comes from.

    File pages are locked or under write-back, so that the cache holds them to the end; anonymous
    memory may be freed meanwhile.
    """
    rq = m.request[r]
    if not rq.swap:
        return m.vpage[rq.head + i].page
    p = rq.page
    for _ in range(i):
        p = m.page[p].gnext
    return p


@kernel
def finish_disk_read(m: Machine, r: int) -> None:
    """Unlock the pages of a finished read and put them on the LRU."""
    rq = m.request[r]
    g = rq.guest
    following = request_page(m, r, 0)
    for i in range(rq.count):
        p = following
        pg = m.page[p]
        if rq.swap:
            following = pg.gnext
            if pg.vpn != NOBODY and pg.gflags & G_AHEAD:
                m.vpage[pg.vpn].age = rq.head + i - m.guest[g].gslot0
            else:
                free_gslot(m, g, rq.head + i)
        elif i + 1 < rq.count:
            following = request_page(m, r, i + 1)
        if pg.vpn == NOBODY:
            give_page(m, p)
            continue
        hot = (pg.gflags & G_SEEN) != 0
        pg.gflags &= np.uint16(G_BITS - G_IO - G_SEEN)
        inactive = INACTIVE_ANON if pg.gstate == ANON else INACTIVE_FILE
        guest_push(m, g, inactive + hot, p)
        note_scan(m, g, p, 1, hot)


@kernel
def finish_disk_write(m: Machine, r: int) -> None:
    """End the write-back of a request's pages; those that reclaim wanted go next.

    As PG_reclaim: only pages that reclaim began to write, or met under write-back, are moved to
    the tail when they are clean.  What else the flusher wrote is as old as it was.
    """
    rq = m.request[r]
    g = rq.guest
    gs = m.guest[g]
    for i in range(rq.count):
        p = request_page(m, r, i)
        pg = m.page[p]
        v = pg.vpn
        if v == NOBODY:
            free_gslot(m, g, rq.head)
            give_page(m, p)
            continue
        pg.gflags &= np.uint16(G_BITS - G_BACK)
        gs.writeback_pages -= 1
        used = (pg.gflags & (G_REF | G_DIRTY)) != 0
        if not rq.swap:
            wanted = m.vpage[v].age == WANTED
            if wanted and pg.glist == 1 + INACTIVE_FILE and not used:
                guest_remove(m, g, p)
                guest_push_tail(m, g, INACTIVE_FILE, p)
        elif used:
            free_gslot(m, g, rq.head)
        else:
            leave_shadow(m, g, v, p)
            m.vpage[v].page = SWAPPED_BASE - rq.head
            count_reclaim(m, g, rq.wanted, 1)
            give_page(m, p)


@kernel
def _split_to_unmap(m: Machine, g: int, b: int) -> None:
    # What of a huge page was not filled yet is not mapped any more.
    bl = m.block[b]
    split_guest(m, b)
    for p in range(bl.first + bl.filled, bl.first + bl.pages):
        m.vpage[m.page[p].vpn].page = NEVER
        give_page(m, p)


@kernel
def drop_clean(m: Machine, g: int, p: int) -> None:
    """Drop a page that can be read again: of the cache, or read ahead from swap and not used."""
    pg = m.page[p]
    if pg.gstate == FILE:
        drop_file(m, g, p)
        return
    v = pg.vpn
    where = SWAPPED_BASE - (m.guest[g].gslot0 + m.vpage[v].age)
    leave_shadow(m, g, v, p)
    m.vpage[v].page = where
    give_page(m, p)


@kernel
def unmap_page(m: Machine, g: int, v: int) -> int:
    """Forget the content of an anonymous virtual page; returns 1 if a page became free.

    One that is being read or written stays until that is over, as a locked page or one under
    write-back does in Linux: the device must not write to, nor read from, somebody else's memory.
    """
    where = m.vpage[v].page
    if where >= 0 and is_guest_huge(m, where):
        _split_to_unmap(m, g, block_of(m, where))
        where = m.vpage[v].page
    m.vpage[v].page = NEVER
    if where <= SWAPPED_BASE:
        free_gslot(m, g, SWAPPED_BASE - where)
        return 0
    if where < 0:
        return 0
    if m.page[where].gflags & (G_IO | G_BACK):
        stirred(m, g)
        guest_remove(m, g, where)
        m.page[where].vpn = NOBODY
        return 0
    if m.page[where].gflags & G_AHEAD:
        free_gslot(m, g, m.guest[g].gslot0 + m.vpage[v].age)
    give_page(m, where)
    return 1


@kernel
def _unmap_huge(m: Machine, g: int, b: int) -> None:
    bl = m.block[b]
    guest_remove(m, g, bl.first)
    unset_guest_huge(m, b)
    for p in range(bl.first, bl.first + bl.pages):
        m.vpage[m.page[p].vpn].page = NEVER
        give_page(m, p)


@kernel
def unmap_pages(m: Machine, g: int, v: int, n: int) -> None:
    """Unmap n anonymous pages from v on, from the end; huge pages that lie there are not split."""
    i = n
    while i > 0:
        i -= 1
        p = m.vpage[v + i].page
        if p >= 0 and is_guest_huge(m, p):
            b = block_of(m, p)
            bl = m.block[b]
            if p == bl.first + bl.pages - 1 and i + 1 >= bl.pages:
                _unmap_huge(m, g, b)
                i -= bl.pages - 1
                continue
        unmap_page(m, g, v + i)


@kernel
def available(m: Machine, g: int) -> int:
    """MemAvailable of a guest [pages]: free less reserves, and what cache can be dropped.

    free - totalreserve + (file - min(file / 2, low)), with the normal watermarks; the reserve is
    the high watermark, as in si_mem_available of Linux.
    """
    gs = m.guest[g]
    cache = gs.file_pages
    value = gs.free_pages - gs.wm_high + cache - min(cache // 2, gs.wm_low)
    return max(0, value)


@kernel
def committed(m: Machine, g: int) -> int:
    """Committed_AS of a guest [pages]: what its programs have mapped, touched or not.

    A program maps a region as a whole and touches it bit by bit; one that follows a curve maps and
    gives back as it goes.  Page cache and the kernel's own do not count (mm/util.c).
    """
    gs = m.guest[g]
    pages = 0
    for i in range(gs.region0, gs.region0 + gs.regions):
        rg = m.region[i]
        if rg.kind == 0:
            pages += rg.held if rg.followed else rg.pages * rg.mapped
    return int(pages)
