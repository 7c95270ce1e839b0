"""Tuned baselines: `slides-tuned` is `slides` with the settings of configs/policies/."""

from pydantic import Field

from configs.loading import Config, ConfigError, load, packaged

FOLDER, SUFFIX = "policies", "-tuned"
Value = float | int


class Provenance(Config):
    """What a tuned policy was found by."""

    command: str
    split: str
    scenarios: tuple[str, ...]
    seeds: tuple[int, int] = Field(description="first and last of the hosts of each scenario")
    episodes: int = Field(description="of each trial that was not cut short")
    warm_up: float = Field(description="seconds")
    scored: float = Field(description="seconds")
    traces: tuple[str, ...]
    trials: int
    pruned: int = Field(description="trials that were cut short")
    default_score: float = Field(description="J of the shipped settings on these hosts")
    tuned_score: float = Field(
        description="J of the tuned ones on the hosts that they were chosen by: it flatters"
    )


class TunedPolicy(Config):
    """A baseline and its settings: configs/policies/*-tuned.yaml."""

    policy: str
    settings: dict[str, Value]
    provenance: Provenance


def names() -> tuple[str, ...]:
    """Of all tuned policies that ship."""
    return tuple(name for name in packaged(FOLDER) if name.endswith(SUFFIX))


def find(name: str) -> TunedPolicy:
    """A tuned policy by its name.

    Raises:
        ValueError: there is none, or its file is not as it should be.
    """
    if name not in names():
        base = name.removesuffix(SUFFIX)
        raise ValueError(
            f"policy {name!r}: has not been tuned; `python tune.py {base}` does it. Tuned ones:"
            f" {', '.join(names()) or 'none'}"
        )
    try:
        return load(TunedPolicy, f"{FOLDER}/{name}")
    except ConfigError as error:
        raise ValueError(str(error)) from error
