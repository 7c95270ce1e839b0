"""What an evaluation is: configs/evaluate/*.yaml."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from configs.loading import Bytes, Config, Seconds
from reports import service
from scenarios import splits
from scenarios.quantities import GIB
from scenarios.schema import Arm
from scenarios.splits import SEEDS_A_SPLIT, Split

Setting = float | int | bool | str


class ScenarioUse(Config):
    """A scenario that takes part."""

    scenario: str = Field(description="name of one that ships, or a path")
    set: tuple[str, ...] = Field(default=(), description="changes to it, `path.to.field=value`")
    splits: tuple[Split, ...] = Field(
        default=("train", "validation", "test"), min_length=1, description="it takes part in"
    )


class Seeds(Config):
    """Hosts are drawn from consecutive seeds of a split; `splits.SEEDS` has where each begins."""

    first: int = Field(default=1000, ge=0, lt=SEEDS_A_SPLIT, description="number in the split")
    count: int = Field(default=8, ge=1, le=10_000)

    @model_validator(mode="after")
    def _within_a_split(self) -> Self:
        if self.first + self.count > SEEDS_A_SPLIT:
            raise ValueError(
                f"the last of {self.count} seeds from {self.first} on is"
                f" {self.first + self.count - 1}; expected less than {SEEDS_A_SPLIT}, where those"
                " of another split begin: a policy must not be judged on hosts it has learned from"
            )
        return self


class ArmUse(Config):
    """One arm of an experiment: mechanisms and a policy."""

    name: str = Field(min_length=1)
    policy: str = Field(default="static", description="as in --policies")
    mechanisms: Arm = Field(default=Arm(), description="what differs from the scenario")


class Bootstrap(Config):
    """How intervals are made."""

    resamples: int = Field(default=10_000, ge=100)
    seed: int = Field(default=0, ge=0)


def _level(text: str) -> str:
    return str(service.parse(text))


class Density(Config):
    """How `--density` fills hosts: ever more guests on one machine."""

    guests: tuple[int, ...] = Field(
        default=(10, 12, 14, 17, 20, 24, 29, 35, 42, 50, 60),
        description="on each host; a policy leaves after two counts in a row beyond the limit",
    )
    ram: Bytes = Field(default=12 * GIB, gt=0, description="of every host")
    cores: int = Field(default=64, ge=1, description="so many that memory, not CPU, runs out")
    swap: Bytes = Field(default=64 * GIB, gt=0)
    warm_up: Seconds = Field(default=600.0, ge=0, description="instead of the evaluation's")
    scored: Seconds = Field(default=1800.0, gt=0)
    seeds: int = Field(default=6, ge=1, description="hosts of each count, from seeds.first on")
    slo: Annotated[str, AfterValidator(_level)] = Field(
        default="p95_slowdown<=1.10",
        description="the service level to keep; its limit is that of all tables",
    )
    mechanisms: dict[str, Arm] = Field(
        default={}, description="name -> mechanisms; every policy under each; left out: as drawn"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.guests) < 2 or list(self.guests) != sorted(set(self.guests)):
            raise ValueError(f"guests: {list(self.guests)}: expected two counts or more, rising")
        if self.guests[0] < 1:
            raise ValueError(f"guests: {self.guests[0]}: expected one or more")
        return self


class Evaluation(Config):
    """Policies (or arms) x scenarios x seeds."""

    name: str = Field(min_length=1, pattern=r"^[\w.-]+$", description="of its folder under runs/")
    title: str = Field(min_length=1)
    description: str = ""
    scenarios: tuple[ScenarioUse, ...] = Field(min_length=1)
    seeds: Seeds = Seeds()
    own_seeds: bool = Field(
        default=False,
        description="each scenario has the seeds after those of the one before, so that all hosts"
        " are independent; else hosts of one seed are alike as far as their scenarios are",
    )
    policies: tuple[str, ...] = Field(
        default=(),
        description="baseline, run folder, module:Class, or label=one+another of several training"
        " seeds",
    )
    settings: dict[str, dict[str, Setting]] = Field(
        default={}, description="thresholds of baselines that differ from the defaults, by name"
    )
    arms: tuple[ArmUse, ...] = Field(default=(), description="instead of policies")
    reference: str | None = Field(
        default=None,
        description="policy or arm that others are paired with; left out: slides-tuned, slides,"
        " or the first",
    )
    warm_up: Seconds = Field(default=600.0, ge=0, description="under the policy itself; not scored")
    scored: Seconds = Field(default=3600.0, gt=0)
    period: Seconds = Field(default=5.0, gt=0, description="between samples of the results")
    guard: Literal["limits", "full"] = "limits"
    full_guard_too: bool = Field(
        default=True, description="learned policies take part under the full guard as well"
    )
    traces: Literal["auto", "synthetic", "measured"] = Field(
        default="auto", description="for replays; auto and measured fall back to synthetic ones"
    )
    traces_folder: str | None = Field(
        default=None, description="left out: OVERCOMMIT_TRACES, or ../shared/traces"
    )
    split: Split = Field(
        default="validation",
        description="of seeds, profiles, machines and time; test only by --split test",
    )
    bootstrap: Bootstrap = Bootstrap()
    density: Density = Field(default=Density(), description="what --density does")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if bool(self.arms) == bool(self.policies):
            raise ValueError("expected either policies or arms")
        names = [arm.name for arm in self.arms] or list(self.policies)
        if len(set(names)) != len(names):
            raise ValueError(f"{names}: expected every name once")
        if not self.uses:
            raise ValueError(f"scenarios: expected one that takes part in the split {self.split}")
        if not self.host_seeds:
            raise ValueError("seeds: expected some")
        for part, path in ((self, ""), (self.density, "density.")):
            for field in ("warm_up", "scored"):
                samples = getattr(part, field) / self.period
                if abs(samples - round(samples)) > 1e-9:
                    raise ValueError(f"{path}{field}: expected whole periods of {self.period:g} s")
        return self

    @property
    def host_seeds(self) -> range:
        """Of all hosts, in the split."""
        count = self.seeds.count * (len(self.uses) if self.own_seeds else 1)
        return splits.seeds(self.split, self.seeds.first, count)

    def seeds_of(self, number: int) -> range:
        """Of the hosts of scenario `number` among those that take part."""
        begin = number * self.seeds.count if self.own_seeds else 0
        return self.host_seeds[begin : begin + self.seeds.count]

    @property
    def uses(self) -> tuple[ScenarioUse, ...]:
        """The scenarios that take part in the split."""
        chosen = "validation" if self.split == "all" else self.split
        return tuple(use for use in self.scenarios if chosen in use.splits)

    @property
    def end_s(self) -> float:
        """[s] Length of an episode, warm-up included."""
        return self.warm_up + self.scored
