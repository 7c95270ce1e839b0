"""Watching a rule at work: what it would do, step by step, and what came of it."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs

from agents.learned.policy import GuestSetPolicy, HostBatch


class Teacher(Protocol):
    """A rule that follows the hosts of a VecEnv and says what it would do there."""

    def actions(self) -> np.ndarray:
        """(H, G) float32 in [-1, 1] for the hosts as they were last observed; once a step."""

    def restart(self, rows: np.ndarray) -> None:
        """The hosts in `rows` (R,) began a new episode."""


class Lessons(NamedTuple):
    """What T steps on H hosts taught."""

    observations: dict[str, np.ndarray]  # (T + 1, H, ...), the last one ends the record
    labels: np.ndarray  # (T, H, G) the teacher's actions
    rewards: np.ndarray  # (T, H)
    ends: np.ndarray  # (T, H) bool, an episode ended with this step
    cut: dict[tuple[int, int], dict[str, np.ndarray]]  # last observation where a limit ended it


Driver = Callable[[dict[str, np.ndarray], np.ndarray], np.ndarray]  # observation, label -> action


def record(
    env: VecEnv, teacher: Teacher, drive: Driver, steps: int, tick: Callable[[int], None]
) -> Lessons:
    """Run the hosts from their reset for `steps` steps; `tick` hears of every step."""
    observation = _dict(env.reset())
    teacher.restart(np.arange(env.num_envs))
    seen, labels, rewards, ends = [observation], [], [], []
    cut: dict[tuple[int, int], dict[str, np.ndarray]] = {}
    for step in range(steps):
        labels.append(teacher.actions())
        action = drive(observation, labels[-1])
        after, reward, ended, infos = env.step(action)
        observation = _dict(after)
        seen.append(observation)
        rewards.append(reward)
        ends.append(ended)
        for row in np.flatnonzero(ended):
            if infos[row].get("TimeLimit.truncated", False):
                cut[step, int(row)] = infos[row]["terminal_observation"]
        if ended.any():
            teacher.restart(np.flatnonzero(ended))
        tick(env.num_envs)
    return Lessons(
        {key: np.stack([part[key] for part in seen]) for key in observation},
        np.stack(labels),
        np.stack(rewards),
        np.stack(ends),
        cut,
    )


def _dict(observation: VecEnvObs) -> dict[str, np.ndarray]:
    if not isinstance(observation, dict):
        raise TypeError(f"observation is {type(observation).__name__}, expected a dict")
    return observation


def flat(policy: GuestSetPolicy, observations: dict[str, np.ndarray]) -> HostBatch:
    """Observations (T, H, ...) as one batch of T * H."""
    return policy.batch(
        {
            key: torch.from_numpy(part.reshape(-1, *part.shape[2:]))
            for key, part in observations.items()
        }
    )


def returns(
    policy: GuestSetPolicy, lessons: Lessons, gamma: float, gae_lambda: float
) -> np.ndarray:
    """(T, H) lambda-returns under the present critic, a time limit bootstrapped."""
    steps, hosts = lessons.rewards.shape
    with torch.no_grad():
        scaled = policy.scaled_value(flat(policy, lessons.observations))
        values = policy.critic.unscaled(scaled).numpy().reshape(steps + 1, hosts)
        rewards = lessons.rewards.astype(np.float64)
        for (step, host), last in lessons.cut.items():
            tensors, _ = policy.obs_to_tensor({key: part[None] for key, part in last.items()})
            rewards[step, host] += gamma * policy.predict_values(tensors).item()
    result, advantage = np.empty((steps, hosts)), np.zeros(hosts)
    for step in reversed(range(steps)):
        goes_on = ~lessons.ends[step]
        delta = rewards[step] + gamma * values[step + 1] * goes_on - values[step]
        advantage = delta + gamma * gae_lambda * goes_on * advantage
        result[step] = values[step] + advantage
    return result
