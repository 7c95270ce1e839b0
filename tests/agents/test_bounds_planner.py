"""Foresight: sees the future, leaves the hosts as they are, and chooses what is best there."""

from typing import Any

import numpy as np
import pytest

from agents import bounds
from agents.baselines import UnknownPolicy, load_policy
from agents.bounds._foresight import Foresight, ForesightState, Step, lives
from agents.bounds.planner import Planner, PlannerConfig
from contract.guard import GuardConfig
from contract.loop import Loop
from contract.policy import Policy
from contract.telemetry import Telemetry, select
from reports.entrants import read
from scenarios import load
from scenarios.hosts import SimulatedHosts
from tests.agents.futures import progress

SOON = PlannerConfig(candidates=("static", "slides"), fillings=False, search_s=20.0)
GUARD = GuardConfig()


def hosts(seeds: tuple[int, ...] = (3, 4)) -> SimulatedHosts:
    found = SimulatedHosts(load("small"), len(seeds), threads=1)
    found.reset(range(len(seeds)), list(seeds))
    return found


def bound(found: SimulatedHosts, config: PlannerConfig = SOON) -> Foresight:
    policy = Planner(config).bind(found, GUARD, progress(found))
    assert isinstance(policy, Foresight)
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
    label, members = read("planner", {"planner": {"search_s": 30.0}})
    assert label == "planner (bound)"
    assert "no policy for a real host" in members[0].source
    assert not hasattr(members[0].policy, "decide")
    with pytest.raises(ValueError, match="expected one of oracle, planner"):
        bounds.load("slides")
    with pytest.raises(UnknownPolicy, match="expected one of"):
        load_policy("planner")
    with pytest.raises(TypeError, match="bound to str; expected SimulatedHosts"):
        Planner().bind("qemu:///system", GUARD, progress(hosts()))  # type: ignore[arg-type] # what is to be refused
    with pytest.raises(ValueError, match="search_s: 0: expected a positive time"):
        bounds.load("planner", {"search_s": 0})
    with pytest.raises(ValueError, match="margin: -1: expected 0 or more"):
        bounds.load("planner", {"margin": -1})


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
    alone = PlannerConfig(candidates=("slides",), fillings=False, search_s=20.0)
    found, plain = hosts(), hosts()
    assert end_of(found, bound(found, alone)) == end_of(plain, bound(plain, alone).rules[0])


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


def test_each_host_follows_the_rule_that_is_best_there(monkeypatch: pytest.MonkeyPatch) -> None:
    found = hosts()
    policy = bound(found)
    monkeypatch.setattr(policy, "_search", lambda *_: np.array([[0.2, 0.9], [0.5, 0.1]]))
    reading = found.read()
    _, state, _ = policy.decide(reading, policy.reset(2, reading.guest_id.shape[1]))
    assert state.chosen.tolist() == [1, 0]
    assert state.search_at_s.tolist() == [20.0, 20.0]


def test_it_goes_over_only_to_what_is_better_by_the_margin() -> None:
    policy = bound(hosts(), PlannerConfig(candidates=("static", "slides"), margin=0.1))
    score = np.array([[0.5, 0.5, 0.5], [0.59, 0.61, 0.3]])
    assert policy._better(score, np.array([0, 0, 0])).tolist() == [0, 1, 0]
    assert policy._better(score, np.array([-1, -1, -1])).tolist() == [1, 1, 0]


def watched(policy: Foresight, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """What each search is going to find."""
    seen, search = [], policy._search

    def noted(telemetry: Telemetry, state: ForesightState, step: Step) -> np.ndarray:
        seen.append(search(telemetry, state, step))
        return seen[-1]

    monkeypatch.setattr(policy, "_search", noted)
    return seen


def test_what_it_foresees_is_what_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = hosts((3, 4, 5))
    policy = bound(found, PlannerConfig(candidates=("static", "equal", "slides"), fillings=False))
    seen = watched(policy, monkeypatch)
    Loop(found, policy, GUARD, found.advance).run(60.0)
    assert len(seen) == 1
    future = progress(found)()
    np.testing.assert_array_equal(future.scores(), seen[0].max(axis=0))
    assert np.ptp(seen[0], axis=0).max() > 0.01  # there was something to choose


@pytest.mark.parametrize("others", ["mom", "senpai"])  # which set more than sizes
def test_going_over_is_foreseen_too(others: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = hosts()
    config = PlannerConfig(candidates=("slides", others), fillings=False, search_s=25.0)
    policy = bound(found, config)
    seen, chosen = watched(policy, monkeypatch), []

    def turned(score: np.ndarray, before: np.ndarray) -> np.ndarray:
        chosen.append((before + 1) % 2)  # goes over each time
        return chosen[-1]

    monkeypatch.setattr(policy, "_better", turned)
    Loop(found, policy, GUARD, found.advance).run(60.0)
    assert [each.tolist() for each in chosen] == [[0, 0], [1, 1], [0, 0]]
    np.testing.assert_array_equal(progress(found)().scores(), seen[-1][0])


def test_it_is_priced_by_the_lives_on_copies() -> None:
    assert lives(3, search_s=np.inf, end_s=100.0) == 4.0
    assert lives(3, search_s=50.0, end_s=100.0) == 1.0 + 3 * 1.5
    assert Planner(SOON).lives(40.0) == 1.0 + 2 * 1.5
    alone = PlannerConfig(candidates=("static",), search_s=np.inf)
    assert Planner(alone).lives(40.0) == 6.0 + 1.0 + 1 + 7  # sizes, itself, rules, fillings


def test_only_all_hosts_together_can_be_asked_for() -> None:
    found = hosts()
    policy = bound(found)
    reading = found.read()
    part = select(reading, np.array([1]))
    with pytest.raises(ValueError, match="expected all 2 that it is bound to"):
        policy.decide(part, policy.reset(1, reading.guest_id.shape[1]))
