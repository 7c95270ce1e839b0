"""Filling by marginal value: memory goes to where it is worth most."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from agents.bounds import _worth as worth
from agents.bounds._marginal import Filling, FillingConfig, Lives, choose
from contract.telemetry import select
from scenarios import load
from scenarios.hosts import SimulatedHosts

SIZES = np.array([1.0, 2.0, 3.0, 4.0])
QUICK = FillingConfig(ahead_s=20.0, period_s=10.0)


def hosts(seeds: tuple[int, ...] = (3, 4)) -> SimulatedHosts:
    found = SimulatedHosts(load("small"), len(seeds), threads=1)
    found.reset(range(len(seeds)), list(seeds))
    return found


def filling(found: SimulatedHosts, config: FillingConfig = QUICK) -> Filling:
    return Filling(config, Lives(found, sizes=3, every_s=10.0, end_s=140.0))


@pytest.mark.parametrize(
    ("budget", "chosen"),
    [(2.0, [0, 0]), (3.0, [1, 0]), (5.0, [3, 0]), (6.5, [3, 1]), (8.0, [3, 3]), (1.0, [0, 0])],
)
def test_memory_goes_where_the_next_piece_is_worth_most(budget: float, chosen: list[int]) -> None:
    hot = [0.0, 0.5, 0.9, 1.2]
    cold = [0.9, 0.95, 0.98, 1.0]
    value = np.array([[hot, cold]])
    needed = np.broadcast_to(SIZES, (1, 2, 4))
    assert choose(value, needed, np.array([budget])).tolist() == [chosen]


def test_a_step_that_pays_only_as_a_whole_is_taken_as_a_whole() -> None:
    # Nothing is gained before the last piece: three pieces at 0.3 each, against 0.2 each.
    value = np.array([[[0.0, 0.0, 0.0, 0.9], [0.0, 0.2, 0.4, 0.6]]])
    needed = np.broadcast_to(SIZES, (1, 2, 4))
    assert choose(value, needed, np.array([5.0])).tolist() == [[3, 0]]


def test_what_nobody_gains_by_is_not_given() -> None:
    value = np.array([[[1.0, 1.0, 1.0, 1.0]]])
    assert choose(value, np.broadcast_to(SIZES, (1, 1, 4)), np.array([9.0])).tolist() == [[0]]


@given(
    value=arrays.arrays(np.float64, (2, 3, 4), elements=st.floats(-1, 1)),
    steps=arrays.arrays(np.float64, (2, 3, 4), elements=st.floats(0, 1)),
    budget=arrays.arrays(np.float64, (2,), elements=st.floats(0, 12)),
)
def test_what_is_chosen_fits_or_is_the_least(
    value: np.ndarray, steps: np.ndarray, budget: np.ndarray
) -> None:
    needed = np.cumsum(steps, axis=2)
    chosen = choose(value, needed, budget)
    taken = np.take_along_axis(needed, chosen[..., None], axis=2)[..., 0].sum(axis=1)
    least = (chosen == 0).all(axis=1)
    assert ((taken <= budget) | least).all()
    more = choose(value, needed, budget + 1.0)
    gained = np.take_along_axis(value, more[..., None], axis=2).sum()
    assert gained >= np.take_along_axis(value, chosen[..., None], axis=2).sum() - 1e-9


def test_lives_alone_know_what_memory_is_worth() -> None:
    found = hosts((3,))
    before = found.truth().guest.tobytes()
    seen = worth.look(found, sizes=3, every_s=10.0, end_s=60.0)
    assert found.truth().guest.tobytes() == before
    guests = len(found.drawn[0].guests)
    assert seen.time_s.tolist() == [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
    assert (np.diff(seen.size_bytes[0, :guests], axis=1) > 0).all()
    assert (seen.size_bytes[0, guests:] == 0).all()
    assert (np.diff(seen.useful_s, axis=0) >= 0).all()
    # A guest at its maximum on an ample host loses nothing to memory.
    assert seen.lost_s[-1, 0, :guests, -1].max() <= seen.lost_s[-1, 0, :guests, 0].max()
    page = found.drawn[0].spec.page_bytes
    for g, guest in enumerate(found.drawn[0].spec.guests):
        assert seen.size_bytes[0, g, -1] == guest.pages * page


def test_it_decides_alone_as_in_a_batch() -> None:
    both, alone = hosts((3, 4)), hosts((4,))
    together, single = filling(both), filling(alone)
    state = together.reset(2, both.guests)
    found = together.decide(both.read(), state)[0].target_bytes[1]
    expected = single.decide(alone.read(), state)[0].target_bytes[0]
    assert found[: len(expected)].tolist() == expected.tolist()


def test_targets_keep_the_bounds() -> None:
    found = hosts()
    policy, seen = filling(found), found.read()
    target = policy.decide(seen, policy.reset(2, found.guests))[0].target_bytes
    asked = target >= 0
    assert asked.any()
    assert (target[asked] <= seen.max_bytes[asked]).all()
    assert (target[asked] >= seen.min_bytes[asked]).all()


def test_more_overcommit_never_takes_memory_away_and_enough_leaves_all_at_their_maximum() -> None:
    found = hosts()
    seen, before = found.read(), None
    for overcommit in (1.0, 1.2, 1.5, 1e6):
        policy = filling(found, FillingConfig(overcommit, ahead_s=20.0, period_s=10.0))
        target = policy.decide(seen, policy.reset(2, found.guests))[0].target_bytes
        total = np.where(target >= 0, target, 0).sum()
        assert before is None or total >= before
        before = total
    np.testing.assert_array_equal(target, np.where(seen.present, seen.max_bytes, -1))


def test_all_of_its_hosts_are_asked_for_at_once() -> None:
    found = hosts()
    policy = filling(found)
    part = select(found.read(), np.array([0]))
    with pytest.raises(ValueError, match="asked for 1 hosts; expected 2"):
        policy.decide(part, policy.reset(1, found.guests))
