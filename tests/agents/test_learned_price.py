from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from agents.learned.ppo import GuestPPO
from agents.learned.price import KillPrice, price_ratio
from agents.learned.settings import NetworkSettings, PpoSettings
from envs.reward import Weights, terms
from envs.sb3 import HostsVecEnv
from tests.agents.toy import ToyHosts
from tests.envs.batches import batch, host, touching

GUESTS, EPISODE_STEPS = 8, 720


class Killing(ToyHosts):
    """Each step kills as many guests as told; the other terms are not 0."""

    def __init__(self, kills: list[int]) -> None:
        super().__init__(len(kills))
        killed = np.arange(GUESTS) < np.array(kills)[:, None]
        size = np.full(killed.shape, 2**30)
        share = np.full(killed.shape, 0.25)
        weight = np.full(killed.shape, 1000.0)
        weights = Weights()
        self.told = terms(share, killed, size // 3, size, weight, weights, EPISODE_STEPS)

    def step_wait(self) -> VecEnvStepReturn:
        observations, _, ends, infos = super().step_wait()
        for row, info in enumerate(infos):
            info["reward"] = {name: part[row].item() for name, part in self.told._asdict().items()}
        return observations, self.told.total().astype(np.float32), ends, infos


def step(env: KillPrice) -> VecEnvStepReturn:
    env.reset()
    return env.step(np.zeros((env.num_envs, 4), np.float32))


def test_n_kills_cost_n_times_one_and_other_terms_stay_whole() -> None:
    kills = [0, 1, 2, 8]
    inner = Killing(kills)
    _, rewards, _, infos = step(KillPrice(inner, price_ratio(0.98, EPISODE_STEPS)))
    assert rewards[0] == inner.told.total().astype(np.float32)[0]
    price = Weights().step * (50.0 + 1.0)
    assert rewards[0] - rewards == pytest.approx([price * number for number in kills], rel=1e-6)
    assert [info["reward"]["oom"] for info in infos] == inner.told.oom.tolist()


@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.98, 0.999, 0.99999])
@pytest.mark.parametrize("weights", [Weights(), Weights(0.1, 0.0, 1.0, 0.0), Weights(2, 3, 5, 1)])
def test_no_kill_ends_losses_that_cost_more(gamma: float, weights: Weights) -> None:
    for steps in (1, 20, 720):
        price = weights.kill(steps) * price_ratio(gamma, steps)
        assert price > weights.step / (1.0 - gamma)


def test_a_kill_in_the_environment_has_the_learner_s_price() -> None:
    usual = host(touching(heap="80MiB"))
    assert usual.host.swap is not None
    swap = usual.host.swap.model_copy(update={"size": 2**20})  # too little: the host must kill
    machine = usual.host.model_copy(update={"swap": swap})
    scenario = usual.model_copy(update={"host": machine})
    hosts = batch(scenario, 1, episode_steps=60, staggered=False, autoreset_mode="Disabled")
    env = KillPrice(HostsVecEnv(hosts), price_ratio(0.9, 60))
    env.reset()
    killed = 0
    for _ in range(60):
        _, rewards, _, infos = env.step(np.full((1, hosts.core.guests), -1.0, np.float32))
        told = infos[0]["reward"]
        kills = round(-told["oom"] / Weights().kill(60))
        others = told["progress"] + told["tail"] + told["resize"]
        assert rewards[0] == pytest.approx(others - kills * Weights().step * 11.0)
        killed += kills
    assert killed > 0


class Scaled(ToyHosts):
    """Rewards in another unit."""

    unit = 1.0

    def step_wait(self) -> VecEnvStepReturn:
        observations, rewards, ends, infos = super().step_wait()
        return observations, rewards * np.float32(self.unit), ends, infos


def learned(unit: float) -> dict[str, Any]:
    env = Scaled(8)
    env.unit = unit
    settings = PpoSettings(rollout_steps=16, minibatch_hosts=64)
    run = GuestPPO(env, settings, NetworkSettings(width=16), seed=0)
    run.set_logger(Logger(None, []))
    run.policy.critic.begin(0.0, unit)
    run.learn(3 * 8 * 16)
    return run.policy.state_dict()


def test_the_size_of_rewards_changes_nothing_that_is_learned() -> None:
    one, other = learned(1.0), learned(1024.0)
    for name, part in one.items():
        expected = part * 1024.0 if name in ("critic.scale", "critic.shift") else part
        torch.testing.assert_close(other[name], expected, rtol=1e-4, atol=1e-5)
