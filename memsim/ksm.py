"""ksmd: the host's thread that looks for guest pages of equal content (mm/ksm.c).

Every `sleep_millisecs` it looks at `pages_to_scan` small pages, over all guests' backed pages in
order.  A page that equals a stable frame is mapped to it at once.  Else its checksum is taken; only
one that kept it since the pass before is looked up among the others of this pass, the unstable
table, and two that are equal found a stable frame.  So a new frame takes two looks at both pages.

A page whose hint says that it is free is discarded instead (the talk), by the rule for races:
check, unmap, look again, each at a time of its own.
"""

import numpy as np

from memsim.blocks import block_of
from memsim.content import NOTHING, UNIQUE, ZERO, content_of
from memsim.cpu import end_of_reclaimers, wake_thread
from memsim.frames import take_frame
from memsim.hinting import checks, is_free, is_given
from memsim.host import discard, drop_page
from memsim.hugepages import is_host_huge, split_host
from memsim.jit import kernel
from memsim.lists import host_push, host_remove, lru_of
from memsim.machine import Machine
from memsim.quiet import stirred
from memsim.reclaim import CHECKED, IDLE, UNMAPPED
from memsim.sharing import (
    NO_ITEM,
    RUN,
    STOP,
    UNMERGE,
    UNSHARED,
    VOLATILE,
    ZERO_PAGE,
    bucket_of,
    found,
    head_of,
    is_locked,
    is_shared,
    join,
    join_zero,
    set_item,
    shared_frame,
    unshare,
)
from memsim.state import (
    FOLLOWS,
    H_BACK,
    H_ISOLATED,
    H_PINNED,
    H_UNMAPPED,
    H_WROTE,
    MERGED,
    NOBODY,
    RESIDENT,
)
from memsim.swap import leave_swap

_CHUNK_S = 5e-4  # it lets others run after so much work [s]
_BUSY = H_ISOLATED | H_UNMAPPED | H_PINNED | H_BACK  # others hold references


@kernel
def ksmd(m: Machine) -> int:
    """Return the thread of a host that has one."""
    return end_of_reclaimers(m)


@kernel
def begin_batch(m: Machine) -> None:
    """Allow the next batch of pages; what a coarse page took beyond the last one is taken off."""
    hs = m.host[0]
    hs.ksm_left = min(hs.ksm_left, 0.0) + hs.ksm_pages_to_scan


@kernel
def goes_on(m: Machine) -> bool:
    """Tell whether ksmd has anything to do after its sleep."""
    return m.host[0].ksm_run == RUN or m.host[0].ksm_unmerging != 0


@kernel
def _forget_unstable(m: Machine) -> None:
    for b in range(m.host[0].ksm_buckets):
        m.bucket[b].unstable = NOBODY


@kernel
def set_run(m: Machine, run: int, t: float) -> None:
    """Stop ksmd, let it run, or let it give every merged page a frame of its own and stop."""
    hs = m.host[0]
    if run == hs.ksm_run:
        return
    hs.ksm_run = run
    hs.ksm_unmerging = run == UNMERGE
    if run == UNMERGE:
        hs.ksm_next = 0
        _forget_unstable(m)
    if run != STOP:
        begin_batch(m)
        wake_thread(m, ksmd(m), t)


@kernel
def _next_page(m: Machine) -> int:
    # The page that the scan has come to, in a guest that is there, or NOBODY at the end of a pass.
    hs = m.host[0]
    while hs.ksm_next < hs.pages:
        gs = m.guest[m.page[hs.ksm_next].guest]
        end = gs.page0 + gs.pages  # the emulator's own is not offered to ksmd
        if gs.state != 0 and hs.ksm_next < end:
            return int(hs.ksm_next)
        hs.ksm_next = end + gs.emulator_pages
    hs.ksm_next = 0
    return NOBODY


@kernel
def _take(m: Machine, p: int) -> None:
    # A page by itself, on no list: a huge page that it is part of is split, as by any match.
    if is_host_huge(m, p):
        split_host(m, block_of(m, p))
    host_remove(m, p)


@kernel
def _merge(m: Machine, p: int, head: int) -> None:
    _take(m, p)
    leave_swap(m, p)
    join(m, p, head)


@kernel
def _unstable_twin(m: Machine, p: int, number: int) -> int:
    # The other page of this content in the unstable table, which it leaves; else p goes there.
    b = bucket_of(m, number)
    before, q = NOBODY, m.bucket[b].unstable
    while q != NOBODY:
        following = m.ksm[q].chain
        same = m.ksm[q].node == UNSHARED and content_of(m, q) == number
        if same and m.page[q].hstate == RESIDENT and not m.page[q].hflags & _BUSY:
            if before == NOBODY:
                m.bucket[b].unstable = following
            else:
                m.ksm[before].chain = following
            return int(q)
        before, q = q, following
    m.ksm[p].chain = m.bucket[b].unstable
    m.bucket[b].unstable = p
    return NOBODY


@kernel
def _changed(m: Machine, p: int) -> bool:
    # Take the checksum: whether it is another than at the last look.
    pg = m.page[p]
    number = content_of(m, p)
    same = not pg.hflags & H_WROTE and m.ksm[p].sum == number
    if pg.hflags & H_WROTE:
        pg.hflags &= np.uint8(255 - H_WROTE)
        m.ksm[p].content = np.uint32(UNIQUE)
        stirred(m, pg.guest)
    m.ksm[p].sum = np.uint32(number)
    return not same


@kernel
def _look(m: Machine, p: int) -> tuple[float, int]:
    # What becomes of one mapped page: CPU seconds, frames that came free.
    hs = m.host[0]
    if is_shared(m, p):
        return hs.c_ksm_look, 0
    busy = (m.page[p].hflags & _BUSY) != 0
    number = content_of(m, p)
    head = shared_frame(m, number) if number < NOTHING and not busy else NOBODY
    if head != NOBODY:
        if m.page[head].hstate != MERGED or is_locked(m, head):
            return hs.c_ksm_look, 0  # its frame is locked (GET_KSM_PAGE_TRYLOCK): another time
        _merge(m, p, head)
        return hs.c_ksm_look + hs.c_merge, 1
    cost = hs.c_ksm_look + hs.c_checksum
    if _changed(m, p):
        set_item(m, p, VOLATILE)
        return cost, 0
    if hs.ksm_use_zero and number == ZERO and not busy:
        _take(m, p)
        leave_swap(m, p)
        join_zero(m, p)
        return cost + hs.c_merge, 1
    set_item(m, p, UNSHARED)
    if number >= NOTHING or busy:  # in the table, but nothing will equal it
        return cost, 0
    q = _unstable_twin(m, p, number)
    if q == NOBODY:
        return cost, 0
    if is_host_huge(m, q):
        split_host(m, block_of(m, q))
    leave_swap(m, q)
    found(m, q)
    _merge(m, p, q)
    return cost + 2.0 * hs.c_merge, 1


@kernel
def _check(m: Machine, e: int, p: int) -> bool:
    # Step 1 of a discard: take a page that the guest has no use for, still mapped.
    if not is_free(m, p) or m.page[p].hflags & _BUSY:
        return False
    _take(m, p)
    m.page[p].hflags |= np.uint8(H_ISOLATED)
    m.iso[e, m.cpu[e].iso_n] = p
    m.cpu[e].iso_n += 1
    return True


@kernel
def _unmap(m: Machine, e: int) -> float:
    # Step 2: unmap what was taken, under the lock that blocks faults; what DMA uses stays mapped.
    cpu = m.cpu[e]
    kept = 0
    for i in range(cpu.iso_n):
        p = m.iso[e, i]
        if m.page[p].hflags & H_PINNED:
            _put_back(m, p)
            continue
        m.page[p].hflags |= np.uint8(H_UNMAPPED)
        stirred(m, m.page[p].guest)
        m.iso[e, kept] = p
        kept += 1
    cpu.iso_n = kept
    cpu.stage = UNMAPPED
    return max(kept * m.host[0].c_dontneed, 1e-9)


@kernel
def _put_back(m: Machine, p: int) -> None:
    pg = m.page[p]
    pg.hflags &= np.uint8(255 - H_ISOLATED - H_UNMAPPED)
    if is_given(m, p):
        drop_page(m, p)
    elif pg.hstate != FOLLOWS:
        host_push(m, lru_of(m, pg.guest), 1, p)


@kernel
def _settle(m: Machine, e: int) -> int:
    # Step 3: look again; discard what is free still, map the rest again.  Pages unlocked.
    cpu = m.cpu[e]
    n = cpu.iso_n
    for i in range(n):
        p = m.iso[e, i]
        written = (m.page[p].hflags & H_BACK) != 0  # it heads its family since, which is
        if is_free(m, p) and not written:
            m.page[p].hflags &= np.uint8(255 - H_ISOLATED - H_UNMAPPED)
            discard(m, p)
            m.host[0].ksm_discarded += 1
        else:
            _put_back(m, p)
    cpu.iso_n = 0
    cpu.stage = IDLE
    return int(n)


@kernel
def _is_mapped(m: Machine, p: int) -> bool:
    if m.page[p].hstate == RESIDENT:
        return True
    return m.page[p].hstate >= MERGED and not m.page[p].hflags & H_UNMAPPED


@kernel
def _is_scanned(m: Machine, p: int) -> bool:
    # The zero page is not anonymous, so what maps it is walked past (scan_get_next_rmap_item).
    return _is_mapped(m, p) and m.ksm[p].node != ZERO_PAGE


@kernel
def _scan(m: Machine, e: int) -> tuple[float, int]:
    # Part of a batch: CPU seconds, frames that came free.  The end of a pass ends the batch.
    hs = m.host[0]
    cpu = m.cpu[e]
    cost, freed = 0.0, 0
    while hs.ksm_left > 0.0 and cost < _CHUNK_S and cpu.iso_n < hs.batch:
        p = _next_page(m)
        if p == NOBODY:
            hs.ksm_full_scans += 1
            hs.ksm_left = 0.0
            _forget_unstable(m)
            break
        hs.ksm_next += 1
        if not _is_scanned(m, p):
            if not is_shared(m, p):
                set_item(m, p, NO_ITEM)
            cost += hs.c_ksm_skip
            continue
        hs.ksm_left -= hs.sub
        hs.ksm_scanned += 1
        if checks(m, p):
            cost += hs.c_check
        if _check(m, e, p):
            continue
        spent, came = _look(m, p)
        cost += spent
        freed += came
    if cpu.iso_n > 0:
        cpu.stage = CHECKED
    return cost, freed


@kernel
def _is_merged(m: Machine, p: int) -> bool:
    # Mapped to a frame of KSM: what is not mapped will be copied when it is (UNMERGE).
    head = head_of(m, p)
    merged = head < 0 or m.page[head].hstate == MERGED
    return merged and _is_mapped(m, p)


@kernel
def _unmerge(m: Machine, t: float) -> float:
    # Give merged pages frames of their own, as far as there are any.
    hs = m.host[0]
    cost = 0.0
    while cost < _CHUNK_S:
        p = _next_page(m)
        if p == NOBODY:
            hs.ksm_unmerging = 0
            return cost
        if _is_merged(m, p):
            if m.page[p].hflags & (H_ISOLATED | H_BACK) or not take_frame(m, m.page[p].guest, t):
                return cost
            unshare(m, p)
            cost += hs.c_unshare
        if not is_shared(m, p):
            set_item(m, p, NO_ITEM)
            m.ksm[p].sum = np.uint32(NOTHING)
        hs.ksm_next += 1
        cost += hs.c_ksm_skip
    return cost


@kernel
def step(m: Machine, e: int, t: float) -> tuple[float, int]:
    """Let ksmd do its next piece of work at time t.

    Returns:
        (CPU seconds, 0 if it is to sleep now; frames and pages that others may wait for).
    """
    hs = m.host[0]
    if m.cpu[e].stage == CHECKED:
        return _unmap(m, e), 0
    if m.cpu[e].stage == UNMAPPED:
        return 1e-9, _settle(m, e)
    if hs.ksm_run == RUN:
        return _scan(m, e)
    if hs.ksm_unmerging:
        return _unmerge(m, t), 0
    return 0.0, 0
