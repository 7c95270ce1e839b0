"""What an evaluation costs, measured on the first minutes of some of its hosts."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from agents.bounds import Bound
from reports import reference
from reports.evaluation import Part
from reports.reference import Grid
from reports.settings import Evaluation
from scenarios.draw import draw
from scenarios.hosts import SimulatedHosts
from scenarios.schema import Scenario

HOSTS = 2  # of each scenario that are looked at
SAMPLE_S = 300.0  # [s] of their lives
# Samples of results, and threads that wait for the last host of a batch: a factor on hosts' time.
OVERHEAD = 1.3
# [s] of a policy's own time, reading and applying included, for a second of all hosts of a batch,
# and for each of these hosts beside: the mean of the baselines on eight guests a host.  They lie
# from a fifth to four times as much.
DECIDING, DECIDING_A_HOST = 2.5e-4, 3e-5

Measure = Callable[[Scenario, Sequence[int], float], float]


def minutes(
    config: Evaluation,
    to_do: Sequence[Part],
    threads: int | None = None,
    cache: Path | None = None,
    measure: Measure | None = None,
) -> float:
    """[min] How long a run will take; within a factor of two on a machine with nothing else to do.

    Args:
        config: the configuration.
        to_do: what is to be run.
        threads: of the simulator.
        cache: folder of reference runs, `reference.cache_folder()` if None.
        measure: instead of `cpu_s`.
    """
    grid, folder = Grid(config.period, config.end_s), cache or reference.cache_folder()
    sample_s = min(SAMPLE_S, config.end_s)
    deciding = DECIDING + DECIDING_A_HOST * config.seeds.count
    total_s = deciding * config.end_s * len(to_do)
    at_once = min(threads or os.cpu_count() or 1, config.seeds.count)
    for name in dict.fromkeys(part.setting.name for part in to_do):
        own = [part for part in to_do if part.setting.name == name]
        scenario, seeds = own[0].setting.scenario, own[0].setting.seeds
        chosen = seeds[:HOSTS]
        sampled, all_hosts = (_pages(scenario, part) for part in (chosen, seeds))
        rounds = sum(_lives(part, config.end_s) for part in own) + _references(own, grid, folder)
        spent_s = (measure or cpu_s)(scenario, chosen, sample_s) * all_hosts / sampled
        lives_s = spent_s / sample_s * config.end_s * rounds
        total_s += OVERHEAD * lives_s / at_once
    return total_s / 60


def _lives(part: Part, end_s: float) -> float:
    """How often the hosts live: a bound tries the future on copies of them."""
    policy = part.entrant.member.policy
    return policy.lives(end_s) if isinstance(policy, Bound) else 1.0


def _pages(scenario: Scenario, seeds: Sequence[int]) -> int:
    """Of all guests of some hosts; what hosts cost goes by it."""
    return sum(guest.pages for seed in seeds for guest in draw(scenario, seed).spec.guests)


def _references(own: Sequence[Part], grid: Grid, folder: Path) -> float:
    """Runs of each guest alone that are still to do, in runs of all guests together."""
    rounds = 0.0
    for setting in {id(part.setting): part.setting for part in own}.values():
        alone = [host for slots in setting.alone for host in slots]
        rounds += reference.missing(alone, grid, folder) / max(len(alone), 1)
    return rounds


def cpu_s(scenario: Scenario, seeds: Sequence[int], sample_s: float) -> float:
    """[s] CPU time of the first `sample_s` of some hosts together, all guests at their maximum."""
    hosts = SimulatedHosts(scenario, len(seeds), threads=1)
    hosts.reset(range(len(seeds)), list(seeds))
    hosts.advance(hosts.time_s)  # what is compiled or loaded on first use is not the hosts' cost
    begin_s = time.process_time()
    hosts.advance(sample_s)
    return time.process_time() - begin_s


def sentence(found_min: float, config: Evaluation, to_do: int, parts: int) -> str:
    """What is to be done and how long it takes, for people; a part is a policy on a scenario."""
    hosts = config.seeds.count
    lives = f"{to_do * hosts:,} lives of {config.end_s / 60:.0f} min"
    about = "under a minute" if found_min < 1 else f"about {found_min:.0f} min"
    before = f" ({parts - to_do} of {parts} parts were done before)" if to_do < parts else ""
    return f"To do: {lives}{before}; {about} on this machine."
