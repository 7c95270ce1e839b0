"""The batch of hosts as stable-baselines3 wants it."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from contract.telemetry import Telemetry
from envs.vector import Infos, Observations, OvercommitVectorEnv


class HostsVecEnv(VecEnv):
    """A VecEnv over the vector environment, each host reset as soon as its episode ends.

    The last observation of an episode is in `infos[i]["terminal_observation"]`, and
    `infos[i]["TimeLimit.truncated"]` tells whether it was cut, as SB3's algorithms expect it.
    """

    def __init__(self, hosts: VectorEnv[Observations, np.ndarray, np.ndarray]) -> None:
        """Wrap the hosts.

        Args:
            hosts: from `gymnasium.make_vec("envs:Overcommit-v0", autoreset_mode="Disabled", ...)`.

        Raises:
            TypeError: another environment.
            ValueError: it resets by itself.
        """
        base = hosts.unwrapped
        if not isinstance(base, OvercommitVectorEnv):
            raise TypeError(f"{type(base).__name__}: expected an OvercommitVectorEnv")
        if base.autoreset_mode is not AutoresetMode.DISABLED:
            raise ValueError(
                f"autoreset_mode: {base.autoreset_mode.value}: expected "
                f"{AutoresetMode.DISABLED.value}, because SB3 wants hosts reset within the step"
            )
        self.hosts = base
        super().__init__(base.num_envs, base.single_observation_space, base.single_action_space)
        self._actions = np.zeros(base.action_space.shape or (), np.float32)

    @property
    def telemetry(self) -> Telemetry:
        """The reading that the last observations were made of, for teachers."""
        return self.hosts.telemetry

    def reset(self) -> Observations:
        """Begin an episode on every host: the first of a seed that was set, else the next."""
        seeds = [seed for seed in self._seeds if seed is not None]
        observations, infos = self.hosts.reset(seed=seeds or None)
        self.reset_infos = _by_host(infos, self.num_envs)
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions of the next `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Let one period pass, then reset the hosts whose episodes ended."""
        observations, rewards, terminated, truncated, told = self.hosts.step(self._actions)
        infos, ended = _by_host(told, self.num_envs), terminated | truncated
        for info, cut in zip(infos, truncated.tolist(), strict=True):
            info["TimeLimit.truncated"] = cut
        if ended.any():
            for row in np.flatnonzero(ended):
                infos[row]["terminal_observation"] = {
                    name: part[row].copy() for name, part in observations.items()
                }
            observations, begun = self.hosts.reset(options={"reset_mask": ended})
            fresh = _by_host(begun, self.num_envs)
            for row in np.flatnonzero(ended):
                self.reset_infos[row] = fresh[row]
        return observations, rewards.astype(np.float32), ended, infos

    def snapshot(self) -> dict[str, np.ndarray]:
        """Copies of everything that the future depends on, for checkpoints."""
        return self.hosts.snapshot()

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Become what `snapshot` saw."""
        self.hosts.restore(arrays)

    def close(self) -> None:
        """Release what the simulator holds."""
        self.hosts.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """A picture of each host."""
        return self.hosts.render() or ()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the batch, which is every host's."""
        value = getattr(self.hosts, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: object, indices: VecEnvIndices = None) -> None:
        """Refused: hosts of a batch have no attributes of their own."""
        raise AttributeError(f"{attr_name}: hosts of a batch have no attributes of their own")

    def env_method(
        self, method_name: str, *args: object, indices: VecEnvIndices = None, **kwargs: object
    ) -> list[Any]:
        """Refused: hosts of a batch have no methods of their own."""
        raise AttributeError(f"{method_name}: hosts of a batch have no methods of their own")

    def env_is_wrapped(
        self,
        wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]],
        indices: VecEnvIndices = None,
    ) -> list[bool]:
        """Nothing wraps a host of a batch."""
        return [False for _ in self._get_indices(indices)]


def _by_host(infos: Infos, hosts: int) -> list[dict[str, Any]]:
    """Infos of the batch as one dictionary a host, of plain numbers."""
    found: list[dict[str, Any]] = [{} for _ in range(hosts)]
    for name, value in infos.items():
        if name.startswith("_"):
            continue
        holds = infos[f"_{name}"].tolist()
        values = _by_host(value, hosts) if isinstance(value, dict) else value.tolist()
        for info, mine, there in zip(found, values, holds, strict=True):
            if there:
                info[name] = mine
    return found
