"""Sharing by weight within bounds, and by largest size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.baselines._filling import fill
from agents.baselines.proportional import Proportional, ProportionalConfig, rule
from contract.arrays import GIB, MIB, Ints
from contract.telemetry import Telemetry
from tests.contract.readings import mib, reading

RESERVE = int(16 * GIB * 0.02)


def decided(telemetry: Telemetry) -> Ints:
    policy = Proportional()
    decision, _, wake_at_s = policy.decide(telemetry, policy.reset(*telemetry.guest_id.shape))
    assert (wake_at_s == telemetry.time_s + 5.0).all()
    return decision.target_bytes


def test_a_budget_is_shared_by_weight() -> None:
    sizes = fill(
        mib([1000]),
        mib([[0, 0, 0]]),
        mib([[1000, 1000, 1000]]),
        np.array([[1.0, 2.0, 5.0]]),
        np.ones((1, 3), np.bool_),
    )
    assert np.abs(sizes - mib([[125, 250, 625]])).max() <= 3


def test_what_bounds_leave_or_take_is_shared_again() -> None:
    """By weight 125, 250, 625: the last may have 400, the first must have 200."""
    sizes = fill(
        mib([1000]),
        mib([[200, 0, 0]]),
        mib([[1000, 1000, 400]]),
        np.array([[1.0, 2.0, 5.0]]),
        np.ones((1, 3), np.bool_),
    )
    assert np.abs(sizes - mib([[200, 400, 400]])).max() <= 3


@given(st.integers(0, 2**32 - 1))
def test_shares_keep_bounds_and_budget(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = mib(rng.integers(0, 500, (2, 5)))
    high = low + mib(rng.integers(0, 4000, (2, 5)))
    weight, takes_part = rng.uniform(0.01, 100.0, (2, 5)), rng.random((2, 5)) < 0.8
    budget = mib(rng.integers(-100, 12_000, 2))
    sizes = fill(budget, low, high, weight, takes_part)
    low, high = np.where(takes_part, low, 0), np.where(takes_part, high, 0)
    assert ((sizes >= low) & (sizes <= high)).all()
    for host in range(2):
        expected = int(np.clip(budget[host], low[host].sum(), high[host].sum()))
        assert expected - 16 <= sizes[host].sum() <= expected
        free = (sizes[host] > low[host]) & (sizes[host] < high[host])
        level = sizes[host][free] / weight[host][free]
        assert np.allclose(level, level.mean() if len(level) else 0.0, rtol=1e-4, atol=200.0)


def test_ram_less_the_reserve_is_shared_by_largest_size() -> None:
    """Guests of 16 and 8 GiB on 16 GiB."""
    sizes = decided(reading(1, 2, max_bytes=[[16 * GIB, 8 * GIB]]))[0]
    budget = 16 * GIB - RESERVE
    assert abs(sizes[0] - budget * 2 // 3) <= 2
    assert abs(sizes[1] - budget // 3) <= 2


def test_guests_that_fit_have_their_largest_size() -> None:
    assert decided(reading(1, 2)).tolist() == [[4 * GIB] * 2]


def test_who_is_left_alone_keeps_its_size_out_of_the_budget() -> None:
    sizes = decided(
        reading(1, 2, max_bytes=32 * GIB, current_bytes=[[6 * GIB, GIB]], weight=[[0, 1000]])
    )
    assert sizes[0, 0] == -1
    assert abs(sizes[0, 1] - (10 * GIB - RESERVE)) <= 2


@pytest.mark.parametrize("column", ["total_bytes", "min_bytes", "max_bytes"])
def test_nothing_is_asked_where_bounds_or_ram_are_unknown(column: str) -> None:
    assert decided(reading(**{column: -1})).tolist() == [[-1]]


def test_a_guest_without_a_size_has_no_share() -> None:
    nothing, some = np.array([[0, 0]]), np.array([[0, GIB]])
    assert rule(mib([100]), nothing, some, np.ones((1, 2), np.bool_))[0, 0] == 0


@pytest.mark.parametrize("settings", [{"reserve_share": 1.5}, {"reserve_bytes": -MIB}], ids=str)
def test_settings_without_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        ProportionalConfig(**settings)  # type: ignore[arg-type]
