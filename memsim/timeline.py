"""The host's own script: guests started and stopped, limits and targets set, marks made."""

from memsim.cgroups import above_high
from memsim.cpu import first_thread, wake_thread
from memsim.events import schedule, tick_entity
from memsim.jit import kernel
from memsim.lists import host_push, host_remove, host_row
from memsim.machine import Machine
from memsim.power import boot, stop_guest
from memsim.resize import reached, set_target
from memsim.script import signal
from memsim.state import NOBODY

START_GUEST, STOP_GUEST, CGROUP_MAX, CORES, TARGET, WAIT_TARGET, WAIT_EVENT, MARK = range(8)
CGROUP_LOW, CGROUP_HIGH, SIGNAL, WAIT_LIMIT = range(8, 12)
LOOK_S = 1e-3  # how often a waiting entry looks again


@kernel
def _own_lists(m: Machine, row: int) -> None:
    # A cgroup with a limit has lists of its own: move its guests' pages over, oldest first.
    if m.group[row].own:
        return
    for active in range(2):
        p = m.lists[host_row(m, 0, active)].tail
        while p != NOBODY:
            before = m.page[p].hprev
            if m.guest[m.page[p].guest].cgroup == row - 1:
                host_remove(m, p)
                m.group[row].own = 1
                host_push(m, row, active, p)
                m.group[row].own = 0
            p = before
    m.group[row].own = 1


@kernel
def set_limit(m: Machine, c: int, pages: int, t: float) -> None:
    """Set a cgroup's limit [pages, NOBODY: none]; its thread reclaims what is above."""
    m.group[1 + c].max = pages
    if pages == NOBODY:
        return
    _own_lists(m, 1 + c)
    if m.group[1 + c].usage > pages:
        wake_thread(m, first_thread(m) + 1 + c, t)


@kernel
def set_high(m: Machine, c: int, pages: int, t: float) -> None:
    """Set a cgroup's memory.high [pages, NOBODY: none]; its thread reclaims what is above."""
    m.group[1 + c].high = pages
    if above_high(m, 1 + c):
        wake_thread(m, first_thread(m) + 1 + c, t)


@kernel
def set_low(m: Machine, c: int, pages: int) -> None:
    """Set a cgroup's memory.low [pages, 0 or less: none]."""
    m.group[1 + c].low = max(0, pages)


@kernel
def _holds_up(m: Machine, i: int, t: float) -> bool:
    en = m.entry[i]
    if en.act == WAIT_TARGET:
        return not reached(m, en.guest, t)
    if en.act == WAIT_EVENT:
        return m.signal[m.guest[en.guest].event0 + en.index].count < en.value
    if en.act == WAIT_LIMIT:
        gr = m.group[1 + en.index]
        return gr.max != NOBODY and gr.usage > gr.max
    return False


@kernel
def _do(m: Machine, i: int, t: float) -> None:
    en = m.entry[i]
    if en.act == START_GUEST:
        boot(m, en.guest, t)
    elif en.act == STOP_GUEST:
        stop_guest(m, en.guest, t)
    elif en.act == CGROUP_MAX:
        set_limit(m, en.index, int(en.value), t)
    elif en.act == CGROUP_HIGH:
        set_high(m, en.index, int(en.value), t)
    elif en.act == CGROUP_LOW:
        set_low(m, en.index, int(en.value))
    elif en.act == CORES:
        m.host[0].cores = int(en.value)
        m.host[0].cores_most = max(m.host[0].cores_most, m.host[0].cores)
    elif en.act == TARGET:
        set_target(m, en.guest, int(en.value), t)
    elif en.act == SIGNAL:
        signal(m, en.guest, m.guest[en.guest].event0 + en.index, t)
    elif en.act == MARK:
        m.host[0].marks = int(en.value)
        m.host[0].marked = 1


@kernel
def plan_entry(m: Machine, t: float) -> None:
    """Set the time of the next entry, the one before it having been done at t."""
    hs = m.host[0]
    if hs.entry >= hs.entries:
        return
    en = m.entry[hs.entry]
    when = en.at_s if en.at_s >= 0.0 else t + en.after_s
    schedule(m, tick_entity(m) + 1, max(when, t), NOBODY)


@kernel
def turn(m: Machine, t: float) -> None:
    """Do the timeline's next entry, or look again soon if it has to wait."""
    hs = m.host[0]
    i = hs.entry
    if i >= hs.entries:
        return
    if _holds_up(m, i, t):
        schedule(m, tick_entity(m) + 1, t + LOOK_S, NOBODY)
        return
    _do(m, i, t)
    hs.entry += 1
    plan_entry(m, t)
