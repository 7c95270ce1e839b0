"""What a kill costs a learner that discounts: more than all losses that it looks ahead to.

The environment's price of a kill is above all that a whole episode can win.  A learner that
discounts rewards by gamma looks ahead 1 / (1 - gamma) steps: losing `step`, the most that a step
can cost besides kills, for ever is worth step / (1 - gamma) to it.  Its price of a kill is one
step above that, as the environment's is for an episode of so many steps.  Whatever gamma, no kill
pays, n of them cost n times as much as one, and they do not drown all else by more than they must.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

TERMS, KILLS = "reward", "oom"  # where infos tell the terms, and which one counts kills


def price_ratio(gamma: float, episode_steps: int) -> float:
    """A kill's price for the learner over the environment's (`envs.reward.Weights.kill`)."""
    return (1.0 / (1.0 - gamma) + 1.0) / (episode_steps + 1.0)


class KillPrice(VecEnvWrapper):
    """Changes the price of a kill by a factor; all other terms of the reward stay as they are."""

    def __init__(self, env: VecEnv, ratio: float) -> None:
        """Wrap `env`, whose infos tell the terms of each reward."""
        super().__init__(env)
        self.ratio = ratio

    def reset(self) -> VecEnvObs:
        """As the environment."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """As the environment, kills at the learner's price; infos tell the terms as they were."""
        observations, rewards, ends, infos = self.venv.step_wait()
        rewards = rewards.copy()
        for row, info in enumerate(infos):
            terms = info.get(TERMS, {})
            if terms.get(KILLS):
                rewards[row] = self._priced(terms)
        return observations, rewards, ends, infos

    def _priced(self, terms: Mapping[str, Any]) -> np.float32:
        """Summed anew: what is left of a small term in the sum with a large one is rounded."""
        others = sum(value for name, value in terms.items() if name != KILLS)
        return np.float32(others + self.ratio * terms[KILLS])
