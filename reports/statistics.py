"""Means, tails and intervals of paired episodes.

An interval joins what hosts and what training runs leave open.  Hosts: a percentile bootstrap of
clusters of episodes (hosts that replay the same window of a trace, or share a seed), drawn with
replacement for each group of scenarios that have clusters in common, the others held.  For small
numbers n it is stretched by sqrt(n / (n - 1)) t(n - 1) / z as in T. Hesterberg, "What Teachers
Should Know About the Bootstrap", The American Statistician 69 (2015), section 4.1.3; stretched are
its distances from the mean and not, as there, its quantiles, which never leave the range of two or
three values.  Training: Student's t over the means of the training seeds, as too few are ever
trained for a bootstrap to show their spread.  All training seeds meet the same hosts, so the errors
add; limits are joined as in G. Zou and A. Donner, "Construction of confidence limits about effect
measures", Statistics in Medicine 27 (2008), and cover at least as often as they say for normal
errors (S. Banerjee, Sankhya 22 (1960)).  A single training seed tells nothing of others: its
interval is over hosts.

No interval knows what no host showed.  A loss that strikes one host in seven, as kills may, spares
all of 8 hosts in 29 of 100 evaluations, and all of 12 in 16; the interval is narrow then, and
wrong.  Skew costs some too: of log-normal differences (sigma 1) it covers the mean of 8 hosts in 85
of 100.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.stats import norm, t

LEVEL = 0.95
TAIL = 0.05  # the share of the worst that conditional value at risk averages
RESAMPLES = 10_000
FEW = 5  # with fewer clusters in a scenario no interval deserves trust


class Interval(NamedTuple):
    """A value and its 95 % interval; bounds are NaN where a single cluster shows no spread."""

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
    rival: np.ndarray | None = None  # (N,) training seed of what was subtracted


def bootstrap_mean(
    sample: Sample, resamples: int = RESAMPLES, seed: int = 0, comparisons: int = 1
) -> Interval:
    """The mean over episodes with its interval over hosts and training seeds.

    Args:
        sample: the episodes.
        resamples: how many times clusters are drawn.
        seed: of these draws.
        comparisons: all intervals of so many hold together with 95 % (Bonferroni).

    Raises:
        ValueError: the sample is empty.
    """
    if not len(sample.value):
        raise ValueError("bootstrap_mean: no episodes")
    value = float(np.mean(sample.value))
    spread = _over_training(sample.value, sample.training, comparisons)
    if sample.rival is not None:
        spread = np.hypot(spread, _over_training(sample.value, sample.rival, comparisons))
    hosts = _over_hosts(sample, resamples, seed, comparisons)
    below, above = np.sqrt(np.sum(np.square([(spread, spread), *hosts]), axis=0))
    return Interval(value, value - float(below), value + float(above))


def paired_difference(
    sample: Sample, other: Sample, keys: np.ndarray, others: np.ndarray
) -> Sample:
    """Each episode of `sample` less each of `other`'s with the same key.

    Where both have the same training seeds, seeds are paired too.

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
    paired = keys[:, None] == others[None]
    same_seeds = set(sample.training.tolist()) == set(other.training.tolist())
    if same_seeds:
        paired &= sample.training[:, None] == other.training[None]
    own, its = np.nonzero(paired)
    return Sample(
        sample.value[own] - other.value[its],
        sample.training[own],
        sample.cluster[own],
        sample.scenario[own],
        None if same_seeds else other.training[its],
    )


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


def spread(found: Interval) -> str:
    """A signed difference with its interval in words that fit a sentence."""
    if math.isnan(found.low):
        return f"{found.value:+.3f} (no interval)"
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _over_hosts(
    sample: Sample, resamples: int, seed: int, comparisons: int
) -> list[tuple[float, float]]:
    """How far limits are below and above the mean, by group; NaN if a scenario has one cluster.

    A scenario keeps its share of the mean whichever clusters are drawn: how much scenarios differ
    is not left to chance.
    """
    scenarios, scenario = np.unique(sample.scenario, return_inverse=True)
    clusters, cluster = np.unique(sample.cluster, return_inverse=True)
    total, count = np.zeros((2, len(clusters), len(scenarios)))
    np.add.at(total, (cluster, scenario), sample.value)
    np.add.at(count, (cluster, scenario), 1.0)
    generator = np.random.default_rng(seed)
    found = []
    for group in _groups(count > 0):
        own = np.flatnonzero(count[:, group].any(axis=1))
        fewest = int(np.count_nonzero(count[:, group], axis=0).min())
        if fewest < 2:
            return [(np.nan, np.nan)]
        drawn = _draws(len(own), resamples, generator)
        table = np.ix_(own, group)
        means = _group_means(drawn, total[table], count[table]) / count.sum()
        middle = total[table].sum() / count.sum()
        low, high = np.quantile(means, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
        wider = stretch(fewest, comparisons)
        found.append((wider * (middle - float(low)), wider * (float(high) - middle)))
    return found


def _group_means(drawn: np.ndarray, total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """(resamples,) sum over S scenarios of their means times their number of episodes.

    Args:
        drawn: (resamples, C) how often each cluster is drawn.
        total: (C, S) sum of the values of a cluster in a scenario.
        count: (C, S) how many they are.
    """
    episodes = count.sum(axis=0)
    known = total.sum(axis=0) / episodes  # stands in for a scenario of which nothing was drawn
    counts = drawn @ count
    means = np.where(counts > 0, drawn @ total / np.maximum(counts, 1.0), known)
    return np.asarray(means @ episodes)


def _over_training(values: np.ndarray, training: np.ndarray, comparisons: int) -> float:
    """Half the width of the interval over training seeds; 0 for one, which shows no spread."""
    seeds = np.unique(training)
    if len(seeds) < 2:
        return 0.0
    means = np.array([np.mean(values[training == seed]) for seed in seeds])
    error = float(np.std(means, ddof=1)) / np.sqrt(len(seeds))
    return float(_t(len(seeds) - 1, comparisons) * error)


def _groups(present: np.ndarray) -> list[np.ndarray]:
    """The scenarios of each group that is joined by clusters in common.

    Args:
        present: (C, S) bool, whether a cluster takes part in a scenario.
    """
    linked = present.T.astype(np.int64) @ present
    number = connected_components(linked, directed=False)[1]
    return [np.flatnonzero(number == group) for group in np.unique(number)]


def _draws(units: int, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """(resamples, units) how often each unit is drawn."""
    shares = np.full(units, 1 / units)
    return generator.multinomial(units, shares, size=resamples).astype(np.float64)


def stretch(units: int, comparisons: int = 1) -> float:
    """What a percentile interval of the mean of so few lacks of one by Student's t."""
    normal = norm.ppf((1 + LEVEL) / 2)
    return float(np.sqrt(units / (units - 1)) * _t(units - 1, comparisons) / normal)


def _t(freedom: int, comparisons: int) -> float:
    """Student's t that so many two-sided intervals together stay within."""
    return float(t.ppf(1 - (1 - LEVEL) / 2 / comparisons, freedom))
