"""Tune a baseline on hosts of the train split; what is found becomes a policy `NAME-tuned`.

runs/tune/<config>/<baseline>.json keeps the trials; configs/policies/<baseline>-tuned.yaml is the
result, with what it was found by.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

import optuna
from pydantic import Field, model_validator

from agents.baselines import UnknownPolicy, names, tunable
from configs.loading import Config, Seconds, dump, write_atomic
from reports import entrants, evaluation, folder, trials, workloads
from reports.evaluation import SILENT, Progress
from reports.settings import Evaluation, ScenarioUse, Seeds
from reports.trials import Trial, Value
from reports.tuned import SUFFIX, Provenance, TunedPolicy
from reports.workloads import Workloads
from scenarios.splits import SEEDS_A_SPLIT


class TuningError(Exception):
    """A baseline that cannot be tuned as asked; the message says why and what would do."""


class Tuning(Config):
    """How baselines are tuned: configs/tune/*.yaml."""

    name: str = Field(min_length=1, pattern=r"^[\w.-]+$", description="of its folder")
    scenarios: tuple[ScenarioUse, ...] = Field(min_length=1)
    first_seed: int = Field(default=0, ge=0, lt=SEEDS_A_SPLIT // 2, description="in split train")
    rungs: tuple[int, ...] = Field(
        default=(2, 4),
        min_length=1,
        description="hosts of each scenario, rising; a trial may be cut short after each",
    )
    trials: int = Field(default=30, ge=1, le=1000, description="the first has the defaults")
    warm_up: Seconds = Field(default=300.0, ge=0)
    scored: Seconds = Field(default=900.0, gt=0)
    seed: int = Field(default=0, ge=0, description="of the choice of settings")
    traces: Literal["auto", "synthetic", "measured"] = "auto"

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.rungs[0] < 1 or list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"rungs: {list(self.rungs)}: expected numbers of hosts that rise")
        return self

    @property
    def episodes(self) -> int:
        """Of a trial that is not cut short."""
        return len(self.scenarios) * self.rungs[-1]

    def evaluation(self, rung: int) -> Evaluation:
        """The hosts that a rung adds."""
        begin = self.rungs[rung - 1] if rung else 0
        return Evaluation(
            name=self.name,
            title="Tuning",
            scenarios=self.scenarios,
            seeds=Seeds(first=self.first_seed + begin, count=self.rungs[rung] - begin),
            policies=("static",),  # those to run are given beside it
            warm_up=self.warm_up,
            scored=self.scored,
            traces=self.traces,
            split="train",
        )


Rung = tuple[Evaluation, Workloads]


def check(wanted: Sequence[str]) -> None:
    """Find out before hours are spent on it whether these can be tuned.

    Raises:
        TuningError: one cannot; all at once.
    """
    problems = []
    for name in wanted:
        try:
            if not tunable(name):
                problems.append(f"policy {name!r}: has nothing to tune; leave it out")
        except UnknownPolicy as error:
            problems.append(str(error))
    if problems:
        raise TuningError("\n".join(problems))


def able() -> tuple[str, ...]:
    """The baselines that have something to tune."""
    return tuple(name for name in names() if tunable(name))


def prepare(config: Tuning) -> tuple[Rung, ...]:
    """The hosts of every rung.

    Raises:
        configs.loading.ConfigError: a scenario cannot be used, or has parts of another split.
        scenarios.traces.TraceError: traces were demanded and there are none.
    """
    each = [config.evaluation(rung) for rung in range(len(config.rungs))]
    return tuple((one, workloads.prepare(one)) for one in each)


def tune(
    name: str,
    config: Tuning,
    rungs: Sequence[Rung],
    where: Path,
    command: str,
    told: Callable[[Sequence[Trial]], object] = lambda _: None,
    progress: Progress = SILENT,
    threads: int | None = None,
    cache: Path | None = None,
) -> TunedPolicy:
    """Search the best settings of a baseline, going on with what the folder has.

    Args:
        name: of the baseline.
        config: the search.
        rungs: as prepared.
        where: folder of trials.
        command: that asked for it, for the record.
        told: of all trials at first and after each.
        progress: of one trial's hosts.
        threads: of the simulator; does not change results.
        cache: folder of reference runs.

    Raises:
        TuningError: the folder has trials of another search.
    """
    path, digest = where / f"{name}.json", _digest(name, config, rungs)
    kept = read(path, digest)

    def keep(found: Sequence[Trial]) -> None:
        write(path, digest, found)
        told(found)

    told(kept)
    scores: list[float] = []

    def measure(settings: Mapping[str, Value], rung: int) -> float:
        if rung == 0:
            scores.clear()
        evaluated, found = rungs[rung]
        _, members = entrants.read(name, {name: dict(settings)})
        entrant = entrants.Entrant(name, members[0])
        results = evaluation.run(evaluated, found.scenarios, [entrant], progress, threads, cache)
        scores.extend(episode.j for episode in results.episodes)
        return sum(scores) / len(scores)

    found = trials.search(
        tunable(name), len(rungs), config.trials, measure, keep, kept, config.seed
    )
    return _result(name, config, rungs, found, command)


def read(path: Path, digest: str) -> tuple[Trial, ...]:
    """The trials of a file; none if there is no file.

    Raises:
        TuningError: they belong to another search, or the file is damaged.
    """
    try:
        data = json.loads(path.read_bytes())
        own = data["digest"]
        found = tuple(
            Trial(dict(one["settings"]), tuple(one["scores"]), bool(one["pruned"]))
            for one in data["trials"]
        )
    except FileNotFoundError:
        return ()
    except (ValueError, KeyError, TypeError) as error:
        raise TuningError(f"{path}: cannot be read as trials: {error}; delete it") from error
    if own != digest:
        raise TuningError(
            f"{path}: has {len(found)} trials of another configuration, other traces or other"
            " code; --fresh begins anew, another --runs keeps them"
        )
    return found


def write(path: Path, digest: str, found: Sequence[Trial]) -> None:
    """Keep trials: all of them or, if killed, those before the last one."""
    data = {"digest": digest, "trials": [trial._asdict() for trial in found]}
    write_atomic(path, json.dumps(data, indent=1) + "\n")


def _digest(name: str, config: Tuning, rungs: Sequence[Rung]) -> str:
    """Of all that trials depend on but their number."""
    _, members = entrants.read(name, {})
    entrant = entrants.Entrant(name, members[0])
    parts = [folder.digest(evaluated, [entrant], found) for evaluated, found in rungs]
    return "\n".join([*parts, f"seed {config.seed}", f"optuna {optuna.__version__}"])


def _result(
    name: str, config: Tuning, rungs: Sequence[Rung], found: Sequence[Trial], command: str
) -> TunedPolicy:
    chosen, seeds = trials.best(found), [one.host_seeds for one, _ in rungs]
    return TunedPolicy(
        policy=name,
        settings=chosen.settings,
        provenance=Provenance(
            command=command,
            split="train",
            scenarios=tuple(use.scenario for use in config.scenarios),
            seeds=(seeds[0][0], seeds[-1][-1]),
            episodes=config.episodes,
            warm_up=config.warm_up,
            scored=config.scored,
            traces=rungs[0][1].traces,
            trials=len(found),
            pruned=sum(trial.pruned for trial in found),
            default_score=found[0].score,
            tuned_score=chosen.score,
        ),
    )


def save(found: TunedPolicy, where: Path) -> Path:
    """Write the result; returns its file."""
    path = where / f"{found.policy}{SUFFIX}.yaml"
    write_atomic(path, f"# Written by tune.py; see provenance.\n{dump(found)}")
    return path


def searching(trials_: Sequence[Trial]) -> str:
    """How far a search is, in words."""
    if not trials_:
        return "defaults"
    top = trials.best(trials_)
    return f"{len(trials_)} trials, J {trials_[0].score:.4f} -> {top.score:.4f}"
