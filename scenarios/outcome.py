"""One run of a scenario from beginning to end: all counters at its marks, and samples of memory.

A run ends at the last mark of the timeline, or at the scenario's end if that is sooner.  Its clock
stops less than a second (or sample) after the mark; a job that ends by then is done.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from contract.arrays import Floats, Ints
from contract.guard import GuardConfig
from contract.loop import Loop
from contract.policy import Policy
from memsim.account import CLASSES
from memsim.fleet import Mark
from memsim.spec import Op, Task
from scenarios.facts import ends
from scenarios.hosts import SimulatedHosts
from scenarios.randomness import Key
from scenarios.schema import Scenario

BLOCK_BYTES = 2**21
STEP_S = 1.0  # the clock of a run that nobody samples or controls
BEGIN, END = "(begin)", "(end)"  # marks that every run has


class NoSuchMark(Exception):
    """A run has no mark of that name; it may have ended before it."""


@dataclass(frozen=True)
class Samples:
    """Memory over time.  Axes: N samples, G guests; all in bytes."""

    time_s: Floats  # (N,) [s]
    resident: Ints  # (N, G) backed by the host, the emulator included
    host_swapped: Ints  # (N, G)
    free: Ints  # (N, G) inside the guest
    free_whole: Ints  # (N, G) ... in whole blocks of 2 MiB
    file: Ints  # (N, G) page cache
    taken: Ints  # (N, G) given up: by balloon, free target or unplugged
    swap_used: Ints  # (N,) of the host's swap area


@dataclass(frozen=True)
class Span:
    """What happened between two marks, in bytes, events and seconds."""

    first: Mark
    last: Mark
    page_bytes: int
    guests: tuple[str, ...]
    tasks: tuple[tuple[str, ...], ...]

    @property
    def seconds(self) -> float:
        """[s] simulated time."""
        return self.last.time_s - self.first.time_s

    def host(self, field: str) -> float:
        """How much a counter of `memsim.state.host_dtype` rose."""
        return float(self.last.host[field]) - float(self.first.host[field])

    def guest(self, field: str, name: str | None = None) -> float:
        """How much a counter of `memsim.state.guest_dtype` rose, for one guest or all of them."""
        rise = self.last.guest[field].astype(np.float64) - self.first.guest[field]
        return float(rise[self._slots(name)].sum())

    def cgroup(self, field: str, name: str) -> float:
        """How much a counter of `memsim.state.group_dtype` rose, for a guest's cgroup."""
        row = 1 + int(self.last.guest["cgroup"][self.guests.index(name)])
        return float(self.last.group[field][row]) - float(self.first.group[field][row])

    def host_bytes(self, field: str) -> float:
        """As `host`, for a counter of pages."""
        return self.host(field) * self.page_bytes

    def guest_bytes(self, field: str, name: str | None = None) -> float:
        """As `guest`, for a counter of pages."""
        return self.guest(field, name) * self.page_bytes

    def task(self, field: str, task: str = "", name: str | None = None) -> float:
        """How much a counter of `memsim.views.task_view_dtype` rose.

        Args:
            field: such as `done` (accesses) or `nominal_s`.
            task: name, or the beginning of a name: `worker` for worker-1, worker-2 ...; "" all.
            name: guest, None for all.
        """
        rise = self.last.task[field].astype(np.float64) - self.first.task[field]
        return float(sum(rise[slot, j] for slot, j in self.places(task, name)))

    def lost_s(self, cause: str, task: str = "", name: str | None = None) -> float:
        """[s] of tasks booked to a class of `memsim.account.CLASSES`."""
        rise = (self.last.account - self.first.account)[:, :, CLASSES.index(cause)]
        return float(sum(rise[slot, j] for slot, j in self.places(task, name)))

    def _slots(self, name: str | None) -> list[int]:
        return [self.guests.index(name)] if name is not None else list(range(len(self.guests)))

    def places(self, task: str = "", name: str | None = None) -> Iterator[tuple[int, int]]:
        """Slots and numbers of the tasks of a name, as `task` takes them."""
        for slot in self._slots(name):
            for j, own in enumerate(self.tasks[slot]):
                if own == task or not task or own.startswith(f"{task}-"):
                    yield slot, j


@dataclass(frozen=True)
class Outcome:
    """What one run left behind."""

    page_bytes: int
    guests: tuple[str, ...]
    tasks: tuple[tuple[str, ...], ...]  # of each guest
    jobs: tuple[tuple[bool, ...], ...]  # of each task: whether it comes to an end by itself
    delays_s: tuple[tuple[float, ...], ...]  # of each task: how long it sleeps before all else
    marks: tuple[tuple[str, Mark], ...]  # in the order of time, BEGIN and END included
    samples: Samples
    by_mark: bool  # it ended because it had come by the last mark of the timeline
    missed: tuple[str, ...]  # marks that it did not come by, as it was over before

    def at(self, mark: str) -> Mark:
        """All counters and gauges at a mark; of several with one name the first.

        Raises:
            NoSuchMark: the run did not come by it.
        """
        for name, found in self.marks:
            if name == mark:
                return found
        known = ", ".join(name for name, _ in self.marks)
        raise NoSuchMark(f"mark {mark!r}: expected one of {known}")

    def between(self, first: str = BEGIN, last: str = END) -> Span:
        """What happened between two marks.

        Raises:
            NoSuchMark: the run did not come by one of them.
        """
        return Span(self.at(first), self.at(last), self.page_bytes, self.guests, self.tasks)

    def gauge_bytes(self, field: str, mark: str, name: str | None = None) -> float:
        """A gauge of pages of `memsim.state.guest_dtype` at a mark, in bytes; None: all guests."""
        values = self.at(mark).guest[field]
        chosen = values if name is None else values[self.guests.index(name)]
        return float(np.sum(chosen)) * self.page_bytes

    def job_s(self, task: str, name: str | None = None) -> float:
        """[s] from a task's first phase that is no sleep to its end; NaN: unfinished.

        Args:
            task: as for `Span.task`; the mean over all of that name.
            name: guest, None for all.
        """
        view = self.at(END).task
        took = [
            view["finished_s"][slot, j] - view["started_s"][slot, j] - self.delays_s[slot][j]
            for slot, j in self.between().places(task, name)
        ]
        return float(np.mean(took)) if took else float("nan")


def run(
    scenario: Scenario,
    key: Key | int = 0,
    policy: Policy[Any] | None = None,
    sample_s: float = 0.0,
    guard: GuardConfig | None = None,
    told: Callable[[float], object] = lambda _: None,
) -> Outcome:
    """Run a scenario once.

    Args:
        scenario: as loaded.
        key: what draws all its random parts.
        policy: who sets targets; None: nobody but the timeline.
        sample_s: [s] between samples of memory; 0: none.
        guard: what keeps the policy in bounds, level `limits` if None.
        told: called with the time [s] that the run has come to.

    Raises:
        scenarios.traces.TraceError: a replay finds no traces.
    """
    hosts = SimulatedHosts(scenario, 1, threads=1)
    hosts.reset([0], [key])
    taken = _Sampler(hosts, scenario, sample_s, told)
    if policy is None:
        taken.wait_until(np.full(1, scenario.end_s))
    else:
        loop = Loop(hosts, policy, guard or GuardConfig(level="limits"), taken.wait_until)
        while not taken.over:
            loop.turn(scenario.end_s)
    return taken.outcome()


class _Sampler:
    """Lets time pass in steps, keeps samples, and knows when the run is over."""

    def __init__(
        self,
        hosts: SimulatedHosts,
        scenario: Scenario,
        sample_s: float,
        told: Callable[[float], object],
    ) -> None:
        self._hosts, self._end_s, self._sample_s = hosts, scenario.end_s, sample_s
        self._told = told
        self._names = tuple(entry.name for entry in scenario.timeline if entry.do == "mark")
        self._rows: list[tuple[float, np.ndarray, int]] = []
        self._begin = self._now()
        self._sample()

    @property
    def over(self) -> bool:
        return self._all_marked or bool(self._hosts.time_s[0] >= self._end_s - 1e-9)

    @property
    def _all_marked(self) -> bool:
        return 0 < len(self._names) <= len(self._hosts.marks(0))

    def wait_until(self, until_s: Floats) -> None:
        step_s = self._sample_s or STEP_S
        while not self.over and (now := float(self._hosts.time_s[0])) < until_s[0]:
            step = (np.floor(now / step_s + 1e-6) + 1) * step_s
            self._hosts.advance(float(min(step, until_s[0], self._end_s)))
            self._told(float(self._hosts.time_s[0]))
            if self._sample_s and step <= until_s[0]:
                self._sample()

    def outcome(self) -> Outcome:
        """Everything that was counted and sampled."""
        drawn = self._hosts.drawn[0]
        marks = [(BEGIN, self._begin), *self._hosts.marks(0), (END, self._now())]
        return Outcome(
            page_bytes=drawn.spec.page_bytes,
            guests=tuple(guest.name for guest in drawn.guests),
            tasks=tuple(guest.task_names for guest in drawn.guests),
            jobs=tuple(tuple(map(ends, guest.tasks)) for guest in drawn.spec.guests),
            delays_s=tuple(
                tuple(_delay_s(task) for task in guest.tasks) for guest in drawn.spec.guests
            ),
            marks=tuple(marks),
            samples=self._samples(drawn.spec.page_bytes),
            by_mark=self._all_marked,
            missed=self._names[len(self._hosts.marks(0)) :],
        )

    def _now(self) -> Mark:
        truth = self._hosts.truth()
        views = (truth.host[0], truth.guest[0], truth.task[0], truth.account[0], truth.group[0])
        return Mark(-1, float(self._hosts.time_s[0]), *(view.copy() for view in views))

    def _sample(self) -> None:
        truth = self._hosts.truth()
        row = (float(self._hosts.time_s[0]), truth.guest[0].copy())
        self._rows.append((*row, int(truth.host["swap_used_pages"][0])))

    def _samples(self, page: int) -> Samples:
        guest = np.stack([row[1] for row in self._rows])

        def pages(field: str) -> Ints:
            return np.asarray(guest[field] * page, np.int64)

        return Samples(
            time_s=np.array([row[0] for row in self._rows]),
            resident=pages("resident_pages"),
            host_swapped=pages("host_swapped_pages"),
            free=pages("free_pages"),
            free_whole=pages("free_blocks") * max(1, BLOCK_BYTES // page),
            file=pages("file_pages"),
            taken=pages("taken_pages"),
            swap_used=np.array([row[2] * page for row in self._rows]),
        )


def _delay_s(task: Task) -> float:
    first = task.phases[0]
    return float(first.seconds) if first.op == Op.SLEEP else 0.0
