"""Between the rows of a trace: every row keeps its mean, and its clock cannot be learnt."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.rows import at_changes, burst, row_means


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=60)
@given(
    st.lists(st.floats(0.02, 1.0), min_size=1, max_size=60),
    st.floats(0.05, 0.25),
    st.floats(0.0, 0.6),
    st.integers(0, 2**32),
)
def test_every_row_keeps_its_mean(
    means: list[float], hold: float, spread: float, seed: int
) -> None:
    rows = np.array(means)
    levels = burst(rows, hold, spread, rng(seed))
    assert (levels.value > 0).all()
    assert (np.diff(levels.start) > 0).all() and levels.start[0] == 0
    assert np.abs(row_means(levels, len(rows)) - rows).max() <= 0.02 * rows.max()


def test_rows_of_zero_stay_zero_and_their_neighbours_keep_their_means() -> None:
    for seed in range(300):
        rows = np.array([0.0, 0.5, 0.5, 0.0, 0.0, 0.8, 0.9, 0.0])
        found = row_means(burst(rows, 0.2, 0.3, rng(seed)), len(rows))
        assert np.abs(found - rows).max() < 0.001


def test_row_means_of_known_levels() -> None:
    levels = burst(np.array([1.0, 1.0]), 0.2, 0.0, rng())
    by_hand = levels._replace(start=np.array([0.0, 0.5, 1.25]), value=np.array([1.0, 2.0, 4.0]))
    assert row_means(by_hand, 2) == pytest.approx([1.5, 0.25 * 2 + 0.75 * 4])


def test_without_spread_a_constant_stays_one() -> None:
    levels = burst(np.full(50, 0.3), 0.2, 0.0, rng())
    assert levels.value == pytest.approx(0.3, rel=1e-3)


def test_rows_are_seen_only_at_changes() -> None:
    values = np.array([1.0, 2.0, 3.0])
    assert at_changes(values, np.array([0.0, 0.9, 1.2, 2.999])).tolist() == [1, 1, 2, 3]


def samples(seed: int, every: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Place within the row, and the relative change to the next sample, of one machine."""
    draws = rng(seed)
    means = 0.05 * np.exp(np.cumsum(draws.normal(0, 0.15, 90)))
    levels = burst(means, 0.2, 0.3, draws)
    at = np.arange(draws.random(), 88.0, every)
    value = levels.value[np.searchsorted(levels.start, at, side="right") - 1]
    return at[:-1] % 1, np.diff(value) / means.mean()


@pytest.mark.parametrize("target", ["change", "size", "whether"])
def test_the_place_in_a_row_tells_nothing_of_the_next_change(target: str) -> None:
    """A table of the mean by place in the row, learnt on half of the machines.

    Even one who knew where rows begin would explain less than a thousandth of the variance; steps
    or straight lines between rows would let him explain nearly all of it.
    """
    measures: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "change": lambda change: change,
        "size": np.abs,
        "whether": lambda change: change != 0,
    }
    measure = measures[target]
    known, asked = ([samples(seed) for seed in seeds] for seeds in (range(150), range(150, 300)))

    def joined(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        place, change = (np.concatenate(column) for column in zip(*pairs, strict=True))
        return (place * 10).astype(int), measure(change).astype(float)

    place, value = joined(known)
    table = np.array([value[place == part].mean() for part in range(10)])
    place, value = joined(asked)
    unexplained = np.mean((value - table[place]) ** 2) / np.var(value)
    assert 1 - unexplained < 1e-3


def test_the_probe_would_find_a_clock() -> None:
    """The same table on plain steps at the rows' ends explains most of whether a change comes."""
    at = np.arange(0.03, 88.0, 0.1)
    value = rng().random(90)[at.astype(int)]
    changes, place = (np.diff(value) != 0).astype(float), (at[:-1] % 1 * 10).astype(int)
    table = np.array([changes[place == part].mean() for part in range(10)])
    assert 1 - np.mean((changes - table[place]) ** 2) / np.var(changes) > 0.9
