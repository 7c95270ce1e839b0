"""What a task does by itself: its script, up to the next thing that others can see.

A touch that hits at both levels only sets bits and lets time pass, so a task runs ahead through
such touches by at most one tick of its own time.  `run` is the seam for faster ways to do the
same: it alone knows how a stretch of private touches is executed.
"""

from math import log

import numpy as np

from memsim import quiet
from memsim.account import IDLE, NOMINAL, TLB
from memsim.guest_lru import mark_accessed
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.rng import below, below_low, draw, remainder, uniform
from memsim.state import (
    FILE,
    G_DIRTY,
    G_HUGE,
    G_REF,
    G_SLOW,
    H_DIRTY,
    H_REF,
    H_UNMAPPED,
    H_WROTE,
    MERGED,
    NOBODY,
    RESIDENT,
)
from memsim.waits import book_time

# Op, Pattern (memsim.spec) as plain numbers, which kernels like better.
TOUCH, READ, WRITE, COMPUTE, ALLOCATE, FREE, HINT_FREE, DROP_CACHES = range(8)
SLEEP, WAIT, SIGNAL, EXIT, REPEAT, FOLLOW = range(8, 14)
UNIFORM, ZIPF, SEQUENTIAL, LOOP, STREAM, APPEND = range(6)

# How a stretch ends.
SLICE, SHARED, PAUSE, NEXT = range(4)

_OPEN = np.uint64(1) << np.uint64(62)  # draws of open-loop phases, keyed by arrival


@kernel
def curve_at(m: Machine, c: int, t: float) -> float:
    """Value of a curve at time t: linear between its points, constant outside."""
    cv = m.curve[c]
    first, last = cv.first, cv.first + cv.points - 1
    i = cv.at
    while i < last and m.point[i + 1].t <= t:
        i += 1
    while i > first and m.point[i].t > t:
        i -= 1
    cv.at = i
    if i == last or m.point[i].t > t:
        return m.point[i].v
    a, b = m.point[i], m.point[i + 1]
    return a.v + (b.v - a.v) * (t - a.t) / (b.t - a.t)


@kernel
def size_of(m: Machine, ph: np.record, t: float) -> int:
    """Pages of its region that a phase uses at time t, at least 1."""
    pages = m.region[ph.region].pages
    if ph.size == NOBODY:
        return pages
    return max(1, min(pages, int(curve_at(m, ph.size, t) + 0.5)))


@kernel
def _target(m: Machine, k: int, ph: np.record, size: int, n: np.uint64) -> int:
    # Index inside the region of the access with draw number n.
    pattern = ph.pattern
    tk = m.task[k]
    if pattern == UNIFORM:
        return below(draw(tk.page_key, n), size)
    if pattern == ZIPF:
        bits = draw(tk.page_key, n)
        b = below(bits, ph.blocks)
        row = m.alias[ph.alias + b]
        if remainder(bits, ph.blocks) >= row.keep:
            b = int(row.other)
        block = int(m.region[ph.region].block_pages)
        first = b * block
        if first >= size:
            return below_low(bits, size)
        return first + below_low(bits, min(block, size - first))
    if pattern == SEQUENTIAL:
        i = tk.cursor % size
        tk.cursor += 1
        return i
    if pattern == APPEND:
        rg = m.region[ph.region]
        i = rg.place % size
        rg.place += 1
        return i
    if pattern == LOOP:
        i = ph.place % size
        ph.place += 1
        return i
    i = int(m.stream[ph.stream + ph.place % ph.stream_n])
    ph.place += 1
    return i


@kernel
def _ahead(m: Machine, k: int, ph: np.record, size: int, n: np.uint64) -> int:
    # Touches up to the next that may change something.
    at = m.task[k].cursor if ph.pattern == SEQUENTIAL else ph.place
    return quiet.ahead(m, k, ph, at % size, size, n)


@kernel
def _next(m: Machine, k: int, ph: np.record, size: int, n: np.uint64) -> int:
    # Index inside the region of the next access that may change something.
    if ph.pattern <= ZIPF:
        return quiet.loud_page(m, k, ph, size, n)
    return _target(m, k, ph, size, n)


@kernel
def _stores(m: Machine, k: int, ph: np.record, n: np.uint64) -> bool:
    if ph.op == WRITE or ph.op == ALLOCATE or ph.write >= 1.0:
        return True
    return ph.write > 0.0 and uniform(draw(m.task[k].store_key, n)) < ph.write


@kernel
def hit(m: Machine, v: int, store: bool, op: int) -> bool:
    """Do one access if it is private, that is if it hits at both levels; else change nothing."""
    p = m.vpage[v].page
    if p < 0:
        return False
    pg = m.page[p]
    if pg.hstate != RESIDENT and (store or pg.hstate < MERGED):
        return False
    if pg.gflags & G_SLOW or pg.hflags & H_UNMAPPED:
        return False
    if store:
        if pg.gstate == FILE and not pg.gflags & G_DIRTY:
            return False
        if op == ALLOCATE and m.host[0].ksm:  # it may be the first store to a page of zeros
            return False
        pg.hflags |= np.uint8(H_DIRTY | H_REF | H_WROTE)
    else:
        pg.hflags |= np.uint8(H_REF)
    if op == READ or op == WRITE:
        mark_accessed(m, pg.guest, p)
    else:
        pg.gflags |= np.uint16(G_REF)
        if m.guest[pg.guest].lru_exact:
            mark_accessed(m, pg.guest, p)
    return True


@kernel
def _is_endless(ph: np.record) -> bool:
    return ph.count < 0 and ph.seconds == np.inf


@kernel
def count_accesses(m: Machine, k: int, ph: np.record, n: int) -> None:
    """Count accesses of a closed-loop phase, their time booked; without end each is a lap."""
    tk = m.task[k]
    tk.phase_n += n
    tk.done += n
    m.guest[tk.guest].touches += n
    if n > 0 and _is_endless(ph):
        tk.lap_s = tk.base_s
        tk.redo_s = 0.0


@kernel
def _walk_s(m: Machine, k: int, ph: np.record) -> float:
    # What a touch outside of huge pages takes more.
    return ph.cost_s * m.guest[m.task[k].guest].tlb_share if ph.op == TOUCH else 0.0


@kernel
def walk_s(m: Machine, k: int, ph: np.record, v: int) -> float:
    """Return what a touch of virtual page v takes more if it is not huge in guest and host [s]."""
    walk = _walk_s(m, k, ph)
    if walk > 0.0 and m.page[m.vpage[v].page].gflags & G_HUGE:
        return 0.0
    return walk


@kernel
def _closed(m: Machine, k: int, limit: float, bound: float) -> tuple[float, int]:
    # Accesses of a closed-loop phase; returns (busy seconds, how it ended).
    tk = m.task[k]
    ph = m.phase[tk.phase]
    size = size_of(m, ph, tk.clock)
    base = m.region[ph.region].vpage0
    left = ph.count - tk.phase_n if ph.count >= 0 else np.int64(1) << np.int64(62)
    span = min(limit, bound - tk.clock, tk.phase_t + ph.seconds - tk.clock)
    cost = ph.cost_s
    walk = _walk_s(m, k, ph)
    jumps = ph.loud0 != NOBODY
    busy = 0.0
    walks = 0.0
    n = 0
    ended = SLICE
    while True:
        if n >= left:
            ended = NEXT
            break
        if busy >= span:
            break
        fast = jumps and quiet.ready(m, ph)
        if fast:
            most = _ahead(m, k, ph, size, tk.draws)
            over = int(min(most, left - n, int((span - busy) / cost) + 1))
            quiet.jump(m, k, ph, over)
            tk.draws += np.uint64(over)
            n += over
            busy += over * cost
            if over < most:
                continue
        d = tk.draws
        v = base + (_next(m, k, ph, size, d) if fast else _target(m, k, ph, size, d))
        store = _stores(m, k, ph, tk.draws)
        tk.draws += np.uint64(1)
        if not hit(m, v, store, ph.op):
            tk.pending = 1
            tk.cur = v
            tk.store = store
            ended = SHARED
            break
        if fast:
            quiet.hushed(m, ph, v - base)
        n += 1
        busy += cost
        if walk > 0.0 and not m.page[m.vpage[v].page].gflags & G_HUGE:
            busy += walk
            walks += walk
    book_time(m, k, NOMINAL, busy - walks)
    book_time(m, k, TLB, walks)
    tk.clock += busy
    count_accesses(m, k, ph, n)
    if ended == SLICE and tk.clock >= tk.phase_t + ph.seconds:
        ended = NEXT
    return busy, ended


@kernel
def next_gap(m: Machine, k: int, ph: np.record, t: float) -> float:
    """Draw the time from one arrival at t to the next: exponential at the rate of t."""
    tk = m.task[k]
    rate = curve_at(m, ph.rate_curve, t) if ph.rate_curve != NOBODY else ph.rate
    if rate <= 1e-9:
        return -1.0
    return -log(1.0 - uniform(draw(tk.gap_key, tk.arrival))) / rate


@kernel
def _await_arrival(m: Machine, k: int, ph: np.record) -> None:
    # Set `next_s`, the time of the next arrival; without a rate look again after a tenth second.
    tk = m.task[k]
    since = tk.next_s if tk.next_s >= 0.0 else tk.phase_t
    gap = next_gap(m, k, ph, since)
    while gap < 0.0 and since < tk.phase_t + ph.seconds and since < tk.clock + 1.0:
        since += 0.1
        gap = next_gap(m, k, ph, since)
    tk.next_s = since + max(gap, 0.0)
    tk.sub = 0 if gap >= 0.0 else NOBODY


@kernel
def _idle_to(m: Machine, k: int, t: float) -> None:
    tk = m.task[k]
    book_time(m, k, IDLE, t - tk.clock)
    tk.clock = t


@kernel
def served(m: Machine, k: int, ph: np.record, n: int) -> None:
    """Count n accesses of an arrival, and the arrival if the last one was among them."""
    tk = m.task[k]
    tk.sub += n
    tk.done += n
    m.guest[tk.guest].touches += n
    if tk.sub < ph.per_arrival:
        return
    tk.latency_s += tk.clock - tk.next_s
    tk.served += 1
    _arrive(m, k, ph)


@kernel
def _arrive(m: Machine, k: int, ph: np.record) -> None:
    tk = m.task[k]
    tk.arrivals += 1
    tk.phase_n += 1
    tk.arrival += np.uint64(1)
    tk.lap_s = tk.base_s  # who was served does not come again
    if _is_endless(ph):
        tk.redo_s = 0.0
    _await_arrival(m, k, ph)


@kernel
def _open(m: Machine, k: int, limit: float, bound: float) -> tuple[float, int]:
    # Accesses of an open-loop phase: idle until the next arrival, serve it, drop what is stale.
    tk = m.task[k]
    ph = m.phase[tk.phase]
    size = size_of(m, ph, tk.clock)
    base = m.region[ph.region].vpage0
    end = tk.phase_t + ph.seconds
    jumps = ph.loud0 != NOBODY
    busy = 0.0
    if tk.next_s < 0.0:
        _await_arrival(m, k, ph)
    while True:
        if ph.count >= 0 and tk.phase_n >= ph.count:
            return busy, NEXT
        if tk.sub <= 0:
            start = max(tk.clock, tk.next_s)
            if start >= end:
                _idle_to(m, k, max(tk.clock, min(end, tk.next_s)))
                return busy, NEXT
            if start > tk.clock:
                _idle_to(m, k, start)
            if tk.sub == NOBODY:  # a look at a rate of nothing, no arrival
                _await_arrival(m, k, ph)
                if tk.clock >= bound:
                    return busy, PAUSE
                continue
            if tk.clock - tk.next_s > ph.backlog_s:
                tk.dropped += 1
                _arrive(m, k, ph)
                continue
            if tk.clock >= bound:
                return busy, PAUSE
        if busy >= limit or tk.clock >= bound:
            return busy, SLICE
        n = _OPEN | (tk.arrival << np.uint64(16)) | np.uint64(tk.sub)
        fast = jumps and quiet.ready(m, ph)
        if fast:
            over = min(_ahead(m, k, ph, size, n), ph.per_arrival - tk.sub)
            over = min(over, int(min(limit - busy, bound - tk.clock) / ph.cost_s) + 1)
            if over > 0:
                quiet.jump(m, k, ph, over)
                book_time(m, k, NOMINAL, over * ph.cost_s)
                tk.clock += over * ph.cost_s
                busy += over * ph.cost_s
                served(m, k, ph, over)
                continue
        v = base + (_next(m, k, ph, size, n) if fast else _target(m, k, ph, size, n))
        store = _stores(m, k, ph, n)
        if not hit(m, v, store, ph.op):
            tk.pending = 1
            tk.cur = v
            tk.store = store
            return busy, SHARED
        if fast:
            quiet.hushed(m, ph, v - base)
        book_time(m, k, NOMINAL, ph.cost_s)
        walk = walk_s(m, k, ph, v)
        book_time(m, k, TLB, walk)
        tk.clock += ph.cost_s + walk
        busy += ph.cost_s + walk
        served(m, k, ph, 1)


@kernel
def is_open(ph: np.record) -> bool:
    """Tell an open-loop phase."""
    return ph.rate > 0.0 or ph.rate_curve != NOBODY


@kernel
def leave_script(m: Machine, k: int) -> None:
    """Remember where a script was when its task was killed, before it begins again."""
    tk = m.task[k]
    if tk.back_at != NOBODY:  # killed again before it was there
        return
    tk.back_at = tk.phase
    tk.back_t = tk.phase_t
    tk.back_n = tk.phase_n
    tk.back_next_s = tk.next_s
    tk.back_sub = min(tk.sub, 0)  # of the interrupted arrival everything is done again


@kernel
def _come_back(m: Machine, k: int) -> None:
    # The restarted script is where it was.  Users did not wait to ask until it was.
    tk = m.task[k]
    tk.back_at = NOBODY
    if tk.phase < tk.phase0 + tk.phases and is_open(m.phase[tk.phase]):
        tk.phase_t = tk.back_t
        tk.phase_n = tk.back_n
        tk.next_s = tk.back_next_s
        tk.sub = tk.back_sub


@kernel
def enter_phase(m: Machine, k: int, phase: int) -> None:
    """Begin a phase at the task's clock."""
    tk = m.task[k]
    tk.phase = phase
    tk.phase_t = tk.clock
    tk.phase_n = 0
    tk.cursor = 0
    tk.sub = 0
    tk.next_s = -1.0
    tk.pending = 0
    tk.compacting = 0
    tk.quiet_left = quiet.UNKNOWN
    tk.base_s = tk.lap_s
    if phase < tk.phase0 + tk.phases:
        ph = m.phase[phase]
        if ph.op == COMPUTE:
            tk.left_s = ph.seconds
        if ph.lap and tk.setup_s < 0.0:
            tk.setup_s = tk.lap_s
    if tk.back_at == phase:
        _come_back(m, k)


@kernel
def _end_lap(m: Machine, k: int) -> None:
    # A lap of the endless repeat is done for good.
    tk = m.task[k]
    tk.lap_s = tk.setup_s
    tk.redo_s = 0.0
    tk.back_at = NOBODY
    for i in range(tk.phase0 + m.phase[tk.phase].jump, tk.phase):
        m.phase[i].lap_taken = m.phase[i].taken


@kernel
def _repeat(m: Machine, k: int) -> None:
    tk = m.task[k]
    ph = m.phase[tk.phase]
    if ph.count >= 0 and ph.taken + 1 >= ph.count:
        ph.taken = 0
        enter_phase(m, k, tk.phase + 1)
        return
    ph.taken += 1
    if ph.outer:
        _end_lap(m, k)
    enter_phase(m, k, tk.phase0 + ph.jump)


@kernel
def _compute(m: Machine, k: int, limit: float) -> tuple[float, int]:
    tk = m.task[k]
    busy = min(tk.left_s, limit)
    tk.left_s -= busy
    book_time(m, k, NOMINAL, busy)
    tk.clock += busy
    if tk.left_s == np.inf:  # what was computed for ever is never done again
        tk.lap_s = tk.base_s
        tk.redo_s = 0.0
    return busy, NEXT if tk.left_s <= 0.0 else SLICE


@kernel
def run(m: Machine, k: int, t: float, limit: float) -> tuple[float, int]:
    """Let a task run by itself from time t, its clock, for at most `limit` seconds of CPU.

    Returns:
        (CPU seconds used, how it ended): SLICE, or SHARED if the next thing it does is no longer
        private, or PAUSE if it sleeps until its clock, which may be ahead of t + busy.
    """
    tk = m.task[k]
    bound = t + m.host[0].tick_s
    busy = 0.0
    turns = 0
    while True:
        if tk.phase >= tk.phase0 + tk.phases or tk.pending:
            return busy, SHARED
        ph = m.phase[tk.phase]
        op = ph.op
        used, ended = 0.0, NEXT
        if op <= WRITE or op == ALLOCATE:
            if is_open(ph):
                if tk.back_at == NOBODY:  # else who asked in this phase was served
                    used, ended = _open(m, k, limit - busy, bound)
            else:
                used, ended = _closed(m, k, limit - busy, bound)
        elif op == COMPUTE:
            used, ended = _compute(m, k, limit - busy)
        elif op == SLEEP:
            _idle_to(m, k, max(tk.clock, tk.phase_t + ph.seconds))
        elif op == REPEAT:
            _repeat(m, k)
            turns += 1
            if turns > 64:  # a script that lets no time pass
                tk.clock += 1e-6
                book_time(m, k, NOMINAL, 1e-6)
                return busy + 1e-6, SLICE
            continue
        else:
            return busy, SHARED
        busy += used
        if ended != NEXT:
            return busy, ended
        enter_phase(m, k, tk.phase + 1)
        if tk.clock >= bound:
            return busy, PAUSE if tk.clock > t + busy else SLICE
        if busy >= limit:
            return busy, SLICE
