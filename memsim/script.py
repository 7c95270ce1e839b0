"""Operations of scripts that others can see: freeing, hinting, events, following a size."""

import numpy as np

from memsim.account import IDLE
from memsim.cpu import make_runnable, sleep_until, stop_vcpu
from memsim.guest import unmap_pages
from memsim.hinting import BITMAP
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.page_cache import delete_page, drop_caches
from memsim.quiet import stirred
from memsim.restart import stop_running
from memsim.state import (
    DONE,
    FREE_VCPU,
    G_BACK,
    G_FILL,
    G_HINT,
    G_IO,
    NEVER,
    ON_EVENT,
)
from memsim.touch import (
    DROP_CACHES,
    EXIT,
    FOLLOW,
    FREE,
    HINT_FREE,
    SIGNAL,
    WAIT,
    enter_phase,
    size_of,
)
from memsim.waits import book_time

_FILE = 1  # memsim.spec.RegionKind
CHUNK = 512  # pages handled at a time
GO_ON, BURN, WAITS, ACCESS = range(4)


@kernel
def _is_used(m: Machine, rg: np.record) -> bool:
    # Whether anything is left of a region that was freed: another task may have touched it.
    for v in range(rg.vpage0, rg.vpage0 + rg.pages):  # noqa: SIM110  numba knows no generators
        if m.vpage[v].page != NEVER:
            return True
    return False


@kernel
def _free(m: Machine, k: int, ph: np.record) -> tuple[int, float]:
    # A chunk of the region from its end (or of its last `count` pages).
    tk = m.task[k]
    rg = m.region[ph.region]
    most = min(ph.count, rg.pages) if ph.count >= 0 else rg.pages
    n = min(CHUNK, most - tk.phase_n)
    first = rg.pages - tk.phase_n - n
    if m.guest[tk.guest].thp_blocks > 0:  # huge pages as a whole
        n = min(n + first % m.host[0].block_pages, most - tk.phase_n)
        first = rg.pages - tk.phase_n - n
    if rg.kind == _FILE:
        for i in range(n):
            delete_page(m, rg.vpage0 + first + n - 1 - i)
    else:
        unmap_pages(m, tk.guest, rg.vpage0 + first, n)
    tk.phase_n += n
    rg.held = rg.place = 0
    if tk.phase_n >= most:
        if not _is_used(m, rg):
            rg.mapped = 0
        return GO_ON, n * m.host[0].c_free
    return BURN, n * m.host[0].c_free


@kernel
def _hint_free(m: Machine, k: int, ph: np.record) -> tuple[int, float]:
    # The pages stay allocated and mapped; their content may go.
    tk = m.task[k]
    rg = m.region[ph.region]
    n = min(CHUNK, rg.pages - tk.phase_n)
    for i in range(n):
        p = m.vpage[rg.vpage0 + tk.phase_n + i].page
        if p < 0 or m.guest[tk.guest].hinting != BITMAP:
            continue
        if not m.page[p].gflags & (G_IO | G_BACK | G_FILL):
            m.page[p].gflags |= np.uint16(G_HINT)
            stirred(m, tk.guest)
    tk.phase_n += n
    return GO_ON if tk.phase_n >= rg.pages else BURN, n * m.host[0].c_free


@kernel
def signal(m: Machine, g: int, event: int, t: float) -> None:
    """Signal an event of a guest; tasks that waited for it go on."""
    m.signal[event].count += 1
    gs = m.guest[g]
    for j in range(gs.task0, gs.task0 + gs.tasks):
        tj = m.task[j]
        if tj.state != ON_EVENT or m.phase[tj.phase].event != event:
            continue
        if m.signal[event].count > m.phase[tj.phase].taken:
            book_time(m, j, IDLE, t - tj.clock)
            tj.clock = max(t, tj.clock)
            make_runnable(m, j, t)


@kernel
def _wait(m: Machine, e: int, k: int, ph: np.record, t: float) -> int:
    # The n-th wait of this phase ends with the n-th signal.
    if m.signal[ph.event].count > ph.taken:
        ph.taken += 1
        return GO_ON
    stop_running(m, k, t)
    stop_vcpu(m, e, k, FREE_VCPU, 0, t)
    m.task[k].state = ON_EVENT
    return WAITS


@kernel
def _beyond(m: Machine, g: int, rg: np.record) -> int:
    # Pages behind those in use that came with the last huge page.
    if m.guest[g].thp_blocks == 0:
        return 0
    return int(min(-rg.held % m.host[0].block_pages, rg.pages - rg.held))


@kernel
def _follow(m: Machine, e: int, k: int, ph: np.record, t: float) -> tuple[int, float]:
    # Hold as many pages of the region as the curve says, looking every interval.
    tk = m.task[k]
    rg = m.region[ph.region]
    want = size_of(m, ph, t)
    if rg.held > want:
        n = min(CHUNK, rg.held - want)
        unmap_pages(m, tk.guest, rg.vpage0 + rg.held - n, n + _beyond(m, tk.guest, rg))
        rg.held -= n
        return BURN, n * m.host[0].c_free
    if rg.held < want:
        tk.pending = 1
        tk.cur = rg.vpage0 + rg.held
        tk.store = 1
        rg.held += 1
        return ACCESS, 0.0
    if t - tk.phase_t >= ph.seconds:
        return GO_ON, 0.0
    if ph.seconds == np.inf:
        tk.redo_s = 0.0  # it holds again what it held before a kill
    book_time(m, k, IDLE, ph.interval_s)
    tk.clock = t + ph.interval_s
    stop_running(m, k, t)
    stop_vcpu(m, e, k, FREE_VCPU, 0, t)
    sleep_until(m, k, tk.clock)
    return WAITS, 0.0


@kernel
def finish_task(m: Machine, e: int, k: int, t: float) -> None:
    """End a task for good."""
    tk = m.task[k]
    tk.finished_s = t
    stop_running(m, k, t)
    stop_vcpu(m, e, k, FREE_VCPU, 0, t)
    tk.state = DONE


@kernel
def operate(m: Machine, e: int, k: int, t: float) -> tuple[int, float]:
    """Do the next piece of a shared operation of a task's script at time t.

    Returns:
        (GO_ON with the script | BURN and call again | WAITS, vCPU dealt with | ACCESS is pending,
        CPU seconds of nominal work).
    """
    tk = m.task[k]
    if tk.phase >= tk.phase0 + tk.phases:
        finish_task(m, e, k, t)
        return WAITS, 0.0
    ph = m.phase[tk.phase]
    op = ph.op
    what, cost = GO_ON, 0.0
    if op == FREE:
        what, cost = _free(m, k, ph)
    elif op == HINT_FREE:
        what, cost = _hint_free(m, k, ph)
    elif op == DROP_CACHES:
        cost = drop_caches(m, tk.guest) * m.host[0].c_greclaim
    elif op == SIGNAL:
        signal(m, tk.guest, ph.event, t)
    elif op == WAIT:
        what = _wait(m, e, k, ph, t)
    elif op == FOLLOW:
        what, cost = _follow(m, e, k, ph, t)
    elif op == EXIT:
        finish_task(m, e, k, t)
        what = WAITS
    if what == GO_ON:
        enter_phase(m, k, tk.phase + 1)
    return what, cost
