"""Curves: the shapes that were asked for, from 0 to the end, in time order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.curves import Bursts, Daily, Points, Walk, draw_curve, multiply, value_at
from scenarios.quantities import Span

END_S = 5000.0


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


CURVES: dict[str, Points | Daily | Bursts | Walk] = {
    "points": Points(kind="points", points=((0.0, 1.0), (10.0, 3.0), (10.0, 0.5), (20.0, 0.5))),
    "saw": Points(kind="points", points=((0.0, 0.0), (100.0, 1.0)), period=100.0),
    "daily": Daily(kind="daily", low=0.2, high=1.0, period=3600.0),
    "bursts": Bursts(kind="bursts", high=3.0, calm=100.0, burst=20.0, rise=2.0),
    "walk": Walk(kind="walk", sigma=0.3, memory=60.0),
}


@pytest.mark.parametrize("name", CURVES)
def test_times_never_fall_and_values_are_never_negative(name: str) -> None:
    times, values = draw_curve(CURVES[name], rng(), END_S)
    assert times[0] == 0.0
    assert (np.diff(times) >= 0).all()
    assert (values >= 0).all() and np.isfinite(values).all()
    assert name == "points" or times[-1] >= END_S - 200


def test_points_make_lines_and_steps() -> None:
    times, values = draw_curve(CURVES["points"], rng(), END_S)
    at = value_at(times, values, np.array([0.0, 5.0, 9.999, 10.0, 1e6]))
    assert at == pytest.approx([1.0, 2.0, 3.0, 0.5, 0.5], abs=1e-3)


def test_a_period_repeats_and_a_shift_starts_inside() -> None:
    saw = Points(
        kind="points", points=((0.0, 0.0), (100.0, 1.0)), period=100.0, shift=Span(25.0, 25.0)
    )
    times, values = draw_curve(saw, rng(), END_S)
    at = value_at(times, values, np.array([0.0, 50.0, 74.9, 75.1, 175.1, 4950.0]))
    assert at == pytest.approx([0.25, 0.75, 0.999, 0.001, 0.001, 0.75], abs=2e-3)


def test_a_day_goes_from_low_to_high_and_back() -> None:
    day = Daily(kind="daily", low=0.2, high=1.0, period=3600.0, shift=Span(0.0, 0.0))
    times, values = draw_curve(day, rng(), END_S)
    at = value_at(times, values, np.array([0.0, 900.0, 1800.0, 3600.0]))
    assert at == pytest.approx([0.2, 0.6, 1.0, 0.2], abs=0.01)


def test_bursts_are_as_frequent_and_as_long_as_asked() -> None:
    bursts = Bursts(kind="bursts", high=3.0, calm=100.0, burst=50.0, rise=0.0)
    times, values = draw_curve(bursts, rng(1), 400_000.0)
    at = value_at(times, values, np.arange(0.0, 400_000.0))
    assert set(np.unique(at)) == {1.0, 3.0}
    share, starts = np.mean(at == 3.0), np.sum(np.diff(at) > 1)
    assert share == pytest.approx(50 / 150, abs=0.02)  # some 2,700 bursts: 1 % standard error
    assert starts == pytest.approx(400_000 / 150, rel=0.06)


def test_a_walk_has_its_mean_spread_and_memory() -> None:
    walk = Walk(kind="walk", sigma=0.5, memory=100.0, step=10.0)
    _, values = draw_curve(walk, rng(2), 2_000_000.0)
    logs = np.log(values)
    assert values.mean() == pytest.approx(1.0, abs=0.03)
    assert logs.std() == pytest.approx(0.5, abs=0.02)
    lag = np.corrcoef(logs[:-10], logs[10:])[0, 1]
    assert lag == pytest.approx(np.exp(-1), abs=0.03)


def test_a_product_keeps_every_step_of_its_factors() -> None:
    step = draw_curve(CURVES["points"], rng(), END_S)
    saw = draw_curve(CURVES["saw"], rng(), END_S)
    times, values = multiply([step, saw])
    just = np.array([5.0, 9.9999, 10.0, 99.999, 100.0001])
    expected = value_at(*step, just) * value_at(*saw, just)
    at = value_at(times, values, just)
    assert at[1:] == pytest.approx(expected[1:], abs=1e-3)
    assert (np.diff(times) >= 0).all()


@given(
    st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 5)), min_size=1, max_size=8).map(
        lambda points: sorted(points, key=lambda point: point[0])
    ),
    st.floats(0, 2000),
)
def test_value_at_agrees_with_interpolation(points: list[tuple[float, float]], at: float) -> None:
    times, values = np.array(points).T
    found = value_at(times, values, np.array([at]))[0]
    inside = values[(times >= at - 1e-9) & (times <= at + 1e-9)]
    if len(inside):
        assert values.min() <= found <= values.max()
    else:
        assert found == pytest.approx(np.interp(at, times, values), abs=1e-6)


def test_falling_times_and_negative_values_are_refused() -> None:
    with pytest.raises(ValueError, match="the times fall"):
        Points(kind="points", points=((5.0, 1.0), (1.0, 1.0)))
    with pytest.raises(ValueError, match="value is negative"):
        Points(kind="points", points=((5.0, -1.0),))
    with pytest.raises(ValueError, match="at least the last point's time"):
        Points(kind="points", points=((5.0, 1.0),), period=4.0)
