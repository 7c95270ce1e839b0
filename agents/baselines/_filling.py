"""Sharing within bounds: the level at which the clipped shares add up to a budget."""

from collections.abc import Callable

import numpy as np

from contract.arrays import Bools, Floats, Ints

HALVINGS = 80  # of the span of the level: beyond the precision of a float


def fill(budget: Ints, smallest: Ints, largest: Ints, weight: Floats, takes_part: Bools) -> Ints:
    """Share a budget in proportion to weights, within bounds.

    What a bound takes or leaves is shared again among the others, so for all who are at none of
    their bounds size / weight is the same.  The order of the guests does not matter.

    Args:
        budget: (H,) [bytes].
        smallest: (H, G) [bytes] at least 0.
        largest: (H, G) [bytes] not below `smallest`.
        weight: (H, G) positive where a guest takes part.
        takes_part: (H, G).

    Returns:
        (H, G) [bytes] shares, 0 for those that take no part: together at most the budget, unless
        the smallest sizes alone exceed it, and at most a few bytes less, unless all are largest.
    """
    low, high = np.where(takes_part, smallest, 0), np.where(takes_part, largest, 0)
    rate = np.where(takes_part, weight, 1.0)
    most = (high / rate).max(axis=1, initial=0.0)
    return fill_to(budget, low, high, lambda level: rate * level, most)


def fill_to(
    budget: Ints, smallest: Ints, largest: Ints, at: Callable[[Floats], Floats], most: Floats
) -> Ints:
    """Find the highest level whose shares fit into a budget.

    Args:
        budget: (H,) [bytes].
        smallest: (H, G) [bytes].
        largest: (H, G) [bytes], not below `smallest`.
        at: (H, 1) level -> (H, G) [bytes] shares before they are clipped; they never fall.
        most: (H,) a level at which all have their largest share.

    Returns:
        (H, G) [bytes] shares.
    """

    def clipped(level: Floats) -> Ints:
        wanted = np.minimum(at(level[:, None]), largest)  # as a float first: it may be huge
        return np.minimum(np.maximum(wanted.astype(np.int64), smallest), largest)

    enough = largest.sum(axis=1) <= budget
    below, above = np.zeros(len(budget)), most.astype(np.float64)
    for _ in range(HALVINGS):
        middle = (below + above) / 2
        fits = clipped(middle).sum(axis=1) <= budget
        below, above = np.where(fits, middle, below), np.where(fits, above, middle)
    shares: Ints = np.where(enough[:, None], largest, clipped(below))
    return shares
