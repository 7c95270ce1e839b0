"""Killed guests count as lost for a while: closed forms."""

import numpy as np
import pytest

from contract.arrays import Bools
from envs import mourning, reward
from envs.mourning import STEPS, after_step, more_loss
from envs.reward import Weights

IDS = np.array([[1, 2, 3, -1]])
NOBODY = np.zeros((1, 4), bool)
GOING = np.array([True])


def killing(*slots: int) -> Bools:
    found = NOBODY.copy()
    found[0, list(slots)] = True
    return found


def test_a_kill_lasts_and_a_second_one_begins_anew() -> None:
    state, lost = after_step(mourning.reset(1, 4), IDS, killing(1), GOING)
    assert lost.tolist() == killing(1).tolist()
    for step in range(1, STEPS + 10):
        again = killing(1) if step == 10 else NOBODY
        state, lost = after_step(state, IDS, again, GOING)
        assert lost[0].tolist() == [False, step < 10 + STEPS, False, False]


def test_a_host_that_does_not_step_waits() -> None:
    state, _ = after_step(mourning.reset(1, 4), IDS, killing(0), GOING)
    waited, _ = after_step(state, IDS, NOBODY, np.array([False]))
    assert (waited.left == state.left).all()


def test_who_comes_after_a_killed_guest_is_not_lost() -> None:
    state, _ = after_step(mourning.reset(1, 4), IDS, killing(1), GOING)
    _, lost = after_step(state, np.array([[2, 7, 3, -1]]), NOBODY, GOING)
    assert lost.tolist() == killing(0).tolist()  # guest 2 moved, guest 7 is new


def test_n_guests_killed_cost_n_times_one_and_never_more_than_all() -> None:
    share, weight, weights = np.full((1, 4), 0.75), np.full((1, 4), 1000.0), Weights()
    each = weights.progress * 0.75 / 4 + weights.tail * (1.0 - 0.25**2) / 4
    for number in range(5):
        found = more_loss(share, killing(*range(number)), weight, weights)
        assert found[0] == pytest.approx(-number * each)
    all_lost = found + weights.progress * reward.progress_loss(share, weight)
    all_lost += weights.tail * reward.tail_loss(share, weight)
    assert all_lost[0] == pytest.approx(-weights.progress - weights.tail)
