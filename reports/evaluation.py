"""Policies x scenarios x seeds through the one loop: from a configuration to results.

Every policy meets the same hosts, all guests start at their maximum, warm up under the policy
itself and are then scored to the end, whatever happens.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agents.bounds import Bound
from contract.decision import beyond
from contract.interventions import NAMES, count
from contract.loop import Loop, Turn
from memsim.spec import HostSpec
from reports import parts, reference
from reports.entrants import Entrant
from reports.episodes import Key, Results
from reports.reference import Grid
from reports.rows import Batch, rows
from reports.sampling import EARLY_S, Sampler
from reports.settings import Evaluation
from reports.slowdown import Work
from scenarios.draw import DrawnHost, draw
from scenarios.hosts import SimulatedHosts
from scenarios.schema import Arm, Scenario
from scenarios.solo import alone


class Progress(NamedTuple):
    """Where to tell how far we are."""

    total: Callable[[float], object]  # simulated seconds of hosts to come, all told
    phase: Callable[[str], object]  # what is being done
    passed: Callable[[float], object]  # simulated seconds of hosts that have passed


SILENT = Progress(lambda _: None, lambda _: None, lambda _: None)


@dataclass(frozen=True)
class Setting:
    """A scenario's hosts under one set of mechanisms, one per seed."""

    scenario: Scenario
    seeds: tuple[int, ...]
    drawn: tuple[DrawnHost, ...]
    alone: tuple[tuple[HostSpec, ...], ...]  # by host and slot

    @property
    def name(self) -> str:
        """The scenario's."""
        return self.scenario.name


@dataclass(frozen=True, eq=False)
class Part:
    """One policy on the hosts of one scenario."""

    name: str  # of what is kept, `parts.name`
    setting: Setting
    entrant: Entrant


def run(
    config: Evaluation,
    scenarios: Sequence[Scenario],
    entrants: Sequence[Entrant],
    progress: Progress = SILENT,
    threads: int | None = None,
    cache: Path | None = None,
) -> Results:
    """Evaluate everyone on every host.

    Args:
        config: the configuration; its scenarios and policies are given resolved:
        scenarios: with `prepare`d lengths and traces.
        entrants: who takes part.
        progress: where to tell how far we are.
        threads: of the simulator; does not change results.
        cache: folder of reference runs, `reference.cache_folder()` if None.

    Raises:
        scenarios.traces.TraceError: a replay finds no traces that fit.
        reports.rows.EvaluationError: a host had no guest to score.
    """
    return carry_out(config, plan(config, scenarios, entrants), progress, threads, cache)


def carry_out(
    config: Evaluation,
    every: Sequence[Part],
    progress: Progress = SILENT,
    threads: int | None = None,
    cache: Path | None = None,
    kept: Path | None = None,
) -> Results:
    """Run what was planned, as `run` does.

    Args:
        config: the configuration.
        every: from `plan`.
        progress: where to tell how far we are.
        threads: of the simulator; does not change results.
        cache: folder of reference runs, `reference.cache_folder()` if None.
        kept: folder of `parts`: what is done is read from there, and kept there as it ends.
    """
    folder = cache or reference.cache_folder()
    grid = Grid(config.period, config.end_s)
    done = {part.name: parts.read(kept, part.name) for part in every} if kept else {}
    to_do = [part for part in every if done.get(part.name) is None]
    hosts = [host for part in to_do for slots in part.setting.alone for host in slots]
    lives = reference.missing(hosts, grid, folder) + len(to_do) * config.seeds.count
    progress.total(lives * grid.end_s)
    progress.phase("each guest alone")
    references = reference.references(hosts, grid, folder, progress.passed, threads)
    found: list[Results] = []
    for part in every:
        results = done.get(part.name)
        if results is None:
            progress.phase(f"{part.entrant.arm or part.entrant.label} on {part.setting.name}")
            results = _run(config, part, references, progress.passed, threads)
            if kept:
                parts.write(kept, part.name, results)
        found.append(results)
    return Results(
        tuple(episode for results in found for episode in results.episodes),
        tuple(guest for results in found for guest in results.guests),
        tuple(timeline for results in found for timeline in results.timelines),
    )


def plan(
    config: Evaluation, scenarios: Sequence[Scenario], entrants: Sequence[Entrant]
) -> tuple[Part, ...]:
    """Everything that an evaluation consists of, by scenario and then by policy."""
    found = []
    for index, scenario in enumerate(scenarios):
        seeds = tuple(config.seeds_of(index))
        settings = {
            mechanisms: _setting(scenario, mechanisms, seeds)
            for mechanisms in dict.fromkeys(entrant.mechanisms for entrant in entrants)
        }
        for entrant in entrants:
            setting = settings[entrant.mechanisms]
            name = parts.name(config, setting.scenario, setting.drawn, seeds, entrant)
            found.append(Part(name, setting, entrant))
    return tuple(found)


def missing(every: Sequence[Part], kept: Path) -> tuple[Part, ...]:
    """The parts that are still to be run."""
    return tuple(part for part in every if parts.read(kept, part.name) is None)


def _run(
    config: Evaluation,
    part: Part,
    references: Mapping[str, Work],
    passed: Callable[[float], object],
    threads: int | None,
) -> Results:
    grid = Grid(config.period, config.end_s)
    each = [_by_slot(slots, grid, references) for slots in part.setting.alone]
    batch = simulate(config, part.setting, part.entrant, each, passed, threads)
    episodes, guests, timelines = rows(batch, each, config.warm_up)
    return Results(tuple(episodes), tuple(guests), tuple(timelines))


def simulate(
    config: Evaluation,
    setting: Setting,
    entrant: Entrant,
    alone: Sequence[Mapping[int, Work]],
    passed: Callable[[float], object],
    threads: int | None = None,
) -> Batch:
    """One policy on all hosts of a setting, as one batch.

    Args:
        config: the configuration.
        setting: the hosts.
        entrant: the policy and its guard.
        alone: (H,) slot -> the guest's reference run, by which a bound judges futures.
        passed: told of simulated seconds of hosts as they pass.
        threads: of the simulator.
    """
    count_hosts = len(setting.seeds)
    hosts = SimulatedHosts(setting.scenario, count_hosts, threads)
    hosts.reset(range(count_hosts), setting.seeds)
    sampler = Sampler(hosts.truth, hosts.advance, config.period, config.end_s, passed)
    fired = np.zeros((count_hosts, len(NAMES)), np.int64)
    left_out: set[str] = set()

    def watch(turn: Turn) -> None:
        left_out.update(beyond(turn.applied, hosts.supports))
        scored = turn.telemetry.time_s >= config.warm_up - EARLY_S
        fired[scored] += count(turn.interventions)[scored]

    sampler.wait_until(np.zeros(count_hosts))
    keys = _keys(setting, entrant)
    policy = entrant.member.policy
    if isinstance(policy, Bound):
        policy = policy.bind(
            hosts,
            entrant.guard,
            lambda: Future(sampler.fork(), config, keys, setting.drawn, alone),
        )
    loop = Loop(hosts, policy, entrant.guard, sampler.wait_until)
    loop.run(np.full(count_hosts, config.end_s), watch)
    return Batch(keys, setting.drawn, sampler.samples(), fired, tuple(sorted(left_out)))


@dataclass(frozen=True, eq=False)
class Future:
    """An evaluation that goes on on copies of its hosts; judged as it will be itself."""

    sampler: Sampler  # of its own
    config: Evaluation
    keys: tuple[Key, ...]
    drawn: tuple[DrawnHost, ...]
    alone: Sequence[Mapping[int, Work]]  # (H,) slot -> the guest's reference run

    @property
    def end_s(self) -> float:
        """[s] When the episode ends."""
        return self.config.end_s

    def wait_until(self, until_s: np.ndarray) -> None:
        """Let the hosts live until their times (H,)."""
        self.sampler.wait_until(until_s)

    def scores(self) -> np.ndarray:
        """(H,) J of the episodes, at their end."""
        fired = np.zeros((len(self.keys), len(NAMES)), np.int64)
        batch = Batch(self.keys, self.drawn, self.sampler.samples(), fired)
        episodes, _, _ = rows(batch, self.alone, self.config.warm_up)
        return np.array([episode.j for episode in episodes])


def _keys(setting: Setting, entrant: Entrant) -> tuple[Key, ...]:
    return tuple(
        Key(entrant.arm, entrant.label, entrant.member.training_seed, setting.scenario.name, seed)
        for seed in setting.seeds
    )


def _setting(scenario: Scenario, mechanisms: Arm, seeds: tuple[int, ...]) -> Setting:
    changed = scenario.with_arm(mechanisms)
    drawn = tuple(draw(changed, seed) for seed in seeds)
    each = tuple(
        tuple(alone(host.spec, slot) for slot in range(len(host.guests))) for host in drawn
    )
    return Setting(changed, seeds, drawn, each)


def _by_slot(
    alone: Sequence[HostSpec], grid: Grid, references: Mapping[str, Work]
) -> dict[int, Work]:
    return {slot: references[reference.name(host, grid)] for slot, host in enumerate(alone)}
