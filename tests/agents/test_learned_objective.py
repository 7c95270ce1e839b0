"""What the learner is paid for kills, and that the size of rewards does not matter to it."""

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from agents.learned.objective import Objective
from agents.learned.ppo import GuestPPO
from agents.learned.settings import NetworkSettings, PpoSettings
from envs.mourning import STEPS
from envs.reward import Weights
from envs.sb3 import HostsVecEnv
from tests.agents.toy import ToyHosts
from tests.envs.batches import batch, host, touching


def test_a_killed_guest_is_lost_and_nothing_more() -> None:
    usual = host(touching(heap="80MiB"))
    assert usual.host.swap is not None
    swap = usual.host.swap.model_copy(update={"size": 2**20})  # too little: the host must kill
    machine = usual.host.model_copy(update={"swap": swap})
    scenario = usual.model_copy(update={"host": machine})
    hosts = batch(scenario, 1, episode_steps=60, staggered=False, autoreset_mode="Disabled")
    env = Objective(HostsVecEnv(hosts))
    env.reset()
    killed, lost = False, 0
    for _ in range(60):
        _, rewards, _, infos = env.step(np.full((1, hosts.core.guests), -1.0, np.float32))
        told = infos[0]["reward"]
        others = told["progress"] + told["tail"] + told["resize"]
        assert rewards[0] == pytest.approx(others + infos[0]["mourned"])
        assert -Weights().step - 1e-6 <= rewards[0] <= others + 1e-6
        killed |= told["oom"] < 0
        lost += infos[0]["mourned"] < 0
        assert killed or rewards[0] == pytest.approx(others)
    assert killed and 0 < lost <= STEPS * hosts.core.guests


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
