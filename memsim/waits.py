"""Time: every second of every task goes to exactly one class (model section 2).

A wait is classed by what holds the CPU or the device meanwhile.  For host cores, for each guest's
vCPUs and for each device, `book` keeps counts of holders by class and integrals over time of
their shares; a waiting task remembers the integrals from the moment its wait began and books the
difference when it ends.  Integrals only advance while somebody waits, so that nothing is paid
where nobody does.
"""

from memsim.account import (
    HOST_RECLAIM,
    HOST_SWAP,
    IDLE,
    N_CLASSES,
    NOMINAL,
    QUEUED,
    RESTART,
    THROTTLE,
)
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.pressure import group_work
from memsim.state import (
    CPU_QUEUED,
    CPU_RUNNING,
    NOBODY,
    ON_IO,
    R_CODE,
    R_EMULATOR,
    R_FRAME,
    R_QUEUED,
    R_SERVED,
    R_THROTTLED,
    RUNNING,
    TIMER,
)


@kernel
def _scopes(m: Machine) -> int:
    hs = m.host[0]
    return 1 + hs.guests + hs.devices


@kernel
def share_row(m: Machine, scope: int) -> int:
    """Row of integrals: scope 0 is the host's cores, 1 + g a guest's vCPUs, then devices."""
    return 2 * m.host[0].tasks + scope


@kernel
def count_row(m: Machine, scope: int) -> int:
    """Row of counts of holders, scopes as in `share_row`."""
    return 2 * m.host[0].tasks + _scopes(m) + scope


@kernel
def look_row(m: Machine, g: int) -> int:
    """Row of a guest's last look at the host's integrals."""
    return 2 * m.host[0].tasks + 2 * _scopes(m) + g


@kernel
def device_scope(m: Machine, d: int) -> int:
    """Scope of a device."""
    return 1 + m.host[0].guests + d


@kernel
def book_time(m: Machine, k: int, cls: int, seconds: float) -> None:
    """Book time of a task; nominal time of work that is done again goes to restart."""
    if seconds <= 0.0:
        return
    if cls != NOMINAL:
        m.book[k, cls] += seconds
        return
    tk = m.task[k]
    tk.lap_s += seconds
    if tk.redo_s > 0.0:
        again = min(seconds, tk.redo_s)
        tk.redo_s -= again
        m.book[k, RESTART] += again
        seconds -= again
    m.book[k, NOMINAL] += seconds
    tk.nominal_s += seconds


@kernel
def wait_ahead(m: Machine, k: int, t: float) -> tuple[float, int]:
    """Tell what of a task's booked waiting lies after time t, as (seconds, account class).

    Sleeps are booked whole when a script comes to them; a running task has yet to end its slice.
    """
    tk = m.task[k]
    cls, since = IDLE, t
    if tk.state == TIMER:
        cls = tk.wait_cls
    elif tk.state == RUNNING and tk.cpu != NOBODY:
        since = max(t, m.event[tk.cpu].when)
    else:
        return 0.0, cls
    return max(0.0, min(tk.clock - since, m.book[k, cls])), cls


@kernel
def integrate_host(m: Machine, t: float) -> None:
    """Advance the shares of the host's cores to time t; call before their holders change."""
    hs = m.host[0]
    if hs.runq_n > 0 and hs.cores_used > 0:
        counts, shares = count_row(m, 0), share_row(m, 0)
        each = (t - hs.mix_t) / hs.cores_used
        for c in range(N_CLASSES):
            m.book[shares, c] += each * m.book[counts, c]
    hs.mix_t = t


@kernel
def _integrate_guest(m: Machine, g: int, t: float) -> None:
    gs = m.guest[g]
    integrate_host(m, t)
    host, look = share_row(m, 0), look_row(m, g)
    counts, shares = count_row(m, 1 + g), share_row(m, 1 + g)
    for_core = min(1.0, gs.queued / gs.runnable) if gs.runnable > 0 else 0.0
    for_vcpu = (1.0 - for_core) / gs.vcpus
    dt = t - gs.mix_t
    for c in range(N_CLASSES):
        by_host = m.book[host, c] - m.book[look, c]
        m.book[shares, c] += for_core * by_host + for_vcpu * (
            dt * m.book[counts, c] + gs.queued * by_host
        )
        m.book[look, c] = m.book[host, c]
    gs.mix_t = t


@kernel
def integrate_guest(m: Machine, g: int, t: float) -> None:
    """Advance the shares of a guest's vCPUs to time t; call before its counts change."""
    if m.guest[g].snapped > 0:
        _integrate_guest(m, g, t)


@kernel
def begin_cpu_wait(m: Machine, k: int, t: float) -> None:
    """Start to class the wait of a runnable task."""
    tk = m.task[k]
    gs = m.guest[tk.guest]
    if gs.snapped > 0:
        _integrate_guest(m, tk.guest, t)
    else:
        integrate_host(m, t)
        host, look = share_row(m, 0), look_row(m, tk.guest)
        for c in range(N_CLASSES):
            m.book[look, c] = m.book[host, c]
        gs.mix_t = t
    gs.snapped += 1
    m.host[0].unsnapped -= 1
    tk.snapped = 1
    row, shares = m.host[0].tasks + k, share_row(m, 1 + tk.guest)
    for c in range(N_CLASSES):
        m.book[row, c] = m.book[shares, c]


@kernel
def _book_by_shares(m: Machine, k: int, shares: int, seconds: float) -> None:
    row = m.host[0].tasks + k
    total = 0.0
    for c in range(N_CLASSES):
        total += m.book[shares, c] - m.book[row, c]
    if total <= 0.0:
        book_time(m, k, QUEUED, seconds)
        return
    scale = seconds / total
    for c in range(N_CLASSES):
        share = (m.book[shares, c] - m.book[row, c]) * scale
        # Others' nominal work is queueing; everything else is lost with its cause.
        book_time(m, k, QUEUED if c <= QUEUED else c, share)


@kernel
def end_cpu_wait(m: Machine, k: int, t: float) -> None:
    """Book the wait of a task that gets a vCPU and a core, or ceases to wait for them."""
    tk = m.task[k]
    if tk.snapped:
        integrate_guest(m, tk.guest, t)
        _book_by_shares(m, k, share_row(m, 1 + tk.guest), t - tk.clock)
        tk.snapped = 0
        m.guest[tk.guest].snapped -= 1
    else:
        m.host[0].unsnapped -= 1
        book_time(m, k, QUEUED, t - tk.clock)
    tk.clock = t


@kernel
def set_cpu(m: Machine, e: int, state: int, cls: int, t: float) -> None:
    """Change what a vCPU or host thread does, keeping all counts of holders."""
    cpu = m.cpu[e]
    g = cpu.guest
    if g != NOBODY:
        integrate_guest(m, g, t)
        counts = count_row(m, 1 + g)
        if cpu.state >= CPU_RUNNING:
            m.book[counts, cpu.cls] -= 1.0
        if state >= CPU_RUNNING:
            m.book[counts, cls] += 1.0
        if cpu.state == CPU_QUEUED:
            m.guest[g].queued -= 1
            group_work(m, g, -1, t)
        if state == CPU_QUEUED:
            m.guest[g].queued += 1
            group_work(m, g, 1, t)
    was, now = cpu.state == CPU_RUNNING, state == CPU_RUNNING
    if was or now:
        integrate_host(m, t)
        hosts = count_row(m, 0)
        if was:
            m.book[hosts, cpu.cls] -= 1.0
            m.host[0].cores_used -= 1
        if now:
            m.book[hosts, cls] += 1.0
            m.host[0].cores_used += 1
    cpu.state = state
    cpu.cls = cls


@kernel
def integrate_device(m: Machine, d: int, t: float) -> None:
    """Advance the shares of a device to time t; call before its holders or queue change."""
    dev = m.device[d]
    if dev.waiting > 0 and dev.busy > 0:
        scope = device_scope(m, d)
        counts, shares = count_row(m, scope), share_row(m, scope)
        each = (t - dev.mix_t) / dev.busy
        for c in range(N_CLASSES):
            m.book[shares, c] += each * m.book[counts, c]
    dev.mix_t = t


@kernel
def _snap_device(m: Machine, k: int, d: int) -> None:
    row, shares = m.host[0].tasks + k, share_row(m, device_scope(m, d))
    for c in range(N_CLASSES):
        m.book[row, c] = m.book[shares, c]


@kernel
def begin_io_wait(m: Machine, k: int, r: int, t: float) -> None:
    """Let a task wait for a request; its time up to t is booked."""
    tk = m.task[k]
    tk.state = ON_IO
    tk.request = r
    rq = m.request[r]
    rq.waiters += 1
    if rq.state == R_QUEUED:
        integrate_device(m, rq.device, t)
        _snap_device(m, k, rq.device)


@kernel
def _book_service(m: Machine, k: int, cls: int, end: float, over: int, t: float) -> None:
    # Nominal service up to `end`, when an idle device would be done; what is beyond is `over`.
    tk = m.task[k]
    if cls != NOMINAL:
        book_time(m, k, cls, t - tk.clock)
        return
    nominal = max(0.0, min(t, end) - tk.clock)
    book_time(m, k, NOMINAL, nominal)
    book_time(m, k, over, t - tk.clock - nominal)


@kernel
def book_waiters(m: Machine, r: int, t: float) -> None:
    """Book the time of all who wait for a request up to t; call before its state changes."""
    rq = m.request[r]
    if rq.waiters == 0:
        return
    for k in range(m.host[0].tasks):
        tk = m.task[k]
        if tk.state != ON_IO or tk.request != r or tk.clock >= t:
            continue
        if rq.state == R_QUEUED:
            integrate_device(m, rq.device, t)
            _book_by_shares(m, k, share_row(m, device_scope(m, rq.device)), t - tk.clock)
        elif rq.state == R_SERVED:
            _book_service(m, k, rq.cls, rq.from_s + rq.nominal_s, rq.over, t)
        elif rq.state == R_FRAME:
            book_time(m, k, HOST_RECLAIM, t - tk.clock)
        elif rq.state == R_THROTTLED:
            book_time(m, k, THROTTLE, t - tk.clock)
        elif rq.state == R_CODE:
            _book_service(m, k, rq.why, rq.from_s, QUEUED, t)
        elif rq.state == R_EMULATOR:
            book_time(m, k, rq.why, t - tk.clock)
        else:  # R_PAGE: the emulator waits for the host's swap
            book_time(m, k, HOST_SWAP, t - tk.clock)
        tk.clock = t


@kernel
def resnap_waiters(m: Machine, r: int) -> None:
    """Begin the wait in a device's queue anew for all who wait for a request just queued."""
    if m.request[r].waiters == 0:
        return
    for k in range(m.host[0].tasks):
        if m.task[k].state == ON_IO and m.task[k].request == r:
            _snap_device(m, k, m.request[r].device)
