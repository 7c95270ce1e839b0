"""What is read off a host between two advances: times settled to now, tables by guest."""

import numpy as np

from memsim import ksm, sharing, step
from memsim.account import IDLE, N_CLASSES, RESTART
from memsim.events import schedule, tick_entity
from memsim.guest import available
from memsim.host_collapse import host_khugepaged
from memsim.jit import entry, kernel
from memsim.machine import Machine
from memsim.params import COLLAPSE_EVERY_S, KSM_SLEEP_LEAST_S, PSI_PERIOD_S
from memsim.power import power_entity
from memsim.pressure import settle_group, settle_guest, settle_host
from memsim.resize import is_soft, set_target, taken
from memsim.state import DONE, OFF, ON_EVENT, ON_FRAME, ON_IO, R_QUEUED, RUNNABLE
from memsim.timeline import plan_entry, set_high, set_low
from memsim.waits import (
    begin_cpu_wait,
    book_time,
    book_waiters,
    end_cpu_wait,
    resnap_waiters,
    wait_ahead,
)

task_view_dtype = np.dtype(
    [
        ("state", "u1"),
        ("phase", "i4"),
        ("done", "i8"),
        ("arrivals", "i8"),
        ("served", "i8"),
        ("dropped", "i8"),
        ("latency_s", "f8"),
        ("nominal_s", "f8"),
        ("restarts", "i8"),
        ("started_s", "f8"),
        ("finished_s", "f8"),
    ]
)


@kernel
def _settle_task(m: Machine, k: int, t: float) -> None:
    tk = m.task[k]
    state = tk.state
    if state == RUNNABLE and tk.clock < t:
        end_cpu_wait(m, k, t)
        m.host[0].unsnapped += 1
        begin_cpu_wait(m, k, t)
    elif state == ON_IO:
        book_waiters(m, tk.request, t)
        if m.request[tk.request].state == R_QUEUED:
            resnap_waiters(m, tk.request)
    elif tk.clock < t:
        if state == ON_FRAME:
            book_time(m, k, tk.wait_cls, t - tk.clock)
            tk.clock = t
        elif state == ON_EVENT or state == DONE:
            book_time(m, k, IDLE, t - tk.clock)
            tk.clock = t
        elif state == OFF and m.guest[tk.guest].rebooting:
            book_time(m, k, RESTART, t - tk.clock)
            tk.clock = t


@kernel
def settle(m: Machine) -> None:
    """Book all that waits up to now, and bring gauges and pressure up to now."""
    hs = m.host[0]
    t = hs.time_s
    for k in range(hs.tasks):
        if m.task[k].kind == 0:
            _settle_task(m, k, t)
    settle_host(m, t)
    for row in range(1, hs.groups + 1):
        settle_group(m, row, t)
    for g in range(hs.guests):
        gs = m.guest[g]
        if gs.state == 0:
            gs.taken_pages = 0
            gs.available_pages = 0
            continue
        settle_guest(m, g, t)
        gs.taken_pages = taken(m, g)
        soft = gs.taken_pages if is_soft(m, g) else 0
        gs.available_pages = max(0, available(m, g) - soft)


@kernel
def _export(m: Machine, view: np.ndarray, account: np.ndarray) -> None:
    now = m.host[0].time_s
    for g in range(m.host[0].guests):
        gs = m.guest[g]
        for j in range(gs.tasks):
            k = gs.task0 + j
            tk, out = m.task[k], view[g, j]
            out["state"] = tk.state
            out["phase"] = tk.phase - tk.phase0
            out["done"] = tk.done
            out["arrivals"] = tk.arrivals
            out["served"] = tk.served
            out["dropped"] = tk.dropped
            out["latency_s"] = tk.latency_s
            out["nominal_s"] = tk.nominal_s
            out["restarts"] = tk.restarts
            out["started_s"] = tk.started_s
            out["finished_s"] = tk.finished_s
            for c in range(N_CLASSES):
                account[g, j, c] = m.book[k, c]
            ahead, cls = wait_ahead(m, k, now)
            account[g, j, cls] -= ahead


@entry
def advance(m: Machine, until: float, view: np.ndarray, account: np.ndarray) -> bool:
    """Advance a host and refresh its views; True if it stopped at a mark on the way.

    Args:
        m: the host.
        until: absolute time [s].
        view: (G, T) task_view_dtype, written.
        account: (G, T, 16) float64 [s], written.
    """
    m.host[0].marked = 0
    step.advance(m, until)
    settle(m)
    _export(m, view, account)
    return m.host[0].marked != 0


@entry
def start(m: Machine) -> None:
    """Begin a host's life at time 0."""
    hs = m.host[0]
    for g in range(hs.guests):
        if m.guest[g].start_s < np.inf:
            schedule(m, power_entity(m, g), m.guest[g].start_s, g)
    schedule(m, tick_entity(m), PSI_PERIOD_S, -1)
    if hs.ksm and hs.ksm_run != sharing.STOP:
        schedule(m, ksm.ksmd(m), 0.0, -1)
    if hs.huge_pages:
        schedule(m, host_khugepaged(m), COLLAPSE_EVERY_S, -1)
    plan_entry(m, 0.0)


@entry
def set_targets(m: Machine, pages: np.ndarray) -> None:
    """Set a host's targets: (G,) int64 [pages], negative leaves alone."""
    for g in range(m.host[0].guests):
        if pages[g] >= 0:
            set_target(m, g, pages[g], m.host[0].time_s)
    step.dispatch(m, m.host[0].time_s)


@entry
def set_cgroups(m: Machine, low: np.ndarray, high: np.ndarray) -> None:
    """Set memory.low and memory.high of guests' cgroups: (G,) int64 [pages].

    Negative leaves alone; a `high` of the host's RAM or more means none.
    """
    hs = m.host[0]
    for g in range(hs.guests):
        c = m.guest[g].cgroup
        if low[g] >= 0:
            set_low(m, c, low[g])
        if high[g] >= 0:
            set_high(m, c, high[g] if high[g] < hs.ram_pages else -1, hs.time_s)
    step.dispatch(m, hs.time_s)


@entry
def set_ksm(m: Machine, run: int, pages_to_scan: int, sleep_s: float) -> None:
    """Set ksmd's knobs; a negative number leaves one alone, as does a host without KSM."""
    hs = m.host[0]
    if not hs.ksm:
        return
    if pages_to_scan >= 0:
        hs.ksm_pages_to_scan = pages_to_scan
    if sleep_s >= 0.0:
        hs.ksm_sleep_s = max(sleep_s, KSM_SLEEP_LEAST_S)
    if run >= 0:
        ksm.set_run(m, run, hs.time_s)
    step.dispatch(m, hs.time_s)
