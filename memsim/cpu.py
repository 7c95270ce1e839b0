"""Who may run: run queues of hosts and guests, fair by virtual run time (model section 3).

Tasks share a guest's vCPUs, vCPUs and host threads share the host's cores.  A vCPU that gets a
core takes the runnable task with the least virtual run time; nothing is bound while it waits.
Dispatching itself is `step`'s work: these functions only change queues.
"""

import numpy as np

from memsim.account import IDLE
from memsim.events import cancel, schedule, task_entity
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.params import WAKE_CREDIT_S
from memsim.pressure import group_stall, guest_stall, guest_work, host_stall
from memsim.state import (
    BLOCKS_VCPU,
    CPU_BLOCKED,
    CPU_HALTED,
    CPU_IDLE,
    CPU_QUEUED,
    CPU_RUNNING,
    FREE_VCPU,
    KERNEL_TASKS,
    NO_STALL,
    NOBODY,
    OF_TASK,
    OF_VCPU,
    OF_WORKER,
    RECLAIMER,
    RUNNABLE,
    RUNNING,
    TIMER,
)
from memsim.waits import end_cpu_wait, integrate_guest, integrate_host, set_cpu


@kernel
def _raise_host_floor(m: Machine, t: float) -> None:
    # The least virtual run time of what runs or waits for a core, as update_min_vruntime.
    least = np.inf
    for e in range(m.host[0].cpus):
        cpu = m.cpu[e]
        if cpu.state == CPU_RUNNING:
            least = min(least, cpu.vr + (t - cpu.since) * 1024.0 / cpu.weight)
        elif cpu.state == CPU_QUEUED:
            least = min(least, cpu.vr)
    if least < np.inf:
        m.host[0].min_vr = max(m.host[0].min_vr, least)


@kernel
def _raise_guest_floor(m: Machine, g: int, t: float) -> None:
    gs = m.guest[g]
    least = np.inf
    for k in range(gs.task0, gs.task0 + gs.tasks + KERNEL_TASKS):
        tk = m.task[k]
        if tk.state == RUNNING and m.cpu[tk.cpu].state == CPU_RUNNING:
            least = min(least, tk.vr + (t - m.cpu[tk.cpu].since) * 1024.0 / tk.weight)
        elif tk.state == RUNNABLE:
            least = min(least, tk.vr)
    if least < np.inf:
        gs.min_vr = max(gs.min_vr, least)


@kernel
def kswapd_stalls(m: Machine, e: int, stalls: int, t: float) -> None:
    """Count kswapd as stalled on memory, which it is for as long as it is awake (balance_pgdat)."""
    cpu = m.cpu[e]
    if cpu.thread == RECLAIMER and cpu.group == NOBODY and cpu.stalls != stalls:
        host_stall(m, stalls - int(cpu.stalls), t)
        cpu.stalls = stalls


@kernel
def queue_cpu(m: Machine, e: int, t: float) -> None:
    """Let a vCPU or host thread wait for a core."""
    hs = m.host[0]
    cpu = m.cpu[e]
    integrate_host(m, t)
    kswapd_stalls(m, e, 1, t)
    if t - cpu.ran_s > WAKE_CREDIT_S:  # nobody falls back by more in less time
        _raise_host_floor(m, t)
    set_cpu(m, e, CPU_QUEUED, 0, t)
    cpu.vr = max(cpu.vr, hs.min_vr - WAKE_CREDIT_S)
    cpu.since = t
    cpu.place = hs.runq_n
    m.cpu[hs.runq_n].runq = e
    hs.runq_n += 1


@kernel
def unqueue_cpu(m: Machine, e: int, t: float) -> None:
    """Take a vCPU or host thread out of the run queue."""
    hs = m.host[0]
    integrate_host(m, t)
    place = m.cpu[e].place
    hs.runq_n -= 1
    last = m.cpu[hs.runq_n].runq
    m.cpu[place].runq = last
    m.cpu[last].place = place


@kernel
def next_cpu(m: Machine) -> int:
    """Return the waiting entity with the least virtual run time, longest waiting first."""
    hs = m.host[0]
    best = m.cpu[0].runq
    for i in range(1, hs.runq_n):
        e = m.cpu[i].runq
        a, b = m.cpu[e], m.cpu[best]
        if (
            a.vr < b.vr
            or (a.vr == b.vr and a.since < b.since)
            or (a.vr == b.vr and a.since == b.since and _rank(m, e) < _rank(m, best))
        ):
            best = e
    return best


@kernel
def _rank(m: Machine, e: int) -> int:
    # Ties that time leaves open are decided by the guest's number, not by its slot.
    g = m.cpu[e].guest
    return -1 if g == NOBODY else m.guest[g].guest_id * 64 + (e - m.guest[g].cpu0)


@kernel
def next_task(m: Machine, g: int) -> int:
    """Return the runnable task of a guest with the least virtual run time, or NOBODY."""
    gs = m.guest[g]
    best = NOBODY
    for k in range(gs.task0, gs.task0 + gs.tasks + KERNEL_TASKS):
        if m.task[k].state == RUNNABLE and (best == NOBODY or m.task[k].vr < m.task[best].vr):
            best = k
    return best


@kernel
def kick(m: Machine, g: int, t: float) -> None:
    """Let as many idle vCPUs ask for a core as the guest has runnable tasks for them."""
    gs = m.guest[g]
    e = gs.cpu0
    while gs.queued < gs.runnable and e < gs.cpu0 + gs.vcpus:
        if m.cpu[e].state == CPU_IDLE:
            queue_cpu(m, e, t)
        e += 1


@kernel
def make_runnable(m: Machine, k: int, t: float) -> None:
    """Put a task whose time is booked up to t into its guest's run queue."""
    tk = m.task[k]
    gs = m.guest[tk.guest]
    integrate_guest(m, tk.guest, t)
    tk.state = RUNNABLE
    tk.snapped = 0
    tk.cpu = NOBODY
    gs.runnable += 1
    guest_work(m, tk.guest, 1, t)
    m.host[0].unsnapped += 1
    kick(m, tk.guest, t)


@kernel
def _stall(m: Machine, k: int, change: int, t: float) -> None:
    tk = m.task[k]
    if tk.stalls == OF_VCPU:
        group_stall(m, tk.guest, change, t)
    elif tk.stalls == OF_TASK:
        guest_stall(m, tk.guest, change, t)
    elif tk.stalls == OF_WORKER:
        host_stall(m, change, t)


@kernel
def stop_stall(m: Machine, k: int, t: float) -> None:
    """End a task's share in memory pressure, if it has one."""
    _stall(m, k, -1, t)
    m.task[k].stalls = NO_STALL


@kernel
def start_stall(m: Machine, k: int, whose: int, t: float) -> None:
    """Count a task as stalled on memory, as a stall of OF_VCPU, OF_TASK or OF_WORKER."""
    m.task[k].stalls = whose
    _stall(m, k, 1, t)


@kernel
def charge_stop(m: Machine, e: int, k: int, t: float) -> None:
    """Charge a task for the time that its vCPU stood still: to the guest's scheduler it ran."""
    m.task[k].vr += (t - m.cpu[e].since) * 1024.0 / m.task[k].weight
    m.task[k].ran_s = m.cpu[e].since = t


@kernel
def wake(m: Machine, k: int, t: float) -> None:
    """Wake a task that slept or waited; its time is booked up to t already."""
    tk = m.task[k]
    gs = m.guest[tk.guest]
    stop_stall(m, k, t)
    cancel(m, task_entity(m, k))
    if tk.wait != FREE_VCPU and tk.cpu != NOBODY:
        cancel(m, tk.cpu)
        charge_stop(m, tk.cpu, k, t)
        set_cpu(m, tk.cpu, CPU_IDLE, 0, t)
        m.cpu[tk.cpu].task = NOBODY
    tk.wait = FREE_VCPU
    if t - tk.ran_s > WAKE_CREDIT_S:
        _raise_guest_floor(m, tk.guest, t)
    tk.vr = max(tk.vr, gs.min_vr - WAKE_CREDIT_S)
    make_runnable(m, k, t)


@kernel
def take_off(m: Machine, k: int, t: float) -> None:
    """Take a runnable task out of its queue, because it runs or is ended."""
    integrate_guest(m, m.task[k].guest, t)
    end_cpu_wait(m, k, t)
    m.guest[m.task[k].guest].runnable -= 1
    guest_work(m, m.task[k].guest, -1, t)


@kernel
def sleep_until(m: Machine, k: int, when: float) -> None:
    """Let a task that is not queued sleep until a time; its clock may already be there."""
    tk = m.task[k]
    tk.state = TIMER
    tk.wait_cls = IDLE
    tk.wake_s = when
    schedule(m, task_entity(m, k), when, tk.guest)


@kernel
def rests(m: Machine, k: int) -> bool:
    """Tell whether a kernel task has nothing to do; asleep above memory.high it has."""
    return m.task[k].state == TIMER and m.task[k].wait == FREE_VCPU


@kernel
def stop_vcpu(m: Machine, e: int, k: int, how: int, cls: int, t: float) -> None:
    """Let go of a vCPU's task that now waits: the vCPU is free, blocked or halted."""
    cpu = m.cpu[e]
    m.task[k].wait = how
    if how == FREE_VCPU:
        cpu.task = NOBODY
        m.task[k].cpu = NOBODY
        set_cpu(m, e, CPU_IDLE, 0, t)
        kick(m, cpu.guest, t)
        return
    m.task[k].cpu = e
    m.cpu[e].since = t
    set_cpu(m, e, CPU_BLOCKED if how == BLOCKS_VCPU else CPU_HALTED, cls, t)


@kernel
def begin_run(m: Machine, e: int, k: int, cls: int, t: float) -> None:
    """Give a vCPU that has a core to a task."""
    take_off(m, k, t)
    tk = m.task[k]
    tk.state = RUNNING
    tk.cpu = e
    m.cpu[e].task = k
    m.cpu[e].used = 0.0
    gs = m.guest[tk.guest]
    gs.min_vr = max(gs.min_vr, tk.vr)
    if cls != m.cpu[e].cls:
        set_cpu(m, e, CPU_RUNNING, cls, t)


@kernel
def wake_thread(m: Machine, e: int, t: float) -> None:
    """Give a host thread something to do."""
    m.cpu[e].run = 1
    if m.cpu[e].state == CPU_IDLE:
        cancel(m, e)
        queue_cpu(m, e, t)


@kernel
def wake_kswapd(m: Machine, t: float) -> None:
    """Wake the host's kswapd."""
    wake_thread(m, first_thread(m), t)


@kernel
def first_thread(m: Machine) -> int:
    """Return the host's kswapd; the thread that enforces cgroup c's limit is the (1 + c)-th."""
    return int(m.host[0].thread0)


@kernel
def end_of_reclaimers(m: Machine) -> int:
    """Return the entity behind the last thread that reclaims."""
    return int(m.host[0].thread0 + 1 + m.host[0].groups)
