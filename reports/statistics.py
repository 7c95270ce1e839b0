"""Means, tails and intervals of paired episodes.

Intervals are percentile bootstrap intervals with two crossed levels.  Training seeds are drawn
with replacement; so are clusters of episodes (hosts that replay the same trace on the same day,
or share a seed), separately for each set of scenarios that a cluster takes part in.  All training
seeds meet the same hosts, so one draw of clusters serves them all.  Quantiles are moved outwards
for small numbers of clusters as in T. Hesterberg, "What Teachers Should Know About the
Bootstrap", The American Statistician 69 (2015), section 4.1.3 (expanded percentile).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import norm, t

LEVEL = 0.95
TAIL = 0.05  # the share of the worst that conditional value at risk averages
RESAMPLES = 10_000
FEW = 5  # with fewer clusters no interval deserves trust


class Interval(NamedTuple):
    """A value and its 95 % interval; bounds are NaN if a single cluster gives no spread."""

    value: float
    low: float
    high: float

    @property
    def shows_difference(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


class Sample(NamedTuple):
    """One number per episode with what it depends on; N episodes."""

    value: np.ndarray  # (N,) float64
    training: np.ndarray  # (N,) training seed
    cluster: np.ndarray  # (N,) name of the cluster
    scenario: np.ndarray  # (N,)


def bootstrap_mean(sample: Sample, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """The mean over episodes with its two-level bootstrap interval.

    Raises:
        ValueError: the sample is empty.
    """
    if not len(sample.value):
        raise ValueError("bootstrap_mean: no episodes")
    value = float(np.mean(sample.value))
    trainings, training = np.unique(sample.training, return_inverse=True)
    clusters, cluster = np.unique(sample.cluster, return_inverse=True)
    strata = _strata(cluster, sample.scenario, len(clusters))
    freedom = len(clusters) - len(np.unique(strata))
    if freedom < 1:
        return Interval(value, np.nan, np.nan)
    shape = (len(trainings), len(clusters))
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, (training, cluster), sample.value)
    np.add.at(count, (training, cluster), 1.0)
    generator = np.random.default_rng(seed)
    by_training = _draws(np.zeros(len(trainings), int), resamples, generator)
    by_cluster = _draws(strata, resamples, generator)
    sums = np.einsum("bt,tc,bc->b", by_training, total, by_cluster)
    counts = np.einsum("bt,tc,bc->b", by_training, count, by_cluster)
    tail = _expanded_tail(freedom + 1)
    low, high = np.quantile(sums / counts, (tail, 1 - tail))
    return Interval(value, float(low), float(high))


def paired_difference(
    sample: Sample, other: Sample, keys: np.ndarray, others: np.ndarray
) -> Sample:
    """Each episode of `sample` less the mean of `other`'s episodes with the same key.

    Args:
        sample: (N,) episodes.
        other: (M,) episodes to compare with.
        keys: (N,) what names the same work.
        others: (M,) the same for `other`.

    Raises:
        ValueError: `other` lacks a key of `sample`.
    """
    missing = sorted(set(keys.tolist()) - set(others.tolist()))
    if missing:
        raise ValueError(f"paired_difference: nothing to pair with {missing[0]}")
    means = {key: float(np.mean(other.value[others == key])) for key in set(keys.tolist())}
    paired = np.array([means[key] for key in keys.tolist()])
    return sample._replace(value=sample.value - paired)


def tail_mean(values: Sequence[float] | np.ndarray, share: float = TAIL) -> float:
    """Conditional value at risk: the mean of the lowest `share` of the values.

    A value on the border counts with the part of it that lies inside, so that one value in
    ten and `share` 0.05 gives the lowest.

    Raises:
        ValueError: there are no values.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if not len(ordered):
        raise ValueError("tail_mean: no values")
    wanted = share * len(ordered)
    weights = np.clip(wanted - np.arange(len(ordered)), 0.0, 1.0)
    return float((weights * ordered).sum() / weights.sum())


def interquartile_mean(values: Sequence[float] | np.ndarray) -> float:
    """The mean of the middle half, with parts of the values on its borders.

    For scores across training seeds only; across hosts it would hide the worst ones.

    Raises:
        ValueError: there are no values.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    size = len(ordered)
    if not size:
        raise ValueError("interquartile_mean: no values")
    position = np.arange(size)
    inside = np.minimum(position + 1, 0.75 * size) - np.maximum(position, 0.25 * size)
    weights = np.clip(inside, 0.0, 1.0)
    return float((weights * ordered).sum() / weights.sum())


def _strata(cluster: np.ndarray, scenario: np.ndarray, clusters: int) -> np.ndarray:
    """(clusters,) number of the set of scenarios that each cluster takes part in."""
    taking_part = [
        "\n".join(sorted(set(scenario[cluster == index].tolist()))) for index in range(clusters)
    ]
    return np.unique(taking_part, return_inverse=True)[1]


def _draws(strata: np.ndarray, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """(resamples, units) how often each unit is drawn; as many as there are in each stratum."""
    drawn = np.zeros((resamples, len(strata)))
    for stratum in np.unique(strata):
        units = np.flatnonzero(strata == stratum)
        shares = np.full(len(units), 1 / len(units))
        drawn[:, units] = generator.multinomial(len(units), shares, size=resamples)
    return drawn


def _expanded_tail(clusters: int) -> float:
    """Which quantile of the replicates bounds the interval on either side."""
    factor = np.sqrt(clusters / (clusters - 1)) * t.ppf((1 + LEVEL) / 2, clusters - 1)
    return float(norm.cdf(-factor))
