"""Curves over time: how much is going on, or how much of a region is in use.

A curve is a factor without a unit: on a phase's rate, or the share of a region's pages.  What is
random about it is drawn once per guest, or once for all guests that name the same `shared` draw.
"""

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from configs.loading import Config, Seconds
from scenarios.quantities import Span, SpanField

Drawn = tuple[np.ndarray, np.ndarray]  # times (N,) [s], values (N,)

SHARED = "drawn once for all guests that give it the same name"
POINTS_PER_WAVE = 24  # a daily wave is a polygon of so many sides: within 1 % of a cosine


class Points(Config):
    """Straight lines between given points; a time that stands twice makes a step."""

    kind: Literal["points"]
    points: tuple[tuple[Seconds, float], ...] = Field(min_length=1)
    period: Seconds | None = Field(default=None, gt=0, description="begins again after so long")
    shift: SpanField = Field(default=Span(0.0, 0.0), description="starts this far into the curve")
    shared: str | None = Field(default=None, description=SHARED)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        times = [time for time, _ in self.points]
        if times != sorted(times):
            raise ValueError("points: the times fall; expected them in order")
        if any(value < 0 for _, value in self.points):
            raise ValueError("points: a value is negative; expected a factor of 0 or more")
        if self.period is not None and times[-1] > self.period:
            raise ValueError(f"period: {self.period}: expected at least the last point's time")
        return self


class Daily(Config):
    """A wave from `low` to `high` and back: the hours of a day, or of a shorter one."""

    kind: Literal["daily"]
    low: float = Field(ge=0)
    high: float = Field(ge=0)
    period: Seconds = Field(default=86400.0, gt=0)
    shift: SpanField | None = Field(
        default=None, description="left out: drawn from the whole period"
    )
    shared: str | None = Field(default=None, description=SHARED)


class Bursts(Config):
    """`low` most of the time and `high` now and then, for exponentially distributed times."""

    kind: Literal["bursts"]
    low: float = Field(default=1.0, ge=0)
    high: float = Field(ge=0)
    calm: Seconds = Field(gt=0, description="mean time between bursts")
    burst: Seconds = Field(gt=0, description="mean length of a burst")
    rise: Seconds = Field(default=2.0, description="time from one level to the other")
    spread: float = Field(
        default=0.0, ge=0, description="standard deviation of log(high) among bursts"
    )
    shared: str | None = Field(default=None, description=SHARED)


class Walk(Config):
    """A random walk that comes back to 1: log-normal, with memory."""

    kind: Literal["walk"]
    sigma: float = Field(gt=0, description="standard deviation of the logarithm")
    memory: Seconds = Field(
        default=300.0, gt=0, description="correlation falls to 1/e in this time"
    )
    step: Seconds = Field(default=10.0, gt=0)
    shared: str | None = Field(default=None, description=SHARED)


class Recorded(Config):
    """Requests to a real service minute by minute; `low` is none, `high` the busiest minute."""

    kind: Literal["recorded"]
    trace: str = Field(description="such as worldcup98; see recordings")
    low: float = Field(default=0.0, ge=0)
    high: float = Field(ge=0)
    compression: float = Field(
        default=12.0, gt=0, description="seconds of the recording in one second"
    )
    shared: str | None = Field(default=None, description=SHARED)


class Product(Config):
    """Several curves, multiplied."""

    kind: Literal["product"]
    of: tuple[str, ...] = Field(min_length=2)


Curve = Annotated[Points | Daily | Bursts | Walk | Recorded | Product, Field(discriminator="kind")]


def draw_curve(
    curve: Points | Daily | Bursts | Walk, rng: np.random.Generator, end: float
) -> Drawn:
    """One realisation of a curve from 0 to `end` [s]: (times, values), times not falling."""
    if isinstance(curve, Points):
        return _points(curve, curve.shift.at(rng.random()), end)
    if isinstance(curve, Daily):
        shift = curve.shift or Span(0.0, curve.period)
        return _wave(curve, shift.at(rng.random()), end)
    if isinstance(curve, Bursts):
        return _bursts(curve, rng, end)
    return _walk(curve, rng, end)


def multiply(curves: list[Drawn]) -> Drawn:
    """The product, exact at every point of any factor and straight between them."""
    times = np.concatenate([times for times, _ in curves])
    times.sort()
    # a step is two points at one time; a factor's own steps keep both, others hold their value
    values = np.ones(len(times))
    first = np.concatenate([[True], times[1:] > times[:-1]])
    for own_times, own_values in curves:
        values *= np.where(
            first,
            _before(own_times, own_values, times),
            _after(own_times, own_values, times),
        )
    return times, values


def _before(times: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Values just before the given times."""
    return value_at(times, values, np.nextafter(at, -np.inf))


def _after(times: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Values just after the given times."""
    return value_at(times, values, at)


def value_at(times: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The curve at the given times; at a step, the value after it."""
    right = np.searchsorted(times, at, side="right")
    low, high = np.maximum(right - 1, 0), np.minimum(right, len(times) - 1)
    width = times[high] - times[low]
    part = np.divide(at - times[low], width, out=np.zeros(np.shape(at)), where=width > 0)
    result: np.ndarray = values[low] + np.clip(part, 0.0, 1.0) * (values[high] - values[low])
    return result


def _points(curve: Points, shift: float, end: float) -> Drawn:
    times = np.array([time for time, _ in curve.points])
    values = np.array([value for _, value in curve.points])
    if curve.period is not None:
        rounds = int(np.ceil((end + shift) / curve.period)) + 1
        times = (times + np.arange(rounds)[:, None] * curve.period).ravel()
        values = np.tile(values, rounds)
    return cut(times - shift, values, end)


def _wave(curve: Daily, shift: float, end: float) -> Drawn:
    count = int(np.ceil(end / curve.period * POINTS_PER_WAVE)) + 1
    times = np.arange(count) * (curve.period / POINTS_PER_WAVE)
    middle, half = (curve.low + curve.high) / 2, (curve.high - curve.low) / 2
    return times, middle - half * np.cos(2 * np.pi * (times + shift) / curve.period)


def _bursts(curve: Bursts, rng: np.random.Generator, end: float) -> Drawn:
    times, values = [0.0], [curve.low]
    now = rng.exponential(curve.calm)
    while now < end:
        length = max(rng.exponential(curve.burst), curve.rise)
        high = curve.high * np.exp(curve.spread * rng.standard_normal() - curve.spread**2 / 2)
        times += [now, now + curve.rise, now + length, now + length + curve.rise]
        values += [curve.low, high, high, curve.low]
        now += length + curve.rise + rng.exponential(curve.calm)
    return np.array(times), np.array(values)


def _walk(curve: Walk, rng: np.random.Generator, end: float) -> Drawn:
    count = int(np.ceil(end / curve.step)) + 1
    keep = np.exp(-curve.step / curve.memory)
    noise = rng.standard_normal(count) * curve.sigma * np.sqrt(1 - keep**2)
    logs = np.empty(count)
    logs[0] = curve.sigma * rng.standard_normal()
    for step in range(1, count):
        logs[step] = keep * logs[step - 1] + noise[step]
    return np.arange(count) * curve.step, np.exp(logs - curve.sigma**2 / 2)


def cut(times: np.ndarray, values: np.ndarray, end: float) -> Drawn:
    """The part of a curve from 0 to `end`, with its value at 0; later points up to one beyond."""
    at_zero = value_at(times, values, np.zeros(1))
    inside = (times > 0) & (times <= end)
    last = np.flatnonzero(times > end)[:1]
    keep = np.concatenate([np.flatnonzero(inside), last])
    return np.concatenate([[0.0], times[keep]]), np.concatenate([at_zero, values[keep]])
