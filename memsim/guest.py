"""The guest kernel: free memory by blocks, page cache and LRU lists, reclaim (model section 4)."""

import numpy as np

from memsim.account import GUEST_SWAP, NOMINAL
from memsim.blocks import block_of, block_push, block_remove
from memsim.cpu import wake
from memsim.disk import new_request
from memsim.hinting import on_free, on_take
from memsim.jit import kernel
from memsim.lists import (
    guest_push,
    guest_push_tail,
    guest_remove,
    guest_row,
    inactive_is_low,
)
from memsim.machine import Machine
from memsim.params import SCAN_ROUNDS
from memsim.quiet import stirred
from memsim.state import (
    ACTIVE_ANON,
    ACTIVE_FILE,
    ANON,
    ASYNC,
    BALLOON,
    DIRECT,
    DISK_READ,
    DISK_WRITE,
    EVICTED,
    FILE,
    FREE,
    G_BACK,
    G_BITS,
    G_DIRTY,
    G_FILL,
    G_HINT,
    G_IO,
    G_REF,
    G_SEEN,
    G_VOID,
    INACTIVE_ANON,
    INACTIVE_FILE,
    KERNEL,
    KSWAPD,
    NEVER,
    NOBODY,
    ORDER_0,
    SWAPPED_BASE,
    TIMER,
    WANTED,
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


@kernel
def _evict_oldest(m: Machine, g: int) -> None:
    # Exact LRU: one page goes for each that comes, as in a cache simulator.
    p = m.lists[guest_row(g, INACTIVE_FILE)].tail
    if p != NOBODY and not m.page[p].gflags & (G_DIRTY | G_IO | G_BACK | G_FILL):
        drop_file(m, g, p)


@kernel
def alloc_page(m: Machine, g: int, t: float) -> int:
    """Take a free page as a task may, down to the min watermark; NOBODY if it has to reclaim."""
    gs = m.guest[g]
    if gs.lru_exact:
        if gs.free_pages <= gs.wm_min:
            _evict_oldest(m, g)
    elif gs.free_pages < gs.wm_target_low:
        wake_kswapd(m, g, t)
    if gs.free_pages <= gs.wm_min:
        return NOBODY
    return pop_page(m, g)


@kernel
def add_anon(m: Machine, g: int, p: int, v: int) -> None:
    """Make a page anonymous memory at virtual page v; its fill is still to come."""
    pg = m.page[p]
    pg.gstate = ANON
    pg.vpn = v
    pg.gflags = np.uint16((pg.gflags & G_HINT) | G_FILL | G_REF)
    m.vpage[v].page = p
    m.guest[g].anon_pages += 1
    guest_push(m, g, ACTIVE_ANON if not m.guest[g].lru_exact else INACTIVE_ANON, p)


@kernel
def add_file(m: Machine, g: int, p: int, v: int, refault: bool) -> None:
    """Make a page a locked page of the cache for file page v, off the lists until it is read.

    A refault within the workingset's reach goes to the active list: its distance, in evictions
    and activations since it was dropped, is at most the size of the active lists.
    """
    pg = m.page[p]
    gs = m.guest[g]
    pg.gstate = FILE
    pg.vpn = v
    pg.gflags = np.uint16((pg.gflags & G_HINT) | G_IO)
    if refault:
        distance = np.uint32(gs.age - m.vpage[v].age)
        reach = m.lists[guest_row(g, ACTIVE_FILE)].count
        if gs.gslots > 0:
            reach += gs.anon_pages
        if np.int64(distance) <= reach:
            pg.gflags |= np.uint16(G_SEEN)
    m.vpage[v].page = p
    gs.file_pages += 1


@kernel
def activate(m: Machine, g: int, p: int) -> None:
    """Move a page to the head of its active list."""
    pg = m.page[p]
    guest_remove(m, g, p)
    guest_push(m, g, ACTIVE_FILE if pg.gstate == FILE else ACTIVE_ANON, p)
    pg.gflags &= np.uint16(G_BITS - G_SEEN)
    if pg.gstate == FILE:
        m.guest[g].age += np.uint32(1)


@kernel
def mark_accessed(m: Machine, g: int, p: int) -> None:
    """What read(2) and write(2) do to the LRU: the second use activates."""
    pg = m.page[p]
    if m.guest[g].lru_exact:
        which = pg.glist - 1
        guest_remove(m, g, p)
        guest_push(m, g, which, p)
    elif not pg.gflags & G_SEEN:
        pg.gflags |= np.uint16(G_SEEN)
    elif pg.glist == 1 + INACTIVE_FILE or pg.glist == 1 + INACTIVE_ANON:
        activate(m, g, p)


@kernel
def drop_file(m: Machine, g: int, p: int) -> None:
    """Drop a clean page of the cache, leaving its shadow entry."""
    gs = m.guest[g]
    v = m.page[p].vpn
    gs.age += np.uint32(1)
    m.vpage[v].page = EVICTED
    m.vpage[v].age = gs.age
    give_page(m, p)


@kernel
def drop_caches(m: Machine, g: int) -> int:
    """Drop all clean pages of the cache with their shadow entries; returns how many pages.

    As invalidate_mapping_pages: no shadow stays behind, so a later read is no refault.  It is
    nominal work (model section 2): it comes at any size, because the script threw away what it
    had read, and what was evicted before would have had to be read again as well.
    """
    gs = m.guest[g]
    n = 0
    for v in range(gs.vpage0, gs.vpage0 + gs.vpages):
        p = m.vpage[v].page
        if p == EVICTED:
            m.vpage[v].page = NEVER
        if p < 0 or m.page[p].gstate != FILE:
            continue
        if not m.page[p].gflags & (G_IO | G_BACK | G_DIRTY | G_FILL):
            m.vpage[v].page = NEVER
            give_page(m, p)
            n += 1
    return n


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
def file_region(m: Machine, g: int, v: int) -> int:
    """Return the region that a virtual page belongs to."""
    gs = m.guest[g]
    for i in range(gs.region0, gs.region0 + gs.regions):
        if v < m.region[i].vpage0 + m.region[i].pages:
            return i
    return NOBODY


@kernel
def write_back(m: Machine, g: int, v: int, cls: int) -> int:
    """Make a request that writes a dirty file page and its dirty neighbours; NOBODY if none.

    `cls` is what the device's time is booked as to those who wait behind it: nominal if the
    guest's work has data to be kept, the reclaimer's own class if its memory is wanted.
    """
    hs = m.host[0]
    gs = m.guest[g]
    i = file_region(m, g, v)
    rg = m.region[i]
    r = new_request(m, DISK_WRITE, gs.disk, g, cls)
    if r == NOBODY:
        return NOBODY
    rq = m.request[r]
    end = min(v + hs.file_ra, rg.vpage0 + rg.pages)
    n = 0
    while v + n < end:
        q = m.vpage[v + n].page
        if q < 0 or not m.page[q].gflags & G_DIRTY or m.page[q].gflags & (G_BACK | G_IO):
            break
        m.page[q].gflags = np.uint16((m.page[q].gflags | G_BACK) & (G_BITS - G_DIRTY))
        m.vpage[v + n].age = 0
        n += 1
    stirred(m, g)
    gs.dirty_pages -= n
    gs.writeback_pages += n
    gs.disk_written += n
    rq.head = v
    rq.count = n
    rq.sector = gs.sector0 + rg.sector + (v - rg.vpage0)
    rq.bytes = float(n * hs.page_bytes)
    return r


@kernel
def _swap_out(m: Machine, g: int, p: int) -> int:
    # A request that writes an anonymous page to the guest's own swap.
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
    return _swap_out(m, g, p)


@kernel
def deactivate(m: Machine, g: int, inactive: int, force: bool) -> int:
    """Move a batch from the active tail if the inactive list is low, or by force; returns how many.

    The guest bit is cleared, and the page deactivated whatever it was.
    """
    hs = m.host[0]
    a, b = m.lists[guest_row(g, inactive)], m.lists[guest_row(g, inactive + 1)]
    gib = (a.count + b.count) * hs.page_bytes / 1073741824.0
    if m.guest[g].lru_exact or not (force or inactive_is_low(a.count, b.count, gib)):
        return 0
    n = 0
    stirred(m, g)
    while n < hs.batch and b.tail != NOBODY:
        p = b.tail
        guest_remove(m, g, p)
        m.page[p].gflags &= np.uint16(G_BITS - G_REF)
        guest_push(m, g, inactive, p)
        n += 1
    return n


@kernel
def choose_type(m: Machine, g: int) -> int:
    """Choose the inactive list to scan: anonymous or file memory.

    Without swap, or with plenty of inactive cache, file only; else in turns, in proportion to
    their sizes.
    """
    gs = m.guest[g]
    files = m.lists[guest_row(g, INACTIVE_FILE)].count + m.lists[guest_row(g, ACTIVE_FILE)].count
    anons = m.lists[guest_row(g, INACTIVE_ANON)].count + m.lists[guest_row(g, ACTIVE_ANON)].count
    if gs.swap_used_pages >= gs.gslots or anons == 0:
        return INACTIVE_FILE
    if files == 0:
        return INACTIVE_ANON
    gib = files * m.host[0].page_bytes / 1073741824.0
    inactive = m.lists[guest_row(g, INACTIVE_FILE)].count
    if inactive > m.host[0].batch and not inactive_is_low(inactive, files - inactive, gib):
        return INACTIVE_FILE
    gs.scan_credit += anons
    if gs.scan_credit >= files:
        gs.scan_credit -= files + anons
        return INACTIVE_ANON
    return INACTIVE_FILE


@kernel
def count_scan(m: Machine, g: int, who: int, pages: int) -> None:
    """Count pages that kswapd (ASYNC) or direct reclaim (DIRECT) looked at."""
    gs = m.guest[g]
    if who == ASYNC:
        gs.async_scan += pages
    else:
        gs.direct_scan += pages


@kernel
def count_reclaim(m: Machine, g: int, who: int, pages: int) -> None:
    """Count pages that kswapd (ASYNC) or direct reclaim (DIRECT) made free."""
    gs = m.guest[g]
    if who == ASYNC:
        gs.async_reclaim += pages
    elif who == DIRECT:
        gs.direct_reclaim += pages


@kernel
def look_at_tail(m: Machine, g: int, inactive: int) -> int:
    """Look at the page at an inactive tail: reclaim (1), keep (0) or write it first (2)."""
    p = m.lists[guest_row(g, inactive)].tail
    pg = m.page[p]
    exact = m.guest[g].lru_exact
    if pg.gflags & (G_IO | G_BACK | G_FILL):
        if pg.gstate == FILE and pg.gflags & G_BACK:
            m.vpage[pg.vpn].age = WANTED
        guest_remove(m, g, p)
        guest_push(m, g, inactive, p)
        return 0
    if pg.gflags & G_REF and not exact:
        pg.gflags &= np.uint16(G_BITS - G_REF)
        stirred(m, g)
        if pg.gflags & G_SEEN:
            activate(m, g, p)
        else:
            pg.gflags |= np.uint16(G_SEEN)
            guest_remove(m, g, p)
            guest_push(m, g, inactive, p)
        return 0
    if pg.gflags & G_HINT:
        # Its owner has no use for it, but it stays allocated: clear the bit, then it is as any.
        pg.gflags = np.uint16((pg.gflags & (G_BITS - G_HINT)) | G_VOID)
        stirred(m, g)
    if inactive == INACTIVE_FILE and not pg.gflags & G_DIRTY:
        return 1
    return 2


@kernel
def request_page(m: Machine, r: int, i: int) -> int:
    """Return the guest page that a disk request's i-th page goes to or comes from.

    File pages are locked or under write-back, so that the cache holds them to the end; anonymous
    memory may be freed meanwhile.
    """
    rq = m.request[r]
    return rq.page if rq.swap else m.vpage[rq.head + i].page


@kernel
def finish_disk_read(m: Machine, r: int) -> None:
    """Unlock the pages of a finished read and put them on the LRU."""
    rq = m.request[r]
    g = rq.guest
    for i in range(rq.count):
        p = request_page(m, r, i)
        if rq.swap:
            free_gslot(m, g, rq.head)
        pg = m.page[p]
        if pg.vpn == NOBODY:
            give_page(m, p)
            continue
        hot = (pg.gflags & G_SEEN) != 0
        pg.gflags &= np.uint16(G_BITS - G_IO - G_SEEN)
        if pg.gstate == ANON:
            guest_push(m, g, INACTIVE_ANON, p)
        else:
            guest_push(m, g, ACTIVE_FILE if hot else INACTIVE_FILE, p)


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
            m.vpage[v].page = SWAPPED_BASE - rq.head
            count_reclaim(m, g, rq.wanted, 1)
            give_page(m, p)


@kernel
def unmap_page(m: Machine, g: int, v: int) -> int:
    """Forget the content of an anonymous virtual page; returns 1 if a page became free.

    One that is being read or written stays until that is over, as a locked page or one under
    write-back does in Linux: the device must not write to, nor read from, somebody else's memory.
    """
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
    give_page(m, where)
    return 1


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
def read_request(m: Machine, g: int, v: int, n: int, first: bool) -> int:
    """Make the request that reads n locked file pages from v on."""
    gs = m.guest[g]
    r = new_request(m, DISK_READ, gs.disk, g, NOMINAL)
    if r == NOBODY:
        return NOBODY
    rq = m.request[r]
    rg = m.region[file_region(m, g, v)]
    rq.head = v
    rq.count = n
    rq.sector = gs.sector0 + rg.sector + (v - rg.vpage0)
    rq.bytes = float(n * m.host[0].page_bytes)
    gs.disk_read += n
    return r
