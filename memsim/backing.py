"""What a toucher goes through until the host backs a page: waits, and reclaim in its context.

Who touches is a task of a guest on a vCPU that has a core: a script's in its accesses, the guest
kernel's own where they move pages.
"""

from memsim.account import GUEST_RECLAIM, HOST_RECLAIM, HOST_SWAP
from memsim.cgroups import charge
from memsim.cpu import sleep_until, start_stall, stop_vcpu
from memsim.events import schedule
from memsim.frames import group_of, over_limit
from memsim.host import NEED_FRAME, NEED_LOCK, NEED_READ, NOW, fault, read_of
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.params import ASYNC_PER_VCPU, CONGESTION_S, HALT_TICK_S, RETRY_S, SCAN_ROUNDS
from memsim.pressure import is_stall
from memsim.reclaim import IDLE as NO_BATCH
from memsim.reclaim import LOW_ROUND, judge
from memsim.reclaim import step as reclaim_step
from memsim.restart import stop_running
from memsim.state import (
    BLOCKS_VCPU,
    FREE_VCPU,
    HALTS_VCPU,
    NOBODY,
    OF_TASK,
    OF_VCPU,
    OF_WORKER,
    ON_FRAME,
)
from memsim.waits import begin_io_wait

# What became of it.
DONE, BURN, STOPPED, KILL_GUEST = range(4)
_OFF, _HALT, _USER, _ANY = range(4)

# When a kernel task is to look again, if that is no time.
NEVER = -1.0
WAITS = -2.0  # it touched a page that the host has to read first; its vCPU was dealt with
NO_FRAME = -3.0  # it touched a page, and the host is out of memory


@kernel
def wait_for_frame(m: Machine, e: int, k: int, how: int, cls: int, s: float, t: float) -> None:
    """Stop a task until memory comes free somewhere, or for `s` seconds at most."""
    stop_running(m, k, t)
    stop_vcpu(m, e, k, how, cls, t)
    sleep_until(m, k, t + s)
    tk = m.task[k]
    tk.state = ON_FRAME
    tk.wait_cls = cls
    m.host[0].frame_waiters += 1
    if cls == GUEST_RECLAIM:
        start_stall(m, k, OF_TASK, t)
    elif cls == HOST_RECLAIM:
        start_stall(m, k, OF_VCPU, t)


@kernel
def _wait_for_read(m: Machine, e: int, k: int, p: int, kernel_mode: bool, t: float) -> None:
    # A host swap read: who waits follows from the mode and from who touches (section 3).
    tk = m.task[k]
    mode = m.guest[tk.guest].async_mode
    asynchronous = mode == _ANY or (mode == _USER and not kernel_mode)
    how = BLOCKS_VCPU if mode == _OFF else HALTS_VCPU
    if asynchronous:
        how = BLOCKS_VCPU
        if m.cpu[e].asyncs < ASYNC_PER_VCPU:
            how = FREE_VCPU
            m.cpu[e].asyncs += 1
            tk.async_cpu = e
    stop_running(m, k, t)
    stop_vcpu(m, e, k, how, HOST_SWAP, t)
    begin_io_wait(m, k, read_of(m, p), t)
    if is_stall(m, p):
        start_stall(m, k, OF_VCPU if how == BLOCKS_VCPU else OF_WORKER, t)
    if how == HALTS_VCPU:
        schedule(m, e, t + HALT_TICK_S, tk.guest)


@kernel
def host_frame(m: Machine, e: int, k: int, t: float) -> tuple[int, float, int]:
    """Reclaim directly, in the toucher's context, until there is a frame to be had."""
    hs = m.host[0]
    cpu = m.cpu[e]
    g = m.task[k].guest
    limited = over_limit(m, g)
    if cpu.stage == NO_BATCH and cpu.tried:
        cpu.tried = 0
        if cpu.freed == 0 and hs.back_pages > 0:
            wait_for_frame(m, e, k, BLOCKS_VCPU, HOST_RECLAIM, CONGESTION_S, t)
            return STOPPED, 0.0, HOST_RECLAIM
        rounds = cpu.rounds
        if judge(m, e) > rounds and cpu.rounds > 0:
            if cpu.rounds > SCAN_ROUNDS:
                cpu.rounds = 0
                return KILL_GUEST, 0.0, HOST_RECLAIM
            if cpu.skipped and cpu.rounds <= LOW_ROUND:  # what is protected comes next
                return BURN, hs.c_scan, HOST_RECLAIM
            wait_for_frame(m, e, k, BLOCKS_VCPU, HOST_RECLAIM, CONGESTION_S, t)
            return STOPPED, 0.0, HOST_RECLAIM
    if cpu.stage == NO_BATCH:
        hs.direct_reclaims += 1
    cost = reclaim_step(m, e, group_of(m, g) if limited else NOBODY, t)
    cpu.tried = cpu.stage == NO_BATCH
    return BURN, cost, HOST_RECLAIM


@kernel
def back_page(
    m: Machine, e: int, k: int, p: int, store: bool, in_kernel: bool, scattered: bool, t: float
) -> tuple[int, float, int]:
    """Make a guest page resident for task k, which runs on vCPU e, as far as can be done at t.

    `store`: the touch is one; `in_kernel`: it touches in kernel context; `scattered`: a coarse
    page is touched at random.

    Returns:
        (DONE | BURN, call again after that time | STOPPED, it waits and its vCPU was dealt with
        | KILL_GUEST, the host is out of memory; CPU seconds; class of that time).
    """
    if m.cpu[e].stage != NO_BATCH:
        return host_frame(m, e, k, t)
    row = group_of(m, m.task[k].guest)
    charged = m.group[row].charged
    need, cost, cls = fault(m, p, store, scattered, t)
    charge(m, e, row, m.group[row].charged - charged)
    if need == NOW:
        return DONE, cost, cls
    if need == NEED_FRAME:
        return host_frame(m, e, k, t)
    if need == NEED_READ:
        _wait_for_read(m, e, k, p, in_kernel, t)
        return STOPPED, 0.0, HOST_SWAP
    # A reclaimer holds the page, or what reads and writes swap has all requests.
    cls = HOST_RECLAIM if need == NEED_LOCK else HOST_SWAP
    wait_for_frame(m, e, k, BLOCKS_VCPU, cls, RETRY_S, t)
    return STOPPED, 0.0, cls


@kernel
def touched(what: int, cost: float, cls: int) -> tuple[float, float, int]:
    """Say as `kernel_tasks.kernel_step` does what came of touching a page, unless it is done."""
    if what == STOPPED:
        return 0.0, WAITS, cls
    return cost, NO_FRAME if what == KILL_GUEST else 0.0, cls
