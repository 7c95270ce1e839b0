"""Density: the most guests of a host that still keep a service level, with its interval.

The service level's percentile is taken over the guest-episodes of all hosts with so many guests.
More guests never make it better, but a sample may: a monotone fit (isotonic regression of the
logarithm, each count weighing as many guest-episodes as it has) gives the curve, and the density is
where the curve crosses the limit, linear between counts.  Hosts of one seed have the same first
guests at every count and under every policy, so a seed is drawn with all its counts: intervals are
a percentile bootstrap over seeds (those that replay one window of a trace together), stretched for
small numbers as means are, and differences between policies are taken draw by draw.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.sparse.csgraph import connected_components

from reports.service import ServiceLevel, percentile
from reports.slowdown import STALLED
from reports.statistics import LEVEL, Interval, stretch

RESAMPLES = 2000
UNBOUNDED = STALLED  # stands for a killed guest's slowdown in the fit


class Crowd(NamedTuple):
    """The guest-episodes of one policy on hosts with so many guests each."""

    guests: int
    seed: np.ndarray  # (N,) int64 of the host
    training: np.ndarray  # (N,) int64 training seed of the policy
    slowdown: np.ndarray  # (N,) float64, inf after a kill
    cluster: tuple[tuple[int, str], ...]  # seed and what its host depends on


class Place(NamedTuple):
    """Where policies are compared: a scenario under one set of mechanisms."""

    scenario: str
    mechanisms: str = ""  # name in the configuration; empty: as the scenario draws them


Crowds = dict[Place, dict[str, tuple[Crowd, ...]]]  # by place, then by policy: one for each count


class Draws(NamedTuple):
    """Which seeds each resample has; the same for all policies of a scenario."""

    seeds: np.ndarray  # (S,) int64
    times: np.ndarray  # (R, S) how often each is drawn
    stretch: float  # of the distances from the value; NaN for a single cluster


class Point(NamedTuple):
    """Of a curve: the percentile at a count of guests."""

    guests: int
    value: Interval  # NaN bounds where a single host shows no spread
    fitted: float


@dataclass(frozen=True)
class Density:
    """What one policy allows."""

    guests: Interval  # the most of a host; its value is whole
    crossing: float  # where the curve crosses the limit, not rounded
    within: bool  # the curve crosses the limit between the counts that were run
    fewest: int  # guests of the emptiest hosts that were run
    most: int  # and of the fullest
    curve: tuple[Point, ...]
    draws: np.ndarray  # (R,) crossings, for differences

    def __str__(self) -> str:
        """As a table says it."""
        value = int(self.guests.value)
        if value < self.fewest:
            return f"< {self.fewest}"
        return f">= {value}" if not self.within else str(value)


def draws(crowds: Sequence[Crowd], resamples: int = RESAMPLES, seed: int = 0) -> Draws:
    """Resamples of the seeds of a scenario; those that share a cluster are drawn together."""
    pairs = sorted({pair for crowd in crowds for pair in crowd.cluster})
    seeds, row = np.unique([host for host, _ in pairs], return_inverse=True)
    names, column = np.unique([name for _, name in pairs], return_inverse=True)
    linked = np.zeros((len(seeds), len(names)))
    linked[row, column] = 1
    count, group = connected_components(linked @ linked.T, directed=False)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples)
    return Draws(seeds, drawn[:, group].astype(np.float64), stretch(count) if count > 1 else np.nan)


def density(crowds: Sequence[Crowd], level: ServiceLevel, drawn: Draws) -> Density:
    """The density of one policy.

    Args:
        crowds: of that policy in one scenario, one for each count of guests.
        level: the service level.
        drawn: from `draws`, over all policies of the scenario.

    Raises:
        ValueError: no crowds.
    """
    if not crowds:
        raise ValueError("density: no crowds")
    ordered = sorted(crowds, key=lambda crowd: crowd.guests)
    counts = np.array([crowd.guests for crowd in ordered])
    sizes = np.array([len(crowd.slowdown) for crowd in ordered], np.float64)
    plain = np.array([float(percentile(c.slowdown, level.percent)[0]) for c in ordered])
    resampled = np.stack([_resampled(crowd, level, drawn) for crowd in ordered], axis=1)
    # a resample that happens to have none of a count's hosts takes what all of them show
    resampled = np.where(np.isnan(resampled), plain, resampled)
    fitted = fit(plain, sizes)
    crossing = crossing_of(counts, fitted, level.limit)
    crossings = np.array(
        [crossing_of(counts, fit(values, sizes), level.limit) for values in resampled]
    )
    return Density(
        guests=_whole(_interval(crossing, crossings, drawn.stretch), counts),
        crossing=crossing,
        within=bool(counts[0] <= crossing < counts[-1]),
        fewest=int(counts[0]),
        most=int(counts[-1]),
        curve=tuple(
            Point(int(guests), _quantiles(float(value), column, drawn), float(smooth))
            for guests, value, column, smooth in zip(
                counts, plain, resampled.T, fitted, strict=True
            )
        ),
        draws=crossings,
    )


def difference(own: Density, other: Density, drawn: Draws) -> Interval:
    """Guests more than another policy allows, draw by draw."""
    return _interval(own.crossing - other.crossing, own.draws - other.draws, drawn.stretch)


def fit(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(N,) slowdowns that do not fall, closest to `values` in the logarithm."""
    logarithm = np.log(np.minimum(values, UNBOUNDED))
    return np.asarray(np.exp(isotonic_regression(logarithm, weights=weights).x))


def crossing_of(counts: np.ndarray, fitted: np.ndarray, limit: float) -> float:
    """How many guests the curve allows, linear between counts in the slowdown's logarithm.

    One guest less than the fewest if not even those are served; the most that were run if the
    limit is never exceeded.
    """
    kept = int(np.searchsorted(fitted, limit * (1 + 1e-12), side="right"))
    if kept == 0:
        return float(counts[0] - 1)
    if kept == len(counts):
        return float(counts[-1])
    low, high = np.log(fitted[kept - 1 : kept + 1])
    share = (math.log(limit) - low) / (high - low)
    return float(counts[kept - 1] + share * (counts[kept] - counts[kept - 1]))


def _resampled(crowd: Crowd, level: ServiceLevel, drawn: Draws) -> np.ndarray:
    """(R,) the percentile in each resample."""
    place = np.searchsorted(drawn.seeds, crowd.seed)
    weights = drawn.times[:, place]
    trained, member = np.unique(crowd.training, return_inverse=True)
    if len(trained) > 1:  # which training runs there are is chance, too
        generator = np.random.default_rng(len(trained))
        share = np.full(len(trained), 1 / len(trained))
        weights = weights * generator.multinomial(len(trained), share, len(weights))[:, member]
    return percentile(crowd.slowdown, level.percent, weights)


def _interval(value: float, found: np.ndarray, widened: float) -> Interval:
    """Percentiles of draws around the value that they scatter about, stretched."""
    low, high = np.quantile(found, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    below, above = max(0.0, value - float(low)), max(0.0, float(high) - value)
    return Interval(value, value - widened * below, value + widened * above)


def _whole(found: Interval, counts: np.ndarray) -> Interval:
    """Guests are whole, and nothing is known of fewer than were run, or of more."""
    return Interval(
        *(
            float(end)
            for end in np.clip(np.floor(np.array(found) + 1e-9), counts[0] - 1, counts[-1])
        )
    )


def _quantiles(value: float, found: np.ndarray, drawn: Draws) -> Interval:
    """A percentile with the range of its resamples, kills and all; NaN for a single cluster."""
    if math.isnan(drawn.stretch):
        return Interval(value, math.nan, math.nan)
    ends = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    low, high = np.quantile(found, ends, method="inverted_cdf")  # never between kill and none
    return Interval(value, float(low), float(high))
