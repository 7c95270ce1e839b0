"""The guest's page cache: reads, drops, shadow entries, write-back of file pages."""

import numpy as np

from memsim.account import NOMINAL
from memsim.disk import new_request
from memsim.free_memory import give_page
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.quiet import stirred
from memsim.state import (
    DISK_READ,
    DISK_WRITE,
    EVICTED,
    FILE,
    G_BACK,
    G_BITS,
    G_DIRTY,
    G_FILL,
    G_IO,
    G_KEPT,
    NEVER,
    NOBODY,
)
from memsim.workingset import come_back, leave_shadow


@kernel
def add_file(m: Machine, g: int, p: int, v: int, refault: bool) -> None:
    """Make a page a locked page of the cache for file page v, off the lists until it is read."""
    pg = m.page[p]
    gs = m.guest[g]
    pg.gstate = FILE
    pg.vpn = v
    pg.gflags = np.uint16((pg.gflags & G_KEPT) | G_IO)
    if refault:
        come_back(m, g, p, m.vpage[v].age)
    m.vpage[v].page = p
    gs.file_pages += 1


@kernel
def drop_file(m: Machine, g: int, p: int) -> None:
    """Drop a clean page of the cache, leaving its shadow entry."""
    v = m.page[p].vpn
    leave_shadow(m, g, v, p)
    m.vpage[v].page = EVICTED
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
def delete_page(m: Machine, v: int) -> None:
    """Forget a page of a file that is deleted, written or not; one under I/O stays cached."""
    p = m.vpage[v].page
    if p == EVICTED:
        m.vpage[v].page = NEVER
    if p < 0 or m.page[p].gflags & (G_IO | G_BACK):
        return
    m.vpage[v].page = NEVER
    give_page(m, p)


@kernel
def file_region(m: Machine, g: int, v: int) -> int:
    """Return the region that a virtual page belongs to."""
    gs = m.guest[g]
    for i in range(gs.region0, gs.region0 + gs.regions):
        if v < m.region[i].vpage0 + m.region[i].pages:
            return i
    return NOBODY


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
