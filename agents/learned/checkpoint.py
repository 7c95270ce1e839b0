"""Everything that a run needs to go on as if it had never stopped.

A checkpoint is taken between iterations (one rollout and one update), when the rollout buffer is
empty.  It holds weights, optimiser, counters, the random states of torch, numpy and python, the
observation that the next rollout starts from, and the environment's own snapshot; so a resumed run
repeats the straight run bit for bit on the same machine and number of threads.  SB3's zip keeps
neither random states nor the environment, and is a pickle.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from agents.learned import randomness
from agents.learned.archive import Archive
from agents.learned.clone import CloneReport
from agents.learned.ppo import GuestPPO

FORMAT = 2


class CheckpointError(Exception):
    """A checkpoint that does not fit this run; the message says where and what was expected."""


@runtime_checkable
class Snapshots(Protocol):
    """An environment whose whole state is a set of arrays."""

    def snapshot(self) -> dict[str, np.ndarray]:
        """Copies of everything that the future depends on."""

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Become what `snapshot` saw."""


class Progress(NamedTuple):
    """Where a run stands, beside the algorithm's own counters."""

    iteration: int = 0
    recent: tuple[float, ...] = ()  # mean progress of the last rollouts
    clone: CloneReport | None = None  # how it started


def _snapshots(env: VecEnv | None) -> Snapshots:
    if not isinstance(env, Snapshots):
        raise TypeError(f"{type(env).__name__} has no snapshot() and restore()")
    return env


def _prefixed(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    start = prefix + "/"
    return {name[len(start) :]: part for name, part in arrays.items() if name.startswith(start)}


def _weights(algorithm: GuestPPO) -> dict[str, np.ndarray]:
    return {name: part.numpy().copy() for name, part in algorithm.policy.state_dict().items()}


def _optimiser(algorithm: GuestPPO) -> dict[str, np.ndarray]:
    """Adam's moments and step counts; its rates come from the configuration."""
    state = algorithm.policy.optimizer.state_dict()["state"]
    return {
        f"{index}/{name}": part.numpy().copy()
        for index, parts in state.items()
        for name, part in parts.items()
    }


def capture(algorithm: GuestPPO, progress: Progress) -> Archive:
    """The state of a run between two iterations."""
    states, random_facts = randomness.capture()
    if not isinstance(algorithm._last_obs, dict) or algorithm._last_episode_starts is None:
        raise CheckpointError("the run has not begun: there is no observation to go on from")
    arrays = {
        **_prefixed("weights", _weights(algorithm)),
        **_prefixed("optimiser", _optimiser(algorithm)),
        **_prefixed("random", states),
        **_prefixed("observation", algorithm._last_obs),
        "episode_starts": algorithm._last_episode_starts,
        **_prefixed("environment", _snapshots(algorithm.env).snapshot()),
    }
    facts = {
        "format": FORMAT,
        "steps": algorithm.num_timesteps,
        "updates": algorithm._n_updates,
        "progress": progress._asdict(),
        "random": random_facts,
    }
    return Archive(arrays, facts)


def _restore_optimiser(algorithm: GuestPPO, arrays: Mapping[str, np.ndarray]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, part in arrays.items():
        index, field = name.split("/")
        state.setdefault(int(index), {})[field] = torch.from_numpy(part.copy())
    groups = algorithm.policy.optimizer.state_dict()["param_groups"]
    algorithm.policy.optimizer.load_state_dict({"state": state, "param_groups": groups})


def _restore_weights(algorithm: GuestPPO, archive: Archive, origin: Path) -> None:
    """Load the weights alone.

    Raises:
        CheckpointError: other names or shapes than this run's network has.
    """
    found, expected = _under("weights", archive.arrays), algorithm.policy.state_dict()
    wrong = [
        f"{name}: {found[name].shape if name in found else 'missing'}, expected {tuple(part.shape)}"
        for name, part in expected.items()
        if name not in found or found[name].shape != tuple(part.shape)
    ]
    wrong += [f"{name}: not part of this network" for name in found.keys() - expected.keys()]
    if wrong:
        raise CheckpointError(f"{origin}: the weights do not fit: " + "; ".join(wrong))
    state = {name: torch.from_numpy(part.copy()) for name, part in found.items()}
    algorithm.policy.load_state_dict(state)


def _observation_shapes(algorithm: GuestPPO) -> dict[str, tuple[int, ...]]:
    space = algorithm.observation_space
    parts = space.spaces if isinstance(space, spaces.Dict) else {}
    return {name: (algorithm.n_envs, *(part.shape or ())) for name, part in parts.items()}


def restore(algorithm: GuestPPO, archive: Archive, origin: Path) -> Progress:
    """Become the run that `capture` saw; `origin` stands in messages.

    Raises:
        CheckpointError: it is another format, or of another network or environment.
    """
    facts, arrays = archive.facts, archive.arrays
    if facts.get("format") != FORMAT:
        raise CheckpointError(f"{origin}: format {facts.get('format')}, expected {FORMAT}")
    observation = _under("observation", arrays)
    found = {name: part.shape for name, part in observation.items()}
    expected = _observation_shapes(algorithm)
    if found != expected:
        raise CheckpointError(f"{origin}: observations {found}, this run's are {expected}")
    _restore_weights(algorithm, archive, origin)
    _restore_optimiser(algorithm, _under("optimiser", arrays))
    algorithm.num_timesteps, algorithm._n_updates = facts["steps"], facts["updates"]
    algorithm._last_obs, algorithm._last_episode_starts = observation, arrays["episode_starts"]
    try:
        _snapshots(algorithm.env).restore(_under("environment", arrays))
    except ValueError as error:
        raise CheckpointError(f"{origin}: the hosts do not fit: {error}") from error
    randomness.restore(_under("random", arrays), facts["random"])
    standing = facts["progress"]
    report = standing["clone"] and CloneReport(*standing["clone"])
    return Progress(**standing | {"recent": tuple(standing["recent"]), "clone": report})
