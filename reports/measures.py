"""Measures of episodes with their intervals: by themselves, and paired by the same work."""

from collections.abc import Callable, Sequence

import numpy as np

from reports.episodes import Episode
from reports.statistics import RESAMPLES, Interval, Sample, bootstrap_mean, paired_difference

Measure = Callable[[Episode], float]


def mean(
    episodes: Sequence[Episode], measure: Measure, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The mean of a measure over episodes with its interval.

    Raises:
        ValueError: no episodes.
    """
    return bootstrap_mean(_sample(episodes, measure), resamples, seed)


def difference(
    episodes: Sequence[Episode],
    others: Sequence[Episode],
    measure: Measure,
    resamples: int = RESAMPLES,
    seed: int = 0,
    comparisons: int = 1,
) -> Interval:
    """A measure less that of others on the same work; one interval of so many that hold together.

    Raises:
        ValueError: no episodes, or `others` lack work of theirs.
    """
    one, other = _sample(episodes, measure), _sample(others, measure)
    paired = paired_difference(one, other, _work(episodes), _work(others))
    return bootstrap_mean(paired, resamples, seed, comparisons)


def score(episode: Episode) -> float:
    """J."""
    return episode.j


def progress(episode: Episode) -> float:
    """Useful time over useful and lost time."""
    return episode.progress


def fairness(scores: np.ndarray, weights: np.ndarray) -> float:
    """Jain's index of the guests' scores: 1 if all fare alike, 1/n if one has everything.

    R. Jain, D. Chiu, W. Hawe, DEC-TR-301 (1984); a guest of weight w counts as w guests.

    Args:
        scores: (N,) not negative.
        weights: (N,) positive.
    """
    squares = float(weights.sum() * (weights * scores**2).sum())
    return float((weights * scores).sum() ** 2 / squares) if squares > 0 else 1.0


def by_work(episodes: Sequence[Episode]) -> dict[tuple[str, int], float]:
    """Mean J over training seeds on each host, by scenario and seed."""
    found: dict[tuple[str, int], list[float]] = {}
    for part in episodes:
        found.setdefault((part.scenario, part.seed), []).append(part.j)
    return {key: float(np.mean(values)) for key, values in found.items()}


def _sample(episodes: Sequence[Episode], measure: Measure) -> Sample:
    return Sample(
        np.array([measure(episode) for episode in episodes], dtype=np.float64),
        np.array([episode.training_seed for episode in episodes]),
        np.array([episode.cluster for episode in episodes]),
        np.array([episode.scenario for episode in episodes]),
    )


def _work(episodes: Sequence[Episode]) -> np.ndarray:
    """(N,) what names the same work: scenario and seed."""
    return np.array([f"{episode.scenario}\n{episode.seed}" for episode in episodes])
