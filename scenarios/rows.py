"""What happens between the rows of a trace.

A row is the mean over minutes; a policy decides every few seconds.  Straight lines or steps at the
rows' ends would give their clock away, and a policy could learn when memory is about to change.
So levels hold for exponential times (cut at LONGEST_HOLD) that know nothing of the rows, each level
is its row's value times a log-normal burst, and then all levels are scaled, as little as it takes,
until every row has its mean again (iterative proportional fitting).
"""

from typing import NamedTuple

import numpy as np

LONGEST_HOLD = 0.45  # rows: so that some level lies wholly within each, free to keep its mean
ROUNDS = 1000  # needed only where a row next to a high one is nearly 0
CLOSE = 1e-4  # of the largest row mean: good enough


class Levels(NamedTuple):
    """A step function over rows; time is counted in rows."""

    start: np.ndarray  # (S,) rows, rising from 0
    value: np.ndarray  # (S,) holds from its start to the next


def burst(means: np.ndarray, hold: float, spread: float, rng: np.random.Generator) -> Levels:
    """Levels whose mean over each row is the row's.

    Args:
        means: (N,) of 0 or more, the rows' means.
        hold: mean time between changes [rows], well below 1.
        spread: standard deviation of the logarithm of the bursts.
        rng: draws of this guest.
    """
    start = _changes(len(means), hold, rng)
    middle = start + np.diff(start, append=float(len(means))) / 2
    factor = rng.lognormal(-(spread**2) / 2, spread, len(start))
    wanted = np.interp(middle, np.arange(len(means)) + 0.5, means)
    return Levels(start, _fit(means, start, wanted * factor))


def at_changes(values: np.ndarray, start: np.ndarray) -> np.ndarray:
    """(S,) the row's value at each start, so that nothing changes at a row's end."""
    rows = np.minimum(start.astype(np.int64), len(values) - 1)
    return np.asarray(values[rows])


def row_means(levels: Levels, rows: int) -> np.ndarray:
    """(N,) mean of a step function over each row."""
    first, share, rest = _overlaps(levels.start, rows)
    return _sums(levels.value, first, share, rest, rows)


def _changes(rows: int, hold: float, rng: np.random.Generator) -> np.ndarray:
    """(S,) 0 and the points of the process."""
    gaps = np.minimum(rng.exponential(hold, int(rows / hold * 2) + 20), LONGEST_HOLD)
    while gaps.sum() < rows:
        gaps = np.concatenate([gaps, np.minimum(rng.exponential(hold, 20), LONGEST_HOLD)])
    times = np.cumsum(gaps)
    return np.concatenate([[0.0], times[times < rows]])


def _overlaps(start: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First row of each level, its length in that row and its length in the next."""
    end = np.append(start[1:], float(rows))
    first = np.minimum(start.astype(np.int64), rows - 1)
    share = np.minimum(end, first + 1.0) - start
    return first, share, end - start - share


def _sums(
    value: np.ndarray, first: np.ndarray, share: np.ndarray, rest: np.ndarray, rows: int
) -> np.ndarray:
    here = np.bincount(first, value * share, rows + 1)
    return np.asarray((here + np.bincount(first + 1, value * rest, rows + 1))[:rows])


def _fit(means: np.ndarray, start: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Scale levels until every row has its mean."""
    rows = len(means)
    first, share, rest = _overlaps(start, rows)
    length = share + rest
    tiny = max(float(means.max(initial=0.0)), 1e-12) * 1e-9
    value = np.maximum(value, tiny)
    for _ in range(ROUNDS):
        sums = _sums(value, first, share, rest, rows)
        if np.abs(sums - means).max() <= CLOSE * max(float(means.max()), 1e-12):
            break
        ratio = np.append(means / np.maximum(sums, tiny), 1.0)
        value = value * (share * ratio[first] + rest * ratio[first + 1]) / length
    return value
