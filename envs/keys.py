"""Which host lives in which episode.

Host i of an environment with seed s has the seed s + i, and its episode k the key (s + i, k).  The
key draws one host of a pool, so that hosts come back and their warm-up need not be run again.
Seeds come in blocks of 2^20 with a pool each: training runs, which have blocks of their own, share
no hosts, and a host does the same alone as in a batch.
"""

from scenarios.randomness import Key, stream

SEEDS_A_BLOCK = 2**20


def pool_host(seed: int, episode: int, pool: int) -> Key:
    """The key of the simulated host for an episode: one of `pool` of its block of seeds."""
    member = int(stream((seed, episode), "host of the pool").integers(pool))
    return seed // SEEDS_A_BLOCK * SEEDS_A_BLOCK + member, 0


def first_horizon(seed: int, steps: int) -> int:
    """Length of a host's first episode in a batch: 1 to `steps`, so that ends are spread."""
    return int(stream((seed, 0), "first horizon").integers(1, steps + 1))
