"""What a policy learns on: the project's environment, and rules that can be watched in it."""

from typing import Any

import numpy as np

from agents.baselines import load_policy
from agents.learned.run import Course
from agents.learned.settings import TrainConfig
from configs.loading import ConfigError
from contract.decode import Decoding, action_for
from contract.guard import GuardConfig
from contract.policy import Policy
from contract.state import put_rows, take_rows
from contract.telemetry import select
from contract.version import Contract
from envs.sb3 import HostsVecEnv
from envs.vector import OvercommitVectorEnv
from scenarios.splits import strangers

EARLY_S = 1e-6  # [s] a rule that wakes so soon after a step is asked in it


class BaselineTeacher:
    """A baseline that watches the hosts of an environment; it decides when it wants to.

    Its targets become actions by the inverse of the environment's decoding, so a target out of an
    action's reach is approached as fast as the mode allows.
    """

    def __init__(self, env: HostsVecEnv, policy: Policy[Any], decoding: Decoding) -> None:
        """Watch `env`.

        Raises:
            ValueError: mode correction, whose actions are relative to a rule already.
        """
        if decoding.mode == "correction":
            raise ValueError(
                "clone: in mode correction the rule is there from the start; set clone to null"
            )
        self.env, self.policy, self.decoding = env, policy, decoding
        slots = env.action_space.shape
        assert slots is not None
        self.slots = slots[0]
        self.state = policy.reset(env.num_envs, self.slots)
        self.wake_at_s = np.full(env.num_envs, -np.inf)

    def restart(self, rows: np.ndarray) -> None:
        """Forget the hosts in `rows` (R,): others live there now."""
        self.state = put_rows(self.state, rows, self.policy.reset(len(rows), self.slots))
        self.wake_at_s[rows] = -np.inf

    def actions(self) -> np.ndarray:
        """(H, G) float32 what the rule would do now; whom it leaves alone keeps the target."""
        telemetry = self.env.telemetry
        target = np.full(telemetry.guest_id.shape, -1, np.int64)
        rows = np.flatnonzero(telemetry.time_s >= self.wake_at_s - EARLY_S)
        if len(rows):
            decision, part, wake_at_s = self.policy.decide(
                select(telemetry, rows), take_rows(self.state, rows)
            )
            self.state = put_rows(self.state, rows, part)
            self.wake_at_s[rows] = wake_at_s
            target[rows] = decision.target_bytes
        return action_for(target, telemetry, self.decoding)


def make_course(config: TrainConfig) -> Course:
    """The environment of a configuration, with the contract that it keeps and its teachers.

    Raises:
        configs.loading.ConfigError: a scenario cannot be read, or policies are judged by it.
        ValueError: settings that make no sense together.
    """
    settings = config.environment
    decoding, guard = settings.decoding.build(), GuardConfig(settings.guard)
    hosts = OvercommitVectorEnv(
        settings.scenarios,
        settings.hosts,
        overrides=("host.fast=true",) if settings.fast else (),
        episode_steps=settings.episode_steps,
        period_s=settings.period_s,
        decoding=decoding,
        guard=guard,
        weights=settings.reward.model_dump(),
        warm_up_s=settings.warm_up_s,
        pool=settings.pool,
        privileged=settings.privileged,
        autoreset_mode="Disabled",
        threads=settings.threads,
    )
    held_out = [said for one in hosts.settings.scenarios for said in strangers(one, "train")]
    if held_out:
        raise ConfigError("environment.scenarios: " + "; ".join(held_out))
    env = HostsVecEnv(hosts)
    return Course(
        env,
        Contract(decoding, settings.period_s, guard),
        lambda name: BaselineTeacher(env, load_policy(name), decoding),
    )
