"""Gap closed: shares by hand, limits by their definition and by Fieller's formula."""

import math

import numpy as np
import pytest
from scipy.stats import t

from reports import gap
from reports.episodes import BASELINE_SEED, Results
from reports.standings import standings, verdict
from tests.reports.conftest import Invent

BOUND = "oracle (bound)"
HOSTS = 60


def three(invent: Invent, mine: np.ndarray, base: np.ndarray, top: np.ndarray) -> Results:
    scores = {"mine": mine, "slides": base, BOUND: top}
    return invent({(name, BASELINE_SEED): list(found) for name, found in scores.items()})


def closed(results: Results) -> tuple[float, float, float]:
    return gap.closed(results.of("mine"), results.of("slides"), results.of(BOUND), 2000)


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of 60 hosts: a policy that wins half of what there is to win, give or take."""
    generator = np.random.default_rng(5)
    base = generator.uniform(0.4, 0.6, HOSTS)
    open_ = generator.uniform(0.05, 0.25, HOSTS)
    return base + 0.5 * open_ + generator.normal(0, 0.03, HOSTS), base, base + open_


def test_a_fixed_share_of_every_hosts_gap_is_that_share(
    invent: Invent, drawn: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    _, base, top = drawn
    for share in (-0.5, 0.0, 0.3, 1.0):
        found = closed(three(invent, base + share * (top - base), base, top))
        assert found == pytest.approx((share, share, share), abs=2e-3)


def test_it_is_a_ratio_of_means_and_not_a_mean_of_ratios(invent: Invent) -> None:
    base = np.full(6, 0.5)
    top = np.array([0.9, 0.9, 0.9, 0.6, 0.6, 0.6])
    mine = np.array([0.5, 0.5, 0.5, 0.6, 0.6, 0.6])
    assert closed(three(invent, mine, base, top))[0] == pytest.approx(0.3 / 1.5)


def test_limits_are_those_of_fieller(
    invent: Invent, drawn: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    mine, base, top = drawn
    value, low, high = closed(three(invent, mine, base, top))
    gained, open_ = mine - base, top - base
    spread = np.cov(gained, open_) / HOSTS
    squared = float(t.ppf(0.975, HOSTS - 1)) ** 2
    mean_gained, mean_open = gained.mean(), open_.mean()
    quadratic = (
        mean_open**2 - squared * spread[1, 1],
        -2 * (mean_gained * mean_open - squared * spread[0, 1]),
        mean_gained**2 - squared * spread[0, 0],
    )
    expected = sorted(np.roots(quadratic))
    assert value == pytest.approx(mean_gained / mean_open)
    assert (low, high) == pytest.approx(tuple(expected), abs=0.1 * (expected[1] - expected[0]))


def test_a_bound_that_is_not_clearly_above_leaves_a_dash_and_a_sentence(
    invent: Invent, drawn: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    mine, base, _ = drawn
    wobble = np.random.default_rng(0).normal(0, 0.1, HOSTS)
    results = three(invent, mine, base, base + wobble - wobble.mean() + 0.001)
    ranked = standings(results, "slides", resamples=500)
    assert all(row.gap_closed is None for row in ranked)
    said = [text for text in verdict(results, ranked, "slides", 500) if "not clearly" in text]
    assert len(said) == 1
    assert said[0].startswith(f"{BOUND} is not clearly above slides (+0.001")


def test_without_a_bound_nothing_is_said(invent: Invent) -> None:
    results = invent({("slides", -1): [0.5, 0.6, 0.7], ("static", -1): [0.5, 0.4, 0.6]})
    assert gap.shares(results, "slides") == {}
    assert gap.caution(results, "slides") == ()


def test_the_highest_bound_is_the_end_of_the_gap(invent: Invent) -> None:
    scores = {"slides": 0.5, "planner (bound)": 0.7, BOUND: 0.9}
    wobble = np.array([0.01, -0.01, 0.02, -0.02, 0.0])
    results = invent({(name, -1): list(j + wobble) for name, j in scores.items()})
    shares = gap.shares(results, "slides", 500)
    assert set(shares) == {"planner (bound)"}
    assert shares["planner (bound)"].value == pytest.approx(0.5)


def test_training_seeds_widen_the_interval(
    invent: Invent, drawn: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    mine, base, top = drawn
    seeds = {("mine", seed): list(mine + shift) for seed, shift in enumerate((-0.05, 0.0, 0.05))}
    rest = {("slides", -1): list(base), (BOUND, -1): list(top)}
    wide, narrow = closed(invent({**seeds, **rest})), closed(three(invent, mine, base, top))
    assert wide[0] == pytest.approx(narrow[0])
    assert wide[2] - wide[1] > 2 * (narrow[2] - narrow[1])


def test_one_host_has_no_interval(invent: Invent) -> None:
    results = three(invent, np.array([0.6]), np.array([0.5]), np.array([0.7]))
    value, low, high = closed(results)
    assert value == pytest.approx(0.5)
    assert math.isnan(low)
    assert math.isnan(high)
