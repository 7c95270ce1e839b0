"""What a vCPU does on its way back into the guest after charging above `memory.high`.

mem_cgroup_handle_over_high of mm/memcontrol.c (5.13): it reclaims from its own cgroup for as long
as that brings something, or 16 times in vain; then, if it still owes more than 10 ms, it sleeps,
by the square of the overage, before it goes on.  All tasks of the vCPU wait with it, and so do
tasks of the guest's kernel for what they charged.

An emulator's worker is a task like any (only what charges in an interrupt leaves it to high_work),
so its request goes on no sooner than it has paid.  The thread of its cgroup reclaims for it.
"""

from memsim.account import HOST_RECLAIM, THROTTLE
from memsim.backing import wait_for_frame
from memsim.cgroups import above_high, throttle_s
from memsim.cpu import sleep_until, start_stall, stop_vcpu, wake_thread
from memsim.frames import group_of, limiter
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.params import CONGESTION_S, SCAN_ROUNDS, THROTTLE_LEAST_S
from memsim.reclaim import IDLE as NO_BATCH
from memsim.reclaim import judge
from memsim.reclaim import step as reclaim_step
from memsim.restart import stop_running
from memsim.state import BLOCKS_VCPU, OF_VCPU
from memsim.waits import book_time

PAID, RECLAIMS, STOPPED = range(3)


@kernel
def owes(m: Machine, e: int) -> bool:
    """Tell whether a vCPU has to pay before it does anything else; a batch begun is ended first."""
    cpu = m.cpu[e]
    return cpu.owed > 0 and (cpu.paying != 0 or cpu.stage == NO_BATCH)


@kernel
def _sleep(m: Machine, e: int, k: int, seconds: float, t: float) -> None:
    # Booked ahead, as all sleep; nothing wakes it earlier.
    stop_running(m, k, t)
    stop_vcpu(m, e, k, BLOCKS_VCPU, THROTTLE, t)
    book_time(m, k, THROTTLE, seconds)
    m.task[k].clock = t + seconds
    sleep_until(m, k, t + seconds)
    m.task[k].wait_cls = THROTTLE
    start_stall(m, k, OF_VCPU, t)


@kernel
def _settled(m: Machine, e: int, row: int) -> bool:
    # Nothing to pay, or too little to sleep for.
    if above_high(m, row):
        gr = m.group[row]
        if throttle_s(gr.usage, gr.high, m.cpu[e].owed) > THROTTLE_LEAST_S:
            return False
    return True


@kernel
def _end(m: Machine, e: int) -> None:
    cpu = m.cpu[e]
    cpu.owed = 0
    cpu.paying = 0
    cpu.fails = 0
    cpu.rounds = 0


@kernel
def return_to_guest(m: Machine, e: int, k: int, t: float) -> tuple[int, float]:
    """Go on with what a vCPU owes for charges above `memory.high`.

    Returns:
        (PAID, 0): the guest may go on; (RECLAIMS, CPU seconds): to be called again after that;
        (STOPPED, 0): task and vCPU wait.
    """
    cpu = m.cpu[e]
    row = group_of(m, m.task[k].guest)
    gr = m.group[row]
    if cpu.stage == NO_BATCH:
        if not cpu.paying:
            cpu.tries = SCAN_ROUNDS
            cpu.tried = 0
        elif _settled(m, e, row):
            _end(m, e)
            return PAID, 0.0
        elif cpu.tried:
            cpu.tried = 0
            rounds = cpu.rounds
            if judge(m, e) > rounds:
                cpu.tries -= 1
            if cpu.tries < 0:
                seconds = throttle_s(gr.usage, gr.high, cpu.owed)
                gr.throttled_s += seconds
                _end(m, e)
                _sleep(m, e, k, seconds, t)
                return STOPPED, 0.0
            if cpu.wrote > 0:  # what was written comes free soon: let the device go on
                wait_for_frame(m, e, k, BLOCKS_VCPU, HOST_RECLAIM, CONGESTION_S, t)
                return STOPPED, 0.0
        if not above_high(m, row):
            _end(m, e)
            return PAID, 0.0
        cpu.paying = 1
        gr.high_events += 1
    cost = reclaim_step(m, e, row, t)
    cpu.tried = cpu.stage == NO_BATCH
    return RECLAIMS, max(cost, 1e-7)


@kernel
def worker_charged(m: Machine, r: int, pages: int) -> None:
    """Note what an emulator's worker has just charged: it owes what of that is above `memory.high`.

    What it charged below is nothing that it has to pay for if others go above later (try_charge of
    mm/memcontrol.c: memcg_nr_pages_over_high).
    """
    row = group_of(m, m.request[r].guest)
    gr = m.group[row]
    if pages > 0 and above_high(m, row):
        m.request[r].owed += int(min(pages, gr.usage - gr.high) * m.host[0].sub)


@kernel
def worker_returns(m: Machine, r: int, t: float) -> tuple[int, float]:
    """Go on with what an emulator's worker owes for what its request charged above `memory.high`.

    Returns:
        (PAID, 0): the request may go on; (RECLAIMS, s): memory is reclaimed for it, look again
        after s; (STOPPED, s): it sleeps so long, and has paid then.
    """
    rq = m.request[r]
    row = group_of(m, rq.guest)
    gr = m.group[row]
    if rq.owed == 0 or not above_high(m, row):
        rq.owed = rq.pressed = 0
        return PAID, 0.0
    e = limiter(m, rq.guest)
    if not rq.pressed:
        rq.pressed = 1
        gr.high_events += 1
        wake_thread(m, e, t)
    seconds = throttle_s(gr.usage, gr.high, rq.owed)
    if seconds > THROTTLE_LEAST_S and m.cpu[e].run:
        return RECLAIMS, CONGESTION_S
    rq.owed = rq.pressed = 0
    if seconds <= THROTTLE_LEAST_S:
        return PAID, 0.0
    gr.throttled_s += seconds
    return STOPPED, seconds
