"""Who decides when the policy fails, and that nothing but the time decides it."""

from typing import Any

import numpy as np
import pytest

from agents.baselines import load_policy
from contract import growth, loop
from contract.arrays import GIB, MIB, Floats
from contract.decision import Decision
from contract.guard import GuardConfig
from contract.interventions import Intervention
from contract.state import Nothing
from contract.telemetry import Telemetry
from overcommitd import core
from overcommitd.core import By, CoreState, Outcome, Plan
from tests.contract.readings import reading

FULL = GuardConfig("full")


class Asks:
    """Asks every guest for one size, and fails when it is told to."""

    def __init__(self, size: int, period_s: float = 5.0, name: str = "asks") -> None:
        self.name, self.size, self.period_s, self.fails = name, size, period_s, ""

    def reset(self, hosts: int, guests: int) -> Nothing:
        return Nothing()

    def decide(self, telemetry: Telemetry, state: Nothing) -> tuple[Decision, Nothing, Floats]:
        if self.fails == "raises":
            raise ZeroDivisionError("a slip")
        target = np.full(telemetry.guest_id.shape, self.size, np.int64)
        if self.fails == "nan":
            nothing: Any = target * np.nan
            return Decision(nothing), state, telemetry.time_s + self.period_s
        if self.fails == "no tuple":
            return Decision(target)  # type: ignore[return-value]
        if self.fails == "never wakes forward":
            return Decision(target), state, telemetry.time_s
        return Decision(target), state, telemetry.time_s + self.period_s


def plan(policy: Asks | None = None, hold_s: float = 12.0, retry_s: float = 50.0) -> Plan:
    fallback = Asks(int(1.9 * GIB), name="fallback")
    return Plan(policy or Asks(int(1.8 * GIB)), fallback, FULL, hold_s, retry_s, period_s=5.0)


def at(time_s: float, **columns: Any) -> Telemetry:  # noqa: ANN401
    return reading(guests=2, time_s=time_s, **columns)


def story(made: Plan, times: list[float], fails: dict[float, str]) -> list[Outcome]:
    """The outcome at each time; from each time in `fails` on the policy fails so."""
    state, found = core.start(made, 2), []
    for time_s in times:
        if time_s in fails:
            made.policy.fails = fails[time_s]  # type: ignore[attr-defined]  # Asks
        outcome, state = core.turn(made, at(time_s), state)
        found.append(outcome)
    return found


def test_a_sound_policy_is_the_plain_loop() -> None:
    made = plan()
    state, plain = core.start(made, 2), loop.start(made.policy, 1, 2)
    for time_s in (0.0, 2.0, 5.0, 10.0):
        outcome, state = core.turn(made, at(time_s), state)
        turn, plain = loop.step(made.policy, FULL, at(time_s), plain)
        for ours, theirs in zip(outcome.turn, turn, strict=True):
            np.testing.assert_equal(ours, theirs)
        assert outcome.by is By.POLICY and not outcome.problem


@pytest.mark.parametrize("how", ["raises", "nan", "no tuple", "never wakes forward"])
def test_targets_stay_then_the_fallback_decides_then_the_policy_is_back(how: str) -> None:
    times = [float(t) for t in range(0, 100, 5)]
    found = story(plan(Asks(int(1.8 * GIB))), times, {10.0: how, 60.0: ""})
    by = dict(zip(times, [one.by for one in found], strict=True))
    assert [by[t] for t in (0.0, 5.0)] == [By.POLICY] * 2
    assert [by[t] for t in (10.0, 15.0, 20.0)] == [By.HELD] * 3
    assert [by[t] for t in (25.0, 30.0, 60.0, 70.0)] == [By.FALLBACK] * 4
    assert by[75.0] is By.POLICY, "tried again 50 s after the fall-back took over"
    assert by[95.0] is By.POLICY
    asked = {t: int(one.turn.asked.target_bytes[0, 0]) for t, one in zip(times, found, strict=True)}
    assert asked[15.0] == -1 and asked[30.0] == int(1.9 * GIB) and asked[95.0] == int(1.8 * GIB)
    failures = [t for t, one in zip(times, found, strict=True) if one.problem]
    assert failures == [10.0, 15.0, 20.0, 25.0], "told each time it fails, and not between"
    assert "asks: " in found[2].problem


def test_a_policy_that_recovers_while_targets_are_held_decides_at_once() -> None:
    found = story(plan(), [0.0, 5.0, 10.0, 15.0], {5.0: "raises", 10.0: ""})
    assert [one.by for one in found] == [By.POLICY, By.HELD, By.POLICY, By.POLICY]


def test_both_fail_and_targets_stay() -> None:
    made = plan(hold_s=0.0)
    made.policy.fails = made.fallback.fails = "raises"  # type: ignore[attr-defined]  # Asks
    outcome, state = core.turn(made, at(0.0), core.start(made, 2))
    assert outcome.by is By.HELD and "asks" in outcome.problem and "fallback" in outcome.problem
    assert (outcome.turn.applied.target_bytes == -1).all()
    assert state.wake_at_s[0] == 5.0


def test_a_fallback_that_decides_once_does_not_keep_the_policy_away() -> None:
    made = Plan(Asks(GIB), load_policy("static"), FULL, hold_s=0.0, retry_s=50.0)
    made.policy.fails = "raises"  # type: ignore[attr-defined]  # Asks
    _, state = core.turn(made, at(0.0), core.start(made, 2))
    assert np.isfinite(state.wake_at_s[0]) and state.wake_at_s[0] <= 50.0


def test_a_guest_in_distress_is_helped_while_targets_are_held() -> None:
    made = plan()
    made.policy.fails = "raises"  # type: ignore[attr-defined]  # Asks
    state: CoreState = core.start(made, 2)
    _, state = core.turn(made, at(0.0, stats_oom_kills=0), state)
    outcome, _ = core.turn(made, at(5.0, stats_oom_kills=[[3, 0]]), state)
    assert outcome.by is By.HELD
    assert outcome.turn.applied.target_bytes[0, 0] > 2 * GIB
    assert outcome.turn.interventions[0, 0] & Intervention.DISTRESS


def test_what_is_not_applied_is_not_believed() -> None:
    """In mode shadow guests follow somebody else; they are not stuck, and owe nothing."""
    made, state = plan(Asks(GIB)), core.start(plan(), 2)
    for step in range(12):
        columns = {"applied_target_bytes": -1, "applied_age_s": np.nan}
        outcome, state = core.turn(made, at(5.0 * step, **columns), state, applies=False)
        assert not (outcome.turn.interventions & Intervention.STUCK).any()
        assert (outcome.turn.applied.target_bytes > 0).all()
    promises, _ = growth.settle(at(60.0, applied_target_bytes=-1), state.guard.promises)
    assert (promises.target_bytes == -1).all() and (promises.unbacked_bytes == 0).all()


def test_to_watch_is_to_ask_for_nothing() -> None:
    made = plan()
    outcome, state = core.watch(made, at(0.0), core.start(made, 2))
    assert (outcome.turn.applied.target_bytes == -1).all() and state.wake_at_s[0] == 5.0
    assert outcome.turn.due.all()
    outcome, _ = core.watch(made, at(1.0), state)
    assert not outcome.turn.due.any()


def test_sizes_of_the_scene() -> None:
    """The policy's wish is one that the guard lets through: above min, a small step down."""
    assert 2 * GIB - int(1.8 * GIB) < 0.10 * 4 * GIB and int(1.8 * GIB) > GIB // 2 > MIB
