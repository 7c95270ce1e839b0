"""Gap closed: how much of what a bound has ahead of the reference a policy has too.

A ratio of means over the same hosts, (J - J of the reference) / (J of the bound - J of the
reference).  Its interval holds every share s for which the paired bootstrap's interval of
J - J(reference) - s (J(bound) - J(reference)) includes 0: E. Fieller, "Some Problems in Interval
Estimation", Journal of the Royal Statistical Society B 16 (1954), with the bootstrap in the place
of Student's t.  It has two limits where the bound is clearly above the reference, and only there.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import brentq

from reports import measures
from reports.episodes import BOUND, Episode, Results
from reports.statistics import RESAMPLES, Interval, Sample, bootstrap_mean, spread

TOLERANCE = 1e-4  # of the limits; a hundredth of a percent


def bound_of(results: Results) -> str | None:
    """The bound with the highest mean J, if any takes part."""
    bounds = [label for label in results.labels() if label.endswith(BOUND)]
    return max(bounds, key=lambda label: _mean(results.of(label)), default=None)


def ahead(results: Results, reference: str, resamples: int, seed: int) -> Interval | None:
    """What the bound has ahead of the reference; None where one of them does not take part."""
    bound = bound_of(results)
    if bound is None or reference == bound or reference not in results.labels():
        return None
    own, others = results.of(bound), results.of(reference)
    return measures.difference(own, others, measures.score, resamples, seed)


def shares(
    results: Results, reference: str, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """The share that each label closes; empty where the bound is not clearly above."""
    lead = ahead(results, reference, resamples, seed)
    bound = bound_of(results)
    if bound is None or lead is None or not lead.low > 0:
        return {}
    base, top = results.of(reference), results.of(bound)
    return {
        label: closed(results.of(label), base, top, resamples, seed)
        for label in results.labels()
        if label not in (reference, bound)
    }


def caution(
    results: Results, reference: str, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[str, ...]:
    """A sentence where a bound takes part but is not clearly above the reference."""
    lead = ahead(results, reference, resamples, seed)
    if lead is None or lead.low > 0:
        return ()
    return (
        f"{bound_of(results)} is not clearly above {reference} ({spread(lead)} in J): shares of"
        " that gap would mean nothing and are left out.",
    )


def closed(
    own: Sequence[Episode],
    reference: Sequence[Episode],
    bound: Sequence[Episode],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The share of the gap that `own` closes: 0 as the reference, 1 as the bound.

    Limits are NaN where hosts are too few for any, or the bound is not clearly above.
    """
    base, top = measures.by_work(reference), measures.by_work(bound)
    work = [(part.scenario, part.seed) for part in own]
    gained = np.array([part.j - base[key] for part, key in zip(own, work, strict=True)])
    gap = np.array([top[key] - base[key] for key in work])

    def left(share: float) -> Interval:
        sample = Sample(
            gained - share * gap,
            np.array([part.training_seed for part in own]),
            np.array([part.cluster for part in own]),
            np.array([part.scenario for part in own]),
        )
        return bootstrap_mean(sample, resamples, seed)

    value = float(gained.mean() / gap.mean())
    widest = left(value)
    if math.isnan(widest.low) or not _clear(gap, own, resamples, seed):
        return Interval(value, math.nan, math.nan)
    step = max(widest.high - widest.low, TOLERANCE) / float(gap.mean())
    return Interval(
        value,
        _limit(lambda share: left(share).low, value, -step),
        _limit(lambda share: left(share).high, value, step),
    )


def _clear(gap: np.ndarray, own: Sequence[Episode], resamples: int, seed: int) -> bool:
    sample = Sample(
        gap,
        np.zeros(len(own)),
        np.array([part.cluster for part in own]),
        np.array([part.scenario for part in own]),
    )
    return bootstrap_mean(sample, resamples, seed).low > 0


def _limit(edge: Callable[[float], float], value: float, step: float) -> float:
    """Where an edge of the interval of what is left crosses 0, from `value` on."""
    begin = edge(value)
    if begin * step <= 0:  # no width, but for rounding
        return value
    end = value + step
    while edge(end) * begin > 0:
        step *= 2
        end = value + step
    return float(brentq(edge, value, end, xtol=TOLERANCE))


def _mean(episodes: Sequence[Episode]) -> float:
    return float(np.mean([part.j for part in episodes]))
