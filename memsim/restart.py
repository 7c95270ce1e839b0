"""Ends and new beginnings: tasks that the OOM killer ends, and what becomes of their time."""

from memsim.account import HOST_SWAP, IDLE, RESTART
from memsim.cpu import kick, make_runnable, sleep_until, start_stall, stop_stall, take_off
from memsim.events import cancel, task_entity
from memsim.guest import unmap_pages
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.params import RESTART_S
from memsim.pressure import group_work, guest_work
from memsim.reclaim import abandon
from memsim.state import (
    CPU_IDLE,
    DONE,
    FREE_VCPU,
    NOBODY,
    OF_TASK,
    OF_VCPU,
    OFF,
    ON_EVENT,
    ON_FRAME,
    ON_IO,
    RUNNABLE,
    RUNNING,
    SWAPPED_BASE,
)
from memsim.touch import enter_phase, leave_script
from memsim.waits import book_time, book_waiters, set_cpu, wait_ahead


@kernel
def leave_request(m: Machine, k: int, t: float) -> None:
    """Let a task no longer wait for its request, its time booked up to t."""
    tk = m.task[k]
    book_waiters(m, tk.request, t)
    m.request[tk.request].waiters -= 1
    tk.request = NOBODY
    if tk.async_cpu != NOBODY:
        m.cpu[tk.async_cpu].asyncs -= 1
        tk.async_cpu = NOBODY
    if tk.clock < t:
        book_time(m, k, HOST_SWAP, t - tk.clock)
        tk.clock = t


@kernel
def stop_running(m: Machine, k: int, t: float) -> None:
    """End the count of a task as working, in its guest and, as a vCPU, on the host."""
    guest_work(m, m.task[k].guest, -1, t)
    group_work(m, m.task[k].guest, -1, t)


@kernel
def start_running(m: Machine, k: int, t: float) -> None:
    """Begin to count a task as working."""
    guest_work(m, m.task[k].guest, 1, t)
    group_work(m, m.task[k].guest, 1, t)


@kernel
def stall_running(m: Machine, k: int, whose: int, t: float) -> None:
    """Count a running task as stalled, in whose kernel it reclaims, and only there.

    To the host a vCPU that runs its guest's reclaim works (OF_TASK), and what its vCPU reclaims
    for the host (OF_VCPU) no guest can see.
    """
    if whose == OF_TASK:
        guest_work(m, m.task[k].guest, -1, t)
    else:
        group_work(m, m.task[k].guest, -1, t)
    start_stall(m, k, whose, t)


@kernel
def end_running_stall(m: Machine, k: int, t: float) -> None:
    """Count a running task as working again, if it was stalled."""
    whose = m.task[k].stalls
    stop_stall(m, k, t)
    if whose == OF_TASK:
        guest_work(m, m.task[k].guest, 1, t)
    elif whose == OF_VCPU:
        group_work(m, m.task[k].guest, 1, t)


@kernel
def detach(m: Machine, k: int, t: float) -> None:
    """Take a task out of whatever it does or waits for; it is OFF then."""
    tk = m.task[k]
    if tk.state == RUNNING:
        end_running_stall(m, k, t)
    stop_stall(m, k, t)
    cancel(m, task_entity(m, k))
    ahead, cls = wait_ahead(m, k, t)  # it will not sleep to the end
    m.book[k, cls] -= ahead
    tk.clock -= ahead
    if tk.state == RUNNABLE:
        take_off(m, k, t)
    elif tk.state == ON_IO:
        leave_request(m, k, t)
    elif tk.state == ON_FRAME:
        book_time(m, k, tk.wait_cls, t - tk.clock)
        tk.clock = max(tk.clock, t)
    elif tk.state == ON_EVENT:
        book_time(m, k, IDLE, t - tk.clock)
        tk.clock = max(tk.clock, t)
    elif tk.state == RUNNING:
        stop_running(m, k, t)
    if tk.state == ON_FRAME:
        m.host[0].frame_waiters -= 1
    e = tk.cpu
    if e != NOBODY:
        cancel(m, e)
        abandon(m, e)
        set_cpu(m, e, CPU_IDLE, 0, t)
        m.cpu[e].task = NOBODY
    tk.cpu = NOBODY
    tk.wait = FREE_VCPU
    tk.pending = 0
    tk.state = OFF


@kernel
def lose_work(m: Machine, k: int) -> None:
    """Note what a killed task has to do again; its script is to begin anew when it can.

    It begins from the first phase, since all that was set up is gone, but laps of an endless
    repeat that were done stay done, and so do requests of users that were served.
    """
    tk = m.task[k]
    leave_script(m, k)
    for i in range(tk.phase0, tk.phase0 + tk.phases):
        m.phase[i].taken = m.phase[i].lap_taken
    tk.redo_s += tk.lap_s
    tk.lap_s = 0.0
    tk.setup_s = -1.0
    tk.restarts += 1


@kernel
def new_life(m: Machine, k: int) -> None:
    """Forget all that a script did: nothing is done again, and nobody asked while it was off."""
    tk = m.task[k]
    for i in range(tk.phase0, tk.phase0 + tk.phases):
        m.phase[i].taken = m.phase[i].lap_taken = 0
    tk.lap_s = tk.redo_s = 0.0
    tk.setup_s = -1.0
    tk.back_at = NOBODY


@kernel
def go_again(m: Machine, k: int, t: float) -> None:
    """Let a detached task run from where its script stands."""
    tk = m.task[k]
    if tk.clock > t:  # it had run ahead
        sleep_until(m, k, tk.clock)
    else:
        tk.vr = max(tk.vr, m.guest[tk.guest].min_vr)
        make_runnable(m, k, t)


@kernel
def _owned_anon(m: Machine, g: int, k: int) -> int:
    # What oom_badness counts: pages in memory and in the guest's swap.
    gs = m.guest[g]
    n = 0
    for i in range(gs.region0, gs.region0 + gs.regions):
        rg = m.region[i]
        if rg.kind != 0 or rg.owner != k:
            continue
        for v in range(rg.vpage0, rg.vpage0 + rg.pages):
            where = m.vpage[v].page
            if where >= 0 or where <= SWAPPED_BASE:
                n += 1
    return n


@kernel
def kill_largest(m: Machine, g: int, t: float) -> bool:
    """OOM killer: end the task with most memory and start it anew; False if none has any."""
    gs = m.guest[g]
    worst, most = NOBODY, 0
    for k in range(gs.task0, gs.task0 + gs.tasks):
        if m.task[k].state in (OFF, DONE):
            continue
        n = _owned_anon(m, g, k)
        if n > most:
            worst, most = k, n
    if worst == NOBODY:
        return False
    gs.oom_kills += 1
    detach(m, worst, t)
    for i in range(gs.region0, gs.region0 + gs.regions):
        rg = m.region[i]
        if rg.kind == 0 and rg.owner == worst:
            rg.held = rg.mapped = 0
            unmap_pages(m, g, rg.vpage0, rg.pages)
    m.book[worst, RESTART] += RESTART_S
    m.task[worst].clock += RESTART_S
    lose_work(m, worst)
    enter_phase(m, worst, m.task[worst].phase0)
    go_again(m, worst, t)
    m.task[worst].wait_cls = RESTART
    kick(m, g, t)  # who waits for a vCPU may have the victim's
    return True
