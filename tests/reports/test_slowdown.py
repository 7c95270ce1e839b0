import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsim.spec import Op, Phase, Task
from reports.slowdown import (
    JOB_LIMIT,
    STALLED,
    Kind,
    Outcome,
    Script,
    Work,
    guest_slowdown,
    outcome,
    script,
    times_of,
)

SAMPLES = 21
TIME_S = np.arange(SAMPLES) * 5.0  # 0 .. 100 s
OPEN, ENDLESS, JOB = (
    Script(Kind.OPEN, 2.0, False),
    Script(Kind.ENDLESS, 0.0, False),
    Script(Kind.JOB, 0.0, False),
)


def work(*speeds: float, finished_s: float = math.nan, kill_at: int | None = None) -> Work:
    """One task per speed [nominal seconds per second]."""
    tasks = len(speeds)
    until_s = np.inf if math.isnan(finished_s) else finished_s
    kills = np.zeros(SAMPLES, np.int64)
    if kill_at is not None:
        kills[kill_at:] = 1
    return Work(
        time_s=TIME_S,
        present=np.ones(SAMPLES, bool),
        kills=kills,
        nominal_s=np.minimum(TIME_S, until_s)[:, None] * np.array(speeds),
        idle_s=np.zeros((SAMPLES, tasks)),
        served=np.zeros((SAMPLES, tasks), np.int64),
        dropped=np.zeros((SAMPLES, tasks), np.int64),
        latency_s=np.zeros((SAMPLES, tasks)),
        started_s=np.zeros(tasks),
        finished_s=np.full(tasks, finished_s),
    )


def served(base: Work, rate: float, latency_s: float, dropped: float = 0.0) -> Work:
    count = (TIME_S[:, None] * rate).astype(np.int64)
    lost = (TIME_S[:, None] * dropped).astype(np.int64)
    return base._replace(served=count, dropped=lost, latency_s=count * latency_s)


def slow(run: Work, reference: Work, *scripts: Script) -> float:
    return guest_slowdown(run, reference, scripts, 4, 20)


def test_an_endless_task_compares_rates() -> None:
    assert slow(work(0.2), work(0.8), ENDLESS) == pytest.approx(4)


def test_an_endless_task_that_does_nothing_is_stalled() -> None:
    assert slow(work(0.0), work(0.8), ENDLESS) == STALLED


def test_open_loop_compares_mean_latency_from_arrival() -> None:
    reference = served(work(0.5), 10, 0.01)
    assert slow(served(work(0.5), 10, 0.025), reference, OPEN) == pytest.approx(2.5)


def test_a_dropped_arrival_counts_its_backlog() -> None:
    reference = served(work(0.5), 10, 0.01)
    run = served(work(0.5), 8, 0.01, dropped=2)  # 0.8 x 0.01 s + 0.2 x 2 s
    assert slow(run, reference, OPEN) == pytest.approx((0.8 * 0.01 + 0.2 * 2) / 0.01)


def test_open_loop_without_any_answer_waited_all_the_time() -> None:
    reference = served(work(0.5), 10, 0.01)
    assert slow(work(0.0), reference, OPEN) == pytest.approx(80 / 0.01)


def test_an_unfinished_job_compares_with_the_time_of_the_work_done() -> None:
    # From 20 s to 100 s at 0.25 it does 20 s of work, which alone takes 25 s at 0.8.
    assert slow(work(0.25), work(0.8), JOB) == pytest.approx(80 / 25)


def test_a_finished_job_compares_with_the_finish_of_the_reference() -> None:
    run, reference = work(0.5, finished_s=80), work(1.0, finished_s=40)
    # At 20 s it has done 10 s of work, where the reference was at 10 s; 60 s against 30 s.
    assert slow(run, reference, JOB) == pytest.approx(2)


def test_a_job_that_the_reference_finished_before_still_counts() -> None:
    run, reference = work(0.2), work(1.0, finished_s=20)
    both = guest_slowdown(run, reference, [JOB], 4, 17)
    assert both == pytest.approx(65 / 13)


def test_a_job_that_was_over_before_does_not_count() -> None:
    assert math.isnan(slow(work(1.0, finished_s=10), work(1.0, finished_s=10), JOB))


def test_a_job_without_progress_is_capped() -> None:
    stuck = work(1.0)._replace(nominal_s=np.minimum(TIME_S[:, None], 20.0))
    assert slow(stuck, work(1.0), JOB) == JOB_LIMIT


def test_a_sleeping_job_is_not_slow() -> None:
    # Sleeps until 60 s and then works; at half the speed in the run.
    awake = np.maximum(TIME_S - 60, 0)[:, None]
    asleep = np.minimum(TIME_S, 60)[:, None]
    reference = work(1.0)._replace(nominal_s=awake, idle_s=asleep)
    run = reference._replace(nominal_s=awake / 2)
    # 40 s asleep and 40 s for 20 s of work.
    assert slow(run, reference, JOB) == pytest.approx(80 / 60)
    assert slow(reference, reference, JOB) == pytest.approx(1)


def test_a_job_that_waits_for_others_gets_no_credit_for_waiting() -> None:
    reference = work(1.0)
    run = work(0.5)._replace(idle_s=TIME_S[:, None] * 0.5)
    assert slow(run, reference, JOB._replace(waits=True)) == pytest.approx(2)


def test_tasks_are_weighted_by_reference_nominal_time() -> None:
    run, reference = work(0.1, 0.2, 0.3), work(0.2, 0.6, 0.3)
    expected = (0.2 * 2 + 0.6 * 3 + 0.3 * 1) / 1.1
    assert slow(run, reference, ENDLESS, ENDLESS, ENDLESS) == pytest.approx(expected)


def test_outcome_from_half_speed() -> None:
    found = outcome(work(0.4), work(0.8), [ENDLESS], 20, 100)
    assert found is not None
    assert found == pytest.approx(Outcome(0.5, 2.0, math.nan, 80.0), nan_ok=True)


def test_a_faster_guest_scores_no_more_than_one() -> None:
    found = outcome(work(0.9), work(0.8), [ENDLESS], 20, 100)
    assert found is not None
    assert found.score == 1


def test_a_kill_scores_zero_from_there_to_the_end() -> None:
    found = outcome(work(0.4, kill_at=9), work(0.8), [ENDLESS], 20, 100)
    assert found is not None  # seen at 45 s, alive from 20 s to 40 s
    assert found.killed_s == 20
    assert found.score == pytest.approx(0.5 * 20 / 80)
    assert found.slowdown == pytest.approx(2)


def test_a_kill_during_warm_up_does_not_count() -> None:
    found = outcome(work(0.8, kill_at=3), work(0.8), [ENDLESS], 20, 100)
    assert found is not None
    assert found.score == 1


def test_an_idle_guest_scores_until_it_is_killed() -> None:
    found = outcome(work(0.0, kill_at=12), work(0.0), [ENDLESS], 20, 100)
    assert found is not None
    assert math.isnan(found.slowdown)
    assert found.score == pytest.approx(35 / 80)


def test_a_guest_counts_only_while_it_is_there() -> None:
    run = work(0.8)
    run.present[:8] = False
    run.present[15:] = False
    found = outcome(run, work(0.8), [ENDLESS], 20, 100)
    assert found is not None
    assert found.present_s == 30
    run.present[:] = False
    assert outcome(run, work(0.8), [ENDLESS], 20, 100) is None


@pytest.mark.parametrize(
    ("phases", "kind"),
    [
        ((Phase(Op.TOUCH, region=0, rate=3.0, seconds=10),), Kind.OPEN),
        ((Phase(Op.READ, region=0, rate_curve=0),), Kind.OPEN),
        ((Phase(Op.TOUCH, region=0),), Kind.ENDLESS),
        ((Phase(Op.TOUCH, region=0, count=9), Phase(Op.REPEAT, jump=0, count=-1)), Kind.ENDLESS),
        ((Phase(Op.FOLLOW, region=0, size=0),), Kind.ENDLESS),
        ((Phase(Op.TOUCH, region=0, count=9), Phase(Op.REPEAT, jump=0, count=3)), Kind.JOB),
        ((Phase(Op.SLEEP, seconds=5), Phase(Op.ALLOCATE, region=0), Phase(Op.EXIT)), Kind.JOB),
    ],
)
def test_scripts_are_told_apart(phases: tuple[Phase, ...], kind: Kind) -> None:
    assert script(Task(phases)).kind is kind


def test_the_longest_backlog_counts() -> None:
    phase = Phase(Op.TOUCH, region=0, rate=1.0, backlog_s=0.5)
    assert script(Task((phase, replace(phase, backlog_s=3.0)))).backlog_s == 3.0


@given(st.lists(st.sampled_from([0.0, 1.0, 2.5]), min_size=2, max_size=12), st.floats(0, 1))
def test_times_of_inverts_a_growing_total(steps: list[float], share: float) -> None:
    done = np.cumsum(steps)
    time_s = np.arange(len(done)) * 5.0
    value = float(done[0] + share * (done[-1] - done[0]))
    first, last = times_of(value, time_s, done)
    assert first <= last
    for moment in (first, last):
        assert np.interp(moment, time_s, done) == pytest.approx(value, abs=1e-6)
    inside = (time_s > first + 1e-6) & (time_s < last - 1e-6)
    assert done[inside] == pytest.approx(value, abs=1e-6)
