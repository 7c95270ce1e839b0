"""Reads the truth of simulated hosts on a fixed grid of times while something else drives them.

Counters of a guest or task may begin anew when it is booted again; here they go on.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from memsim.account import IDLE, N_CLASSES
from reports.slowdown import Work

EARLY_S = 1e-6  # [s] a clock so close to a sample's time has reached it

GUEST_COUNTERS = (  # of memsim's guest records: pages, counts, seconds
    "host_swap_in",
    "host_swap_out",
    "guest_swap_in",
    "guest_swap_out",
    "discarded",
    "refaults",
    "inflated",
    "deflated",
    "hypercalls",
    "resize_s",
    "oom_kills",
    "host_kills",
)
GUEST_GAUGES = (  # pages, and `state`
    "state",
    "pages",
    "taken_pages",
    "balloon_pages",
    "free_pages",
    "anon_pages",
    "file_pages",
    "kernel_pages",
    "host_swapped_pages",
)
TASK_COUNTERS = ("nominal_s", "served", "dropped", "latency_s")
HOST_FIELDS = ("swap_in_pages", "swap_out_pages", "free_pages")


class Records(Protocol):
    """What the simulator knows: H hosts, G guests, T tasks each."""

    @property
    def host(self) -> np.ndarray:
        """(H,) memsim.state.host_dtype."""

    @property
    def guest(self) -> np.ndarray:
        """(H, G) memsim.state.guest_dtype."""

    @property
    def task(self) -> np.ndarray:
        """(H, G, T) memsim.views.task_view_dtype."""

    @property
    def account(self) -> np.ndarray:
        """(H, G, T, C) float64 [s], C = memsim.account.CLASSES."""


class Samples(NamedTuple):
    """N samples of H hosts with G guests of T tasks."""

    time_s: np.ndarray  # (N,)
    host: dict[str, np.ndarray]  # (H, N) by HOST_FIELDS
    gauge: dict[str, np.ndarray]  # (H, N, G) by GUEST_GAUGES
    counter: dict[str, np.ndarray]  # (H, N, G) by GUEST_COUNTERS, totals
    task: dict[str, np.ndarray]  # (H, N, G, T) by TASK_COUNTERS, totals
    idle_s: np.ndarray  # (H, N, G, T) totals
    account_s: np.ndarray  # (H, N, G, C) totals over a guest's tasks
    started_s: np.ndarray  # (H, G, T) at the end
    finished_s: np.ndarray  # (H, G, T) at the end

    def work(self, host: int, guest: int, tasks: int) -> Work:
        """What one guest's first `tasks` tasks had done."""
        kills = (
            self.counter["oom_kills"][host, :, guest] + self.counter["host_kills"][host, :, guest]
        )
        return Work(
            time_s=self.time_s,
            present=self.gauge["state"][host, :, guest] > 0,
            kills=kills.astype(np.int64),
            **{name: self.task[name][host, :, guest, :tasks] for name in TASK_COUNTERS},
            idle_s=self.idle_s[host, :, guest, :tasks],
            started_s=self.started_s[host, guest, :tasks],
            finished_s=self.finished_s[host, guest, :tasks],
        )


class Sampler:
    """Advances hosts in steps no longer than to the next sample, and takes it there."""

    def __init__(
        self,
        truth: Callable[[], Records],
        advance: Callable[[np.ndarray], None],
        period_s: float,
        end_s: float,
        progress: Callable[[float], object],
    ) -> None:
        """Prepare for samples at 0, period_s, 2 x period_s up to end_s.

        Args:
            truth: gives the present records.
            advance: lets each host live until its time (H,).
            period_s: between samples.
            end_s: of the last one.
            progress: told of simulated seconds of hosts as they pass.
        """
        self._truth, self._advance, self._progress = truth, advance, progress
        self.time_s = np.arange(round(end_s / period_s) + 1) * period_s
        self._next = np.zeros(len(truth().host), np.int64)  # sample that each host comes to next
        self._samples = self._empty()

    def fork(self) -> "Sampler":
        """Another that has taken the same samples and goes on alone; it tells of no progress."""
        other = copy.copy(self)
        other._progress = lambda _: None
        other._next, other._samples = self._next.copy(), copy.deepcopy(self._samples)
        return other

    def wait_until(self, until_s: np.ndarray) -> None:
        """Advance each host to its time (H,), sampling on the way."""
        last = len(self.time_s) - 1
        while True:
            clock = self._truth().host["time_s"]
            due = self.time_s[np.minimum(self._next, last)]
            waiting = (self._next <= last) & (due <= until_s + EARLY_S)
            goal = np.where(waiting, due, until_s)
            before = clock.copy()
            self._advance(np.maximum(goal, clock))
            self._progress(float((self._truth().host["time_s"] - before).sum()))
            rows = np.flatnonzero(waiting)
            if not len(rows):
                return
            self._take(rows)

    def samples(self) -> Samples:
        """All that was sampled, with counters that go on over reboots.

        Raises:
            ValueError: a host has not reached the last sample.
        """
        if (self._next < len(self.time_s)).any():
            raise ValueError(f"samples: {self._next} taken; expected {len(self.time_s)} of each")
        taken, task = self._samples, self._truth().task
        return taken._replace(
            counter={name: continued(values) for name, values in taken.counter.items()},
            task={name: continued(values) for name, values in taken.task.items()},
            idle_s=continued(taken.idle_s),
            account_s=continued(taken.account_s),
            started_s=task["started_s"].copy(),
            finished_s=task["finished_s"].copy(),
        )

    def _empty(self) -> Samples:
        found = self._truth()
        hosts, guests, tasks = found.task.shape
        shape = (hosts, len(self.time_s), guests)

        def blank(record: np.ndarray, names: tuple[str, ...], *size: int) -> dict[str, np.ndarray]:
            return {name: np.zeros(size, record.dtype[name]) for name in names}

        return Samples(
            time_s=self.time_s,
            host=blank(found.host, HOST_FIELDS, *shape[:2]),
            gauge=blank(found.guest, GUEST_GAUGES, *shape),
            counter=blank(found.guest, GUEST_COUNTERS, *shape),
            task=blank(found.task, TASK_COUNTERS, *shape, tasks),
            idle_s=np.zeros((*shape, tasks)),
            account_s=np.zeros((*shape, N_CLASSES)),
            started_s=np.zeros((hosts, guests, tasks)),
            finished_s=np.zeros((hosts, guests, tasks)),
        )

    def _take(self, rows: np.ndarray) -> None:
        """The next sample of the hosts in `rows` (R,)."""
        found, samples = self._truth(), self._samples
        at = (rows, self._next[rows])
        for name, values in samples.host.items():
            values[at] = found.host[name][rows]
        for table in (samples.gauge, samples.counter):
            for name, values in table.items():
                values[at] = found.guest[name][rows]
        for name, values in samples.task.items():
            values[at] = found.task[name][rows]
        account = found.account[rows]
        samples.idle_s[at] = account[..., IDLE]
        samples.account_s[at] = account.sum(axis=2)
        self._next[rows] += 1


def continued(values: np.ndarray) -> np.ndarray:
    """Totals that go on where a counter began anew.

    Args:
        values: (H, N, ...) counters; one that falls has begun anew from 0.

    Returns:
        The same shape, not falling along N.
    """
    steps = np.diff(values, axis=1)
    steps = np.where(steps < 0, values[:, 1:], steps)
    first = values[:, :1]
    return np.concatenate([first, first + np.cumsum(steps, axis=1)], axis=1)
