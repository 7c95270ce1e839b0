"""A batch of simulated hosts: owns their arrays, advances them, copies and restores them."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from memsim import views
from memsim.account import N_CLASSES
from memsim.build import build
from memsim.invariants import check
from memsim.jit import say_if_cold
from memsim.machine import FIELDS, NAMES, Machine
from memsim.spec import HostSpec


class Mark(NamedTuple):
    """All counters of a host at a mark of its timeline."""

    number: int
    time_s: float
    host: np.ndarray  # () host_dtype
    guest: np.ndarray  # (G,) guest_dtype
    task: np.ndarray  # (G, T) views.task_view_dtype
    account: np.ndarray  # (G, T, 16) float64 [s]
    group: np.ndarray  # (1 + C + G,) group_dtype


class Snapshot(NamedTuple):
    """Some hosts' state, to the last bit."""

    machines: tuple[tuple[np.ndarray, ...], ...]  # in the order of machine.FIELDS
    task: np.ndarray
    account: np.ndarray
    marks: tuple[tuple[Mark, ...], ...]


class Fleet:
    """H hosts with up to G guest slots of up to T tasks each.

    Hosts do not know of each other, so a host does the same alone, in any batch, and on any
    number of threads.
    """

    def __init__(self, hosts: int, threads: int | None = None) -> None:
        say_if_cold()
        self.hosts = hosts
        self._threads = max(1, min(hosts, threads or os.cpu_count() or 1))
        self._pool = ThreadPoolExecutor(self._threads - 1) if self._threads > 1 else None
        self._batch: list[np.ndarray] = []  # (H, ...) each, in the order of machine.FIELDS
        self._machines: list[Machine] = []  # rows of the batch
        self._marks: list[list[Mark]] = [[] for _ in range(hosts)]
        self.task = np.zeros((hosts, 1, 1), views.task_view_dtype)
        self.account = np.zeros((hosts, 1, 1, N_CLASSES))

    def _array(self, name: str) -> np.ndarray:
        if not self._batch:
            raise RuntimeError("Fleet: reset() comes first")
        return self._batch[NAMES.index(name)]

    @property
    def host(self) -> np.ndarray:
        """(H,) records of hosts, fields as in `state.host_dtype`."""
        return self._array("host")[:, 0]

    @property
    def guest(self) -> np.ndarray:
        """(H, G) records of guests, fields as in `state.guest_dtype`."""
        return self._array("guest")

    @property
    def group(self) -> np.ndarray:
        """(H, 1 + C + G) records of cgroups, fields as in `state.group_dtype`.

        A guest's is at 1 + its field `cgroup`; row 0 is no cgroup.
        """
        return self._array("group")

    @property
    def time_s(self) -> np.ndarray:
        """(H,) float64 [s] each host's clock."""
        clock: np.ndarray = self.host["time_s"].copy()
        return clock

    def marks(self, h: int) -> list[Mark]:
        """Return what was copied at the marks of host h since its reset."""
        return self._marks[h]

    def nbytes(self) -> int:
        """Bytes of all arrays, everything included."""
        return sum(a.nbytes for a in self._batch) + self.task.nbytes + self.account.nbytes

    def reset(self, specs: Sequence[HostSpec], rows: Sequence[int] | None = None) -> None:
        """Give hosts a new life at time 0.

        Args:
            specs: one for each of `rows`.
            rows: hosts to reset, all if None.

        Raises:
            ValueError: a spec asks for the impossible; no host is changed then.
        """
        rows = range(self.hosts) if rows is None else rows
        if len(rows) != len(specs):
            raise ValueError(f"Fleet.reset: {len(specs)} specs for {len(rows)} hosts")
        machines = [build(spec) for spec in specs]
        slots = max(len(spec.guests) for spec in specs)
        tasks = max((len(g.tasks) for spec in specs for g in spec.guests), default=1)
        self._reserve([tuple(m) for m in machines], slots, tasks)
        for h, machine in zip(rows, machines, strict=True):
            self._put(h, tuple(machine))
            self._marks[h] = []
            self.task[h], self.account[h] = 0, 0.0
            self.task["started_s"][h] = self.task["finished_s"][h] = np.nan
            views.start(self._machines[h])
        self.advance(self.time_s)

    def _put(self, h: int, arrays: Sequence[np.ndarray]) -> None:
        for mine, new in zip(self._batch, arrays, strict=True):
            mine[h] = 0
            mine[h][tuple(slice(n) for n in new.shape)] = new

    def _reserve(self, needed: Sequence[Sequence[np.ndarray]], slots: int, tasks: int) -> None:
        # Grow arrays to what the new hosts need; rows keep what they hold.
        batch = self._batch or [np.zeros((self.hosts,) + (0,) * axes, t) for _, t, axes in FIELDS]
        for i, old in enumerate(batch):
            shape = np.max([old.shape[1:], *(arrays[i].shape for arrays in needed)], axis=0)
            if tuple(shape) == old.shape[1:]:
                continue
            batch[i] = np.zeros((self.hosts, *shape), old.dtype)
            batch[i][tuple(slice(n) for n in old.shape)] = old
        self._batch = batch
        self._machines = [Machine(*(a[h] for a in batch)) for h in range(self.hosts)]
        old_task, old_account = self.task, self.account
        _, g, t = np.maximum(old_task.shape, (self.hosts, slots, tasks))
        if (g, t) != old_task.shape[1:]:
            self.task = np.zeros((self.hosts, g, t), views.task_view_dtype)
            self.account = np.zeros((self.hosts, g, t, N_CLASSES))
            self.task[:, : old_task.shape[1], : old_task.shape[2]] = old_task
            self.account[:, : old_task.shape[1], : old_task.shape[2]] = old_account

    def _advance_one(self, h: int, until: float) -> None:
        machine, task, account = self._machines[h], self.task[h], self.account[h]
        while views.advance(machine, until, task, account):
            self._marks[h].append(
                Mark(
                    int(self.host["marks"][h]),
                    float(self.host["time_s"][h]),
                    self.host[h].copy(),
                    self.guest[h].copy(),
                    self.task[h].copy(),
                    self.account[h].copy(),
                    self.group[h].copy(),
                )
            )

    def advance(self, until_s: np.ndarray) -> None:
        """Let each host live until its absolute time; one already there is left alone.

        Args:
            until_s: (H,) float64 [s].
        """
        late = np.flatnonzero(np.asarray(until_s) >= self.host["time_s"])
        queue = iter(late)  # each thread takes the next host when it is done with one

        def work() -> None:
            for h in queue:
                self._advance_one(int(h), float(until_s[h]))

        helpers = [self._pool.submit(work) for _ in range(self._threads - 1)] if self._pool else []
        work()
        for helper in helpers:
            helper.result()

    def set_targets(self, pages: np.ndarray) -> None:
        """Ask guests for sizes.

        Args:
            pages: (H, G) int64 [pages]; negative leaves a guest alone.
        """
        pages = np.ascontiguousarray(pages, np.int64)
        for h in np.flatnonzero((pages >= 0).any(axis=1)):
            views.set_targets(self._machines[h], pages[h])

    def set_cgroups(self, low: np.ndarray, high: np.ndarray) -> None:
        """Set memory.low and memory.high of guests' cgroups, shared ones as well.

        Args:
            low: (H, G) int64 [pages]; negative leaves alone.
            high: (H, G) int64 [pages]; negative leaves alone, the host's RAM or more means none.

        Raises:
            ValueError: a host has one LRU for all cgroups, as cgroup v1 has.
        """
        low, high = (np.ascontiguousarray(pages, np.int64) for pages in (low, high))
        rows = np.flatnonzero(((low >= 0) | (high >= 0)).any(axis=1))
        old = rows[self.host["global_lru"][rows] != 0]
        if len(old):
            raise ValueError(f"Fleet.set_cgroups: host {old[0]} has no cgroups with lists")
        for h in rows:
            views.set_cgroups(self._machines[h], low[h], high[h])

    def set_ksm(self, run: np.ndarray, pages_to_scan: np.ndarray, sleep_s: np.ndarray) -> None:
        """Set the knobs of ksmd; hosts without KSM have none.

        Args:
            run: (H,) int64, 0 stop, 1 run, 2 stop and give all merged pages frames of their own;
                negative leaves a host alone, as below.
            pages_to_scan: (H,) int64 [small pages] before each sleep.
            sleep_s: (H,) float64 [s]; at least 1 ms.
        """
        for h in range(self.hosts):
            views.set_ksm(self._machines[h], int(run[h]), int(pages_to_scan[h]), float(sleep_s[h]))

    def snapshot(self, rows: Sequence[int] | None = None) -> Snapshot:
        """Copy the state of some hosts (all if None)."""
        chosen = list(range(self.hosts) if rows is None else rows)
        return Snapshot(
            tuple(tuple(a[h].copy() for a in self._batch) for h in chosen),
            self.task[chosen].copy(),
            self.account[chosen].copy(),
            tuple(tuple(self._marks[h]) for h in chosen),
        )

    def restore(self, rows: Sequence[int], snapshot: Snapshot) -> None:
        """Put copied state back, into the same or other hosts of any batch."""
        self._reserve(snapshot.machines, *snapshot.task.shape[1:])
        _, slots, tasks = snapshot.task.shape
        for i, h in enumerate(rows):
            self._put(h, snapshot.machines[i])
            self.task[h, :slots, :tasks] = snapshot.task[i]
            self.account[h, :slots, :tasks] = snapshot.account[i]
            self._marks[h] = list(snapshot.marks[i])

    def check(self, rows: Sequence[int] | None = None) -> None:
        """Check every conservation law.

        Raises:
            memsim.invariants.Broken: naming the law and the numbers.
        """
        for h in range(self.hosts) if rows is None else rows:
            check(self._machines[h], f"host {h}")
