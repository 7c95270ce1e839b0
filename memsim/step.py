"""The order of it all: what happens next on a host, and what that leads to.

Events are taken in global time order.  Each is one of: a slice of a vCPU or host thread ends; a
task's timer; a request's share is served or its emulator goes on; the periodic tick; the
timeline; a guest's power switch.  After each, free cores are given to who waits for them.
"""

from memsim import host_collapse, ksm, script
from memsim.access import access
from memsim.accessed import sample_all
from memsim.account import COMPACTION, GUEST_RECLAIM, HOST_RECLAIM, KSMD, KSWAPD, NOMINAL, TLB
from memsim.background import use_in_passing
from memsim.backing import BURN, KILL_GUEST, NO_FRAME, STOPPED, WAITS
from memsim.cpu import (
    begin_run,
    charge_stop,
    end_of_reclaimers,
    first_thread,
    kswapd_stalls,
    make_runnable,
    next_cpu,
    next_task,
    queue_cpu,
    sleep_until,
    stop_vcpu,
    unqueue_cpu,
    wake,
)
from memsim.disk import free_request
from memsim.emulator import finish, go_on, in_vain, retry_frames, returns, share_done
from memsim.events import pop, schedule, tick_entity
from memsim.frames import group_of, over_limit
from memsim.jit import kernel
from memsim.kernel_tasks import kernel_step
from memsim.machine import Machine
from memsim.params import PSI_PERIOD_S, SCAN_ROUNDS, SLICE_S
from memsim.power import boot, booted, kill_guest, largest_guest, stop_guest
from memsim.pressure import average
from memsim.reclaim import IDLE as NO_BATCH
from memsim.reclaim import judge
from memsim.reclaim import step as reclaim_step
from memsim.restart import (
    end_running_stall,
    leave_request,
    stall_running,
    start_running,
    stop_running,
)
from memsim.state import (
    COMPACTOR,
    CPU_HALTED,
    CPU_IDLE,
    CPU_RUNNING,
    DISK_WRITE,
    FREE_VCPU,
    HOST_COLLAPSER,
    NOBODY,
    OF_TASK,
    OF_VCPU,
    ON_FRAME,
    ON_IO,
    R_EMULATOR,
    R_FRAME,
    R_SERVED,
    RUNNABLE,
    RUNNING,
    SWAP_WRITE,
    TIMER,
)
from memsim.state import KSMD as KSM_THREAD
from memsim.throttle import PAID, RECLAIMS, owes, return_to_guest
from memsim.timeline import turn
from memsim.touch import FOLLOW, PAUSE, SHARED, SLICE, count_accesses, is_open, run, served, walk_s
from memsim.waits import begin_cpu_wait, book_time, set_cpu
from memsim.writeback import flush_excess, flush_some

# cpu.why: what follows when the slice in progress ends.
GOES_ON, SLEEPS, THREAD = range(3)
# What became of a task's shared operation.
LEFT, GO_ON, BURNT = range(3)


@kernel
def _slice_to(m: Machine, e: int, end: float, cls: int, why: int, t: float) -> None:
    # Let a vCPU or thread that has a core be busy until a time.
    cpu = m.cpu[e]
    if cpu.state != CPU_RUNNING or cpu.cls != cls:
        set_cpu(m, e, CPU_RUNNING, cls, t)
    cpu.why = why
    cpu.since = t
    schedule(m, e, end, cpu.guest)


@kernel
def _contended(m: Machine, e: int) -> bool:
    hs = m.host[0]
    g = m.cpu[e].guest
    if hs.cores_used > hs.cores:  # cores were taken away
        return True
    return hs.runq_n > 0 or (g != NOBODY and m.guest[g].runnable > 0)


@kernel
def _complete(m: Machine, k: int, cost: float, cls: int) -> None:
    # The pending access is done: its nominal cost, and what it counts for.
    tk = m.task[k]
    ph = m.phase[tk.phase]
    own = ph.cost_s if ph.op != FOLLOW else 0.0
    book_time(m, k, cls, cost)
    book_time(m, k, NOMINAL, own)
    walk = walk_s(m, k, ph, tk.cur)
    book_time(m, k, TLB, walk)
    tk.clock += cost + own + walk
    tk.rounds = 0
    if ph.op == FOLLOW:
        return
    if is_open(ph):
        served(m, k, ph, 1)
        return
    count_accesses(m, k, ph, 1)


@kernel
def _out_of_memory(m: Machine, g: int, t: float) -> None:
    # No frame is to be had for a guest: the largest of its cgroup, or of the host, has to go.
    group = group_of(m, g) if over_limit(m, g) else NOBODY
    kill_guest(m, largest_guest(m, group), t)


@kernel
def _shared(m: Machine, e: int, k: int, t: float) -> tuple[int, int]:
    # The next shared thing of a task, at its clock t.  Returns what became of the task (LEFT the
    # vCPU, may GO_ON, or has BURNT time in the kernel and is to be called again) and a class.
    tk = m.task[k]
    if not tk.pending:
        what, cost = script.operate(m, e, k, t)
        if what == script.WAITS:
            return LEFT, NOMINAL
        if what != script.ACCESS:
            book_time(m, k, NOMINAL, cost)
            tk.clock = t + cost
            return (BURNT if what == script.BURN else GO_ON), NOMINAL
    what, cost, cls = access(m, e, k, t)
    if what == STOPPED:
        return LEFT, cls
    if what == KILL_GUEST:
        _out_of_memory(m, tk.guest, t)
        return (GO_ON if tk.state == RUNNING else LEFT), cls
    if what == BURN:
        if cls == HOST_RECLAIM and m.cpu[e].stage == NO_BATCH:
            wake_waiters(m, t)  # a batch is done: frames came free, pages are unlocked
        book_time(m, k, cls, cost)
        tk.clock = t + cost
        return BURNT, cls
    _complete(m, k, cost, cls)
    return GO_ON, NOMINAL


@kernel
def _sleep_from(m: Machine, e: int, k: int, t: float) -> None:
    # A script's task sleeps until its clock: all its time up to there is booked.
    stop_running(m, k, t)
    stop_vcpu(m, e, k, FREE_VCPU, 0, t)
    sleep_until(m, k, m.task[k].clock)


@kernel
def _pays(m: Machine, e: int, k: int, t: float) -> bool:
    # What the vCPU charged above memory.high comes before the guest goes on: True if that is not
    # over yet.
    what, cost = return_to_guest(m, e, k, t)
    if what == PAID:
        return False
    if what == RECLAIMS:
        book_time(m, k, HOST_RECLAIM, cost)
        m.task[k].clock = t + cost
        stall_running(m, k, OF_VCPU, t)
        _slice_to(m, e, t + cost, HOST_RECLAIM, GOES_ON, t)
    return True


@kernel
def _run_script(m: Machine, e: int, k: int, t: float) -> None:
    # Let a script's task, whose clock is t, do shared things at t and run ahead from there.
    tk = m.task[k]
    if owes(m, e) and _pays(m, e, k, t):
        return
    limit = m.host[0].tick_s
    if _contended(m, e):
        limit = min(limit, SLICE_S)
    used, ended = 0.0, SHARED
    for _ in range(100_000):
        busy, ended = run(m, k, tk.clock, limit - used)
        used += busy
        if ended != SHARED or tk.clock > t:
            break
        what, cls = _shared(m, e, k, t)
        if what == LEFT:
            return
        used = tk.clock - t
        if what == BURNT and used > 0.0:
            # Direct compaction too (__alloc_pages_direct_compact of mm/page_alloc.c).
            if cls == HOST_RECLAIM or cls == GUEST_RECLAIM or cls == COMPACTION:
                stall_running(m, k, OF_VCPU if cls == HOST_RECLAIM else OF_TASK, t)
            _slice_to(m, e, tk.clock, cls, GOES_ON, t)
            return
        if used >= limit or (used > 0.0 and m.cpu[e].owed > 0):
            ended = SLICE
            break
    if used <= 0.0:
        _sleep_from(m, e, k, t)
        return
    # Without idle gaps the slice ends at the task's clock, to the last bit.
    end = t + used
    if abs(tk.clock - end) < 1e-9:
        end = tk.clock
    _slice_to(m, e, end, NOMINAL, SLEEPS if ended == PAUSE else GOES_ON, t)


@kernel
def _scanned(m: Machine, g: int) -> int:
    return int(m.guest[g].async_scan + m.guest[g].direct_scan)


@kernel
def _reclaims(m: Machine, k: int, scanned: int, asked: int) -> bool:
    # Whether what a kernel task did is a stall of its guest: reclaim, kswapd's or for what the
    # task allocates, as the balloon does (balance_pgdat, __perform_reclaim), and what kcompactd was
    # asked for (kcompactd of mm/compaction.c); not what that does ahead of need.
    tk = m.task[k]
    return _scanned(m, tk.guest) > scanned or (tk.kind == COMPACTOR and asked != 0)


@kernel
def _run_kernel(m: Machine, e: int, k: int, t: float) -> None:
    # Let a kernel task do its next piece of work.
    tk = m.task[k]
    if owes(m, e) and _pays(m, e, k, t):
        return
    seen = _scanned(m, tk.guest)
    asked = m.guest[tk.guest].compact_asked
    cost, again, cls = kernel_step(m, e, k, t)
    if again == WAITS:  # for the host to back a page
        return
    if again == NO_FRAME:
        _out_of_memory(m, tk.guest, t)
        if tk.state == RUNNING:
            _slice_to(m, e, t + 1e-7, cls, GOES_ON, t)
        return
    if cls == HOST_RECLAIM:
        if m.cpu[e].stage == NO_BATCH:
            wake_waiters(m, t)
        stall_running(m, k, OF_VCPU, t)
    if cost <= 0.0 and again != 0.0:
        stop_running(m, k, t)
        stop_vcpu(m, e, k, FREE_VCPU, 0, t)
        _rest(m, k, again)
        return
    if cls != HOST_RECLAIM and _reclaims(m, k, seen, asked):
        stall_running(m, k, OF_TASK, t)
    tk.wake_s = again
    tk.clock = t + max(cost, 1e-7)
    _slice_to(m, e, tk.clock, cls, GOES_ON if again == 0.0 else SLEEPS, t)


@kernel
def _rest(m: Machine, k: int, again: float) -> None:
    # A kernel task without work: until a time, or until somebody wakes it.
    if again > 0.0:
        sleep_until(m, k, again)
    else:
        m.task[k].state = TIMER


@kernel
def _thread_done(m: Machine, e: int, more: int) -> bool:
    # Whether a host thread would have reached its aim with `more` pages free.
    hs = m.host[0]
    group = m.cpu[e].group
    if group == NOBODY:
        return hs.free_pages + more >= hs.high_pages
    gr = m.group[group]
    if gr.high != NOBODY and gr.usage - more > gr.high:
        return False
    return gr.max == NOBODY or gr.usage - more + hs.batch <= gr.max


@kernel
def _run_ksmd(m: Machine, e: int, t: float) -> None:
    hs = m.host[0]
    cost, freed = ksm.step(m, e, t)
    if freed > 0:
        wake_waiters(m, t)
    if cost > 0.0:
        hs.ksmd_s += cost
        _slice_to(m, e, t + max(cost, 1e-7), KSMD, THREAD, t)
        return
    set_cpu(m, e, CPU_IDLE, 0, t)
    if ksm.goes_on(m):
        schedule(m, e, t + hs.ksm_sleep_s, NOBODY)


@kernel
def _run_collapser(m: Machine, e: int, t: float) -> None:
    cost, again = host_collapse.step(m, t)
    if cost > 0.0:
        _slice_to(m, e, t + cost, COMPACTION, THREAD, t)
        return
    set_cpu(m, e, CPU_IDLE, 0, t)
    schedule(m, e, again, NOBODY)


@kernel
def _thread_class(m: Machine, e: int) -> int:
    thread = m.cpu[e].thread
    if thread == HOST_COLLAPSER:
        return COMPACTION
    return KSMD if thread == KSM_THREAD else KSWAPD


@kernel
def _run_thread(m: Machine, e: int, t: float) -> None:
    # Let a host's thread do its next step, or go to sleep.
    hs = m.host[0]
    cpu = m.cpu[e]
    if cpu.thread == KSM_THREAD:
        _run_ksmd(m, e, t)
        return
    if cpu.thread == HOST_COLLAPSER:
        _run_collapser(m, e, t)
        return
    if cpu.stage == NO_BATCH:
        if cpu.tried:
            cpu.tried = 0
            judge(m, e)
            if cpu.freed > 0 or cpu.unmapped > 0:
                wake_waiters(m, t)
        done = _thread_done(m, e, 0)
        if done or cpu.rounds > SCAN_ROUNDS or _thread_done(m, e, hs.writing_pages):
            # What is under write-back will do: then it looks again when that is written.
            cpu.run = not done and hs.back_pages > 0
            cpu.gave_up += cpu.rounds > SCAN_ROUNDS and not done and hs.back_pages == 0
            cpu.rounds = 0
            set_cpu(m, e, CPU_IDLE, 0, t)
            kswapd_stalls(m, e, 0, t)
            return
    cost = reclaim_step(m, e, cpu.group, t)
    cpu.tried = cpu.stage == NO_BATCH
    if cpu.group == NOBODY:
        hs.kswapd_s += cost
    _slice_to(m, e, t + max(cost, 1e-7), KSWAPD, THREAD, t)


@kernel
def _go(m: Machine, e: int, t: float) -> None:
    # A vCPU has a core: it goes on with its task, or takes the one whose turn it is.
    g = m.cpu[e].guest
    k = m.cpu[e].task
    if k == NOBODY:
        k = next_task(m, g)
        if k == NOBODY:
            set_cpu(m, e, CPU_IDLE, 0, t)
            return
        begin_run(m, e, k, NOMINAL, t)
        start_running(m, k, t)
    if m.task[k].kind:
        _run_kernel(m, e, k, t)
    else:
        _run_script(m, e, k, t)


@kernel
def dispatch(m: Machine, t: float) -> None:
    """Give free cores to those who wait, least virtual run time first."""
    hs = m.host[0]
    while hs.cores_used < hs.cores and hs.runq_n > 0:
        e = next_cpu(m)
        unqueue_cpu(m, e, t)
        hs.min_vr = max(hs.min_vr, m.cpu[e].vr)
        m.cpu[e].used = 0.0
        m.cpu[e].since = t
        set_cpu(m, e, CPU_RUNNING, _thread_class(m, e) if m.cpu[e].guest == NOBODY else NOMINAL, t)
        if m.cpu[e].guest == NOBODY:
            _run_thread(m, e, t)
        else:
            _go(m, e, t)
    if hs.unsnapped > 0:
        for k in range(hs.tasks):
            if m.task[k].state == RUNNABLE and not m.task[k].snapped:
                begin_cpu_wait(m, k, t)


@kernel
def _charge(m: Machine, e: int, t: float) -> None:
    # Virtual run time of the slice that ends.
    cpu = m.cpu[e]
    ran = t - cpu.since
    cpu.used += ran
    cpu.vr += ran * 1024.0 / cpu.weight
    cpu.since = cpu.ran_s = t
    k = cpu.task
    if k != NOBODY:
        m.task[k].vr += ran * 1024.0 / m.task[k].weight
        m.task[k].ran_s = t


@kernel
def _yield(m: Machine, e: int, t: float) -> None:
    # End of the turn: back into both queues.
    k = m.cpu[e].task
    set_cpu(m, e, CPU_IDLE, 0, t)
    if k == NOBODY:
        queue_cpu(m, e, t)
        return
    m.cpu[e].task = NOBODY
    stop_running(m, k, t)
    make_runnable(m, k, t)


@kernel
def _slice_end(m: Machine, e: int, t: float) -> None:
    cpu = m.cpu[e]
    if cpu.state == CPU_HALTED:
        _halt_tick(m, e, t)
        return
    if cpu.state == CPU_IDLE:  # ksmd or khugepaged has slept
        if cpu.thread == KSM_THREAD:
            ksm.begin_batch(m)
        queue_cpu(m, e, t)
        return
    _charge(m, e, t)
    if cpu.why == THREAD:
        if cpu.used >= SLICE_S and _contended(m, e):
            _yield(m, e, t)
        else:
            _run_thread(m, e, t)
        return
    k = cpu.task
    tk = m.task[k]
    end_running_stall(m, k, t)  # reclaim is over, for this slice
    if tk.kind and cpu.why == SLEEPS and not owes(m, e):
        stop_running(m, k, t)
        stop_vcpu(m, e, k, FREE_VCPU, 0, t)
        _rest(m, k, tk.wake_s)
    elif tk.clock > t:  # it ran ahead through idle time
        _sleep_from(m, e, k, t)
    elif cpu.used >= SLICE_S and cpu.stage == NO_BATCH and _contended(m, e):
        _yield(m, e, t)
    else:  # in the midst of a batch the vCPU is in the host's kernel: its guest cannot switch
        _go(m, e, t)


@kernel
def _halt_tick(m: Machine, e: int, t: float) -> None:
    # A timer interrupt in a halted vCPU: the guest may switch to another task.
    k = m.cpu[e].task
    g = m.cpu[e].guest
    charge_stop(m, e, k, t)
    if m.guest[g].runnable == 0:
        schedule(m, e, t + 4e-3, g)
        return
    leave_request(m, k, t)
    wake(m, k, t)


@kernel
def wake_waiters(m: Machine, t: float) -> None:
    """Wake tasks and emulators that wait for memory: some came free."""
    hs = m.host[0]
    if hs.page_waiters > 0:
        retry_frames(m, t)
    if hs.frame_waiters == 0:
        return
    for k in range(hs.tasks):
        tk = m.task[k]
        if tk.state == ON_FRAME:
            _end_frame_wait(m, k, t)


@kernel
def _end_frame_wait(m: Machine, k: int, t: float) -> None:
    tk = m.task[k]
    book_time(m, k, tk.wait_cls, t - tk.clock)
    tk.clock = max(t, tk.clock)
    m.host[0].frame_waiters -= 1
    wake(m, k, t)


@kernel
def _timer(m: Machine, k: int, t: float) -> None:
    tk = m.task[k]
    if tk.state == ON_FRAME:
        _end_frame_wait(m, k, t)
    else:
        if tk.kind:
            tk.clock = t
        wake(m, k, t)


@kernel
def _request_event(m: Machine, r: int, t: float) -> None:
    rq = m.request[r]
    if rq.state == R_EMULATOR or rq.state >= R_FRAME:
        if go_on(m, r, t):
            _end_request(m, r, t)
        elif in_vain(m, r):
            rq.asked = NOBODY
            _out_of_memory(m, rq.guest, t)
            if rq.state == R_FRAME:  # it is first to take what came free
                go_on(m, r, t)
        return
    if rq.state == R_SERVED and share_done(m, r, t) and returns(m, r, t):
        _end_request(m, r, t)


@kernel
def _end_request(m: Machine, r: int, t: float) -> None:
    # All of a request is over: those who waited for it go on.
    rq = m.request[r]
    freed = finish(m, r, t)
    if rq.waiters > 0:
        for k in range(m.host[0].tasks):
            if m.task[k].state == ON_IO and m.task[k].request == r:
                leave_request(m, k, t)
                wake(m, k, t)
    free_request(m, r)
    if freed > 0 or rq.kind == DISK_WRITE:
        wake_waiters(m, t)
    if rq.kind == SWAP_WRITE:  # what was taken back can be reclaimed again
        for e in range(first_thread(m), end_of_reclaimers(m)):
            if m.cpu[e].run and m.cpu[e].state == CPU_IDLE:
                queue_cpu(m, e, t)


@kernel
def _tick(m: Machine, t: float) -> None:
    average(m, t)
    if m.host[0].sample_every_s > 0.0 and t >= m.host[0].sample_at:
        sample_all(m, t)
    for g in range(m.host[0].guests):
        if m.guest[g].state == 2:
            use_in_passing(m, g, t)
            flush_some(m, g, t)
            flush_excess(m, g, t)
    schedule(m, tick_entity(m), t + PSI_PERIOD_S, NOBODY)


@kernel
def _power(m: Machine, g: int, t: float) -> None:
    gs = m.guest[g]
    if gs.state == 0:
        boot(m, g, t)
    elif gs.state == 1:
        booted(m, g, t)
    else:
        stop_guest(m, g, t)


@kernel
def advance(m: Machine, until: float) -> None:
    """Let one host live until a time [s], or until a mark of its timeline; call again to go on."""
    hs = m.host[0]
    first_task = hs.cpus
    first_request = first_task + hs.tasks
    tick = first_request + hs.requests
    while hs.heap_n > 0:
        entity = m.event[0].heap
        t = m.event[entity].when
        if t > until:
            break
        pop(m)
        hs.time_s = t
        if entity < first_task:
            _slice_end(m, entity, t)
        elif entity < first_request:
            _timer(m, entity - first_task, t)
        elif entity < tick:
            _request_event(m, entity - first_request, t)
        elif entity == tick:
            _tick(m, t)
        elif entity == tick + 1:
            turn(m, t)
        else:
            _power(m, entity - tick - 2, t)
        dispatch(m, t)
        if hs.marked:
            return
    hs.time_s = until
