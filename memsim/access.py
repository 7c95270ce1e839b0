"""The slow path of a touch: everything that others can see, in global time order.

`access` is called when a task, on a vCPU with a core, needs something that is not private.  It
does the next thing that can be done at once and says what it costs; called again it goes on from
what the tables say then, so that nothing is remembered but the access itself.
"""

import numpy as np

from memsim.account import (
    BALLOON,
    GUEST_RECLAIM,
    GUEST_SWAP,
    NOMINAL,
    QUEUED,
    THROTTLE,
)
from memsim.backing import BURN, DONE, STOPPED, back_page, host_frame, wait_for_frame
from memsim.blocks import block_of
from memsim.compaction import NO_ROOM
from memsim.content import ZERO, content_of, put, put_image
from memsim.cpu import start_stall, stop_vcpu
from memsim.free_memory import free_block, take_block, wake_kswapd
from memsim.guest import add_anon, add_kernel, alloc_kernel_page, alloc_page
from memsim.guest_lru import mark_accessed
from memsim.guest_readahead import go_on_ahead, plan, read_run, read_swap, read_window
from memsim.guest_swap import free_gslot
from memsim.hinting import BITMAP, on_alloc
from memsim.huge_alloc import DOES_WITHOUT, NOT_TRIED, leave_to_kswapd, make_block
from memsim.hugepages import is_guest_huge, map_huge
from memsim.jit import kernel
from memsim.lists import guest_push, guest_row
from memsim.machine import Machine
from memsim.page_cache import add_file
from memsim.params import (
    CONGESTION_S,
    HINT_TAX,
    RETRY_S,
    SCAN_ROUNDS,
)
from memsim.reclaim import IDLE as NO_BATCH
from memsim.resize import deflate_on_oom
from memsim.restart import kill_largest, stop_running
from memsim.shrink import shrink
from memsim.state import (
    ACTIVE_ANON,
    ACTIVE_FILE,
    EVICTED,
    FILE,
    FREE_VCPU,
    G_AHEAD,
    G_BITS,
    G_DIRTY,
    G_FILL,
    G_HINT,
    G_IO,
    G_KEPT,
    G_REF,
    G_VOID,
    G_WATCHED,
    H_DIRTY,
    H_REF,
    H_WROTE,
    INACTIVE_ANON,
    INACTIVE_FILE,
    NEVER,
    NOBODY,
    OF_TASK,
    R_FREE,
    RESIDENT,
    SWAPPED_BASE,
)
from memsim.touch import APPEND, LOOP, READ, SEQUENTIAL, WRITE
from memsim.waits import begin_io_wait
from memsim.writeback import flush_excess, too_dirty

_DEFER, _ALWAYS = 1, 2  # memsim.spec.Defrag
_SKIPPED = 8  # beside what `backing` and `compaction` say: there is to be no page
_ANON, _FILE, _KERNEL = range(3)  # memsim.spec.RegionKind


@kernel
def _wait_for_disk(m: Machine, e: int, k: int, r: int, t: float) -> None:
    stop_running(m, k, t)
    stop_vcpu(m, e, k, FREE_VCPU, 0, t)
    begin_io_wait(m, k, r, t)
    if m.request[r].cls != NOMINAL:
        start_stall(m, k, OF_TASK, t)


@kernel
def _wait_for_request(m: Machine, e: int, k: int, t: float) -> int:
    # All requests are in use: it waits for the one that was taken first, whatever that is for.
    hs = m.host[0]
    r = hs.request_next
    while m.request[r].state == R_FREE:
        r = r + 1 if r + 1 < hs.requests else 0
    cls = m.request[r].cls
    cls = QUEUED if cls == NOMINAL else cls
    wait_for_frame(m, e, k, FREE_VCPU, cls, RETRY_S, t)
    return cls


@kernel
def _hopeless(m: Machine, g: int) -> bool:
    # Not even all that could be reclaimed would lift free memory above the min watermark.
    gs = m.guest[g]
    pages = m.lists[guest_row(g, INACTIVE_FILE)].count + m.lists[guest_row(g, ACTIVE_FILE)].count
    if gs.swap_used_pages < gs.gslots:
        pages += m.lists[guest_row(g, INACTIVE_ANON)].count
        pages += m.lists[guest_row(g, ACTIVE_ANON)].count
    return gs.free_pages + pages <= gs.wm_min


@kernel
def guest_reclaim(m: Machine, e: int, k: int, t: float) -> tuple[int, float, int]:
    """Reclaim directly in the guest, because free memory is down to the min watermark.

    A round through all priorities that brings nothing is followed by the next one at once, up to
    16, none if there is too little to reclaim (should_reclaim_retry); then it is out of memory.
    Only write-back under way makes the task wait.
    """
    tk = m.task[k]
    gs = m.guest[tk.guest]
    gs.alloc_stalls += tk.fails == 0  # one for all priorities of a call to try_to_free_pages
    cost, freed, _ = shrink(m, k, t)
    if freed > 0 or tk.fails > 0:
        return BURN, cost, GUEST_RECLAIM
    if gs.writeback_pages > 0:
        wait_for_frame(m, e, k, FREE_VCPU, GUEST_RECLAIM, CONGESTION_S, t)
        return STOPPED, 0.0, GUEST_RECLAIM
    if tk.rounds <= SCAN_ROUNDS and not _hopeless(m, tk.guest):
        return BURN, cost, GUEST_RECLAIM
    tk.rounds = 0
    deflating = deflate_on_oom(m, tk.guest)
    if deflating > 0.0:
        return BURN, cost + deflating, BALLOON  # the last scan is small beside it
    kill_largest(m, tk.guest, t)
    if m.cpu[e].task != k:  # it was the largest itself
        return STOPPED, 0.0, GUEST_RECLAIM
    wait_for_frame(m, e, k, FREE_VCPU, GUEST_RECLAIM, CONGESTION_S, t)
    return STOPPED, 0.0, GUEST_RECLAIM


@kernel
def _scattered(ph: np.record) -> bool:
    pattern = ph.pattern
    return not (pattern == SEQUENTIAL or pattern == LOOP or pattern == APPEND)


@kernel
def _huge_part(m: Machine, k: int, v: int) -> int:
    # The first virtual page of the part of a region that a huge page could map, if none of it is
    # mapped yet, else NOBODY.
    rg = m.region[m.phase[m.task[k].phase].region]
    pages = m.host[0].block_pages
    first = v - (v - rg.vpage0) % pages
    if rg.kind != _ANON or first + pages > rg.vpage0 + rg.pages:
        return NOBODY
    for i in range(first, first + pages):
        if m.vpage[i].page != NEVER:
            return NOBODY
    return first


@kernel
def _touch_huge(m: Machine, e: int, k: int, v: int, t: float) -> tuple[int, float, int]:
    # Map a huge page for the first touch of v, if there is or can be made a free block for it;
    # else NO_ROOM.
    tk = m.task[k]
    g = tk.guest
    gs = m.guest[g]
    first = _huge_part(m, k, v)
    if first == NOBODY or tk.compacting == DOES_WITHOUT:
        return NO_ROOM, 0.0, NOMINAL
    if gs.defrag != _ALWAYS and free_block(m, g) == NOBODY:
        if gs.defrag == _DEFER:
            leave_to_kswapd(m, g, t)
        tk.compacting = DOES_WITHOUT
    what, cost, cls = make_block(m, e, k, t)
    if what == NO_ROOM:
        gs.thp_fault_fallback += 1
        return NO_ROOM, 0.0, NOMINAL
    if what != DONE:
        return what, cost, cls
    b = free_block(m, g)
    take_block(m, b)
    map_huge(m, g, b, first)
    gs.thp_fault_alloc += 1
    gs.guest_minor += 1
    if gs.free_pages < gs.wm_target_low:
        wake_kswapd(m, g, t)
    return DONE, 0.0, NOMINAL


@kernel
def _fill_huge(m: Machine, e: int, k: int, b: int, t: float) -> tuple[int, float, int]:
    # Clear the pages of a huge page that was just mapped, one after the other; any may be swapped
    # or unbacked.
    hs = m.host[0]
    bl = m.block[b]
    each = hs.c_gfault_huge if bl.host_huge else hs.c_gfault
    if m.guest[m.task[k].guest].hinting == BITMAP:
        each *= 1.0 + HINT_TAX
    cost = 0.0
    while bl.filled < bl.pages:
        p = bl.first + bl.filled
        if cost > 0.0 and m.page[p].hstate != RESIDENT:  # what was done is paid before it waits
            return BURN, cost, NOMINAL
        what, more, cls = back_page(m, e, k, p, True, True, False, t)
        if what != DONE:
            return what, cost + more, cls
        if more > 0.0:  # there now, and filled when that time has passed
            return BURN, cost + more, cls
        on_alloc(m, p)
        m.page[p].gflags &= np.uint16(G_BITS - G_FILL - G_VOID - G_WATCHED)
        m.page[p].hflags |= np.uint8(H_REF | H_DIRTY)
        put(m, p, ZERO)
        bl.filled += 1
        cost += each
    return DONE, cost, NOMINAL


@kernel
def _skip_part(m: Machine, k: int, v: int) -> int:
    # Of the part that a huge page would have mapped, this is the last access.
    tk = m.task[k]
    rg = m.region[m.phase[tk.phase].region]
    pages = m.host[0].block_pages
    end = v - (v - rg.vpage0) % pages + pages
    rest = min(end, rg.vpage0 + rg.pages) - v - 1
    tk.cursor += rest
    tk.phase_n += rest
    return _SKIPPED


@kernel
def _first_touch(m: Machine, e: int, k: int, v: int, t: float) -> tuple[int, float, int]:
    # A page of anonymous or kernel memory that has none yet.
    g = m.task[k].guest
    m.region[m.phase[m.task[k].phase].region].mapped = 1
    if m.guest[g].huge_pages:
        what, cost, cls = _touch_huge(m, e, k, v, t)
        if what != NO_ROOM:
            return what, cost, cls
    if m.phase[m.task[k].phase].huge_only:
        return _skip_part(m, k, v), m.host[0].c_gfault, NOMINAL
    own = m.region[m.phase[m.task[k].phase].region].kind == _KERNEL
    p = alloc_kernel_page(m, g, t) if own else alloc_page(m, g, t)
    if p == NOBODY:
        return guest_reclaim(m, e, k, t)
    if own:
        add_kernel(m, g, p, v)
    else:
        add_anon(m, g, p, v)
    gs = m.guest[g]
    gs.guest_minor += 1
    tax = 1.0 + HINT_TAX if gs.hinting == BITMAP else 1.0
    return DONE, m.host[0].c_gfault * tax, NOMINAL


@kernel
def _swap_in(m: Machine, e: int, k: int, v: int, t: float) -> tuple[int, float, int]:
    # A page in the guest's own swap.
    g = m.task[k].guest
    r, memory = read_swap(m, g, v, _scattered(m.phase[m.task[k].phase]), t)
    if r == NOBODY and memory:
        return guest_reclaim(m, e, k, t)
    if r == NOBODY:
        return STOPPED, 0.0, _wait_for_request(m, e, k, t)
    m.guest[g].guest_major += 1
    _wait_for_disk(m, e, k, r, t)
    return STOPPED, 0.0, GUEST_SWAP


@kernel
def _write_new(m: Machine, e: int, k: int, v: int, t: float) -> tuple[int, float, int]:
    # A file page that is overwritten as a whole needs no read.
    g = m.task[k].guest
    p = alloc_page(m, g, t)
    if p == NOBODY:
        return guest_reclaim(m, e, k, t)
    add_file(m, g, p, v, m.vpage[v].page == EVICTED)
    m.page[p].gflags = np.uint16((m.page[p].gflags & G_KEPT) | G_FILL)
    guest_push(m, g, INACTIVE_FILE, p)
    return DONE, m.host[0].c_gfault, NOMINAL


@kernel
def _read_file(m: Machine, e: int, k: int, v: int, t: float) -> tuple[int, float, int]:
    # A file page that is not cached: read it, and what readahead adds if the pattern is in order.
    tk = m.task[k]
    ph = m.phase[tk.phase]
    sub = m.host[0].sub
    if _scattered(ph):
        _, n = read_run(m, k, v, 1, True, t)
    else:
        plan(ph, (v - m.region[ph.region].vpage0) * int(sub), int(sub), -1)
        read_window(m, k, t)
        n = m.vpage[v].page >= 0
        if not n:  # where the mark was but for an eviction: the window lies behind it
            _, n = read_run(m, k, v, 1, False, t)
    if n == 0:
        if m.guest[tk.guest].free_pages <= m.guest[tk.guest].wm_min:
            return guest_reclaim(m, e, k, t)
        return STOPPED, 0.0, _wait_for_request(m, e, k, t)
    m.guest[tk.guest].guest_major += 1
    m.guest[tk.guest].missed_reads += ph.op == READ
    r = m.page[m.vpage[v].page].gprev
    _wait_for_disk(m, e, k, r, t)
    return STOPPED, 0.0, m.request[r].cls


@kernel
def _throttle(m: Machine, e: int, k: int, t: float) -> bool:
    """Let a writer wait before it makes one more page dirty than there may be.

    The wait is throttling, which section 2 of the model lists as lost: not nominal, which is
    reading new data and the task's own CPU, and not queued, for no other's work holds anything.
    The limit is a share of the guest's memory, so that it shrinks with its size.
    """
    tk = m.task[k]
    p = m.vpage[tk.cur].page
    if not tk.store or m.region[m.phase[tk.phase].region].kind != _FILE:
        return False
    if (p >= 0 and m.page[p].gflags & G_DIRTY) or not too_dirty(m, tk.guest, t):
        return False
    wait_for_frame(m, e, k, FREE_VCPU, THROTTLE, CONGESTION_S, t)
    return True


@kernel
def _guest_side(m: Machine, e: int, k: int, v: int, t: float) -> tuple[int, float, int]:
    # Give virtual page v a guest page.
    tk = m.task[k]
    ph = m.phase[tk.phase]
    where = m.vpage[v].page
    if m.region[ph.region].kind != _FILE:
        if where <= SWAPPED_BASE:
            return _swap_in(m, e, k, v, t)
        return _first_touch(m, e, k, v, t)
    if ph.op == WRITE:
        return _write_new(m, e, k, v, t)
    return _read_file(m, e, k, v, t)


@kernel
def _set_content(m: Machine, k: int, p: int) -> None:
    # The guest's kernel fills a page with zeros, and the first store to it puts there what its
    # program begins with; what a program writes to a file is like nothing else.
    tk = m.task[k]
    ph = m.phase[tk.phase]
    if not tk.store:
        put(m, p, ZERO)
    elif m.page[p].gstate == FILE:
        put_image(m, p, NOBODY)
    else:
        put_image(m, p, ph.image + tk.cur - m.region[ph.region].vpage0)


@kernel
def _finish(m: Machine, k: int, p: int, t: float) -> None:
    # The page is there: what the access does to it.
    tk = m.task[k]
    ph = m.phase[tk.phase]
    pg = m.page[p]
    gs = m.guest[tk.guest]
    filled = (pg.gflags & G_FILL) != 0
    if pg.gflags & G_HINT:  # it was touched while the bit was set: now the bit may go
        on_alloc(m, p)
    pg.gflags &= np.uint16(G_BITS - G_FILL - G_VOID - G_WATCHED)
    pg.hflags |= np.uint8(H_REF)
    if tk.store or filled:
        pg.hflags |= np.uint8(H_DIRTY)
        if filled or content_of(m, p) == ZERO:
            _set_content(m, k, p)
        elif tk.store:
            pg.hflags |= np.uint8(H_WROTE)
        if pg.gstate == FILE and tk.store and not pg.gflags & G_DIRTY:
            pg.gflags |= np.uint16(G_DIRTY)
            gs.dirty_pages += 1
            flush_excess(m, tk.guest, t)
    if ph.op == READ or ph.op == WRITE:
        mark_accessed(m, tk.guest, p)
    else:
        pg.gflags |= np.uint16(G_REF)
        if gs.lru_exact:
            mark_accessed(m, tk.guest, p)


@kernel
def _end_access(m: Machine, k: int) -> None:
    m.task[k].pending = 0
    m.task[k].compacting = NOT_TRIED


@kernel
def _found_ahead(m: Machine, k: int, v: int, t: float) -> float:
    # Readahead left a mark on the page: on every one that it read from swap, and in files where it
    # is to go on.  Returns the time that this takes.
    tk = m.task[k]
    pg = m.page[m.vpage[v].page]
    if pg.gstate == FILE:
        pg.gflags &= np.uint16(G_BITS - G_AHEAD)
        if not _scattered(m.phase[tk.phase]):
            go_on_ahead(m, k, v, t)
        return 0.0
    if pg.gflags & G_IO:
        return 0.0  # found when it is there
    pg.gflags &= np.uint16(G_BITS - G_AHEAD)
    free_gslot(m, tk.guest, m.guest[tk.guest].gslot0 + m.vpage[v].age)
    m.guest[tk.guest].swap_ra_hits += 1
    m.guest[tk.guest].guest_minor += 1
    return m.host[0].c_gfault


@kernel
def access(m: Machine, e: int, k: int, t: float) -> tuple[int, float, int]:
    """Go on with a task's pending access at time t.

    Returns:
        (what became of it, CPU seconds, class of that time): DONE, the access is complete but
        for its nominal cost; BURN, call again after that time; STOPPED, the task waits and its
        vCPU was dealt with; KILL_GUEST, the host is out of memory.
    """
    tk = m.task[k]
    v = tk.cur
    cost = 0.0
    cls = NOMINAL
    if m.cpu[e].stage != NO_BATCH:
        return host_frame(m, e, k, t)
    if _throttle(m, e, k, t):
        return STOPPED, 0.0, THROTTLE
    if m.vpage[v].page < 0:
        what, cost, cls = _guest_side(m, e, k, v, t)
        if what == _SKIPPED:
            _end_access(m, k)
            return DONE, cost, cls
        if what != DONE:
            return what, cost, cls
    p = m.vpage[v].page
    if m.page[p].gflags & G_AHEAD:
        cost += _found_ahead(m, k, v, t)
    if m.page[p].gflags & G_IO:
        _wait_for_disk(m, e, k, m.page[p].gprev, t)
        return STOPPED, 0.0, NOMINAL
    if is_guest_huge(m, p) and m.block[block_of(m, p)].filled < m.host[0].block_pages:
        what, cost, cls = _fill_huge(m, e, k, block_of(m, p), t)
        if what != DONE:
            return what, cost, cls
    ph = m.phase[tk.phase]
    in_kernel = ph.kernel or ph.op == READ or ph.op == WRITE or (m.page[p].gflags & G_FILL) != 0
    store = tk.store or (m.page[p].gflags & G_FILL) != 0
    gs = m.guest[tk.guest]
    major, fills = gs.host_major, m.page[p].gflags & G_FILL
    what, more, why = back_page(m, e, k, p, store, in_kernel, _scattered(ph), t)
    if ph.op == WRITE and not fills:  # write(2) of a whole page: what is read in is overwritten
        gs.false_reads += gs.host_major - major
    if what != DONE:
        # Guest time spent so far is small beside it and goes with it.
        return what, cost + more, why
    if m.page[p].gflags & G_WATCHED and more == 0.0:  # it faults to be seen
        more, why = m.host[0].c_map, NOMINAL
    _finish(m, k, p, t)
    _end_access(m, k)
    return DONE, cost + more, why if more > 0.0 else cls
