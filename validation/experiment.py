"""An experiment: what was set up, what was measured there, what counts as agreement here."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import inf, isnan, nan
from typing import Literal

import validation
from configs.loading import load
from scenarios.outcome import Outcome
from scenarios.schema import Scenario

Outcomes = Mapping[str, Outcome]  # by name of the run, all of one seed
Kind = Literal["predicted", "calibrated"]


@dataclass(frozen=True)
class Run:
    """One variant of the set-up."""

    scenario: str  # a file that ships, without its folder: `v01_async_faults`
    overrides: tuple[str, ...] = ()
    policy: str = ""  # baseline that sets targets; "": only the timeline does
    sample_s: float = 0.0  # [s] between samples of memory; 0: none

    def load(self, more: Sequence[str] = ()) -> Scenario:
        """The scenario with its overrides, then `more`.

        Raises:
            configs.loading.ConfigError: what is wrong with it.
        """
        return load(Scenario, f"scenarios/validation/{self.scenario}", (*self.overrides, *more))


@dataclass(frozen=True)
class Quantity:
    """A number that was published, and how to find it in the simulator."""

    name: str
    of: Callable[[Outcomes], float]  # from the runs of one seed
    published: str
    low: float = -inf  # the mean over seeds agrees from here
    high: float = inf  # ... to here
    unit: str = ""
    kind: Kind = "predicted"
    quick: bool = True  # means the same in the quick variant
    missed: str = ""  # why the range is missed, written after looking
    missed_at: float = nan  # the mean that this explains

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"{self.name}: range {self.low} to {self.high}")
        if self.low == -inf and self.high == inf:
            raise ValueError(f"{self.name}: expected a bound, or any value would do")
        if bool(self.missed) == isnan(self.missed_at) or self.low <= self.missed_at <= self.high:
            raise ValueError(f"{self.name}: expected a reason for a mean that was out of range")


@dataclass(frozen=True)
class Line:
    """One curve of a figure."""

    label: str
    x: tuple[float, ...]
    published: tuple[float, ...] | None  # y of the source; None: it has no such curve
    of: Callable[[Outcomes], Sequence[float]]  # y of the simulator, for one seed


@dataclass(frozen=True)
class Curves:
    """A figure: curves with common axes."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Experiment:
    """A published experiment."""

    name: str  # V1
    title: str
    source: str
    set_up: str  # in words, with what the source leaves open
    runs: Mapping[str, Run]
    quantities: tuple[Quantity, ...]
    cost_s: float  # [s] of one core for all runs of three seeds, about
    quick: tuple[str, ...] | None = None  # overrides of all runs; None: not in the quick set
    quick_cost_s: float = 1.0  # [s] of one core, about
    curves: tuple[Curves, ...] = field(default=())
    grain: str = ""  # if its pages are coarse: how a run at 4 KiB compared

    def __post_init__(self) -> None:
        names = [quantity.name for quantity in self.quantities]
        if len(set(names)) < len(names):
            raise ValueError(f"{self.name}: two quantities have one name")
        if not self.runs or not self.quantities:
            raise ValueError(f"{self.name}: expected runs and quantities")


class UnknownExperiment(Exception):
    """There is no such experiment; the message says which there are."""


@cache
def catalogue() -> Mapping[str, Experiment]:
    """All experiments by name, in the order of their numbers."""
    modules = sorted(
        module.name
        for module in pkgutil.iter_modules(validation.__path__)
        if module.name[0] == "v" and module.name[1:3].isdecimal()
    )
    found = [importlib.import_module(f"validation.{name}").EXPERIMENT for name in modules]
    return {experiment.name: experiment for experiment in found}


def chosen(names: Sequence[str]) -> list[Experiment]:
    """The experiments of these names, all of them for none.

    Raises:
        UnknownExperiment: a name is none.
    """
    known = catalogue()
    wanted = [name.upper() for name in names]
    missing = [name for name in wanted if name not in known]
    if missing:
        raise UnknownExperiment(f"{', '.join(missing)}: expected some of {', '.join(known)}")
    return [one for name, one in known.items() if not wanted or name in wanted]
