"""What an environment is made with, from the keyword arguments that `gymnasium.make` passes on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import scenarios
from contract.decode import Decoding, Mode
from contract.guard import GuardConfig
from envs.reward import Weights
from scenarios.schema import Scenario

Source = str | Path | Scenario  # the name of one that ships, a file, or one that was read already

EPISODE_STEPS = 720  # an hour
PERIOD_S = 5.0
POOL = 256  # hosts that the episodes of one training seed are drawn from


@dataclass(frozen=True)
class Settings:
    """How hosts, decisions, rewards and episodes of an environment are."""

    scenarios: tuple[Scenario, ...]  # hosts of a batch take turns
    episode_steps: int = EPISODE_STEPS  # until an episode is cut
    period_s: float = PERIOD_S  # one step
    decoding: Decoding = field(default_factory=lambda: Decoding(mode="change"))
    guard: GuardConfig = field(default_factory=GuardConfig)
    weights: Weights = field(default_factory=Weights)
    pool: int = POOL
    privileged: bool = False  # observations hold the truth, for critics and teachers

    def __post_init__(self) -> None:
        """Refuse what makes no sense, all at once."""
        wrong = [
            f"{name}: {getattr(self, name)}: must be positive"
            for name in ("episode_steps", "period_s", "pool")
            if not getattr(self, name) > 0
        ]
        if not self.scenarios:
            wrong.append("scenario: none; expected at least one")
        if wrong:
            raise ValueError("environment: " + "; ".join(wrong))


def settle(
    scenario: Source | Sequence[Source],
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
) -> Settings:
    """Read the scenarios and check everything.

    A scenario is laid out for the episode: its length becomes that of the episode.  A replay or
    recording of all times becomes one of the split `train`, so that nothing is learnt from what
    policies are chosen and tested on.

    Args:
        scenario: one, or several that the hosts of a batch take turns in.
        overrides: `path.to.field=value` each, for scenarios that are read here.
        episode_steps: after which an episode is cut.
        period_s: control period: one step.
        decoding: what an action means, or its mode.
        guard: what stands between actions and hosts, or its level.
        weights: of the reward's terms.
        warm_up_s: before an episode begins; the scenario's own if None.
        pool: hosts to draw episodes from.
        privileged: add the truth to observations.

    Raises:
        configs.loading.ConfigError: a scenario cannot be read.
        ValueError: another argument makes no sense.
    """
    sources = [scenario] if isinstance(scenario, Source) else list(scenario)
    if warm_up_s is not None and warm_up_s < 0:
        raise ValueError(f"environment: warm_up_s: {warm_up_s}: must not be negative")
    length_s = episode_steps * period_s
    read = [
        source if isinstance(source, Scenario) else scenarios.load(source, overrides)
        for source in sources
    ]
    if isinstance(weights, Mapping):
        weights = Weights.named(weights)
    return Settings(
        scenarios=tuple(_laid_out(one, length_s, warm_up_s) for one in read),
        episode_steps=episode_steps,
        period_s=period_s,
        decoding=Decoding(mode=decoding) if isinstance(decoding, str) else decoding,
        guard=GuardConfig(guard) if isinstance(guard, str) else guard,
        weights=weights or Weights(),
        pool=pool,
        privileged=privileged,
    )


def _laid_out(scenario: Scenario, length_s: float, warm_up_s: float | None) -> Scenario:
    changes: dict[str, object] = {"length": length_s}
    if warm_up_s is not None:
        changes["warm_up"] = warm_up_s
    if scenario.replay is not None and scenario.replay.split == "all":
        changes["replay"] = scenario.replay.model_copy(update={"split": "train"})
    if scenario.recordings.split == "all":
        changes["recordings"] = scenario.recordings.model_copy(update={"split": "train"})
    return scenario.model_copy(update=changes)
