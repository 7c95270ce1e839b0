"""The environment for many hosts at once."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from contract import interventions
from contract.arrays import Bools, Ints
from contract.decode import Decoding, Mode
from contract.guard import GuardConfig
from contract.telemetry import Telemetry
from envs import keys
from envs.core import Core, Outcome, Seen
from envs.render import MODES, render
from envs.reward import Weights
from envs.settings import EPISODE_STEPS, PERIOD_S, POOL, Source, settle
from envs.spaces import action_space, observation_space

Observations = dict[str, np.ndarray]
Infos = dict[str, Any]

CLOCKS = ("seed", "episode", "steps", "horizon")


class OvercommitVectorEnv(VectorEnv[Observations, np.ndarray, np.ndarray]):
    """Many overcommitted hosts, each as `envs.single.OvercommitEnv` describes it.

    ## Autoreset
    `NEXT_STEP` by default: the step after an episode's end begins the next one, whatever the
    action, with reward 0.  Under `DISABLED` a host that ended must be reset before the next step:
    `reset(options={"reset_mask": ended})`.  `metadata["autoreset_mode"]` tells which one it is.

    ## Seeds
    `reset(seed=s)` gives host i the seed s + i; every reset after that begins its next episode.
    A host does the same alone, in any batch, and on any number of threads.

    ## Episodes
    The first episode of a host is shorter than the others, by a length that its seed draws, so
    that not all hosts are reset at once; `staggered=False` leaves that out.

    ## Infos
    Arrays (num_envs,), each with a mask of the hosts that it holds for: after a step `progress`,
    `kills`, `mourned` (`envs.mourning`), `guarded`, `reward` by term, `interventions` by name;
    after a reset `seed`, `episode_number` and `host`, which member of the pool it is.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  Gymnasium declares it so
        "render_modes": list(MODES),
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        scenario: Source | Sequence[Source] = "default",
        num_envs: int = 1,
        *,
        overrides: Sequence[str] = (),
        episode_steps: int = EPISODE_STEPS,
        period_s: float = PERIOD_S,
        decoding: Decoding | Mode = "change",
        guard: GuardConfig | Literal["limits", "full"] = "limits",
        weights: Weights | Mapping[str, float] | None = None,
        warm_up_s: float | None = None,
        pool: int = POOL,
        privileged: bool = False,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        staggered: bool = True,
        render_mode: str | None = None,
        threads: int | None = None,
    ) -> None:
        """Read the scenarios; nothing is simulated before `reset`.

        Args:
            scenario: the name of one that ships, a file, or several that hosts take turns in.
            num_envs: hosts.
            overrides: `path.to.field=value` each: changes to the scenarios.
            episode_steps: after which an episode is cut.
            period_s: simulated time of a step.
            decoding: what an action means, or its mode: absolute, change or correction.
            guard: what stands between actions and hosts, or its level: limits or full.
            weights: of the terms of the reward, by name.
            warm_up_s: before an episode begins; the scenario's own if None.
            pool: how many hosts the episodes are drawn from.
            privileged: observations have a key `privileged` with the truth.
            autoreset_mode: NEXT_STEP or DISABLED.
            staggered: first episodes are shortened, each by another length.
            render_mode: ansi or rgb_array.
            threads: of the simulator, all cores if None; does not change results.

        Raises:
            configs.loading.ConfigError: a scenario cannot be read.
            ValueError: another argument makes no sense.
        """
        self.settings = settle(
            scenario,
            overrides=overrides,
            episode_steps=episode_steps,
            period_s=period_s,
            decoding=decoding,
            guard=guard,
            weights=weights,
            warm_up_s=warm_up_s,
            pool=pool,
            privileged=privileged,
        )
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            raise ValueError("autoreset_mode: SAME_STEP: expected NEXT_STEP or DISABLED")
        if render_mode is not None and render_mode not in MODES:
            raise ValueError(f"render_mode: {render_mode!r}: expected one of {', '.join(MODES)}")
        if num_envs < 1:
            raise ValueError(f"num_envs: {num_envs}: expected at least 1")
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.num_envs, self.render_mode, self.staggered = num_envs, render_mode, staggered
        self.core = Core(self.settings, num_envs, threads)
        self.single_observation_space = observation_space(self.core.guests, privileged)
        self.single_action_space = action_space(self.core.guests)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._clocks = {name: np.full(num_envs, -1, np.int64) for name in CLOCKS}
        self._ended = np.zeros(num_envs, bool)

    @property
    def telemetry(self) -> Telemetry:
        """The reading that the last observations were made of."""
        return self.core.telemetry

    def reset(
        self,
        *,
        seed: int | Sequence[int] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observations, Infos]:
        """Begin episodes.

        Args:
            seed: of host 0, those of the others follow it; or one for each.  None: the next
                episodes of the hosts, which have seeds of their own choosing before the first.
            options: `reset_mask` (num_envs,) bool: the hosts that are reset, all if left out.

        Raises:
            ValueError: an option that there is not, or a mask or seeds of another form.
            gymnasium.error.ResetNeeded: a mask before the first reset of all hosts.
        """
        super().reset(seed=None if seed is None or np.ndim(seed) else int(np.asarray(seed)))
        rows = np.flatnonzero(self._mask(options or {}))
        if (self._clocks["steps"] < 0).any() and len(rows) < self.num_envs:
            raise ResetNeeded("reset_mask: expected a reset of all hosts first")
        self._take_seeds(seed, rows)
        self._begin(rows)
        seen = self.core.observe(rows)
        return _observations(seen), self._begun(rows)

    def step(
        self, actions: np.ndarray
    ) -> tuple[Observations, np.ndarray, np.ndarray, np.ndarray, Infos]:
        """Let one period pass on every host.

        Args:
            actions: (num_envs, G) in [-1, 1], one for each guest slot.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset, or, without autoreset, on hosts
                that ended.
            ValueError: actions of another shape.
        """
        actions = np.asarray(actions, np.float32)
        if actions.shape != self.action_space.shape:
            raise ValueError(f"actions: {actions.shape}: expected {self.action_space.shape}")
        if (self._clocks["seed"] < 0).any():
            raise ResetNeeded("step: expected reset() first")
        going = ~self._ended
        begun = np.flatnonzero(self._ended)
        if len(begun):
            if self.autoreset_mode is AutoresetMode.DISABLED:
                raise ResetNeeded(f"step: hosts {begun.tolist()} ended; expected a reset of them")
            self._begin(begun)
        seen, outcome = self.core.step(actions, going)
        self._clocks["steps"] += going
        terminated = outcome.finished & going
        truncated = (self._clocks["steps"] >= self._clocks["horizon"]) & going & ~terminated
        self._ended = terminated | truncated
        reward = np.where(going, outcome.terms.total(), 0.0)
        infos = self._told(outcome, going) | (self._begun(begun) if len(begun) else {})
        return _observations(seen), reward, terminated, truncated, infos

    def render(self) -> tuple[Any, ...] | None:
        """A text or picture of each host's memory, as `render_mode` says; None without one."""
        if self.render_mode is None:
            return None
        hosts = range(self.num_envs)
        return tuple(render(self.render_mode, self.core.hosts, host) for host in hosts)

    def snapshot(self) -> dict[str, np.ndarray]:
        """Copies of everything that the future depends on, for checkpoints."""
        clocks = {f"clock/{name}": values.copy() for name, values in self._clocks.items()}
        return {**self.core.snapshot(), **clocks, "ended": self._ended.copy()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Become what `snapshot` saw; needs no reset before.

        Raises:
            ValueError: the copy is of other hosts, or was made with other settings.
        """
        try:
            self.core.restore(arrays)
            self._clocks = {name: arrays[f"clock/{name}"].copy() for name in CLOCKS}
            self._ended = arrays["ended"].copy()
        except KeyError as error:
            raise ValueError(f"restore: {error}: missing in the copy") from error

    def _mask(self, options: dict[str, Any]) -> Bools:
        unknown = sorted(set(options) - {"reset_mask"})
        if unknown:
            raise ValueError(f"options: {', '.join(unknown)}: expected reset_mask or nothing")
        mask = options.get("reset_mask", np.ones(self.num_envs, bool))
        fits = isinstance(mask, np.ndarray) and mask.dtype == bool
        if not fits or mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(
                f"reset_mask: {mask!r}: expected ({self.num_envs},) bool, one True at least"
            )
        chosen: Bools = mask
        return chosen

    def _take_seeds(self, seed: int | Sequence[int] | None, rows: Ints) -> None:
        known = self._clocks["seed"]
        if seed is None and (known >= 0).all():
            return
        if seed is None:
            most = keys.SEEDS_A_BLOCK - self.num_envs
            seeds = int(self.np_random.integers(most)) + np.arange(self.num_envs)
            rows = np.flatnonzero(known < 0)
        else:
            seeds = np.array(seed, np.int64)
            seeds = seeds if seeds.ndim else seeds + np.arange(self.num_envs)
        if seeds.shape != known.shape or (seeds < 0).any():
            raise ValueError(f"seed: {seed}: expected {self.num_envs} of 0 or more, or the first")
        known[rows] = seeds[rows]
        self._clocks["episode"][rows] = -1

    def _begin(self, rows: Ints) -> None:
        """Put the next hosts in `rows` (R,)."""
        clocks, settings = self._clocks, self.settings
        clocks["episode"][rows] += 1
        seeds, numbers = clocks["seed"][rows].tolist(), clocks["episode"][rows].tolist()
        episodes = list(zip(seeds, numbers, strict=True))
        self.core.begin(rows, [keys.pool_host(*pair, settings.pool) for pair in episodes])
        clocks["steps"][rows] = 0
        first = [self.staggered and episode == 0 for _, episode in episodes]
        clocks["horizon"][rows] = [
            keys.first_horizon(seed, settings.episode_steps) if short else settings.episode_steps
            for (seed, _), short in zip(episodes, first, strict=True)
        ]
        self._ended[rows] = False

    def _begun(self, rows: Ints) -> Infos:
        """What is told of hosts that began."""
        mask = np.zeros(self.num_envs, bool)
        mask[rows] = True
        members = [drawn.key[0] % keys.SEEDS_A_BLOCK for drawn in self.core.hosts.drawn]
        told = {
            "seed": self._clocks["seed"],
            "episode_number": self._clocks["episode"],
            "host": np.array(members, np.int64),
        }
        return _masked({name: np.where(mask, values, 0) for name, values in told.items()}, mask)

    def _told(self, outcome: Outcome, going: Bools) -> Infos:
        """What is told of a step."""
        counts = interventions.count(outcome.interventions)
        told = {
            "progress": outcome.progress,
            "kills": outcome.kills_per_guest_hour,
            "mourned": outcome.mourned,
            "guarded": outcome.guarded,
        }
        named = dict(zip(interventions.NAMES, counts.T.copy(), strict=True))
        return _masked(told, going) | {
            "reward": _masked(outcome.terms._asdict(), going),
            "_reward": going.copy(),
            "interventions": _masked(named, going),
            "_interventions": going.copy(),
        }


def _observations(seen: Seen) -> Observations:
    """As a dictionary that the caller may keep and change."""
    return {name: part.copy() for name, part in seen._asdict().items() if part is not None}


def _masked(values: Mapping[str, np.ndarray], mask: Bools) -> Infos:
    """Values with the masks that Gymnasium has beside them."""
    infos: Infos = {}
    for name, value in values.items():
        infos[name], infos[f"_{name}"] = value, mask.copy()
    return infos
