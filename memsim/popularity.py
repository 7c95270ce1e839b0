"""Which blocks of a region are popular: Zipf weights, and a table to draw from them in O(1)."""

import numpy as np

from memsim import rng, state


def alias_table(weights: np.ndarray) -> np.ndarray:
    """Vose's alias table of positive weights: (N,) float -> (N,) alias_dtype."""
    n = len(weights)
    share = weights * (n / weights.sum())
    table = np.zeros(n, state.alias_dtype)
    table["keep"] = 0xFFFFFFFF
    table["other"] = np.arange(n)
    small = [i for i in range(n) if share[i] < 1.0]
    large = [i for i in range(n) if share[i] >= 1.0]
    while small and large:
        i, j = small.pop(), large[-1]
        table["keep"][i] = min(int(share[i] * 2**32), 0xFFFFFFFF)
        table["other"][i] = j
        share[j] -= 1.0 - share[i]
        if share[j] < 1.0:
            small.append(large.pop())
    return table


def popularity(blocks: int, zipf_s: float, key: np.uint64) -> np.ndarray:
    """Zipf weights of blocks, laid out in an order drawn by a key: (blocks,) float64."""
    order = np.argsort([int(rng.draw(key, np.uint64(i))) for i in range(blocks)], kind="stable")
    weights = np.empty(blocks)
    weights[order] = 1.0 / np.arange(1, blocks + 1) ** zipf_s
    return weights
