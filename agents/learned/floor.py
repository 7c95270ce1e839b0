"""Rewards with a floor, so that what a kill costs does not drown all else."""

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn


class RewardFloor(VecEnvWrapper):
    """Lifts rewards below `floor` to it.

    The environment's price of a kill is above all that a whole episode can win.  A learner that
    discounts future rewards by gamma sees no more than 1 / (1 - gamma) steps ahead; a floor of the
    order of what those can win still makes a kill the worst of all, and is smaller by far.
    """

    def __init__(self, env: VecEnv, floor: float) -> None:
        """Wrap `env`; `floor` is in units of reward a step."""
        super().__init__(env)
        self.floor = floor

    def reset(self) -> VecEnvObs:
        """As the environment."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """As the environment, rewards lifted; infos tell the terms as they were."""
        observations, rewards, ends, infos = self.venv.step_wait()
        return observations, np.maximum(rewards, np.float32(self.floor)), ends, infos
