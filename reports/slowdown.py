"""How much slower a guest was than alone on an ample host (model section 9).

A job: elapsed time over the reference's time for the work done.  Open-loop: mean latency from
arrival over the reference's, a dropped arrival counting its backlog.  Endless closed-loop: the
reference's rate over the rate, rates being nominal seconds of work per second.
"""

from collections.abc import Sequence
from enum import Enum
from math import isfinite, isnan, nan
from typing import NamedTuple

import numpy as np

from memsim.spec import Op, Phase, Task
from scenarios.facts import ends

JOB_LIMIT = 100.0  # a job is never called slower than this
STALLED = 1e4  # stands for "did nothing at all"; finite, so that means stay finite

_ACCESS = (Op.TOUCH, Op.READ, Op.WRITE)


class Kind(Enum):
    """How a task's slowdown is measured."""

    JOB = "job"
    OPEN = "open-loop"
    ENDLESS = "endless closed-loop"


class Script(NamedTuple):
    """What matters here about a task."""

    kind: Kind
    backlog_s: float  # what a dropped arrival counts as
    waits: bool  # for events that others signal, so that its idle time is not its own


class Work(NamedTuple):
    """What one guest's tasks had done at each of N samples; totals since its first boot."""

    time_s: np.ndarray  # (N,) float64
    present: np.ndarray  # (N,) bool switched on
    kills: np.ndarray  # (N,) int64 by its own kernel or by the host
    nominal_s: np.ndarray  # (N, T) float64
    idle_s: np.ndarray  # (N, T) float64
    served: np.ndarray  # (N, T) int64
    dropped: np.ndarray  # (N, T) int64
    latency_s: np.ndarray  # (N, T) float64 of all that was served
    started_s: np.ndarray  # (T,) float64, NaN: never
    finished_s: np.ndarray  # (T,) float64, NaN: never


class Outcome(NamedTuple):
    """How a guest fared in the scored part."""

    score: float  # min(1, 1 / slowdown), 0 from a kill to the end
    slowdown: float  # until a kill; NaN: it had nothing to do
    killed_s: float  # since the start of the scored part; NaN: it was not
    present_s: float


def script(task: Task) -> Script:
    """Tell how a task is to be measured from its phases."""
    phases = task.phases
    opened = [phase for phase in phases if phase.op in _ACCESS and _has_rate(phase)]
    backlog_s = max((phase.backlog_s for phase in opened), default=0.0)
    waits = any(phase.op == Op.WAIT for phase in phases)
    if opened:
        return Script(Kind.OPEN, backlog_s, waits)
    return Script(Kind.JOB if ends(task) else Kind.ENDLESS, backlog_s, waits)


def outcome(
    run: Work, reference: Work, scripts: Sequence[Script], begin_s: float, end_s: float
) -> Outcome | None:
    """Score one guest over the scored part; None if it was not there at all.

    A guest with nothing to do scores 1 while it lives.  A kill counts from the sample before it
    was seen.
    """
    inside = (run.time_s >= begin_s) & (run.time_s <= end_s) & run.present
    samples = np.flatnonzero(inside)
    if len(samples) < 2:
        return None
    first, last = int(samples[0]), int(samples[-1])
    present_s = float(run.time_s[last] - run.time_s[first])
    killed = np.flatnonzero(run.kills[first : last + 1] > run.kills[first])
    until = first + int(killed[0]) - 1 if len(killed) else last
    alive_s = float(run.time_s[until] - run.time_s[first])
    slowdown = guest_slowdown(run, reference, scripts, first, until) if until > first else nan
    speed = 1.0 if isnan(slowdown) else min(1.0, 1.0 / slowdown)
    killed_s = float(run.time_s[until]) - begin_s if len(killed) else nan
    return Outcome(speed * alive_s / present_s, slowdown, killed_s, present_s)


def guest_slowdown(
    run: Work, reference: Work, scripts: Sequence[Script], first: int, last: int
) -> float:
    """The mean over tasks between two samples, weighted by reference nominal time."""
    found = np.full(len(scripts), nan)
    weight = np.zeros(len(scripts))
    for task, measured in enumerate(scripts):
        begun = run if measured.kind is Kind.JOB else reference
        weight[task] = reference.nominal_s[last, task] - begun.nominal_s[first, task]
        found[task] = _MEASURES[measured.kind](run, reference, measured, task, first, last)
    counted = np.isfinite(found) & (weight > 0)
    if not counted.any():
        return nan
    return float(np.average(found[counted], weights=weight[counted]))


def _open(run: Work, ref: Work, measured: Script, task: int, first: int, last: int) -> float:
    window_s = float(run.time_s[last] - run.time_s[first])
    expected = _latency(ref, measured, task, first, last)
    if isnan(expected):
        return nan
    found = _latency(run, measured, task, first, last)
    return (window_s if isnan(found) else found) / expected


def _latency(work: Work, measured: Script, task: int, first: int, last: int) -> float:
    """Mean latency from arrival [s]; NaN without arrivals that were served or dropped."""
    served = int(work.served[last, task] - work.served[first, task])
    dropped = int(work.dropped[last, task] - work.dropped[first, task])
    waited_s = float(work.latency_s[last, task] - work.latency_s[first, task])
    if served + dropped == 0:
        return nan
    return (waited_s + dropped * measured.backlog_s) / (served + dropped)


def _endless_rate(run: Work, ref: Work, _: Script, task: int, first: int, last: int) -> float:
    expected = float(ref.nominal_s[last, task] - ref.nominal_s[first, task])
    done = float(run.nominal_s[last, task] - run.nominal_s[first, task])
    if expected <= 0:
        return nan
    return expected / done if done > expected / STALLED else STALLED


def _job(run: Work, ref: Work, measured: Script, task: int, first: int, last: int) -> float:
    begun_s = max(float(run.time_s[first]), float(run.started_s[task]))
    finished_s = float(run.finished_s[task])
    ended_s = float(run.time_s[last])
    done = not isnan(finished_s) and finished_s <= ended_s
    elapsed_s = (finished_s if done else ended_s) - begun_s
    if isnan(begun_s) or elapsed_s <= 0:
        return nan
    # A script's own sleep is part of its work; idle time spent waiting for others is not.
    work, ref_work = _progress(run, measured, task), _progress(ref, measured, task)
    from_s = _clamp(begun_s, *times_of(work[first], ref.time_s, ref_work))
    if done and isfinite(ref.finished_s[task]):
        until_s = float(ref.finished_s[task])
    else:
        until_s = _clamp(from_s + elapsed_s, *times_of(work[last], ref.time_s, ref_work))
    needed_s = until_s - from_s
    return min(elapsed_s / needed_s, JOB_LIMIT) if needed_s > 0 else JOB_LIMIT


_MEASURES = {Kind.OPEN: _open, Kind.ENDLESS: _endless_rate, Kind.JOB: _job}


def times_of(work: float, time_s: np.ndarray, done: np.ndarray) -> tuple[float, float]:
    """The first and last moment at which a growing total had a value, linear between samples.

    Args:
        work: the value.
        time_s: (N,) of the samples.
        done: (N,) the total, not falling.
    """
    margin = 1e-9 * max(1.0, abs(work))
    size = len(done)
    after = int(np.searchsorted(done, work - margin, side="left"))
    beyond = int(np.searchsorted(done, work + margin, side="right"))
    first = time_s[0] if after == 0 else time_s[-1]
    if 0 < after < size:
        first = np.interp(work, done[after - 1 : after + 1], time_s[after - 1 : after + 1])
    last = time_s[0] if beyond == 0 else time_s[-1]
    if 0 < beyond < size:
        last = np.interp(work, done[beyond - 1 : beyond + 1], time_s[beyond - 1 : beyond + 1])
    return float(first), float(last)


def _progress(work: Work, measured: Script, task: int) -> np.ndarray:
    nominal: np.ndarray = work.nominal_s[:, task]
    return nominal if measured.waits else nominal + work.idle_s[:, task]


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _has_rate(phase: Phase) -> bool:
    return phase.rate > 0 or phase.rate_curve >= 0
