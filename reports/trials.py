"""A search for the best settings, trial by trial; a hopeless trial is cut short.

What comes next depends on the trials before and on nothing else: a search that was stopped after
any of them goes on exactly as if it had not been.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from agents.baselines._ranges import Range

Value = float | int
Tunable = Mapping[str, tuple[Range, Value]]  # setting -> range, default
Measure = Callable[[Mapping[str, Value], int], float]  # settings, rung -> mean J up to that rung

RANDOM_TRIALS = 8  # at first, before earlier ones are learned from
UNPRUNED_TRIALS = 5  # the default and the first few say what is usual
MIB = 2**20


class Trial(NamedTuple):
    """One choice of settings and how it did."""

    settings: dict[str, Value]
    scores: tuple[float, ...]  # mean J over all hosts up to each rung
    pruned: bool  # cut short: worse on a rung than the median of those before

    @property
    def score(self) -> float:
        """On all hosts it has met."""
        return self.scores[-1]


def search(
    tunable: Tunable,
    rungs: int,
    trials: int,
    measure: Measure,
    keep: Callable[[Sequence[Trial]], object],
    kept: Sequence[Trial] = (),
    seed: int = 0,
) -> tuple[Trial, ...]:
    """Try settings, the defaults first.

    Args:
        tunable: what may be changed.
        rungs: of hosts, after each of which a trial may be cut short.
        trials: in all.
        measure: runs the hosts of a rung.
        keep: told of all trials after each.
        kept: trials of the same search that was stopped.
        seed: of the choices.
    """
    found = list(kept)
    while len(found) < trials:
        found.append(_try(tunable, rungs, measure, found, seed))
        keep(found)
    return tuple(found)


def best(trials: Sequence[Trial]) -> Trial:
    """The best of those that met all hosts; of equals the first, so the defaults before others."""
    return max((trial for trial in trials if not trial.pruned), key=lambda trial: trial.score)


def _try(
    tunable: Tunable, rungs: int, measure: Measure, before: Sequence[Trial], seed: int
) -> Trial:
    space = {name: _distribution(*found) for name, found in tunable.items()}
    study = _study(space, before, seed)
    live = study.ask(space)
    settings = {name: _tidy(live.params[name], found[0]) for name, found in tunable.items()}
    if not before:
        settings = {name: default for name, (_, default) in tunable.items()}
    scores: list[float] = []
    for rung in range(rungs):
        scores.append(measure(settings, rung))
        live.report(scores[-1], rung)
        if rung < rungs - 1 and live.should_prune():
            return Trial(settings, tuple(scores), pruned=True)
    return Trial(settings, tuple(scores), pruned=False)


def _study(space: dict[str, BaseDistribution], before: Sequence[Trial], seed: int) -> optuna.Study:
    """A study that knows the trials before, and draws as the number of the next one says."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(
            n_startup_trials=RANDOM_TRIALS, seed=seed * 1000 + len(before)
        ),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED_TRIALS),
    )
    for trial in before:
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if trial.pruned else TrialState.COMPLETE,
                value=trial.score,
                params=trial.settings,
                distributions=space,
                intermediate_values=dict(enumerate(trial.scores)),
            )
        )
    return study


def _distribution(found: Range, default: Value) -> BaseDistribution:
    if isinstance(default, int):
        return IntDistribution(int(found.low), int(found.high), log=found.log)
    return FloatDistribution(found.low, found.high, log=found.log)


def _tidy(value: Value, found: Range) -> Value:
    """As somebody would write it, within the range: three digits, large integers in whole MiB."""
    if isinstance(value, int):
        rounded: Value = value // MIB * MIB if value >= 4 * MIB else value
        return max(int(found.low), min(int(found.high), int(rounded)))
    return float(max(found.low, min(found.high, float(f"{value:.3g}"))))
