"""Seeds, episodes and the hosts that they draw."""

import numpy as np

from envs import keys
from envs.keys import SEEDS_A_BLOCK


def test_a_pool_holds_so_many_hosts_and_all_of_them_come_up() -> None:
    found = {keys.pool_host(seed, episode, 8) for seed in range(64) for episode in range(4)}
    assert found == {(member, 0) for member in range(8)}


def test_blocks_of_seeds_share_no_hosts() -> None:
    first = {keys.pool_host(SEEDS_A_BLOCK + row, k, 256)[0] for row in range(64) for k in range(9)}
    second = {keys.pool_host(2 * SEEDS_A_BLOCK + row, 0, 256)[0] for row in range(64)}
    assert not first & second
    assert min(first) >= SEEDS_A_BLOCK
    assert max(first) < SEEDS_A_BLOCK + 256


def test_episodes_and_hosts_draw_apart() -> None:
    by_episode = [keys.pool_host(5, episode, 256) for episode in range(20)]
    by_host = [keys.pool_host(5 + row, 0, 256) for row in range(20)]
    assert len(set(by_episode)) > 15
    assert len(set(by_host)) > 15


def test_first_horizons_are_spread_evenly_over_the_episode() -> None:
    found = np.array([keys.first_horizon(seed, 720) for seed in range(2000)])
    assert found.min() >= 1
    assert found.max() <= 720
    counts, _ = np.histogram(found, bins=8, range=(0.5, 720.5))
    assert (np.abs(counts - 250) < 5 * np.sqrt(250)).all()
