"""Service levels: what a provider promises of its guests' slowdown, as `p95_slowdown<=1.10`."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.episodes import GuestEpisode

WRITTEN = re.compile(r"p([0-9]{1,2}(?:\.[0-9]+)?)_slowdown ?<= ?([0-9]+(?:\.[0-9]+)?)", re.ASCII)


@dataclass(frozen=True)
class ServiceLevel:
    """So large a share of guest-episodes must be slowed down no more than this."""

    percent: float  # of the guest-episodes, in (0, 100)
    limit: float  # of the slowdown, above 1

    def __str__(self) -> str:
        """As it is written."""
        return f"p{self.percent:g}_slowdown<={self.limit:.2f}"


def parse(text: str) -> ServiceLevel:
    """Read a service level.

    Raises:
        ValueError: it is not one.
    """
    found = WRITTEN.fullmatch(text.strip())
    percent, limit = map(float, found.groups()) if found else (0.0, 0.0)
    if percent <= 0 or limit <= 1:
        raise ValueError(
            f"{text!r}: expected a percentile of the guests' slowdown and a limit above 1, as in"
            " p95_slowdown<=1.10"
        )
    return ServiceLevel(percent, limit)


def slowdowns(guests: Sequence[GuestEpisode]) -> np.ndarray:
    """(N,) slowdown of each guest-episode: infinite after a kill, 1 of a guest without work."""
    found = np.array([guest.slowdown for guest in guests], np.float64)
    found[np.isnan(found)] = 1.0
    found[[not math.isnan(guest.killed_s) for guest in guests]] = np.inf
    return found


def percentile(values: np.ndarray, percent: float, weights: np.ndarray | None = None) -> np.ndarray:
    """The smallest value that so many percent of the values do not exceed.

    Args:
        values: (N,) numbers, infinity among them.
        percent: in (0, 100).
        weights: (R, N) how often each value counts, one row a resample; left out: once.

    Returns:
        (R,), of one resample without weights; NaN where nothing counts.
    """
    order = np.argsort(values, kind="stable")
    counted = np.ones((1, len(values))) if weights is None else weights[:, order]
    below = np.cumsum(counted, axis=1)
    total = below[:, -1]
    wanted = percent / 100 * total * (1 - 1e-12)
    place = np.minimum((below < wanted[:, None]).sum(axis=1), len(values) - 1)
    return np.where(total > 0, values[order][place], np.nan)
