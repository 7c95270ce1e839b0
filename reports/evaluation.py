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
from reports import reference
from reports.entrants import Entrant
from reports.episodes import Episode, GuestEpisode, Key, Results, Timeline
from reports.reference import Grid
from reports.rows import Batch, rows
from reports.sampling import EARLY_S, Sampler
from reports.settings import Evaluation
from reports.slowdown import Work
from scenarios.draw import DrawnHost, draw
from scenarios.hosts import SimulatedHosts
from scenarios.schema import Arm, Scenario


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
    folder = cache or reference.cache_folder()
    grid = Grid(config.period, config.end_s)
    settings: dict[tuple[int, Arm], Setting] = {}
    for index, scenario in enumerate(scenarios):
        for mechanisms in dict.fromkeys(entrant.mechanisms for entrant in entrants):
            seeds = tuple(config.seeds_of(index))
            settings[index, mechanisms] = _setting(scenario, mechanisms, seeds)
    hosts = [host for setting in settings.values() for slots in setting.alone for host in slots]
    to_do = reference.missing(hosts, grid, folder)
    to_do += len(scenarios) * len(entrants) * config.seeds.count
    progress.total(to_do * grid.end_s)
    progress.phase("each guest alone")
    references = reference.references(hosts, grid, folder, progress.passed, threads)
    episodes: list[Episode] = []
    guests: list[GuestEpisode] = []
    timelines: list[Timeline] = []
    for index in range(len(scenarios)):
        for entrant in entrants:
            setting = settings[index, entrant.mechanisms]
            progress.phase(f"{entrant.arm or entrant.label} on {setting.scenario.name}")
            batch = simulate(config, setting, entrant, progress.passed, threads)
            by_host = [
                _by_slot(setting.alone[host], grid, references)
                for host in range(config.seeds.count)
            ]
            found = rows(batch, by_host, config.warm_up)
            episodes += found[0]
            guests += found[1]
            timelines += found[2]
    return Results(tuple(episodes), tuple(guests), tuple(timelines))


def simulate(
    config: Evaluation,
    setting: Setting,
    entrant: Entrant,
    passed: Callable[[float], object],
    threads: int | None = None,
) -> Batch:
    """One policy on all hosts of a setting, as one batch."""
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
    policy = entrant.member.policy
    if isinstance(policy, Bound):
        policy = policy.bind(hosts, entrant.guard)
    loop = Loop(hosts, policy, entrant.guard, sampler.wait_until)
    loop.run(np.full(count_hosts, config.end_s), watch)
    keys = tuple(
        Key(entrant.arm, entrant.label, entrant.member.training_seed, setting.scenario.name, seed)
        for seed in setting.seeds
    )
    return Batch(keys, setting.drawn, sampler.samples(), fired, tuple(sorted(left_out)))


def _setting(scenario: Scenario, mechanisms: Arm, seeds: tuple[int, ...]) -> Setting:
    changed = scenario.with_arm(mechanisms)
    drawn = tuple(draw(changed, seed) for seed in seeds)
    alone = tuple(
        tuple(reference.alone(host.spec, slot) for slot in range(len(host.guests)))
        for host in drawn
    )
    return Setting(changed, seeds, drawn, alone)


def _by_slot(
    alone: Sequence[HostSpec], grid: Grid, references: Mapping[str, Work]
) -> dict[int, Work]:
    return {slot: references[reference.name(host, grid)] for slot, host in enumerate(alone)}
