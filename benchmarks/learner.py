"""The learner's ceiling: PPO with our network on an environment that does nothing.

    python -m benchmarks.learner --hosts 64 --slots 8 16

What is left of a training step when simulating costs nothing: acting, storing, learning.  Training
can never be faster than this, so the gap between it and the frames per second of a real run is
the environment's share.
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from agents.learned.ppo import GuestPPO
from agents.learned.settings import NetworkSettings, PpoSettings
from contract.features import GUEST_FEATURES, HOST_FEATURES


class IdleVecEnv(VecEnv):
    """Hands out the same observation for ever; every slot holds a guest."""

    def __init__(self, hosts: int, slots: int) -> None:
        """Draw the one observation."""
        super().__init__(
            hosts,
            spaces.Dict(
                {
                    "guests": spaces.Box(-1.0, 1.0, (slots * len(GUEST_FEATURES),)),
                    "host": spaces.Box(-1.0, 1.0, (len(HOST_FEATURES),)),
                    "present": spaces.MultiBinary(slots),
                }
            ),
            spaces.Box(-1.0, 1.0, (slots,)),
        )
        generator = np.random.default_rng(0)
        shapes = {"guests": slots * len(GUEST_FEATURES), "host": len(HOST_FEATURES)}
        self.observation = {
            key: generator.uniform(-1, 1, (hosts, size)).astype(np.float32)
            for key, size in shapes.items()
        }
        self.observation["present"] = np.ones((hosts, slots), np.int8)
        self.rewards = generator.normal(size=hosts).astype(np.float32)

    def reset(self) -> dict[str, np.ndarray]:
        """The observation."""
        return self.observation

    def step_async(self, actions: np.ndarray) -> None:
        """Nothing to do."""

    def step_wait(self) -> VecEnvStepReturn:
        """The observation, fixed rewards, never an end."""
        ends = np.zeros(self.num_envs, bool)
        return self.observation, self.rewards, ends, [{} for _ in range(self.num_envs)]

    def close(self) -> None:
        """Nothing to close."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """SB3 asks for `render_mode` alone."""
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: object, indices: VecEnvIndices = None) -> None:
        """Nothing to set."""

    def env_method(
        self, method_name: str, *args: object, indices: VecEnvIndices = None, **kwargs: object
    ) -> list[Any]:
        """No methods."""
        return []

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Never wrapped."""
        return [False] * self.num_envs


class Ceiling(NamedTuple):
    """What one configuration reached."""

    hosts: int
    slots: int
    frames_per_s: float  # transitions (one host, one period) acted on and learned from
    acting_s: float  # share of the wall time, per iteration
    learning_s: float


class Stopwatch(BaseCallback):
    """Wall time of acting and of learning; the first iteration warms up and is not counted."""

    def __init__(self) -> None:
        """Nothing measured yet."""
        super().__init__()
        self.started: list[float] = []
        self.collected: list[float] = []

    def _on_rollout_start(self) -> None:
        self.started.append(time.perf_counter())

    def _on_rollout_end(self) -> None:
        self.collected.append(time.perf_counter())

    def _on_training_end(self) -> None:
        self.started.append(time.perf_counter())

    def _on_step(self) -> bool:
        return True


def ceiling(
    hosts: int,
    slots: int,
    iterations: int = 5,
    settings: PpoSettings | None = None,
    network: NetworkSettings | None = None,
) -> Ceiling:
    """Train on the idle environment and time it.

    Args:
        hosts: hosts in the batch.
        slots: guest slots a host, all present.
        iterations: rollouts and updates that count, after one that does not.
        settings: PPO; the defaults of the configuration without early stops.
        network: network; the defaults of the configuration.
    """
    settings = settings or PpoSettings(target_kl=None)
    algorithm = GuestPPO(IdleVecEnv(hosts, slots), settings, network or NetworkSettings(), seed=0)
    algorithm.set_logger(Logger(None, []))
    watch = Stopwatch()
    frames = settings.rollout_steps * hosts
    algorithm.learn(frames * (iterations + 1), callback=watch, log_interval=iterations + 2)
    started, collected = np.array(watch.started), np.array(watch.collected)
    acting, learning = (collected - started[:-1])[1:], (started[1:] - collected)[1:]
    total = float(acting.sum() + learning.sum())
    return Ceiling(
        hosts, slots, frames * iterations / total, float(acting.mean()), float(learning.mean())
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line a number of slots."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--hosts", type=int, default=64, help="hosts in the batch")
    parser.add_argument("--slots", type=int, nargs="+", default=[8, 16], help="guest slots a host")
    parser.add_argument("--iterations", type=int, default=5, help="updates that are timed")
    options = parser.parse_args(arguments)
    print(f"{'hosts':>6} {'slots':>6} {'frames/s':>9} {'acting s':>9} {'learning s':>10}")
    for slots in options.slots:
        reached = ceiling(options.hosts, slots, options.iterations)
        print(
            f"{reached.hosts:6d} {reached.slots:6d} {reached.frames_per_s:9.0f} "
            f"{reached.acting_s:9.3f} {reached.learning_s:10.3f}"
        )


if __name__ == "__main__":
    main()
