"""The adapter: what stable-baselines3 relies on."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import PPO

from envs.sb3 import HostsVecEnv
from tests.envs.batches import actions, batch, host, touching


def adapter(**options: Any) -> HostsVecEnv:  # noqa: ANN401
    return HostsVecEnv(batch(autoreset_mode="Disabled", **options))


def test_the_last_observation_is_kept_and_the_next_episode_begun() -> None:
    wrapped, bare = adapter(), batch(autoreset_mode="Disabled")
    wrapped.seed(5)
    first = wrapped.reset()
    again, _ = bare.reset(seed=5)
    for name, part in again.items():
        np.testing.assert_array_equal(first[name], part)
    ends = 0
    for action in actions(bare, 15):
        seen, rewards, dones, infos = wrapped.step(action)
        assert isinstance(seen, dict)
        last, reward, terminated, truncated, _ = bare.step(action)
        ended = terminated | truncated
        assert dones.tolist() == ended.tolist()
        np.testing.assert_array_equal(rewards, reward.astype(np.float32))
        assert [info["TimeLimit.truncated"] for info in infos] == truncated.tolist()
        if ended.any():
            fresh, _ = bare.reset(options={"reset_mask": ended})
            for name, part in fresh.items():
                np.testing.assert_array_equal(seen[name], part)
        for row in range(3):
            assert ("terminal_observation" in infos[row]) == bool(ended[row])
            if ended[row]:
                ends += 1
                for name, part in infos[row]["terminal_observation"].items():
                    np.testing.assert_array_equal(part, last[name][row])
                assert wrapped.reset_infos[row]["episode_number"] == 1
    assert ends >= 3


def test_an_end_is_not_a_cut() -> None:
    env = HostsVecEnv(
        batch(
            host(touching(heap="16MiB", count=20_000)),
            1,
            episode_steps=20,
            staggered=False,
            warm_up_s=0.0,
            autoreset_mode="Disabled",
        )
    )
    env.reset()
    for _ in range(20):
        _, _, dones, infos = env.step(np.zeros((1, 2), np.float32))
        if dones[0]:
            break
    assert dones[0]
    assert infos[0]["TimeLimit.truncated"] is False


def test_infos_are_plain_numbers_of_each_host() -> None:
    env = adapter()
    env.seed(0)
    env.reset()
    _, rewards, _, infos = env.step(np.zeros((3, 2), np.float32))
    for reward, info in zip(rewards, infos, strict=True):
        assert isinstance(info["progress"], float)
        assert isinstance(info["kills"], float)
        assert sum(info["reward"].values()) == pytest.approx(float(reward), abs=1e-5)
        assert isinstance(info["interventions"]["growth"], int)


def test_seeds_hold_until_the_next_reset_only() -> None:
    env = adapter()
    env.seed(1 << 20)
    env.reset()
    assert [info["seed"] for info in env.reset_infos] == [(1 << 20) + row for row in range(3)]
    env.reset()
    assert [info["episode_number"] for info in env.reset_infos] == [1, 1, 1]


def test_copies_go_on_as_the_original() -> None:
    env, other = adapter(), adapter()
    told = actions(env.hosts, 16)
    env.seed(2)
    env.reset()
    for action in told[:6]:
        env.step(action)
    other.restore(env.snapshot())
    for action in told[6:]:
        seen, rewards, _, _ = env.step(action)
        again, same, _, _ = other.step(action)
        assert isinstance(seen, dict)
        assert isinstance(again, dict)
        np.testing.assert_array_equal(rewards, same)
        for name, part in seen.items():
            np.testing.assert_array_equal(part, again[name])


def test_ppo_learns_on_it() -> None:
    made = gymnasium.make_vec(
        "Overcommit-v0",
        num_envs=2,
        vectorization_mode="vector_entry_point",
        scenario="small",
        episode_steps=6,
        warm_up_s=5.0,
        pool=2,
        autoreset_mode="Disabled",
    )
    model = PPO("MultiInputPolicy", HostsVecEnv(made), n_steps=8, batch_size=8, seed=0)
    model.learn(32)
    assert model.num_timesteps == 32


def test_pictures_of_all_hosts() -> None:
    env = adapter(render_mode="rgb_array")
    env.reset()
    picture = env.render()
    assert picture is not None
    assert picture.ndim == 3


def test_others_are_refused() -> None:
    with pytest.raises(ValueError, match="autoreset_mode: NextStep: expected Disabled"):
        HostsVecEnv(batch())
    with pytest.raises(TypeError, match="expected an OvercommitVectorEnv"):
        HostsVecEnv(gymnasium.make_vec("CartPole-v1", num_envs=2))
