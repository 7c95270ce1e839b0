"""Keyed randomness: a draw is a pure function of its key and its number (model section 1).

No stream is shared and nothing is consumed, so a guest draws the same alone, in company, under
every policy and in any order.  The mixing function is splitmix64's finaliser (Steele, Lea and
Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
"""

import numpy as np

from memsim.jit import entry, kernel

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S32, _S11 = (np.uint64(n) for n in (30, 27, 31, 32, 11))
_LOW = np.uint64(0xFFFFFFFF)

# Purposes: what a draw is for.
PAGE = np.uint64(1)
STORE = np.uint64(2)
ARRIVAL = np.uint64(3)
LAYOUT = np.uint64(4)
SAMPLE = np.uint64(5)


@kernel
def mix(z: np.uint64) -> np.uint64:
    """Scramble 64 bits, one to one."""
    z = (z ^ (z >> _S30)) * _M1
    z = (z ^ (z >> _S27)) * _M2
    return z ^ (z >> _S31)


@entry
def derive(seed: np.uint64, guest_id: np.uint64, task: np.uint64, purpose: np.uint64) -> np.uint64:
    """Make the key of one stream of draws."""
    z = mix(seed + GOLDEN)
    z = mix(z ^ (guest_id + np.uint64(1)) * GOLDEN)
    z = mix(z ^ (task + np.uint64(1)) * GOLDEN)
    return mix(z ^ purpose * GOLDEN)


@entry
def draw(key: np.uint64, n: np.uint64) -> np.uint64:
    """Return the n-th draw of a key: 64 uniform bits."""
    return mix(key + n * GOLDEN)


@kernel
def uniform(bits: np.uint64) -> float:
    """Turn 64 bits into a float in [0, 1)."""
    return float(bits >> _S11) * 1.1102230246251565e-16


@kernel
def below(bits: np.uint64, n: int) -> int:
    """Turn the upper 32 bits into an integer in [0, n), n < 2**31."""
    return int(np.int64(((bits >> _S32) * np.uint64(n)) >> _S32))


@kernel
def remainder(bits: np.uint64, n: int) -> np.uint64:
    """Return what `below` leaves of the upper 32 bits: 32 nearly independent bits."""
    return ((bits >> _S32) * np.uint64(n)) & _LOW


@kernel
def below_low(bits: np.uint64, n: int) -> int:
    """Turn the lower 32 bits into an integer in [0, n), n < 2**31."""
    return int(np.int64(((bits & _LOW) * np.uint64(n)) >> _S32))
