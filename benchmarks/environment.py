"""Environment steps per second at a stated rate of touches.

    python -m benchmarks.environment --hosts 64

Each host has 8 guests of 1,024 pages of 1 MiB with 500 touches per guest-second, in requests of 64
touches unless said otherwise.  `fits`: the host has memory for all.  `each alone`: the same, every
touch a request of its own.  `swaps`: the guests have 1.3 times the host's memory in use and touch
it by a Zipf law.  `per CPU` counts CPU time instead of the clock's, so that it means something
on a busy machine too; `main thread` is what a batch step costs outside the simulator.
"""

import argparse
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from configs.loading import build
from envs.vector import OvercommitVectorEnv
from scenarios.schema import Scenario

GUESTS, RATE = 8, 500.0  # touches of a page a second
SMALL_PAGES = 256  # in a page: what a scenario counts in


class Load(NamedTuple):
    """What a host is given to do."""

    ram: str
    touches: int  # of one request
    pattern: str


LOADS = {
    "fits": Load("10GiB", 64, "uniform"),
    "each alone": Load("10GiB", 1, "uniform"),
    "swaps": Load("6GiB", 64, "zipf"),
}


class Measured(NamedTuple):
    """What one load reached."""

    load: str
    steps_per_s: float
    steps_per_cpu_s: float
    touches_per_s: float
    swap_ins: float  # share of the touches
    main_thread_s: float  # a batch step


def scenario(load: Load) -> Scenario:
    """Hosts that do nothing else."""
    touch = {
        "op": "touch",
        "region": "heap",
        "pattern": load.pattern,
        "write": 0.3,
        "rate": RATE / load.touches,
        "per_arrival": load.touches * SMALL_PAGES,
        "cost": "1us",
    }
    work = {
        "kernel": "64MiB",
        "regions": {"heap": {"kind": "anon", "size": "928MiB"}},
        "tasks": {"use": {"phases": [touch]}},
    }
    data = {
        "name": "benchmark",
        "host": {
            "page": "1MiB",
            "ram": load.ram,
            "cores": GUESTS,
            "devices": {"disk": {"preset": "nvme"}},
            "swap": {"device": "disk", "size": "16GiB"},
        },
        "guests": [{"name": "g", "count": GUESTS, "size": "1GiB", "work": work}],
    }
    return build(Scenario, data, "benchmark")


def measure(load: str, hosts: int, steps: int, threads: int | None = None) -> Measured:
    """Time `steps` batch steps that change no target, after a warm-up."""
    env = OvercommitVectorEnv(
        scenario(LOADS[load]),
        hosts,
        warm_up_s=60.0,
        staggered=False,
        threads=threads,
    )
    env.reset(seed=0)
    hold = np.zeros((hosts, env.core.guests), np.float32)
    for _ in range(4):
        env.step(hold)
    before = _totals(env)
    begun_s, begun_cpu_s, begun_main_s = _clocks()
    for _ in range(steps):
        env.step(hold)
    ended_s, ended_cpu_s, ended_main_s = _clocks()
    if env.core.hosts.truth().guest["oom_kills"].any():
        raise RuntimeError(f"{load}: guests ran out of memory; kills are not what is timed here")
    elapsed_s = ended_s - begun_s
    touches, swap_ins = _totals(env) - before
    return Measured(
        load,
        steps * hosts / elapsed_s,
        steps * hosts / (ended_cpu_s - begun_cpu_s),
        touches / elapsed_s,
        swap_ins / touches,
        (ended_main_s - begun_main_s) / steps,
    )


def _clocks() -> tuple[float, float, float]:
    """[s] of the wall, of all threads' CPU time, of this thread's."""
    return time.perf_counter(), time.process_time(), time.thread_time()


def _totals(env: OvercommitVectorEnv) -> np.ndarray:
    """(2,) touches and pages swapped in by the host, of all guests so far."""
    guest = env.core.hosts.truth().guest
    return np.array([guest["touches"].sum(), guest["host_swap_in"].sum()], np.float64)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line a load."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--hosts", type=int, default=64, help="hosts in the batch")
    parser.add_argument("--steps", type=int, default=40, help="batch steps that are timed")
    parser.add_argument("--threads", type=int, help="of the simulator; all cores if left out")
    options = parser.parse_args(arguments)
    columns = ("load", "steps/s", "per CPU", "M touches/s", "swap-ins", "main thread")
    print(("{:<12}" + " {:>11}" * 5).format(*columns))
    for load in LOADS:
        found = measure(load, options.hosts, options.steps, options.threads)
        numbers = (
            f"{found.steps_per_s:.0f}",
            f"{found.steps_per_cpu_s:.0f}",
            f"{found.touches_per_s / 1e6:.1f}",
            f"{found.swap_ins:.2%}",
            f"{found.main_thread_s * 1e3:.1f} ms",
        )
        print(("{:<12}" + " {:>11}" * 5).format(load, *numbers))


if __name__ == "__main__":
    main()
