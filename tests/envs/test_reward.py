"""Every term by its closed form, at points where a slip shows, and the laws of their sum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from envs import reward
from envs.reward import Terms, Weights

MIB = 2**20


def row(*values: float) -> np.ndarray:
    return np.array([values], np.float64)


def test_progress_is_work_over_work_and_loss() -> None:
    nominal, lost = row(1.0, 3.0, 0.0, 0.0), row(1.0, 1.0, 2.0, 0.0)
    assert reward.progress(nominal, lost).tolist() == [[0.5, 0.75, 0.0, 1.0]]


def test_progress_loss_is_weighted_by_importance() -> None:
    share = row(0.5, 0.0, 1.0)
    assert reward.progress_loss(share, row(1000, 500, 500)) == pytest.approx([-(0.25 + 0.25)])
    assert reward.progress_loss(share, row(1, 0, 0)) == pytest.approx([-0.5])


def test_tail_loss_is_the_mean_square() -> None:
    # a lost exponent would give 0.5; a square of the mean 0.25 * 0.25
    assert reward.tail_loss(row(0.5, 1.0), row(1, 1)) == pytest.approx([-0.125], abs=1e-12)
    spread, alone = row(0.75, 0.75), row(0.5, 1.0)
    assert reward.progress_loss(spread, row(1, 1)) == reward.progress_loss(alone, row(1, 1))
    assert reward.tail_loss(spread, row(1, 1)) > reward.tail_loss(alone, row(1, 1))


def test_kills_count_guests_that_matter() -> None:
    killed = np.array([[True, True, False, True], [False] * 4])
    weight = np.array([[1000.0, 0.0, 1000.0, 1.0], [1.0] * 4])
    assert reward.kill_loss(killed, weight).tolist() == [-2.0, 0.0]


def test_resize_traffic_is_the_share_of_memory_whose_target_moved() -> None:
    changed = np.array([[-64 * MIB, 32 * MIB, 512 * MIB]])
    largest = np.array([[128 * MIB, 128 * MIB, 128 * MIB]])
    found = reward.resize_traffic(changed, largest, row(1, 1, 0))
    assert found == pytest.approx([-(64 + 32) / 256])  # the third is left out
    beyond = reward.resize_traffic(changed, largest, row(0, 0, 1))
    assert beyond.tolist() == [-1.0]


def test_terms_are_weighted_and_add_up() -> None:
    weights = Weights(progress=2.0, tail=0.5, oom=1.5, resize=0.25)
    found = reward.terms(
        share=row(0.5, 1.0),
        killed=np.array([[True, False]]),
        changed_bytes=np.array([[MIB, 0]]),
        max_bytes=np.array([[MIB, MIB]]),
        weight=row(1, 1),
        weights=weights,
        episode_steps=9,
    )
    kill = 1.5 * (2.0 + 0.5 + 0.25) * 10
    expected = Terms(*map(np.array, ([-0.5], [-0.0625], [-kill], [-0.125])))
    for name, value in expected._asdict().items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-12), name
    assert found.total() == pytest.approx([-0.5 - 0.0625 - kill - 0.125])


def test_an_empty_host_loses_nothing() -> None:
    nobody = np.zeros((1, 3))
    found = reward.terms(
        nobody, nobody > 0, nobody.astype(np.int64), nobody.astype(np.int64), nobody, Weights(), 5
    )
    assert found.total().tolist() == [0.0]


shares = arrays(np.float64, (1, 4), elements=st.floats(0, 1))
importance = arrays(np.float64, (1, 4), elements=st.floats(0, 1e4))
weightings = st.builds(
    Weights,
    progress=st.floats(0, 10),
    tail=st.floats(0, 10),
    oom=st.floats(1, 5),
    resize=st.floats(0.01, 10),
)


@given(shares, importance, weightings, st.integers(1, 2000), st.data())
def test_a_step_wins_nothing_and_a_kill_costs_more_than_all_steps_can_win(
    share: np.ndarray, weight: np.ndarray, weights: Weights, steps: int, data: st.DataObject
) -> None:
    changed = data.draw(arrays(np.int64, (1, 4), elements=st.integers(-MIB, MIB)))
    whole = np.full((1, 4), MIB)
    calm = reward.terms(share, share > 2, changed, whole, weight, weights, steps).total()
    assert calm[0] <= 0
    assert calm[0] >= -weights.step * (1 + 1e-9)
    assert weights.kill(steps) > -steps * calm[0]


@given(shares, importance)
def test_less_loss_is_never_worse(share: np.ndarray, weight: np.ndarray) -> None:
    better = np.minimum(share + 0.125, 1.0)
    assert reward.progress_loss(better, weight)[0] >= reward.progress_loss(share, weight)[0] - 1e-12
    assert reward.tail_loss(better, weight)[0] >= reward.tail_loss(share, weight)[0] - 1e-12


@given(shares, importance)
def test_empty_slots_change_no_bit(share: np.ndarray, weight: np.ndarray) -> None:
    wide_share = np.concatenate([share, np.ones((1, 13))], axis=1)
    wide_weight = np.concatenate([weight, np.zeros((1, 13))], axis=1)
    assert reward.mean(share, weight).tolist() == reward.mean(wide_share, wide_weight).tolist()


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"progress": -1.0}, "progress: -1.0: must not be negative"),
        ({"oom": 0.5}, "oom: 0.5: expected at least 1"),
        ({"progress": 0.0, "tail": 0.0, "resize": 0.0}, "expected one of them above 0"),
        ({"stall": 1.0}, "stall: expected progress, tail, oom, resize"),
    ],
)
def test_wrong_weights_are_refused(values: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Weights.named(values)
