"""The emulator's I/O threads: virtual disk requests, whose DMA needs resident guest pages.

Its faults are the host's own: they wait for swap like any, and are never asynchronous for the
guest (stale reads, as VSwapper calls them).  It reclaims nothing itself but wakes those who do.
What it charges above `memory.high` it pays for as vCPUs do (`throttle`), on its return from the
system call that did the I/O: its pages are free again, but the guest learns of the end later.

Beside the guest's memory it needs its code, which is a file, and its own memory, which is
anonymous and swapped like the guest's.  Of that a part is in use all the time, a page of it in turn
by each request, all of it by the main loop (`background`), which fetches what is away as a request
without a device; the rest was when it started.
"""

import numpy as np

from memsim.account import HOST_SWAP, NOMINAL
from memsim.content import put_image
from memsim.cpu import first_thread, wake_thread
from memsim.disk import end_share, free_request, new_request, serve, submit, unloaded_s
from memsim.events import request_entity, schedule
from memsim.frames import group_of, limiter, over_limit
from memsim.guest import finish_disk_read, finish_disk_write, request_page
from memsim.hinting import on_alloc
from memsim.host import NEED_FRAME, NEED_READ, NOW, fault, finish_read, finish_write, read_of
from memsim.host_balance import note_host_cost, note_host_scan
from memsim.in_use import is_away, page_in_use, places
from memsim.jit import kernel
from memsim.lists import lru_of
from memsim.machine import Machine
from memsim.params import CONGESTION_S, RETRY_S, SCAN_ROUNDS
from memsim.pressure import group_stall, is_stall
from memsim.sharing import is_shared
from memsim.state import (
    CODE_READ,
    DISK_READ,
    DISK_WRITE,
    G_BITS,
    G_FILL,
    H_DIRTY,
    H_PINNED,
    H_REF,
    H_UNMAPPED,
    NOBODY,
    R_CODE,
    R_EMULATOR,
    R_FRAME,
    R_PAGE,
    R_QUEUED,
    R_SERVED,
    R_THROTTLED,
    SWAP_READ,
    SWAP_WRITE,
    SWAPPED,
    UNBACKED,
    UPKEEP,
)
from memsim.throttle import PAID, RECLAIMS, worker_charged, worker_returns
from memsim.waits import book_waiters


@kernel
def _next_page(m: Machine, r: int) -> int:
    # The page that a request needs next: of the emulator's own memory, then of the guest's.
    rq = m.request[r]
    if rq.kind == UPKEEP:
        return page_in_use(m, rq.guest, rq.cursor)
    if rq.worked:
        return request_page(m, r, rq.cursor)
    gs = m.guest[rq.guest]
    return int(gs.page0 + gs.pages + gs.emulator_hand)


@kernel
def _set_state(m: Machine, r: int, state: int, t: float) -> None:
    book_waiters(m, r, t)
    rq = m.request[r]
    was = rq.state == R_PAGE or rq.state == R_FRAME
    now = state == R_PAGE or state == R_FRAME
    if was != now:
        m.host[0].page_waiters += 1 if now else -1
    stalls = state == R_FRAME or state == R_THROTTLED
    if state == R_PAGE:
        stalls = is_stall(m, _next_page(m, r))
    if stalls != rq.stalls:
        group_stall(m, rq.guest, 1 if stalls else -1, t)
        rq.stalls = stalls
    rq.state = state
    if state != R_FRAME:
        rq.asked = NOBODY


@kernel
def _await_lock(m: Machine, r: int, t: float) -> None:
    # A reclaimer holds the page for a moment, or no request is to be had.
    _set_state(m, r, R_FRAME, t)
    m.request[r].asked = NOBODY
    schedule(m, request_entity(m, r), t + RETRY_S, m.request[r].guest)


@kernel
def _unpin(m: Machine, r: int) -> None:
    rq = m.request[r]
    if rq.kind == UPKEEP:  # what it fetched is only referred to
        return
    for i in range(rq.cursor):
        m.page[request_page(m, r, i)].hflags &= np.uint8(255 - H_PINNED)
    rq.cursor = 0


@kernel
def _has_turn(m: Machine, r: int) -> bool:
    # If all requests that wait for frames kept the pages that they have, nothing might be left to
    # reclaim for any of them.  So one of a guest keeps them; the others begin anew after it.
    first = m.guest[m.request[r].guest].io_first
    return first == NOBODY or first == r


@kernel
def _await_turn(m: Machine, r: int, t: float) -> None:
    _unpin(m, r)
    _set_state(m, r, R_FRAME, t)
    m.request[r].asked = NOBODY
    schedule(m, request_entity(m, r), t + CONGESTION_S, m.request[r].guest)


@kernel
def _end_turn(m: Machine, r: int, t: float) -> None:
    g = m.request[r].guest
    if m.guest[g].io_first != r:
        return
    m.guest[g].io_first = NOBODY
    for i in range(m.host[0].requests):
        if m.request[i].state == R_FRAME and m.request[i].guest == g:
            schedule(m, request_entity(m, i), t, g)


@kernel
def _await_frame(m: Machine, r: int, t: float) -> None:
    # A host thread reclaims for it.
    rq = m.request[r]
    g = rq.guest
    m.guest[g].io_first = r
    e = limiter(m, g) if over_limit(m, g) else first_thread(m)
    if rq.asked == NOBODY or rq.parent != e:
        rq.parent = e
        rq.asked = m.cpu[e].gave_up
    wake_thread(m, e, t)
    _set_state(m, r, R_FRAME, t)
    schedule(m, request_entity(m, r), t + CONGESTION_S, g)


@kernel
def _dma_goes_on(m: Machine) -> bool:
    for r in range(m.host[0].requests):
        rq = m.request[r]
        at_device = rq.state == R_QUEUED or rq.state == R_SERVED
        if at_device and (rq.kind == DISK_READ or rq.kind == DISK_WRITE):
            return True
    return False


@kernel
def in_vain(m: Machine, r: int) -> bool:
    """Tell whether a request waits for a frame and who reclaims for it has given up meanwhile.

    Where DMA that is under way holds pages it may do so a few times.
    """
    rq = m.request[r]
    if rq.state != R_FRAME or rq.asked == NOBODY:
        return False
    fruitless = m.cpu[rq.parent].gave_up - rq.asked
    return fruitless > (SCAN_ROUNDS if fruitless > 0 and _dma_goes_on(m) else 0)


@kernel
def _read_code(m: Machine, r: int, t: float) -> bool:
    # Make the emulator's own code resident; False if the request has to wait for that.
    hs = m.host[0]
    gs = m.guest[m.request[r].guest]
    gs.code_used = 1
    missing = gs.code_pages - gs.code_resident
    if missing <= 0 or m.request[r].coded:
        return True
    gr = m.group[group_of(m, m.request[r].guest)]
    room = hs.free_pages - hs.min_pages
    if gr.max != NOBODY:
        room = min(room, gr.max - gr.usage)
    missing = min(missing, room)
    if not _has_turn(m, r):
        _await_turn(m, r, t)
        return False
    if missing <= 0:
        _await_frame(m, r, t)
        return False
    # What was never read before is nominal, as any data.
    cls = NOMINAL if gs.code_read + missing <= gs.code_pages else HOST_SWAP
    c = new_request(m, CODE_READ, gs.disk, m.request[r].guest, cls)
    if c == NOBODY:
        _await_lock(m, r, t)
        return False
    hs.free_pages -= missing
    hs.cached_pages += missing
    gr.usage += missing
    worker_charged(m, r, missing)
    gs.code_resident += missing
    if cls == NOMINAL:
        gs.code_read += missing
    else:
        note_host_cost(m, lru_of(m, m.request[r].guest), True, missing)
    note_host_scan(m, lru_of(m, m.request[r].guest), True, missing, missing)
    rc = m.request[c]
    rc.parent = r
    rc.count = 0
    rc.bytes = float(missing * hs.page_bytes)
    rc.nominal_s = unloaded_s(m, gs.disk, rc.ops, rc.bytes, False)
    _set_state(m, r, R_CODE, t)
    rq = m.request[r]
    rq.coded = 1
    rq.parent = c
    rq.why = cls
    rq.from_s = t + rc.nominal_s
    submit(m, c, t)
    return False


@kernel
def _pin(m: Machine, r: int, p: int) -> None:
    # The next page of a request is there, and stays until the device is done with it.
    rq = m.request[r]
    pg = m.page[p]
    on_alloc(m, p)
    pg.hflags |= np.uint8(H_PINNED | H_REF)
    if rq.kind == DISK_READ:
        pg.hflags |= np.uint8(H_DIRTY)
        put_image(m, p, NOBODY if rq.swap else rq.head + rq.cursor)
    rq.cursor += 1
    rq.asked = NOBODY


@kernel
def _use_own(m: Machine, r: int, p: int) -> None:
    # The page of the emulator's own memory is there: the next request takes the next one.
    m.page[p].hflags |= np.uint8(H_REF | H_DIRTY)
    m.page[p].gflags &= np.uint16(G_BITS - G_FILL)
    m.request[r].worked = 1
    m.request[r].asked = NOBODY
    gs = m.guest[m.request[r].guest]
    gs.emulator_hand = gs.emulator_hand + 1 if gs.emulator_hand + 1 < gs.emulator_used else 0


@kernel
def _pays(m: Machine, r: int, t: float) -> bool:
    # True as long as what was charged above memory.high is not paid for.
    what, seconds = worker_returns(m, r, t)
    if what == PAID:
        return False
    _set_state(m, r, R_FRAME if what == RECLAIMS else R_THROTTLED, t)
    m.request[r].asked = NOBODY
    schedule(m, request_entity(m, r), t + seconds, m.request[r].guest)
    return True


@kernel
def _drop(m: Machine, r: int, t: float) -> None:
    # The end of a request that no device has.
    _set_state(m, r, R_EMULATOR, t)
    _end_turn(m, r, t)
    if m.request[r].kind == UPKEEP:
        m.guest[m.request[r].guest].upkeep = NOBODY
    free_request(m, r)


@kernel
def go_on(m: Machine, r: int, t: float) -> bool:
    """Let the emulator go on with a disk request: code, its own memory, each page, the device.

    True: the device was done before, and its worker has paid; what waited for it can go on.
    """
    rq = m.request[r]
    if rq.zapped:
        _drop(m, r, t)
        return False
    if rq.kind == UPKEEP:
        if _has_pages(m, r, t) and not _pays(m, r, t):
            _drop(m, r, t)
        return False
    if rq.returned:
        if _pays(m, r, t):
            return False
        _set_state(m, r, R_EMULATOR, t)  # nobody stalls for it any more
        return True
    if _read_code(m, r, t) and _has_pages(m, r, t):
        _end_turn(m, r, t)
        _set_state(m, r, R_EMULATOR, t)
        submit(m, r, t)
    return False


@kernel
def _has_pages(m: Machine, r: int, t: float) -> bool:
    # Make all that a request needs resident; False if it has to wait for some of that.
    rq = m.request[r]
    row = group_of(m, rq.guest)
    rq.worked |= m.guest[rq.guest].emulator_used == 0
    while not rq.worked or rq.cursor < rq.count:
        p = _next_page(m, r)
        if rq.kind == UPKEEP and (p == NOBODY or not is_away(m, p)):
            rq.cursor += 1
            continue
        store = not rq.worked or rq.kind == DISK_READ
        state = m.page[p].hstate
        framed = state != UNBACKED and state != SWAPPED
        if is_shared(m, p):
            framed &= not store and not m.page[p].hflags & H_UNMAPPED
        if not framed and not _has_turn(m, r):
            _await_turn(m, r, t)
            return False
        # A request of many positionings stands for many small ones: so do its faults.
        charged = m.group[row].charged
        need, cost, cls = fault(m, p, store, rq.ops > 1.0, t)
        worker_charged(m, r, m.group[row].charged - charged)
        if need == NEED_READ:
            _set_state(m, r, R_PAGE, t)
            rq.parent = read_of(m, p)
            return False
        if need == NEED_FRAME:
            _await_frame(m, r, t)
            return False
        if need != NOW:
            _await_lock(m, r, t)
            return False
        if rq.kind == UPKEEP:
            m.page[p].hflags |= np.uint8(H_REF)
            rq.cursor += 1
            rq.asked = NOBODY
        elif rq.worked:
            _pin(m, r, p)
        else:
            _use_own(m, r, p)
        if cost > 0.0:
            _set_state(m, r, R_EMULATOR, t)
            rq.why = cls
            schedule(m, request_entity(m, r), t + cost, rq.guest)
            return False
    return True


@kernel
def returns(m: Machine, r: int, t: float) -> bool:
    """Note that a device is done with a request; False if its worker has to pay before all else.

    mem_cgroup_handle_over_high is called on the return to user mode (tracehook_notify_resume of
    include/linux/tracehook.h, 5.13): after the I/O, before the worker tells anybody of it.
    """
    rq = m.request[r]
    rq.returned = 1
    if rq.zapped or (rq.kind != DISK_READ and rq.kind != DISK_WRITE):
        return True
    _unpin(m, r)
    return not _pays(m, r, t)


@kernel
def start_io(m: Machine, r: int, ops: float, contiguous: bool, t: float) -> None:
    """Hand a new disk request, with so many positionings, to the emulator."""
    rq = m.request[r]
    rq.state = R_EMULATOR
    rq.ops = ops
    rq.nominal_s = unloaded_s(m, rq.device, rq.ops, rq.bytes, contiguous)
    go_on(m, r, t)


@kernel
def start_upkeep(m: Machine, r: int, t: float) -> None:
    """Hand the main loop what is to be fetched of what is always in use."""
    rq = m.request[r]
    rq.state = R_EMULATOR
    rq.ops = 1.0
    rq.worked = 1
    rq.count = places(m, rq.guest)
    go_on(m, r, t)


@kernel
def retry_frames(m: Machine, t: float) -> None:
    """Let emulators that wait for a frame look again, as many as there are frames to be had."""
    hs = m.host[0]
    room = hs.free_pages - hs.min_pages
    for r in range(hs.requests):
        if room <= 0:
            return
        rq = m.request[r]
        if rq.state == R_FRAME and not rq.returned and not over_limit(m, rq.guest):
            schedule(m, request_entity(m, r), t, rq.guest)
            room -= 1


@kernel
def _retry_page(m: Machine, read: int, t: float) -> None:
    if m.host[0].page_waiters == 0:
        return
    for r in range(m.host[0].requests):
        if m.request[r].state == R_PAGE and m.request[r].parent == read:
            schedule(m, request_entity(m, r), t, m.request[r].guest)


@kernel
def finish(m: Machine, r: int, t: float) -> int:
    """Do what the end of a request means; returns how many host frames came free.

    The tasks that waited for it are still to be woken, then it is still to be freed.
    """
    rq = m.request[r]
    freed = 0
    if rq.kind == SWAP_READ:
        finish_read(m, r)
        _retry_page(m, r, t)
    elif rq.kind == SWAP_WRITE:
        freed = finish_write(m, r)
    elif rq.kind == CODE_READ:
        if not rq.zapped and m.request[rq.parent].state == R_CODE:
            schedule(m, request_entity(m, rq.parent), t, rq.guest)
    elif rq.zapped:
        return freed
    elif rq.kind == DISK_WRITE:
        finish_disk_write(m, r)
    else:
        finish_disk_read(m, r)
    return freed


@kernel
def share_done(m: Machine, r: int, t: float) -> bool:
    """End a share at its device and start the next one there; True if the request is done."""
    d = m.request[r].device
    done = end_share(m, r, t)
    if done:
        serve(m, d, t)
    return done
