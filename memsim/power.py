"""Guests come and go: boot, power-off, and the host's OOM killer."""

import numpy as np

from memsim.account import RESTART
from memsim.blocks import block_of, block_push
from memsim.cpu import make_runnable, unqueue_cpu
from memsim.disk import ZRAM
from memsim.emulator import go_on
from memsim.events import cancel, schedule, tick_entity
from memsim.frames import give_frame, group_of, take_frame
from memsim.free_memory import claim_block, take_page
from memsim.hinting import BITMAP
from memsim.host import drop_page
from memsim.hugepages import back_huge, drop_huge
from memsim.jit import kernel
from memsim.lists import guest_row, host_push, lru_of
from memsim.machine import Machine
from memsim.params import COLLAPSE_EVERY_S
from memsim.quiet import stirred
from memsim.reclaim import abandon
from memsim.restart import detach, go_again, lose_work, new_life
from memsim.sharing import forget, others, part
from memsim.state import (
    COLLAPSER,
    CPU_IDLE,
    CPU_QUEUED,
    DONE,
    FREE,
    G_FILL,
    G_HINT,
    GUEST_LISTS,
    H_BACK,
    H_DIRTY,
    H_EVER,
    H_ISOLATED,
    H_UNMAPPED,
    KERNEL,
    KERNEL_TASKS,
    NEVER,
    NOBODY,
    OFF,
    R_FRAME,
    R_FREE,
    READING,
    RESIDENT,
    SWAP_READ,
    SWAPPED,
    UNBACKED,
)
from memsim.swap import alloc_slot, size_zram
from memsim.touch import enter_phase
from memsim.waits import set_cpu

FRESH, ALL_RESIDENT, RECLAIMED = range(3)  # memsim.spec.Start


@kernel
def power_entity(m: Machine, g: int) -> int:
    """Return the entity of a guest's power switch."""
    return tick_entity(m) + 2 + g


@kernel
def _empty_memory(m: Machine, g: int) -> None:
    # All pages free, in whole blocks, the first block on top.
    gs = m.guest[g]
    for which in range(GUEST_LISTS):
        li = m.lists[guest_row(g, which)]
        li.head = NOBODY
        li.tail = NOBODY
        li.count = 0
    for p in range(gs.page0, gs.page0 + gs.pages):
        pg = m.page[p]
        pg.gstate = FREE
        pg.gflags = np.uint16(G_HINT if gs.hinting == BITMAP else 0)
        pg.glist = 0
        pg.vpn = NOBODY
        if m.host[0].ksm:
            forget(m, p)
    for v in range(gs.vpage0, gs.vpage0 + gs.vpages):
        m.vpage[v].page = NEVER
        m.vpage[v].age = 0
    for i in range(gs.region0, gs.region0 + gs.regions):
        m.region[i].held = m.region[i].place = 0
        m.region[i].mapped = 0
    for s in range(gs.gslot0, gs.gslot0 + gs.gslots):
        m.gslot[s] = NOBODY
    stirred(m, g)
    gs.block_head = gs.block_tail = gs.gone_head = NOBODY
    gs.resize_block = NOBODY
    gs.thp_blocks = gs.both_thp_blocks = 0
    gs.collapse_block = NOBODY
    gs.collapse_hand = gs.vpage0
    gs.collapse_left = gs.compact_considered = gs.compact_shift = 0
    gs.compact_asked = gs.huge_left = gs.collapse_reads = 0
    gs.source_block = NOBODY
    gs.target_block = gs.blocks - 1
    gs.free_blocks = 0
    for b in range(gs.block0 + gs.blocks - 1, gs.block0 - 1, -1):
        bl = m.block[b]
        bl.free = bl.pages
        bl.stuck = bl.isolated = bl.kernel = bl.guest_huge = bl.both_huge = 0
        block_push(m, g, b)
    gs.free_pages = gs.pages
    gs.anon_pages = gs.file_pages = gs.dirty_pages = gs.writeback_pages = 0
    gs.kernel_pages = gs.balloon_pages = gs.swap_used_pages = 0
    gs.gslot_next = 0
    gs.scan_credit = gs.anon_cost = gs.file_cost = 0
    gs.anon_scanned = gs.anon_rotated = gs.file_scanned = gs.file_rotated = 0
    gs.target_pages = gs.goal_pages = NOBODY
    gs.wm_target_low, gs.wm_target_high = gs.wm_low, gs.wm_high
    for k in range(gs.task0, gs.task0 + gs.tasks + KERNEL_TASKS):
        m.task[k].fails = m.task[k].rounds = 0
    gs.stats_time_s = -1.0
    gs.sample_draws = gs.sampled = gs.committed_pages = 0
    gs.active_pages = NOBODY
    gs.active_s = -1.0
    gs.report_active = 0
    gs.report_asked = 1  # what is free from the beginning is to be told of too


@kernel
def _kernel_memory(m: Machine, g: int) -> None:
    gs = m.guest[g]
    for i in range(gs.kernel_spread):
        if (i + 1) * gs.kernel_size // gs.kernel_spread == gs.kernel_pages:
            continue
        pg = m.page[gs.page0 + i]
        take_page(m, gs.page0 + i)
        pg.gstate = KERNEL
        pg.gflags = np.uint16(0)
        gs.kernel_pages += 1
        claim_block(m, block_of(m, gs.page0 + i))


@kernel
def _back(m: Machine, g: int, p: int, huge: bool, t: float) -> None:
    # Start state: the host backs a page, if it has the frame.
    pg = m.page[p]
    if pg.hstate != UNBACKED:
        return
    if huge and back_huge(m, p, t):
        m.guest[g].host_fresh -= 1  # that was no fault
        m.guest[g].host_thp_fault -= 1
        return
    if not take_frame(m, g, t):
        return
    pg.hstate = RESIDENT
    pg.hflags = np.uint8(H_DIRTY | H_EVER)
    host_push(m, lru_of(m, g), 0, p)


@kernel
def _back_up_to(m: Machine, g: int, first: int, n: int, most: int, t: float) -> None:
    for p in range(first, first + n):
        if m.guest[g].resident_pages >= most:
            return
        _back(m, g, p, False, t)


@kernel
def _booted_memory(m: Machine, g: int, most: int, t: float) -> None:
    # What was used to boot and is free since, until so many pages are resident: between those of
    # the kernel, then in whole blocks, evenly, as nobody knows which; then whatever is left.
    gs = m.guest[g]
    _back_up_to(m, g, gs.page0, gs.kernel_spread, most, t)
    b0 = gs.block0 + gs.kernel_spread // m.host[0].block_pages
    blocks = gs.block0 + gs.blocks - b0
    wanted = min(blocks, max(0, most - gs.resident_pages) // m.host[0].block_pages)
    for i in range(blocks):
        if (i + 1) * wanted // blocks > i * wanted // blocks:
            _back_up_to(m, g, m.block[b0 + i].first, m.block[b0 + i].pages, most, t)
    _back_up_to(m, g, gs.page0, gs.pages, most, t)


@kernel
def _start_state(m: Machine, g: int, t: float) -> None:
    hs = m.host[0]
    gs = m.guest[g]
    start = FRESH if gs.rebooting else gs.start  # the start state is that of the first boot
    own = gs.resident_pages  # the emulator's
    for p in range(gs.page0, gs.page0 + gs.pages):
        if m.page[p].gstate == KERNEL or start == ALL_RESIDENT:
            _back(m, g, p, hs.huge_pages != 0 and start != RECLAIMED, t)
        elif start == RECLAIMED and hs.free_pages > hs.min_pages and alloc_slot(m, p) != NOBODY:
            m.page[p].hstate = SWAPPED
            m.page[p].hnext = NOBODY
            m.page[p].hflags = np.uint8(H_EVER)
            gs.host_swapped_pages += 1
            if m.device[hs.swap_device].kind == ZRAM:
                hs.zram_stored += 1
                size_zram(m)
        if m.page[p].gstate == KERNEL and m.page[p].hstate == UNBACKED:
            m.page[p].gflags |= np.uint16(G_FILL)  # no frame was to be had: not written yet
    _booted_memory(m, g, own + gs.booted_pages, t)


@kernel
def _start_emulator(m: Machine, g: int, t: float) -> None:
    # Its own memory comes first; what finds no frame is not written before it is used.
    gs = m.guest[g]
    gs.emulator_hand = 0
    first = gs.page0 + gs.pages
    for p in range(first, first + gs.emulator_pages):
        m.page[p].gflags = np.uint16(0)
        _back(m, g, p, False, t)
        if m.page[p].hstate == UNBACKED:
            m.page[p].gflags |= np.uint16(G_FILL)


@kernel
def _release_code(m: Machine, g: int) -> None:
    gs = m.guest[g]
    m.host[0].free_pages += gs.code_resident
    m.host[0].cached_pages -= gs.code_resident
    m.group[group_of(m, g)].usage -= gs.code_resident
    gs.code_resident = gs.code_read = 0


@kernel
def boot(m: Machine, g: int, t: float) -> None:
    """Switch a guest on; its scripts start after `boot_s`."""
    gs = m.guest[g]
    if gs.state != 0:
        return
    gs.state = 1
    _empty_memory(m, g)
    _kernel_memory(m, g)
    _start_emulator(m, g, t)
    _start_state(m, g, t)
    for k in range(gs.task0, gs.task0 + gs.tasks + KERNEL_TASKS):
        m.task[k].vr = gs.min_vr
    schedule(m, power_entity(m, g), t + gs.boot_s, g)


@kernel
def booted(m: Machine, g: int, t: float) -> None:
    """Begin, or begin again, the scripts of a guest whose boot is over."""
    gs = m.guest[g]
    gs.state = 2
    for i in range(gs.event0, gs.event0 + gs.signals):
        if not gs.rebooting:  # else those that ended gave theirs and will not do so again
            m.signal[i].count = 0
    for k in range(gs.task0, gs.task0 + gs.tasks):
        tk = m.task[k]
        if tk.state == DONE and gs.rebooting:
            continue
        if gs.rebooting:
            m.book[k, RESTART] += max(0.0, t - tk.clock)
            tk.clock = max(tk.clock, t)
        else:
            # A new life; the time that it was off is not part of any.  Who switches a machine
            # off on purpose has no users for it: nobody asks in vain meanwhile.
            lived = 0.0 if np.isnan(tk.started_s) else tk.clock - tk.started_s
            tk.started_s = t - lived
            tk.clock = t
            new_life(m, k)
        enter_phase(m, k, tk.phase0)
        go_again(m, k, t)
    gs.report_at = t + gs.report_every_s
    gs.collapse_at = t + COLLAPSE_EVERY_S
    gs.compact_at = t
    for k in range(gs.task0 + gs.tasks, gs.task0 + gs.tasks + KERNEL_TASKS):
        m.task[k].clock = t
        m.task[k].compacting = 0
        if gs.huge_pages or m.task[k].kind < COLLAPSER:
            make_runnable(m, k, t)
    gs.rebooting = 0
    if gs.stop_s < np.inf:
        schedule(m, power_entity(m, g), max(gs.stop_s, t), g)


@kernel
def _zap_reads(m: Machine, g: int) -> None:
    # Other guests' pages may stand in the window of this guest's read, and its in theirs.
    for r in range(m.host[0].requests):
        rq = m.request[r]
        if rq.state == R_FREE or rq.kind != SWAP_READ:
            continue
        p = rq.head
        rq.head = NOBODY
        while p != NOBODY:
            following = m.page[p].hnext
            if m.page[p].guest != g:
                m.page[p].hnext = rq.head
                rq.head = p
            p = following


@kernel
def _zap_requests(m: Machine, g: int, t: float) -> None:
    for r in range(m.host[0].requests):
        rq = m.request[r]
        if rq.state == R_FREE or rq.guest != g or rq.kind == SWAP_READ:
            continue
        rq.zapped = 1
        if rq.state >= R_FRAME:  # it waits for anything but the device
            cancel(m, m.host[0].cpus + m.host[0].tasks + r)
            go_on(m, r, t)


@kernel
def _drop_isolated(m: Machine, g: int) -> None:
    for e in range(m.host[0].cpus):
        kept = 0
        for i in range(m.cpu[e].iso_n):
            p = m.iso[e, i]
            if m.page[p].guest == g:
                m.page[p].hflags &= np.uint8(255 - H_ISOLATED - H_UNMAPPED)
            else:
                m.iso[e, kept] = p
                kept += 1
        m.cpu[e].iso_n = kept


@kernel
def _release(m: Machine, g: int) -> None:
    # Every frame and slot of the guest's memory and of its emulator's own.
    gs = m.guest[g]
    for b in range(gs.block0, gs.block0 + gs.blocks):
        m.block[b].host_table = 0
        if m.block[b].host_huge:
            drop_huge(m, b)
    for p in range(gs.page0, gs.page0 + gs.pages + gs.emulator_pages):
        pg = m.page[p]
        if pg.hstate == READING:
            give_frame(m, g)
            pg.hstate = SWAPPED
            pg.hnext = NOBODY
            gs.host_swapped_pages += 1
        if others(m, p) > 0:  # they get it, and what is under way
            part(m, p)
            pg.hstate = UNBACKED
        m.host[0].back_pages -= 1 if pg.hflags & H_BACK else 0
        pg.hflags &= np.uint8(255 - H_BACK)
        drop_page(m, p)
        pg.hflags = np.uint8(0)


@kernel
def power_off(m: Machine, g: int, t: float) -> None:
    """Switch a guest off at once: everything it had on the host comes free."""
    gs = m.guest[g]
    if gs.state == 0:
        return
    cancel(m, power_entity(m, g))
    for k in range(gs.task0, gs.task0 + gs.tasks + KERNEL_TASKS):
        if m.task[k].state != OFF and m.task[k].state != DONE:
            detach(m, k, t)
    for e in range(gs.cpu0, gs.cpu0 + gs.vcpus):
        abandon(m, e)
        cancel(m, e)
        if m.cpu[e].state == CPU_QUEUED:
            unqueue_cpu(m, e, t)
        set_cpu(m, e, CPU_IDLE, 0, t)
        m.cpu[e].task = NOBODY
        m.cpu[e].tried = 0
        m.cpu[e].fails = m.cpu[e].rounds = 0
        m.cpu[e].owed = m.cpu[e].stock = m.cpu[e].paying = 0
    _drop_isolated(m, g)
    _zap_reads(m, g)
    _zap_requests(m, g, t)
    _release(m, g)
    _release_code(m, g)
    _empty_memory(m, g)
    gs.free_pages = 0
    gs.state = 0


@kernel
def stop_guest(m: Machine, g: int, t: float) -> None:
    """Switch a guest off as planned; what it lost to a reboot is booked up to here, no more."""
    gs = m.guest[g]
    if gs.rebooting:
        for k in range(gs.task0, gs.task0 + gs.tasks):
            tk = m.task[k]
            if tk.state != DONE:
                m.book[k, RESTART] += max(0.0, t - tk.clock)
                tk.clock = max(tk.clock, t)
        gs.rebooting = 0
    power_off(m, g, t)


@kernel
def kill_guest(m: Machine, g: int, t: float) -> None:
    """Host OOM: the guest is ended, counted, and boots again; its work starts anew."""
    gs = m.guest[g]
    # one that was still booting into a new life has no work to lose
    lost = gs.state == 2 or gs.rebooting != 0
    gs.host_kills += 1
    m.host[0].oom_kills += 1
    gs.rebooting = 1 if lost else 0
    power_off(m, g, t)
    for k in range(gs.task0, gs.task0 + gs.tasks):
        if lost and m.task[k].state != DONE:
            lose_work(m, k)
    boot(m, g, t)


@kernel
def _badness(m: Machine, g: int) -> int:
    # What oom_badness counts of an emulator's process: pages in memory and in swap.
    gs = m.guest[g]
    return gs.code_resident + gs.resident_pages + gs.merged_pages + gs.host_swapped_pages


@kernel
def largest_guest(m: Machine, group: int) -> int:
    """Return the guest with most memory in a cgroup's row, or on the host; the OOM killer's."""
    best, most = NOBODY, -1
    for g in range(m.host[0].guests):
        if m.guest[g].state == 0 or (group != NOBODY and group_of(m, g) != group):
            continue
        if _badness(m, g) > most:
            best, most = g, _badness(m, g)
    return best
