"""Rates of counters that reset, freeze and hide."""

import numpy as np
import pytest

from contract import rates
from contract.rates import Counters


def follow(*samples: tuple[float, float]) -> Counters:
    """One counter sampled at times with totals, one after another."""
    kept = rates.reset(1, 1)
    for sampled_at_s, total in samples:
        kept = rates.sample(kept, np.array([sampled_at_s]), np.array([[total]]))
    return kept


def test_a_rate_is_the_rise_over_the_time_between_samples() -> None:
    assert follow((10.0, 100.0), (14.0, 130.0)).per_s[0, 0] == pytest.approx(7.5, abs=1e-12)


def test_the_first_sample_has_no_rate() -> None:
    assert np.isnan(follow((10.0, 100.0)).per_s[0, 0])


def test_a_frozen_counter_holds_its_rate_and_resumes_over_the_whole_gap() -> None:
    frozen = follow((0.0, 0.0), (2.0, 8.0), (2.0, 8.0), (2.001, 8.0))
    assert frozen.per_s[0, 0] == 4.0
    resumed = rates.sample(frozen, np.array([10.0]), np.array([[16.0]]))
    assert resumed.per_s[0, 0] == 1.0


def test_a_counter_that_fell_was_reset() -> None:
    assert np.isnan(follow((0.0, 50.0), (1.0, 3.0)).per_s[0, 0])
    assert follow((0.0, 50.0), (1.0, 3.0), (2.0, 5.0)).per_s[0, 0] == 2.0


def test_a_clock_that_jumps_back_gives_no_rate_but_a_new_start() -> None:
    assert np.isnan(follow((9.0, 1.0), (5.0, 2.0)).per_s[0, 0])
    assert follow((9.0, 1.0), (5.0, 2.0), (6.0, 4.0)).per_s[0, 0] == 2.0


def test_unknown_counters_and_samples_give_no_rate() -> None:
    assert np.isnan(follow((0.0, np.nan), (1.0, 3.0)).per_s[0, 0])
    assert np.isnan(follow((0.0, 1.0), (1.0, np.nan)).per_s[0, 0])
    assert follow((0.0, 1.0), (np.nan, 9.0), (2.0, 5.0)).per_s[0, 0] == 2.0


def test_zero_is_a_rate() -> None:
    assert follow((0.0, 4.0), (1.0, 4.0)).per_s[0, 0] == 0.0
