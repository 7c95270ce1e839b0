"""Host reclaim: second-chance lists, and the race protocol of hinting at every page.

A reclaimer (kswapd, a limit's thread, or a vCPU that needs a frame) works in batches of three
steps, each at a time of its own, so that guests may allocate and touch in between:

1. check: take unreferenced pages off the inactive tail, still mapped;
2. unmap them, under the lock that blocks faults on them;
3. look again: discard if the hint is (still) set, keep if the page was used, else drop or write.
"""

import numpy as np

from memsim.blocks import block_of, host_weight
from memsim.cgroups import effective_low, scan_target, siblings
from memsim.frames import give_frame, group_of
from memsim.hinting import checks, is_free, is_given
from memsim.host import discard, drop_page, write_huge, write_out
from memsim.host_balance import note_host_cost, note_host_scan, takes_code
from memsim.hugepages import clear_host_bits, is_host_huge, split_host
from memsim.jit import kernel
from memsim.lists import host_push, host_remove, host_row, inactive_is_low, lru_of
from memsim.machine import Machine
from memsim.params import DEF_PRIORITY, HUGE_RECLAIM_SHARE
from memsim.sharing import clear_refs, flags_of, map_all, others, swapped_out, unmap_all
from memsim.state import (
    CACHED,
    FOLLOWS,
    H_BACK,
    H_DIRTY,
    H_ISOLATED,
    H_KEPT,
    H_PINNED,
    H_REF,
    H_UNMAPPED,
    MERGED,
    NOBODY,
    RESIDENT,
    SEEN,
    SWAPPED,
    WORKING,
)
from memsim.workingset import leave_host_shadow

IDLE, CHECKED, UNMAPPED = 0, 1, 2  # cpu.stage
LOW_ROUND = 2  # from this fruitless round on direct reclaim ignores memory.low


@kernel
def _pages_on(m: Machine, lru: int) -> int:
    row = host_row(m, lru, 0)
    return m.lists[row].count + m.lists[row + 1].count


@kernel
def ignores_low(m: Machine, e: int) -> bool:
    """Tell whether a reclaimer takes from protected cgroups too, after two fruitless rounds.

    kswapd never does, but where an emulator waits for it, which would reclaim directly itself.
    """
    if m.cpu[e].rounds < LOW_ROUND:
        return False
    if m.cpu[e].guest != NOBODY:
        return True
    awaited = False
    for g in range(m.host[0].guests):
        awaited = awaited or m.guest[g].io_first != NOBODY
    return awaited


@kernel
def _protection(m: Machine, row: int, ignored: bool, usage: int, protected: int) -> int:
    # Pages of a cgroup that count as protected in this pass; all of it: pass it over.
    if ignored or (m.group[row].low == 0 and m.host[0].slice_low == NOBODY):
        return 0
    return effective_low(m, row, usage, protected)


@kernel
def _choose_lru(m: Machine, e: int) -> int:
    """Choose whose lists to scan next, or NOBODY if all are protected.

    In proportion to what is to be scanned of them, by smooth weighted turns; at the last priority
    one after the other, so that a round sees all (shrink_node_memcgs walks all cgroups).
    """
    hs = m.host[0]
    cpu = m.cpu[e]
    ignored = ignores_low(m, e)
    usage, protected = siblings(m)
    in_turn = cpu.fails == DEF_PRIORITY
    best = following = NOBODY
    total = 0
    cpu.lists = cpu.skipped = 0
    for lru in range(hs.groups + 1):
        n = _pages_on(m, lru)
        gr = m.group[lru]
        if n == 0:
            gr.credit = 0
            continue
        low = _protection(m, lru, ignored, usage, protected)
        if low > 0:
            if low >= gr.usage:
                cpu.skipped = 1
                continue
            n = scan_target(n, low, gr.usage, hs.batch)
        cpu.lists += 1
        if lru > cpu.lru and following == NOBODY:
            following = lru
        if in_turn:
            if best == NOBODY:
                best = lru
            continue
        gr.credit += n
        total += n
        if best == NOBODY or gr.credit > m.group[best].credit:
            best = lru
    if best == NOBODY:
        return _lru_with_code(m, ignored, usage, protected)
    if in_turn:
        return following if following != NOBODY else best
    m.group[best].credit -= total
    return best


@kernel
def _lru_with_code(m: Machine, ignored: bool, usage: int, protected: int) -> int:
    # All of memory may be the emulators' code: then its lists are empty.
    for g in range(m.host[0].guests):
        row = group_of(m, g)
        low = _protection(m, row, ignored, usage, protected)
        if m.guest[g].code_resident > 0 and (low == 0 or low < m.group[row].usage):
            return lru_of(m, g)
    return NOBODY


@kernel
def _drop_code(m: Machine, e: int, lru: int) -> int:
    # A batch of the emulators' own code, which is file-backed, unless it was used meanwhile.
    hs = m.host[0]
    if hs.cached_pages == 0:
        return 0
    for g in range(hs.guests):
        gs = m.guest[g]
        if gs.code_resident == 0 or lru_of(m, g) != lru:
            continue
        note_host_scan(m, lru, True, gs.code_resident, gs.code_resident if gs.code_used else 0)
        if gs.code_used:
            gs.code_used = 0
            continue
        n = min(gs.code_resident, hs.batch)
        gs.code_resident -= n
        hs.cached_pages -= n
        hs.free_pages += n
        m.group[group_of(m, g)].usage -= n
        m.cpu[e].freed += n
        return n
    return 0


@kernel
def _deactivate(m: Machine, lru: int, force: bool) -> int:
    # Also when the inactive list is long enough, if pages came back within the workingset's reach
    # since the last batch that brought something: then what is active may not be worth it; and if
    # a whole round found nothing on it: what is pinned may fill it (sc->force_deactivate).
    hs = m.host[0]
    inactive, active = m.lists[host_row(m, lru, 0)], m.lists[host_row(m, lru, 1)]
    gib = _pages_on(m, lru) * hs.page_bytes / 1073741824.0
    gr = m.group[lru]
    low = inactive_is_low(inactive.count, active.count, gib)
    if not force and not low and gr.activated == gr.activated_seen:
        return 0
    n = looks = 0
    while n < hs.batch and active.tail != NOBODY:
        p = active.tail
        host_remove(m, p)
        pages = 1
        if is_host_huge(m, p):
            clear_host_bits(m, block_of(m, p))
            pages = m.block[block_of(m, p)].pages
        clear_refs(m, p)
        for q in range(p, p + pages):
            m.page[q].gflags |= np.uint16(WORKING)
        host_push(m, lru, 0, p)
        n += host_weight(m, p)
        looks += 1 + others(m, p)
    return looks


@kernel
def _look_at_huge(m: Machine, e: int, lru: int, p: int, t: float) -> bool:
    # A huge page at the tail moves if any part of it was used.  Else it is swapped as a whole, all
    # three steps at once, or split: then its pages stand there in order, to be swapped one by one.
    if not is_host_huge(m, p):
        return False
    b = block_of(m, p)
    flags = clear_host_bits(m, b)
    if flags == 0:
        if write_huge(m, b, t):
            _count_huge(m, e, b)
            return True
        split_host(m, b)
        return False
    host_remove(m, p)
    host_push(m, lru, 0 if flags & (H_PINNED | H_BACK) else 1, p)
    return True


@kernel
def _count_huge(m: Machine, e: int, b: int) -> None:
    # What came of a huge page that was swapped.
    bl = m.block[b]
    g = m.page[bl.first].guest
    m.group[group_of(m, g)].scanned += bl.pages
    lru = lru_of(m, g)
    m.group[lru].activated_seen = m.group[lru].activated
    note_host_scan(m, lru, False, bl.pages, 0)
    note_host_cost(m, lru, False, bl.pages)
    if m.page[bl.first].hstate == SWAPPED:  # compressed
        m.cpu[e].freed += bl.pages
    else:
        m.cpu[e].wrote += bl.pages


@kernel
def _huge_s(m: Machine, e: int) -> float:
    # CPU time of huge pages that a batch swapped.
    hs = m.host[0]
    freed = m.cpu[e].freed
    return (freed + m.cpu[e].wrote) * hs.c_reclaim * HUGE_RECLAIM_SHARE + freed * hs.c_zram


@kernel
def check(m: Machine, e: int, group: int, t: float) -> float:
    """Step 1: isolate up to a batch of unreferenced pages; returns its CPU time [s].

    `group` is a cgroup's row, or NOBODY for all lists in proportion to their size.
    """
    hs = m.host[0]
    cpu = m.cpu[e]
    cpu.freed = 0
    cpu.wrote = 0
    cpu.unmapped = 0
    cpu.iso_n = 0
    low = 0
    if group != NOBODY:  # a cgroup has no protection from its own limit
        lru = group
        cpu.lists, cpu.skipped = 1, 0
    else:
        lru = _choose_lru(m, e)
        if lru == NOBODY:
            return hs.c_scan
        ignored = ignores_low(m, e)
        usage, protected = siblings(m)
        low = _protection(m, lru, ignored, usage, protected)
        gr = m.group[lru]
        if ignored and gr.usage <= _protection(m, lru, False, usage, protected):
            gr.low_events += 1
    cpu.lru = lru
    code = takes_code(m, lru, group != NOBODY, cpu.fails)
    dropped = _drop_code(m, e, lru) if code else 0
    if dropped > 0:
        return dropped * hs.c_reclaim
    if code and hs.swappiness != NOBODY and cpu.fails < DEF_PRIORITY:
        return hs.c_scan  # a turn of the files' that brought nothing is none of guest memory's
    moved = _deactivate(m, lru, cpu.rounds > 0)
    cost = moved * hs.c_scan
    row = host_row(m, lru, 0)
    most = scan_target(m.lists[row].count, low, m.group[lru].usage, hs.batch)
    for _ in range(max(hs.batch, most >> max(0, DEF_PRIORITY - cpu.fails))):
        p = m.lists[row].tail
        if p == NOBODY or cpu.iso_n + cpu.freed + cpu.wrote >= hs.batch:
            break
        cost += hs.c_scan
        if checks(m, p):
            cost += hs.c_check
        if _look_at_huge(m, e, lru, p, t):
            continue
        pg = m.page[p]
        m.group[group_of(m, pg.guest)].scanned += 1
        host_remove(m, p)
        flags = flags_of(m, p)
        cost += others(m, p) * hs.c_scan
        if flags & (H_PINNED | H_BACK):
            host_push(m, lru, 0, p)
        elif flags & H_REF:
            note_host_scan(m, lru, False, 1, 1)
            clear_refs(m, p)
            # Until 5.9 one use of anonymous memory was enough, since then it takes two.
            activate = hs.lru_2011 or (pg.gflags & SEEN) != 0
            pg.gflags |= np.uint16(SEEN)
            host_push(m, lru, activate, p)
            if activate:
                m.group[lru].age += np.uint32(1)
        else:
            pg.hflags |= np.uint8(H_ISOLATED)
            m.iso[e, cpu.iso_n] = p
            cpu.iso_n += 1
            note_host_scan(m, lru, False, 1, 0)
    if cpu.iso_n > 0:
        cpu.stage = CHECKED
    return max(cost + _huge_s(m, e), hs.c_scan)


@kernel
def unmap(m: Machine, e: int) -> float:
    """Step 2: unmap the isolated pages that were not used since; returns its CPU time [s]."""
    cpu = m.cpu[e]
    kept = 0
    cost = cpu.iso_n * m.host[0].c_reclaim
    for i in range(cpu.iso_n):
        p = m.iso[e, i]
        cost += others(m, p) * m.host[0].c_scan
        if m.page[p].hstate == FOLLOWS or flags_of(m, p) & (H_REF | H_PINNED):
            _put_back(m, p)
        else:
            unmap_all(m, p)
            m.iso[e, kept] = p
            kept += 1
    cpu.iso_n = cpu.unmapped = kept
    cpu.stage = UNMAPPED
    return cost


@kernel
def _put_back(m: Machine, p: int) -> None:
    pg = m.page[p]
    pg.hflags &= np.uint8(255 - H_ISOLATED)
    if pg.hstate != FOLLOWS:  # else another leads its family now, and is on the list
        map_all(m, p)
    if is_given(m, p):
        drop_page(m, p)
    elif pg.hstate != FOLLOWS:
        host_push(m, lru_of(m, pg.guest), 1, p)


@kernel
def _is_dirty(m: Machine, p: int, was: int) -> bool:
    # Tearing down a mapping of EPT without dirty bits makes the page dirty, also if nobody wrote to
    # it (mmu_spte_clear_track_bits of arch/x86/kvm/mmu.c).
    hs = m.host[0]
    blind = hs.slots_kept and not hs.ept_dirty and was == RESIDENT
    return blind or (m.page[p].hflags & H_DIRTY) != 0


@kernel
def settle(m: Machine, e: int, t: float) -> float:
    """Step 3: look again and discard, drop, write or keep; returns its CPU time [s].

    `cpu.freed` and `cpu.wrote` then say what came of the batch.
    """
    hs = m.host[0]
    cpu = m.cpu[e]
    cost = 0.0
    written = 0
    for i in range(cpu.iso_n):
        p = m.iso[e, i]
        pg = m.page[p]
        g = pg.guest
        pg.hflags &= np.uint8(255 - H_ISOLATED)
        was = pg.hstate
        if was != MERGED:  # its sharers are unmapped still
            pg.hflags &= np.uint8(255 - H_UNMAPPED)
        alone = others(m, p) == 0  # else the frame is the next one's
        if is_given(m, p):
            drop_page(m, p)
            cpu.freed += alone
        elif is_free(m, p):
            discard(m, p)
            cpu.freed += alone
        elif pg.slot != NOBODY and (was == CACHED or not _is_dirty(m, p, was)):
            pg.hstate = SWAPPED
            pg.hflags &= np.uint8(H_KEPT)
            leave_host_shadow(m, p)
            m.guest[g].host_swapped_pages += 1
            give_frame(m, g)
            swapped_out(m, p, was)
            cpu.freed += 1
        elif write_out(m, p, t):
            written += 1
            if pg.hstate == SWAPPED:  # compressed, at once
                cpu.freed += 1
                cost += hs.c_zram
            else:
                cpu.wrote += 1
        else:
            pg.hflags |= np.uint8(H_DIRTY)
            _put_back(m, p)
    if cpu.iso_n > 0 and cpu.freed + cpu.wrote > 0:
        lru = lru_of(m, m.page[m.iso[e, 0]].guest)
        m.group[lru].activated_seen = m.group[lru].activated
        note_host_cost(m, lru, False, written)  # once a batch, as shrink_inactive_list does
    cpu.iso_n = 0
    cpu.stage = IDLE
    return cost


@kernel
def step(m: Machine, e: int, group: int, t: float) -> float:
    """Do the next step of a reclaimer's batch at time t; returns its CPU time [s]."""
    stage = m.cpu[e].stage
    if stage == CHECKED:
        return unmap(m, e)
    if stage == UNMAPPED:
        return settle(m, e, t)
    return check(m, e, group, t)


@kernel
def judge(m: Machine, e: int) -> int:
    """Count a finished batch; returns how many fruitless rounds through all priorities it makes."""
    cpu = m.cpu[e]
    if cpu.freed + cpu.wrote > 0:
        cpu.fails = 0
        cpu.rounds = 0
        cpu.seen = 0
        return 0
    if cpu.fails == DEF_PRIORITY:  # the last one sees all lists
        cpu.seen += 1
        if cpu.seen < cpu.lists:
            return cpu.rounds
    cpu.seen = 0
    cpu.fails += 1
    if cpu.fails > DEF_PRIORITY or (cpu.lists == 0 and cpu.skipped):  # nothing to scan at any
        cpu.fails = 0
        cpu.rounds += 1
    return cpu.rounds


@kernel
def abandon(m: Machine, e: int) -> None:
    """Put back what a reclaimer holds, because its guest is gone."""
    cpu = m.cpu[e]
    for i in range(cpu.iso_n):
        _put_back(m, m.iso[e, i])
    cpu.iso_n = 0
    cpu.stage = IDLE
