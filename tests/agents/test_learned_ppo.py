from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import Logger

from agents.learned.ppo import GuestPPO, surrogate
from agents.learned.settings import NetworkSettings, PpoSettings
from tests.agents.toy import ToyHosts


def make_run(seed: int = 0, hosts: int = 8, **options: Any) -> GuestPPO:  # noqa: ANN401 # settings by name
    run = GuestPPO(
        ToyHosts(hosts, 4),
        PpoSettings(rollout_steps=16, minibatch_hosts=64, **options),
        NetworkSettings(width=32, log_std_init=-1.5),
        seed,
    )
    run.set_logger(Logger(None, []))
    return run


def test_surrogate_clips_each_guest_alone_or_their_product() -> None:
    ratio = torch.tensor([[1.5, 0.9, 7.0], [0.5, 1.0, 1.0]])
    present = torch.tensor([[True, True, False], [True, True, True]])
    log_ratio = torch.where(present, ratio.log(), torch.zeros(()))
    advantage = torch.tensor([2.0, -1.0])
    by_guest = surrogate(log_ratio, present, advantage, 0.2, "guest").item()
    # host 0 gains: 1.5 is cut to 1.2, 0.9 counts as it is; host 1 loses: 0.5 is cut to 0.8
    assert by_guest == pytest.approx(((1.2 + 0.9) * 2.0 - (0.8 + 1.0 + 1.0)) / 2)
    joint = surrogate(log_ratio, present, advantage, 0.2, "joint").item()
    assert joint == pytest.approx((1.2 * 2.0 - 0.8) / 2)  # products 1.35 and 0.5


def test_surrogate_has_the_team_s_gradient_at_ratio_one() -> None:
    present = torch.tensor([[True, False], [True, True]])
    advantage = torch.tensor([3.0, -1.0])
    for ratio in ("guest", "joint"):
        log_ratio = torch.zeros(2, 2, requires_grad=True)
        masked = torch.where(present, log_ratio, torch.zeros(()))
        surrogate(masked, present, advantage, 0.2, ratio).backward()  # type: ignore[no-untyped-call] # as torch ships it
        assert log_ratio.grad is not None
        assert log_ratio.grad.tolist() == [[1.5, 0.0], [-0.5, -0.5]]


def test_a_time_limit_bootstraps_from_the_last_observation() -> None:
    run = make_run(gamma=0.5, gae_lambda=1.0)
    seen: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    env = run.env
    assert isinstance(env, ToyHosts)
    plain_step = env.step_wait

    def watched() -> Any:  # noqa: ANN401 # SB3's step tuple
        obs, rewards, ends, infos = plain_step()
        bonus = np.zeros(env.num_envs)
        for row in np.flatnonzero(ends):
            last = {key: part[None] for key, part in infos[row]["terminal_observation"].items()}
            tensors, _ = run.policy.obs_to_tensor(last)
            with torch.no_grad():
                bonus[row] = run.policy.predict_values(tensors).item()
        seen.append((rewards.copy(), ends.copy(), bonus))
        return obs, rewards, ends, infos

    env.step_wait = watched  # type: ignore[method-assign] # listens in, changes nothing
    run.train = lambda: None  # type: ignore[method-assign] # the weights stay as they acted
    run.learn(8 * 16)
    expected = np.zeros((16, 8))
    assert run._last_obs is not None
    last_obs = run.policy.obs_to_tensor(run._last_obs)[0]
    with torch.no_grad():
        follows = run.policy.predict_values(last_obs).numpy()[:, 0]
    for step in reversed(range(16)):
        rewards, ends, bonus = seen[step]
        follows = rewards + 0.5 * np.where(ends, bonus, follows)
        expected[step] = follows
    assert any(ends.any() for _, ends, _ in seen)
    assert run.rollout_buffer.returns == pytest.approx(expected, abs=1e-4)


def test_the_actor_waits_for_the_critic() -> None:
    run = make_run(critic_warm_up=1)
    before = {name: part.clone() for name, part in run.policy.state_dict().items()}
    run.learn(8 * 16)
    after = run.policy.state_dict()
    assert torch.equal(before["actor.last.weight"], after["actor.last.weight"])
    assert torch.equal(before["log_std"], after["log_std"])
    assert not torch.equal(before["critic.last.weight"], after["critic.last.weight"])
    run.learn(8 * 16, reset_num_timesteps=False)
    assert not torch.equal(before["actor.last.weight"], run.policy.actor.last.weight)


def test_the_rate_falls_linearly() -> None:
    settings = PpoSettings(learning_rate=1e-3, final_learning_rate=2e-4)
    assert settings.rate_at(1.0) == pytest.approx(1e-3)
    assert settings.rate_at(0.25) == pytest.approx(4e-4)
    assert settings.rate_at(0.0) == pytest.approx(2e-4)


def test_hosts_of_different_seeds_differ_and_equal_seeds_repeat() -> None:
    runs = []
    for seed in (0, 0, 1):
        runs.append(make_run(seed))
        runs[-1].learn(2 * 8 * 16)
    last = [run.policy.actor.last.weight.detach() for run in runs]
    assert torch.equal(last[0], last[1])
    assert not torch.equal(last[0], last[2])
    keys = [run.env.key for run in runs if isinstance(run.env, ToyHosts)]
    assert keys == [2**20, 2**20, 2**21]


def mean_reward(act: Any, steps: int = 100) -> float:  # noqa: ANN401 # observation to action
    env = ToyHosts(64, 4)
    env.seed(999)
    observation, rewards = env.reset(), []
    for _ in range(steps):
        env.step_async(np.clip(act(observation), -1.0, 1.0))
        observation, reward, _, _ = env.step_wait()  # type: ignore[assignment] # always a dict here
        rewards.append(reward.mean())
    return float(np.mean(rewards))


@pytest.mark.slow
@pytest.mark.parametrize("ratio", ["guest", "joint"])
def test_learns_to_share_better_than_any_fixed_share(ratio: str) -> None:
    run = make_run(hosts=32, learning_rate=1e-3, ratio=ratio)
    run.learn(50_000)
    learned = mean_reward(lambda seen: run.policy.predict(seen, deterministic=True)[0])
    fixed = [
        mean_reward(lambda seen, share=share: np.full(seen["present"].shape, 2 * share - 1))
        for share in (0.4, 0.5, 0.55, 0.6, 1.0)
    ]
    assert learned > max(fixed) + 0.005
    assert learned > fixed[-1] + 0.5  # static: all at the maximum
