"""The planner: sees the future, leaves the hosts as they are, and chooses what is best there."""

from typing import Any

import numpy as np
import pytest

from agents import bounds
from agents.baselines import UnknownPolicy, load_policy
from agents.bounds import planner
from agents.bounds.planner import BoundPlanner, Planner, PlannerConfig
from contract.guard import GuardConfig
from contract.loop import Loop
from contract.policy import Policy
from contract.telemetry import select
from reports.entrants import read
from scenarios import load
from scenarios.hosts import SimulatedHosts

SOON = PlannerConfig(candidates=("static", "slides"), ahead_s=20.0, search_s=10.0)
GUARD = GuardConfig()


def hosts(seeds: tuple[int, ...] = (3, 4)) -> SimulatedHosts:
    found = SimulatedHosts(load("small"), len(seeds), threads=1)
    found.reset(range(len(seeds)), list(seeds))
    return found


def bound(found: SimulatedHosts, config: PlannerConfig = SOON) -> BoundPlanner:
    policy = Planner(config).bind(found, GUARD)
    assert isinstance(policy, BoundPlanner)
    return policy


def fingerprint_of(found: SimulatedHosts) -> list[bytes]:
    """Every array of the hosts."""
    kept = found.snapshot(range(found.hosts))
    arrays: list[bytes] = []

    def walk(part: object) -> None:
        if isinstance(part, np.ndarray):
            arrays.append(part.tobytes())
        elif isinstance(part, dict):
            for each in part.values():
                walk(each)
        elif isinstance(part, tuple | list):
            for each in part:
                walk(each)

    walk((kept.fleet, kept.remembered))
    assert len(arrays) > 20
    return arrays


def end_of(found: SimulatedHosts, policy: Policy[Any]) -> bytes:
    targets = []
    loop = Loop(found, policy, GUARD, found.advance)
    loop.run(60.0, lambda turn: targets.append(turn.applied.target_bytes))
    return b"".join(each.tobytes() for each in targets) + found.truth().guest.tobytes()


def test_a_bound_is_found_by_name_and_is_no_policy() -> None:
    assert bounds.names() == ("oracle", "planner")
    label, members = read("planner", {"planner": {"ahead_s": 30.0}})
    assert label == "planner (bound)"
    assert "no policy for a real host" in members[0].source
    assert not hasattr(members[0].policy, "decide")
    with pytest.raises(ValueError, match="expected one of oracle, planner"):
        bounds.load("slides")
    with pytest.raises(UnknownPolicy, match="expected one of"):
        load_policy("planner")
    with pytest.raises(TypeError, match="bound to str; expected SimulatedHosts"):
        Planner().bind("qemu:///system", GUARD)  # type: ignore[arg-type] # what is to be refused
    with pytest.raises(ValueError, match="expected 0 < period_s <= search_s"):
        bounds.load("planner", {"search_s": 1.0})


def test_searching_leaves_the_hosts_as_they_are() -> None:
    found = hosts()
    found.advance(25.0)
    policy = bound(found)
    reading = found.read()
    before = fingerprint_of(found)
    policy.decide(reading, policy.reset(2, reading.guest_id.shape[1]))
    assert fingerprint_of(found) == before
    untouched = hosts()
    untouched.advance(25.0)
    for each in (found, untouched):
        each.advance(60.0)
    assert found.truth().guest.tobytes() == untouched.truth().guest.tobytes()


def test_a_single_candidate_is_followed_to_the_letter() -> None:
    alone = PlannerConfig(candidates=("slides",), ahead_s=20.0, search_s=10.0)
    found, plain = hosts(), hosts()
    assert end_of(found, bound(found, alone)) == end_of(plain, bound(plain, alone).policies[0])


def test_a_host_alone_is_decided_for_as_in_a_batch() -> None:
    both = hosts()
    policy = bound(both)
    turns: list[Any] = []
    Loop(both, policy, GUARD, both.advance).run(40.0, turns.append)
    alone = hosts((4,))
    own: list[Any] = []
    Loop(alone, bound(alone), GUARD, alone.advance).run(40.0, own.append)
    for batch, single in zip(turns, own, strict=True):
        np.testing.assert_array_equal(batch.applied.target_bytes[1], single.applied.target_bytes[0])


def test_the_candidate_that_loses_least_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    found = hosts()
    policy = bound(found)
    value = iter(([0.2, 0.9], [0.5, 0.1]))
    monkeypatch.setattr(policy, "_value", lambda *_: np.array(next(value)))
    reading = found.read()
    _, state, _ = policy.decide(reading, policy.reset(2, reading.guest_id.shape[1]))
    assert state.chosen.tolist() == [1, 0]
    assert state.search_at_s.tolist() == [10.0, 10.0]


def test_progress_is_weighed_and_kills_cost() -> None:
    def standing(useful: list[float], lost: list[float], kills: list[int]) -> planner.Standing:
        weight = np.array([[3.0, 1.0]])
        return planner.Standing(np.array([useful]), np.array([lost]), np.array([kills]), weight)

    policy = bound(hosts())
    begin = standing([1.0, 1.0], [0.0, 0.0], [0, 0])
    end = standing([4.0, 2.0], [1.0, 1.0], [0, 0])
    assert policy._value(begin, end) == pytest.approx((3 * 0.75 + 0.5) / 4)
    killed = standing([4.0, 2.0], [1.0, 1.0], [1, 0])
    assert policy._value(begin, killed) == pytest.approx((3 * -0.25 + 0.5) / 4)
    assert policy._value(begin, begin) == pytest.approx(1.0)


def test_only_all_hosts_together_can_be_asked_for() -> None:
    found = hosts()
    policy = bound(found)
    reading = found.read()
    part = select(reading, np.array([1]))
    with pytest.raises(ValueError, match="expected all 2 that it is bound to"):
        policy.decide(part, policy.reset(1, reading.guest_id.shape[1]))
