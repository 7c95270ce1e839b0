"""The environment for one host: a batch of one."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from contract.decode import Decoding, Mode
from contract.guard import GuardConfig
from envs.render import MODES
from envs.reward import Weights
from envs.settings import EPISODE_STEPS, PERIOD_S, POOL, Source
from envs.vector import OvercommitVectorEnv

Observation = dict[str, np.ndarray]


class OvercommitEnv(gymnasium.Env[Observation, np.ndarray]):
    """One host that has sold more memory than it has; the agent sizes its guests.

    ## Description
    A simulated Linux host runs virtual machines whose sizes add up to more than its memory.  Every
    five seconds the agent may change how much memory each of them is to have.  Guests boot, work,
    finish and leave; a host that is short of memory swaps, a guest that is short reclaims, swaps
    or kills.  Nothing in an observation is hidden from the operator of a real host.

    ## Action Space
    `Box(-1, 1, (G,))`, a number for each guest slot; those of empty slots do nothing.  In mode
    `change` it is the change of the target in force, 1 being a tenth of the guest's largest size;
    in mode `absolute` -1 is the guaranteed and 1 the largest size; in mode `correction` it is added
    to what a rule says.  The guard then keeps targets within bounds and growth within what the host
    has (`contract.guard`).

    ## Observation Space
    A `Dict`:

    | key | space | what |
    |---|---|---|
    | `guests` | `Box((G * F,))` | a row of F numbers for each slot, zeros if it is empty |
    | `host` | `Box((Fh,))` | the host |
    | `present` | `MultiBinary(G)` | which slots have a guest |
    | `privileged` | `Box((P,))` | with `privileged=True`: the truth (`envs.privileged`) |

    `contract.feature_table` says what each number is, and is where the bounds come from.

    ## Rewards
    Minus the guests' losses in the step, weighted by their importance (`envs.reward`): loss of
    progress, its square, guests killed (each costs more than the rest of the episode can win), and
    changes of targets.  0 is best; nothing is paid for memory saved.

    ## Starting State
    A host drawn by seed and episode from a pool, after a warm-up under a baseline that is drawn
    too.  Warm-ups are kept on disk, so that the first reset of a host takes longer than others.

    ## Episode End
    Truncated after `episode_steps`, an hour.  Terminated when all work that the host ever had is
    done, which happens only where every task comes to an end.

    ## Information
    After a step: `progress`, the weighted mean of the guests' progress in [0, 1]; `kills`, guests
    killed per guest and hour; `guarded`, the share of guests for which the guard changed what was
    asked; `reward` by term; `interventions` by name.  After a reset: `seed`, `episode_number` and
    `host`, the member of the pool.

    ## Arguments
    As `envs.vector.OvercommitVectorEnv`.

    ## Version History
    v0: the first.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  Gymnasium declares it so
        "render_modes": list(MODES),
        "render_fps": 4,
    }

    def __init__(
        self,
        scenario: Source = "default",
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
        render_mode: str | None = None,
    ) -> None:
        """Read the scenario; nothing is simulated before `reset`."""
        self.batch = OvercommitVectorEnv(
            scenario,
            num_envs=1,
            overrides=overrides,
            episode_steps=episode_steps,
            period_s=period_s,
            decoding=decoding,
            guard=guard,
            weights=weights,
            warm_up_s=warm_up_s,
            pool=pool,
            privileged=privileged,
            autoreset_mode=AutoresetMode.DISABLED,
            staggered=False,
            render_mode=render_mode,
        )
        self.render_mode = render_mode
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode: the first of a seed, or the next one."""
        super().reset(seed=seed)
        observation, infos = self.batch.reset(seed=seed, options=options)
        return _first(observation), _told(infos)

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Let one period pass; `action` (G,) in [-1, 1].

        Raises:
            gymnasium.error.ResetNeeded: the episode has ended, or none has begun.
        """
        observation, reward, terminated, truncated, infos = self.batch.step(
            np.asarray(action)[None]
        )
        return (
            _first(observation),
            float(reward[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            _told(infos),
        )

    def render(self) -> Any:  # noqa: ANN401  text or a picture, as Gymnasium has it
        """The guests' memory as text or picture, as `render_mode` says; None without one."""
        frames = self.batch.render()
        return None if frames is None else frames[0]

    def snapshot(self) -> dict[str, np.ndarray]:
        """Copies of everything that the future depends on."""
        return self.batch.snapshot()

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Become what `snapshot` saw."""
        self.batch.restore(arrays)

    def close(self) -> None:
        """Release what the simulator holds."""
        self.batch.close()


def _first(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: part[0] for name, part in values.items()}


def _told(infos: dict[str, Any]) -> dict[str, Any]:
    """The only host's infos as plain numbers, without masks."""
    told: dict[str, Any] = {}
    for name, value in infos.items():
        if not name.startswith("_"):
            told[name] = _told(value) if isinstance(value, dict) else value[0].item()
    return told
