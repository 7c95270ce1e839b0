"""The array types of the contract, and how each of them says "unknown"."""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]  # bytes, counts, codes; unknown is UNKNOWN
Floats = npt.NDArray[np.float64]  # seconds, shares, rates; unknown is NaN
Bools = npt.NDArray[np.bool_]
Floats32 = npt.NDArray[np.float32]  # what a network reads and writes

UNKNOWN = -1  # of every integer column
PAGE = 4096  # [bytes] the x86 page: the grain of a balloon
MIB = 1 << 20  # [bytes]
GIB = 1 << 30  # [bytes]


def floats(values: Ints) -> Floats:
    """Turn integers into float64 with unknown (-1) as NaN; shape is kept."""
    return np.where(values < 0, np.nan, values)
