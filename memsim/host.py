"""The host kernel: frames, faults, and the states of a guest page (model section 5)."""

import numpy as np

from memsim.account import FRESH_FAULT, HOST_SWAP, KSMD, NOMINAL
from memsim.blocks import block_of
from memsim.content import ZERO, put
from memsim.disk import MERGE_BYTES, ROTATING, ZRAM, merge_write, new_request, submit
from memsim.frames import give_frame, take_frame
from memsim.hinting import is_free, is_given
from memsim.host_balance import note_host_scan
from memsim.hugepages import (
    back_huge,
    drop_huge,
    is_host_huge,
    split_host,
    unset_host_huge,
)
from memsim.jit import kernel
from memsim.lists import host_push, host_remove, lru_of
from memsim.machine import Machine
from memsim.readahead import note_hit, swap_in
from memsim.sharing import (
    UNMERGE,
    ZERO_PAGE,
    head_of,
    is_locked,
    is_shared,
    lead,
    others,
    part,
    swapped_out,
    unshare,
)
from memsim.state import (
    AHEAD,
    CACHED,
    FILE,
    FOLLOWS,
    G_BITS,
    G_DIRTY,
    G_FILL,
    G_HOST,
    G_IO,
    H_BACK,
    H_DIRTY,
    H_EVER,
    H_ISOLATED,
    H_KEPT,
    H_REF,
    H_UNMAPPED,
    LENT,
    MERGED,
    NOBODY,
    READING,
    RESIDENT,
    SEEN,
    SWAP_WRITE,
    SWAPPED,
    UNBACKED,
    WRITING,
)
from memsim.swap import alloc_slot, find_run, leave_swap, size_zram, take_slot
from memsim.workingset import comes_back_to_host, leave_host_shadow

# What a fault needs before it can go on.
NOW, NEED_FRAME, NEED_READ, NEED_LOCK, NEED_REQUEST = range(5)


@kernel
def _map(m: Machine, p: int, writes: bool) -> None:
    # Without EPT dirty bits every mapping makes the page dirty, so its slot is of no use; with
    # them the slot is kept as long as swap is less than half full (vm_swap_full).
    # Where reads keep slots (`slots_kept`) only a fault that writes frees it.
    # A copy that is still being written cannot be freed (try_to_free_swap of mm/swapfile.c).
    # Nor one that others refer to.
    hs = m.host[0]
    dirties = not hs.ept_dirty and (writes or not hs.slots_kept)
    pg = m.page[p]
    shared = is_shared(m, p)
    was = pg.hstate
    pg.hstate = RESIDENT
    if shared:
        pg.hstate = MERGED if was == WRITING else LENT
    pg.hflags |= np.uint8(H_REF | H_EVER)
    if pg.hstate == LENT:
        return
    if pg.hflags & H_BACK:
        pg.hflags |= np.uint8(H_DIRTY if dirties else 0)
    elif dirties or 2 * hs.swap_used_pages > hs.swap_pages:
        leave_swap(m, p)
        pg.hflags |= np.uint8(H_DIRTY)


@kernel
def _came_for_it(m: Machine, p: int) -> bool:
    # A vCPU's worker reads the page itself, and asks for it as if to write whatever the vCPU wants
    # (async_pf_execute of virt/kvm/async_pf.c); what readahead brought is mapped as it is touched.
    pg = m.page[p]
    return m.guest[pg.guest].async_mode != 0 and not pg.gflags & AHEAD


@kernel
def _leave_slot(m: Machine, p: int) -> None:
    # A swapped page has no use for its copy any more; others may.
    if is_shared(m, p):
        part(m, p)
        return
    leave_swap(m, p)
    m.guest[m.page[p].guest].host_swapped_pages -= 1


@kernel
def _fresh(m: Machine, p: int) -> int:
    # A zeroed frame; the caller has charged it.
    pg = m.page[p]
    gs = m.guest[pg.guest]
    again = (pg.hflags & H_EVER) != 0
    if pg.hstate == SWAPPED:
        _leave_slot(m, p)
        gs.discarded += 1
    pg.hstate = RESIDENT
    pg.hflags = np.uint8(H_REF | H_DIRTY | H_EVER)
    put(m, p, ZERO)
    pg.gflags &= np.uint16(G_BITS - G_HOST)
    host_push(m, lru_of(m, pg.guest), m.host[0].lru_2011, p)
    note_host_scan(m, lru_of(m, pg.guest), False, 1, m.host[0].lru_2011)
    gs.host_fresh += 1
    return FRESH_FAULT if again else NOMINAL


@kernel
def _note_vain(m: Machine, p: int) -> None:
    # A page is swapped in whose content nobody will ever see, as VSwapper names it: a stale read
    # if the emulator's DMA will overwrite it, a false read if the guest will, with its first fill.
    pg = m.page[p]
    gs = m.guest[pg.guest]
    if pg.gflags & G_IO:
        gs.stale_reads += 1
    elif pg.gflags & G_FILL:
        gs.false_reads += 1


@kernel
def _has_frame(m: Machine, p: int) -> bool:
    # Whether what a page of a family shares is in memory.
    head = head_of(m, p)
    if head == ZERO_PAGE:
        return True
    return m.page[head].hstate != SWAPPED and m.page[head].hstate != READING


@kernel
def read_of(m: Machine, p: int) -> int:
    """Return the request that reads a page."""
    return int(m.page[head_of(m, p)].hprev)


@kernel
def _take_back(m: Machine, p: int, writes: bool) -> None:
    # From write-back: the write goes on, nobody needs it.
    m.host[0].writing_pages -= 1
    host_push(m, lru_of(m, m.page[p].guest), 0, p)
    _map(m, p, writes)


@kernel
def _map_shared(m: Machine, p: int) -> bool:
    # Map what a page of a family shares and find in memory, if it does not; else return False.
    head = head_of(m, p)
    if head == ZERO_PAGE:
        return False
    pg, he = m.page[p], m.page[head]
    if he.hstate == CACHED:
        if head != p:
            lead(m, p)
        note_hit(m, p)
        _map(m, p, True)
        return True
    if he.hstate == WRITING:
        _take_back(m, head, True)
        he.hflags = (he.hflags & np.uint8(255 - H_REF)) | np.uint8(H_UNMAPPED)
    if he.hstate != MERGED or not pg.hflags & H_UNMAPPED:
        return False
    pg.hflags = (pg.hflags & np.uint8(255 - H_UNMAPPED)) | np.uint8(H_REF)
    return True


@kernel
def _fault_shared(m: Machine, p: int, store: bool, t: float) -> tuple[int, float, int]:
    # As `fault`, for a page of a family whose frame is there.
    hs = m.host[0]
    cost = hs.c_map if _map_shared(m, p) else 0.0
    head = head_of(m, p)
    lent = head != ZERO_PAGE and m.page[head].hstate == LENT
    copies = store or (lent and head != p) or (cost > 0.0 and not lent and hs.ksm_run == UNMERGE)
    if not copies:
        return NOW, cost, HOST_SWAP if cost > 0.0 else NOMINAL
    if m.page[p].hflags & H_BACK and others(m, p) == 0:
        return NEED_LOCK, 0.0, HOST_SWAP  # Linux copies it; here it has no other frame meanwhile
    if not take_frame(m, m.page[p].guest, t):
        return NEED_FRAME, 0.0, HOST_SWAP
    unshare(m, p)
    return NOW, cost + hs.c_unshare, HOST_SWAP if lent else KSMD


@kernel
def fault(m: Machine, p: int, store: bool, scattered: bool, t: float) -> tuple[int, float, int]:
    """Make a guest page resident, as far as that is possible at this moment.

    A shared one is as good as resident, but to who would `store` to it: that takes a copy.

    Returns:
        (what it still needs, CPU seconds spent, class of that time).  After NEED_READ
        `read_of` is the request to wait for; after NEED_FRAME the caller reclaims or waits; after
        NEED_LOCK a reclaimer holds the page for a moment.
    """
    hs = m.host[0]
    pg = m.page[p]
    if is_shared(m, p):
        if is_locked(m, p) or is_locked(m, head_of(m, p)):
            return NEED_LOCK, 0.0, HOST_SWAP
        if _has_frame(m, p):
            return _fault_shared(m, p, store, t)
        if m.page[head_of(m, p)].hstate == READING:
            return NEED_READ, 0.0, HOST_SWAP
        if pg.hstate == FOLLOWS:
            lead(m, p)
    state = pg.hstate
    again = (pg.hflags & H_EVER) != 0
    if pg.hflags & H_UNMAPPED:
        return NEED_LOCK, 0.0, HOST_SWAP
    if state == RESIDENT:
        return NOW, 0.0, NOMINAL
    if state == READING:
        return NEED_READ, 0.0, HOST_SWAP
    if state == CACHED:
        writes = store or _came_for_it(m, p)
        note_hit(m, p)
        _map(m, p, writes)
        return NOW, hs.c_map, HOST_SWAP
    if state == WRITING:
        _take_back(m, p, store)
        return NOW, hs.c_map, HOST_SWAP
    if state == UNBACKED and hs.huge_pages and back_huge(m, p, t):
        return NOW, hs.c_ept_huge, FRESH_FAULT if again else NOMINAL
    if hs.huge_pages:
        m.block[block_of(m, p)].host_table = 1
    if not take_frame(m, pg.guest, t):
        return NEED_FRAME, 0.0, HOST_SWAP
    if state == UNBACKED or is_free(m, p):
        cls = _fresh(m, p)
        return NOW, hs.c_ept, cls
    gs = m.guest[pg.guest]
    if m.device[hs.swap_device].kind == ZRAM:
        gs.host_swap_in += 1
        gs.host_major += 1
        _note_vain(m, p)
        hs.swap_in_pages += 1
        active = comes_back_to_host(m, p)
        _leave_slot(m, p)
        pg.hstate = RESIDENT
        pg.hflags = (pg.hflags & np.uint8(H_KEPT)) | np.uint8(H_REF | H_DIRTY)
        pg.gflags &= np.uint16(G_BITS - AHEAD - SEEN)
        host_push(m, lru_of(m, pg.guest), active, p)
        return NOW, hs.c_zram, HOST_SWAP
    if swap_in(m, p, scattered, t) == NOBODY:
        give_frame(m, pg.guest)
        return NEED_REQUEST, 0.0, HOST_SWAP
    gs.host_major += 1
    _note_vain(m, p)
    return NEED_READ, 0.0, HOST_SWAP


@kernel
def _first_read(m: Machine, r: int) -> int:
    # The chain of a read begins with its last page: turn it round.
    p, after = m.request[r].head, NOBODY
    while p != NOBODY:
        following = m.page[p].hnext
        m.page[p].hnext = after
        after = p
        p = following
    return after


@kernel
def finish_read(m: Machine, r: int) -> None:
    """Put the pages of a finished swap read into the swap cache, but for those it was given."""
    p = _first_read(m, r)
    while p != NOBODY:
        pg = m.page[p]
        following = pg.hnext
        active = (pg.hflags & H_REF) != 0
        pg.hstate = CACHED
        pg.hflags &= np.uint8(H_KEPT)
        if is_given(m, p):
            drop_page(m, p)
        else:
            host_push(m, lru_of(m, pg.guest), active, p)
        p = following


@kernel
def write_out(m: Machine, p: int, t: float) -> bool:
    """Begin to swap an unmapped page out; False if no slot or request is to be had."""
    hs = m.host[0]
    zram = m.device[hs.swap_device].kind == ZRAM
    pg = m.page[p]
    kept = hs.slots_kept and pg.hstate == RESIDENT and not pg.hflags & H_DIRTY
    if not kept:
        leave_swap(m, p)
    if not zram and hs.requests_used >= hs.requests:
        return False
    slot = int(pg.slot)
    if slot == NOBODY:
        slot = alloc_slot(m, p)
    if slot == NOBODY:
        return False
    _write_to(m, p, slot, t)
    return True


@kernel
def write_huge(m: Machine, b: int, t: float) -> bool:
    """Begin to swap a huge page out as a whole, to slots in a row; False if it has to be split.

    Since 4.14, on what does not rotate (CONFIG_THP_SWAP, shrink_page_list of mm/vmscan.c).
    """
    hs = m.host[0]
    bl = m.block[b]
    kind = m.device[hs.swap_device].kind
    requests = 1 + int(bl.pages * hs.page_bytes // MERGE_BYTES)
    if hs.lru_2011 or kind == ROTATING or hs.requests_used + requests > hs.requests:
        return False
    for p in range(bl.first, bl.first + bl.pages):
        if is_given(m, p) or is_free(m, p):
            return False
    slot = find_run(m, bl.pages)
    if slot == NOBODY:
        return False
    g = m.page[bl.first].guest
    unset_host_huge(m, b)
    m.guest[g].host_thp_swap_out += 1
    for i in range(bl.pages):
        take_slot(m, bl.first + i, slot + i)
        _write_to(m, bl.first + i, slot + i, t)
    return True


@kernel
def _write_to(m: Machine, p: int, slot: int, t: float) -> None:
    # Begin to write an unmapped page to its slot.
    hs = m.host[0]
    pg = m.page[p]
    gs = m.guest[pg.guest]
    zram = m.device[hs.swap_device].kind == ZRAM
    gs.host_swap_out += 1
    if pg.gstate == FILE and not pg.gflags & (G_DIRTY | G_IO | G_FILL):
        gs.silent_writes += 1  # its content is on the guest's disk already
    hs.swap_out_pages += 1
    if zram:
        was = pg.hstate
        pg.hstate = SWAPPED
        pg.hflags &= np.uint8(H_KEPT)
        leave_host_shadow(m, p)
        gs.host_swapped_pages += 1
        hs.zram_stored += 1
        give_frame(m, pg.guest)
        size_zram(m)
        swapped_out(m, p, was)
        return
    r = merge_write(m, hs.swap_device, slot)
    if r == NOBODY:
        r = new_request(m, SWAP_WRITE, hs.swap_device, pg.guest, HOST_SWAP)
        rq = m.request[r]
        rq.sector = slot
        rq.count = 1
        rq.bytes = float(hs.page_bytes)
        submit(m, r, t)
    pg.hstate = WRITING
    pg.hflags = (pg.hflags & np.uint8(H_KEPT)) | np.uint8(H_BACK)
    pg.hprev = r
    hs.writing_pages += 1
    hs.back_pages += 1


@kernel
def finish_write(m: Machine, r: int) -> int:
    """Free the frames of a finished swap write, but for pages taken back; returns how many."""
    hs = m.host[0]
    rq = m.request[r]
    freed = 0
    for s in range(rq.sector, rq.sector + rq.count):
        p = m.slot[s]
        if p == NOBODY:
            continue
        pg = m.page[p]
        if not pg.hflags & H_BACK or (pg.hstate == WRITING and pg.hprev != r):
            continue
        pg.hflags &= np.uint8(255 - H_BACK)
        hs.back_pages -= 1
        if is_given(m, p) and others(m, p) == 0:
            drop_page(m, p)
            freed += 1
            continue
        if pg.hstate != WRITING:
            if pg.hflags & H_DIRTY:  # the copy is old already
                leave_swap(m, p)
            continue
        pg.hstate = SWAPPED
        pg.hflags &= np.uint8(H_KEPT)
        leave_host_shadow(m, p)
        m.guest[pg.guest].host_swapped_pages += 1
        hs.writing_pages -= 1
        give_frame(m, pg.guest)
        swapped_out(m, p, WRITING)
        freed += 1
        if is_given(m, p):
            drop_page(m, p)
    return freed


@kernel
def discard(m: Machine, p: int) -> None:
    """Throw away a page in a reclaimer's hands, unlocked, whose content its guest hinted free."""
    pg = m.page[p]
    if is_shared(m, p):
        part(m, p)
    else:
        leave_swap(m, p)
        give_frame(m, pg.guest)
    pg.hstate = UNBACKED
    pg.hflags = np.uint8(H_EVER)
    m.guest[pg.guest].discarded += 1


@kernel
def drop_page(m: Machine, p: int) -> None:
    """Take frame and slot of a page whose content nobody needs, without any I/O.

    What is being read or written or is in a reclaimer's hands stays until that is over: then
    `finish_read`, `finish_write` and `reclaim` drop it, if the guest has not taken it back.
    """
    pg = m.page[p]
    gs = m.guest[pg.guest]
    if is_host_huge(m, p):
        split_host(m, block_of(m, p))
    state = pg.hstate
    if state == UNBACKED or state == READING or pg.hflags & (H_ISOLATED | H_BACK):
        return
    if is_shared(m, p):
        part(m, p)
    else:
        host_remove(m, p)
        if state == WRITING:
            m.host[0].writing_pages -= 1
        if state == SWAPPED:
            gs.host_swapped_pages -= 1
        else:
            give_frame(m, pg.guest)
        leave_swap(m, p)
    pg.hstate = UNBACKED
    pg.hflags &= np.uint8(H_EVER)


@kernel
def drop_pages(m: Machine, first: int, n: int) -> None:
    """Drop a run of pages as `drop_page` does each; huge pages that lie in it are not split."""
    p = first
    while p < first + n:
        bl = m.block[block_of(m, p)]
        if bl.host_huge and p == bl.first and p + bl.pages <= first + n:
            drop_huge(m, block_of(m, p))
            p += bl.pages
        else:
            drop_page(m, p)
            p += 1
