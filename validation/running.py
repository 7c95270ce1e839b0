"""Runs experiments: every variant with every seed, in two processes."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass

from agents.baselines import load_policy
from scenarios import outcome
from scenarios.outcome import Outcome
from validation.experiment import Experiment, catalogue

SEEDS = (0, 1, 2)
QUICK_SEEDS = (0,)
PROCESSES = 2


@dataclass(frozen=True)
class Job:
    """One variant of one experiment with one seed; plain text, so that any process can do it."""

    experiment: str
    run: str
    seed: int
    quick: bool


@dataclass(frozen=True)
class Done:
    """A job and what it left behind."""

    outcome: Outcome
    seconds: float  # of real time


@dataclass(frozen=True)
class Measured:
    """All runs of an experiment."""

    experiment: Experiment
    outcomes: tuple[dict[str, Outcome], ...]  # one a seed
    seconds: float  # of one core, all told


def jobs_of(experiments: Sequence[Experiment], quick: bool) -> list[Job]:
    """All that has to be run, the longest experiments first."""
    ordered = sorted(experiments, key=lambda one: -(one.quick_cost_s if quick else one.cost_s))
    seeds = QUICK_SEEDS if quick else SEEDS
    return [
        Job(one.name, run, seed, quick)
        for one in ordered
        if one.quick is not None or not quick
        for run in one.runs
        for seed in seeds
    ]


def do(job: Job) -> Done:
    """Run one job, in whatever process this is."""
    experiment = catalogue()[job.experiment]
    run = experiment.runs[job.run]
    more = experiment.quick or () if job.quick else ()
    policy = load_policy(run.policy, {}) if run.policy else None
    began = time.perf_counter()
    found = outcome.run(run.load(more), job.seed, policy, run.sample_s)
    return Done(found, time.perf_counter() - began)


def measure(
    experiments: Sequence[Experiment],
    quick: bool,
    told: Callable[[Job], object] = lambda _: None,
    processes: int = PROCESSES,
) -> list[Measured]:
    """Run everything.

    Args:
        experiments: in the order of the answer; those without a quick variant are left out of a
            quick run.
        quick: short variants with one seed.
        told: called after each job.
        processes: at most so many at a time; results do not depend on it.

    Raises:
        configs.loading.ConfigError: a scenario is wrong.
    """
    jobs = jobs_of(experiments, quick)
    if processes == 1:
        done = {}
        for job in jobs:
            done[job] = do(job)
            told(job)
    else:
        done = _in_processes(jobs, told, processes)
    taking_part = [one for one in experiments if one.quick is not None or not quick]
    seeds = QUICK_SEEDS if quick else SEEDS
    return [
        Measured(
            one,
            tuple(
                {run: done[Job(one.name, run, seed, quick)].outcome for run in one.runs}
                for seed in seeds
            ),
            sum(part.seconds for job, part in done.items() if job.experiment == one.name),
        )
        for one in taking_part
    ]


def end_with(parent: int) -> None:
    """End this process soon after the one that it works for is gone, killed perhaps."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _in_processes(
    jobs: Sequence[Job], told: Callable[[Job], object], processes: int
) -> dict[Job, Done]:
    # Forking a process that has threads is unsafe; the kernels come from numba's cache.
    context = multiprocessing.get_context("spawn")
    ending = (os.getpid(),)
    with ProcessPoolExecutor(processes, context, end_with, ending) as pool:
        futures: dict[Future[Done], Job] = {pool.submit(do, job): job for job in jobs}
        done = {}
        try:
            for future in as_completed(futures):
                done[futures[future]] = future.result()
                told(futures[future])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return done
