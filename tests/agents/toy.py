"""A tiny allocation problem with the environment's spaces, for tests of the learner alone.

Each host shares a capacity of 0.55 a guest among guests whose demands, in [0.1, 1], change now and
then.  An action is a share of 0..1 after (a + 1) / 2; progress is min(1, share / demand), and what
is handed out beyond the capacity costs three times its size.
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

GUEST_FEATURES, HOST_FEATURES = 3, 2
CAPACITY = 0.55  # a present guest
OVERSHOOT_COST = 3.0


def observation_space(slots: int, privileged: bool = False) -> spaces.Dict:
    parts: dict[str, spaces.Space[Any]] = {
        "guests": spaces.Box(-1.0, 1.0, (slots * GUEST_FEATURES,)),
        "host": spaces.Box(-1.0, 1.0, (HOST_FEATURES,)),
        "present": spaces.MultiBinary(slots),
    }
    if privileged:
        parts["privileged"] = spaces.Box(-1.0, 1.0, (slots,))
    return spaces.Dict(parts)


class ToyHosts(VecEnv):
    def __init__(
        self, hosts: int = 8, slots: int = 4, horizon: int = 20, privileged: bool = False
    ) -> None:
        super().__init__(
            hosts, observation_space(slots, privileged), spaces.Box(-1.0, 1.0, (slots,))
        )
        self.slots, self.horizon, self.privileged = slots, horizon, privileged
        self.key, self.draws = 0, np.zeros(1, np.int64)
        self.steps = np.zeros(hosts, np.int64)
        self.demand = np.ones((hosts, slots))
        self.present = np.ones((hosts, slots), bool)
        self.share = np.zeros((hosts, slots))
        self.returns = np.zeros(hosts)

    def seed(self, seed: int | None = None) -> list[int | None]:
        self.key = 0 if seed is None else seed
        return [seed] * self.num_envs

    def _generator(self) -> np.random.Generator:
        self.draws[0] += 1
        return np.random.default_rng((self.key, int(self.draws[0])))

    def _start(self, rows: np.ndarray) -> None:
        generator = self._generator()
        present = generator.random((self.num_envs, self.slots)) < 0.7
        present[:, 0] = True
        demand = generator.uniform(0.1, 1.0, (self.num_envs, self.slots))
        horizon = generator.integers(self.horizon // 2, self.horizon, self.num_envs)
        self.present[rows], self.demand[rows], self.share[rows] = present[rows], demand[rows], 0.0
        self.steps[rows], self.returns[rows] = self.horizon - horizon[rows], 0.0

    def observe(self) -> dict[str, np.ndarray]:
        rows = np.stack([self.demand, self.share, np.ones_like(self.share)], axis=2)
        rows[~self.present] = 0.0
        used = (self.share * self.present).sum(1) / self.present.sum(1)
        host = np.stack([self.present.mean(1), used], axis=1)
        seen: dict[str, np.ndarray] = {
            "guests": rows.reshape(self.num_envs, -1).astype(np.float32),
            "host": host.astype(np.float32),
            "present": self.present.astype(np.int8),
        }
        if self.privileged:
            seen["privileged"] = self.demand.astype(np.float32)
        return seen

    def reset(self) -> dict[str, np.ndarray]:
        self.draws[0] = 0
        self._start(np.ones(self.num_envs, bool))
        return self.observe()

    def step_async(self, actions: np.ndarray) -> None:
        self.share = (np.asarray(actions, np.float64) + 1.0) / 2.0

    def step_wait(self) -> VecEnvStepReturn:
        count = self.present.sum(1)
        progress = (np.minimum(1.0, self.share / self.demand) * self.present).sum(1) / count
        handed_out = (self.share * self.present).sum(1) / count
        rewards = progress - OVERSHOOT_COST * np.maximum(0.0, handed_out - CAPACITY)
        generator = self._generator()
        changes = generator.random(self.demand.shape) < 0.1
        self.demand = np.where(changes, generator.uniform(0.1, 1.0, self.demand.shape), self.demand)
        self.steps += 1
        self.returns += rewards
        ends = self.steps >= self.horizon
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        last = self.observe()
        for row in np.flatnonzero(ends):
            infos[row] = {
                "terminal_observation": {key: part[row] for key, part in last.items()},
                "TimeLimit.truncated": True,
            }
        if ends.any():
            self._start(ends)
        return self.observe(), rewards.astype(np.float32), ends, infos

    def snapshot(self) -> dict[str, np.ndarray]:
        names = ("draws", "steps", "demand", "present", "share", "returns")
        return {name: getattr(self, name).copy() for name in names} | {"key": np.array(self.key)}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.key = int(arrays["key"])
        for name in arrays.keys() - {"key"}:
            setattr(self, name, arrays[name].copy())

    def close(self) -> None: ...

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: object, indices: VecEnvIndices = None) -> None: ...

    def env_method(
        self, method_name: str, *args: object, indices: VecEnvIndices = None, **kwargs: object
    ) -> list[Any]:
        return []

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        return [False] * self.num_envs
