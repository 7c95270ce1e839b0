"""What a learner is paid: the environment's reward with kills in a form that it can learn from.

In place of the term `oom`, which is above all that an episode can win, a killed guest counts as
wholly lost for as long as a learner looks ahead (`envs.mourning`).  So a step costs no more than
`envs.reward.Weights.step`, and n guests killed cost n times one.  This is weaker than the
environment's price: a kill costs what that guest could lose, so it may pay if it spares the others
more, and further kills of a guest that counts as lost only make that last longer.
"""

import numpy as np
from stable_baselines3.common.vec_env import VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

TERMS, KILLS, MOURNED = "reward", "oom", "mourned"  # names in the environment's infos


class Objective(VecEnvWrapper):
    """Replaces the price of kills; all other terms of the reward stay as they are."""

    def reset(self) -> VecEnvObs:
        """As the environment."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """As the environment but for the reward; infos tell the terms as they were."""
        observations, rewards, ends, infos = self.venv.step_wait()
        rewards = rewards.copy()
        for row, info in enumerate(infos):
            terms = info.get(TERMS, {})
            if terms.get(KILLS) or info.get(MOURNED):
                # Summed anew: what is left of a small term beside a large one is rounded.
                others = sum(value for name, value in terms.items() if name != KILLS)
                rewards[row] = np.float32(others + info[MOURNED])
        return observations, rewards, ends, infos
