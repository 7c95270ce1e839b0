"""Hosts with ever more guests under every policy: what `density` is computed from.

Everything but the number of guests stays: the machine and, by the seed, the first guests and their
work.  A policy that is beyond the limit at two counts in a row is not tried with more.  Each part
that is finished (a policy at a count in a scenario) is kept in a file under the digest of all that
it depends on, so a killed run goes on where it stopped and one more policy costs its own parts.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

import scenarios
from configs.loading import ConfigError, write_atomic
from reports import folder as run_folder
from reports.density import Crowd, Crowds, Place
from reports.entrants import Entrant
from reports.evaluation import SILENT, Progress, run
from reports.rows import EvaluationError
from reports.service import ServiceLevel, percentile, slowdowns
from reports.settings import Density, Evaluation, ScenarioUse, Seeds
from reports.workloads import Workloads, prepare
from scenarios.draw import draw
from scenarios.schema import Arm

FOLDER = "density"  # of an evaluation's folder
PARTS = "parts"
GUESTS_PER_S = 1.3 * 4200  # simulated guest seconds a second, on two cores under pressure
BEYOND = 2  # counts in a row past the limit after which a policy is not tried with more


class Filled(NamedTuple):
    """Everything that was run, and in words which traces it replays."""

    crowds: Crowds
    traces: tuple[str, ...]


def fill(
    config: Evaluation,
    entrants: Sequence[Entrant],
    level: ServiceLevel,
    folder: Path,
    say: Callable[[str], object],
    progress: Progress = SILENT,
    threads: int | None = None,
) -> Filled:
    """Run every policy with ever more guests.

    Args:
        config: the evaluation; its `density` says how hosts are filled.
        entrants: who takes part.
        level: the service level that ends a policy's run.
        folder: parts are kept in `parts/` below.
        say: hears of each count that is done.
        progress: where to tell how far one part is.
        threads: of the simulator; does not change results.

    Raises:
        configs.loading.ConfigError: a scenario that cannot be filled.
        scenarios.traces.TraceError: a replay finds no traces that fit.
        reports.rows.EvaluationError: traces have fewer machines than guests are wanted.
    """
    crowds: Crowds = {}
    said: dict[str, None] = {}
    for use in config.uses:
        for name, arm in (config.density.mechanisms or {"": Arm()}).items():
            left = [replace(one, mechanisms=arm) if name else one for one in entrants]
            for guests in config.density.guests:
                counted = crowded(config, use, guests)
                workloads = prepare(counted)
                said |= dict.fromkeys(workloads.traces)
                place = Place(workloads.scenarios[0].name, name)
                found = crowds.setdefault(place, {})
                for entrant in left:
                    label = entrant.arm or entrant.label
                    progress.phase(f"{guests} guests, {label} on {place.scenario}")
                    part = _part(counted, workloads, entrant, folder / PARTS, progress, threads)
                    found[label] = _joined(found.get(label, ()), part)
                say(_standing(place, guests, found, level))
                left = [one for one in left if not beyond(found[one.arm or one.label], level)]
                if not left:
                    break
    return Filled(crowds, tuple(said))


def cost(config: Evaluation, entrants: Sequence[Entrant]) -> str:
    """What `fill` costs at most, in words."""
    density = config.density
    guests = sum(density.guests) * density.seeds * (density.warm_up + density.scored)
    runs = len(config.uses) * len(entrants) * max(1, len(density.mechanisms))
    minutes = guests * runs / GUESTS_PER_S / 60
    return (
        f"{runs} runs of up to {len(density.guests)} counts of guests, {density.seeds} hosts each:"
        f" at most {minutes:.0f} minutes on two cores, less where policies leave early."
    )


def crowded(config: Evaluation, use: ScenarioUse, guests: int) -> Evaluation:
    """The evaluation of one scenario with so many guests on the machine of `density`.

    Raises:
        configs.loading.ConfigError: its number of guests is fixed.
    """
    density = config.density
    scenario = scenarios.load(use.scenario, use.set)
    where = "replay" if scenario.replay else "randomise"
    if scenario.guests or not (scenario.replay or scenario.randomise.guests):
        raise ConfigError(
            f"{use.scenario}: guests: has {len(scenario.guests)} that are always there; --density"
            " needs a scenario whose guests are drawn (randomise.guests) or replayed (replay)"
        )
    changes = (
        f"{where}.guests=[{guests}, {guests}]",
        f"host.ram={density.ram}",
        f"host.cores={density.cores}",
        f"host.swap.size={density.swap}",
        "randomise.cores={}",
        "randomise.overcommit=null",
        "randomise.late=0",
        "randomise.leave=0",
    )
    return config.model_copy(
        update={
            "scenarios": (ScenarioUse(scenario=use.scenario, set=(*use.set, *changes)),),
            "warm_up": density.warm_up,
            "scored": density.scored,
            "seeds": Seeds(first=config.seeds.first, count=density.seeds),
        }
    )


def beyond(crowds: Sequence[Crowd], level: ServiceLevel) -> bool:
    """Whether the last counts were all past the limit."""
    last = crowds[-BEYOND:]
    return len(last) == BEYOND and all(_percentile(one, level) > level.limit for one in last)


def _percentile(crowd: Crowd, level: ServiceLevel) -> float:
    return float(percentile(crowd.slowdown, level.percent)[0])


def _part(
    config: Evaluation,
    workloads: Workloads,
    entrant: Entrant,
    folder: Path,
    progress: Progress,
    threads: int | None,
) -> Crowd:
    """One policy at one count, run or read back."""
    alone = config.model_copy(  # what other policies and counts there are changes nothing here
        update={"policies": (entrant.label,), "settings": {}, "density": Density()}
    )
    content = run_folder.digest(alone, (entrant,), workloads)
    path = folder / f"{content[:32]}.json"
    kept = _read(path)
    if kept is not None:
        return kept
    results = run(config, workloads.scenarios, (entrant,), progress, threads)
    guests = [guest for guest in results.guests if guest.weight > 0]
    found = Crowd(
        _guests(config, workloads, entrant),
        np.array([guest.seed for guest in guests], np.int64),
        np.array([guest.training_seed for guest in guests], np.int64),
        slowdowns(guests),
        tuple((episode.seed, episode.cluster) for episode in results.episodes),
    )
    write_atomic(path, _as_json(found))
    return found


def _guests(config: Evaluation, workloads: Workloads, entrant: Entrant) -> int:
    """How many guests each host has.

    Raises:
        EvaluationError: hosts differ, because their traces have no more machines.
    """
    scenario = workloads.scenarios[0].with_arm(entrant.mechanisms)
    counts = {seed: len(draw(scenario, seed).guests) for seed in config.host_seeds}
    seed, fewest = min(counts.items(), key=lambda pair: pair[1])
    if fewest < max(counts.values()) or fewest < scenario.most_guests:
        raise EvaluationError(
            f"{scenario.name}, seed {seed}: {fewest} guests; expected {scenario.most_guests}: its"
            " traces have no more machines at that time; lower density.guests"
        )
    return fewest


def _joined(before: tuple[Crowd, ...], part: Crowd) -> tuple[Crowd, ...]:
    """One crowd more, or the last one with another training seed of the same policy."""
    if not before or before[-1].guests != part.guests:
        return (*before, part)
    last = before[-1]
    both = Crowd(
        part.guests,
        np.concatenate([last.seed, part.seed]),
        np.concatenate([last.training, part.training]),
        np.concatenate([last.slowdown, part.slowdown]),
        tuple(dict.fromkeys((*last.cluster, *part.cluster))),
    )
    return (*before[:-1], both)


def _standing(
    place: Place, guests: int, found: dict[str, tuple[Crowd, ...]], level: ServiceLevel
) -> str:
    """How many of the policies still keep the service level at a count."""
    here = {
        label: _percentile(own[-1], level)
        for label, own in found.items()
        if own[-1].guests == guests
    }
    kept = [label for label, value in here.items() if value <= level.limit]
    where = place.scenario + (f", {place.mechanisms}" if place.mechanisms else "")
    return f"{where}, {guests} guests: {level} kept by {len(kept)} of {len(here)} policies"


def _as_json(crowd: Crowd) -> str:
    found = crowd._asdict() | {
        "seed": crowd.seed.tolist(),
        "training": crowd.training.tolist(),
        "slowdown": [None if math.isinf(value) else value for value in crowd.slowdown.tolist()],
    }
    return json.dumps(found, allow_nan=False) + "\n"


def _read(path: Path) -> Crowd | None:
    """A part that was kept; None if there is none, or none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        slowdown = [math.inf if value is None else float(value) for value in found["slowdown"]]
        return Crowd(
            int(found["guests"]),
            np.array(found["seed"], np.int64),
            np.array(found["training"], np.int64),
            np.array(slowdown),
            tuple((int(seed), str(name)) for seed, name in found["cluster"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None
