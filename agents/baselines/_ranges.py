"""In what range a setting of a baseline may be tuned."""

from typing import NamedTuple


class Range(NamedTuple):
    """Closed; every combination of values in the ranges of a baseline makes a valid config.

    A period is never tuned: a baseline looks as often as the original.
    """

    low: float
    high: float
    log: bool = False  # searched by ratio, not by difference
