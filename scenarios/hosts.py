"""Simulated hosts as the contract has them: read like real ones, commanded like real ones.

Also what only a simulation has: reset by key, time that passes on demand, the truth, and exact
copies of everything.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from configs.loading import dump
from contract import state as carried
from contract.arrays import UNKNOWN, Bools, Floats, Ints
from contract.decision import TARGETS_ONLY, Decision
from contract.host import Refused
from contract.telemetry import Telemetry
from memsim.fleet import Fleet, Mark
from memsim.fleet import Snapshot as FleetSnapshot
from scenarios import reading, room, sensors
from scenarios.draw import DrawnHost, draw
from scenarios.facts import Facts, blank, describe
from scenarios.machine import Kernel
from scenarios.randomness import Key, as_key
from scenarios.schema import Scenario
from scenarios.sensors import Answers

CGROUP_LIMITS = frozenset({"memory_low_bytes", "memory_high_bytes"})
KSM_KNOBS = frozenset({"ksm_run", "ksm_pages_to_scan", "ksm_sleep_s"})
DRAWS_KEPT = 1024  # hosts whose specs are kept for another reset


class Truth(NamedTuple):
    """Views of the simulator's records, in pages and seconds; they change with time."""

    host: np.ndarray  # (H,) memsim.state.host_dtype
    guest: np.ndarray  # (H, G') memsim.state.guest_dtype, G' slots in use, at most G
    task: np.ndarray  # (H, G', T) memsim.views.task_view_dtype
    account: np.ndarray  # (H, G', T, 16) float64 [s], memsim.account.CLASSES
    page_bytes: Ints  # (H,)
    group: np.ndarray  # (H, C) memsim.state.group_dtype, a guest's cgroup at 1 + its `cgroup`


class Remembered(NamedTuple):
    """What the hosts remember beside the simulator's state."""

    applied_bytes: Ints  # (H, G) last targets sent, -1 none
    applied_at_s: Floats  # (H, G) when they were first sent
    answers: Answers


class Snapshot(NamedTuple):
    """Some hosts, to the last bit."""

    keys: tuple[Key, ...]
    scenarios: tuple[str, ...]  # digest of each host's scenario
    fleet: FleetSnapshot
    remembered: Remembered


class SimulatedHosts:
    """H hosts with G guest slots each; implements `contract.host.Host`.

    Args:
        scenario: one for all hosts, or one for each.
        hosts: how many.
        threads: of the simulator; does not change results.
        guests: slots, at least as many as the scenarios need, which is the default.
    """

    def __init__(
        self,
        scenario: Scenario | Sequence[Scenario],
        hosts: int,
        threads: int | None = None,
        guests: int | None = None,
    ) -> None:
        """Store the parts; hosts live from their first reset on."""
        several = [scenario] if isinstance(scenario, Scenario) else list(scenario)
        if len(several) not in (1, hosts):
            raise ValueError(f"scenario: {len(several)} of them; expected 1 or {hosts}")
        self.scenarios = several * (hosts if len(several) == 1 else 1)
        needed = max(one.most_guests for one in several)
        if guests is not None and guests < needed:
            raise ValueError(f"guests: {guests} slots; expected at least {needed}")
        self.hosts, self.guests = hosts, guests or needed
        limits = any(_has_limits(one) for one in several)
        merges = any(one.host.ksm is not None for one in several)
        self.supports = (
            TARGETS_ONLY
            | (CGROUP_LIMITS if limits else frozenset())
            | (KSM_KNOBS if merges else frozenset())
        )
        for one in several:
            room.check_scenario(one, hosts if len(several) == 1 else 1)
        self._with_agents = any(one.sensors.agents > 0 for one in several)
        self._with_samples = any(one.sensors.sampling > 0 for one in several)
        self.threads = threads
        self.fleet = Fleet(hosts, threads)
        self._drawn: list[DrawnHost | None] = [None] * hosts
        self._facts = blank(hosts, self.guests)
        self._remembered = _nothing(hosts, self.guests)
        self._kept: dict[tuple[int, Key], DrawnHost] = {}
        digests = {id(one): digest(one) for one in several}
        self._digests = [digests[id(one)] for one in self.scenarios]

    def reset(self, rows: Sequence[int] | Ints, keys: Sequence[Key | int]) -> None:
        """Give hosts new lives at time 0.

        Args:
            rows: (R,) hosts.
            keys: one (seed, episode) for each.

        Raises:
            ValueError: not one key for each row.
            scenarios.traces.TraceError: a replay finds no traces.
        """
        chosen = [int(row) for row in rows]
        if len(keys) != len(chosen):
            raise ValueError(f"reset: {len(keys)} keys for {len(chosen)} hosts")
        drawn = [self._draw(row, as_key(key)) for row, key in zip(chosen, keys, strict=True)]
        names = [self.scenarios[row].name for row in chosen]
        room.check_specs(names, [one.spec for one in drawn], self.hosts)
        self.fleet.reset([one.spec for one in drawn], chosen)
        self._put(chosen, drawn, _nothing(len(chosen), self.guests))

    def advance(self, until_s: Floats | float) -> None:
        """Let time pass, for each host until its absolute time (H,) [s]; past times change nothing.

        Where statistics become known late, what guests answer is taken so long before.
        """
        until = np.broadcast_to(np.asarray(until_s, np.float64), (self.hosts,))
        delay = self._facts.delay_s
        if delay.any():
            self.fleet.advance(np.maximum(until - delay, self.fleet.time_s))
            self._collect(until >= self.fleet.time_s + delay)
        self.fleet.advance(until)

    def read(self) -> Telemetry:
        """Take a reading of all hosts."""
        if not self._facts.delay_s.all():
            self._collect(self._facts.delay_s == 0)
        return reading.telemetry(
            self.fleet.host,
            self._guest,
            self.fleet.group,
            self._facts,
            self._remembered.answers,
            self._applied(),
            with_agents=self._with_agents,
            with_samples=self._with_samples,
        )

    def apply(self, decision: Decision) -> None:
        """Send targets; guests follow later, in part, or never.

        Nobody is asked anything in an empty slot.  A size above the maximum means the maximum, a
        memory.high of the host's RAM or more means none.

        Raises:
            Refused: a target of 0, a column that these hosts do not have, or different limits for
                guests that share a cgroup.
        """
        target = np.asarray(decision.target_bytes)
        if target.shape != (self.hosts, self.guests):
            raise ValueError(f"target_bytes: {target.shape}: expected {(self.hosts, self.guests)}")
        extra = [name for name, value in decision._asdict().items() if value is not None]
        if not set(extra) <= self.supports:
            raise Refused(f"{', '.join(sorted(set(extra) - self.supports))}: not on these hosts")
        low, high = (
            self._limits(name, getattr(decision, name))
            for name in ("memory_low_bytes", "memory_high_bytes")
        )
        asked = (target >= 0) & (self._guest["state"] > 0)
        if (asked & (target == 0)).any():
            host, slot = np.argwhere(asked & (target == 0))[0]
            raise Refused(f"host {host}, slot {slot}: a target of 0; expected a size above it")
        sent = np.where(asked, np.minimum(target, self._facts.max_bytes), UNKNOWN)
        before = self._applied()[0]
        kept = self._remembered
        new = asked & (sent != before)
        self._remembered = kept._replace(
            applied_bytes=np.where(asked, sent, before),
            applied_at_s=np.where(new, self.fleet.time_s[:, None], kept.applied_at_s),
        )
        pages = np.where(asked, np.maximum(sent // self._facts.page_bytes, 1), UNKNOWN)
        self.fleet.set_targets(pages[:, : self.fleet.guest.shape[1]])
        self._set_ksm(decision)
        if low is not None or high is not None:
            alone = np.full_like(pages, UNKNOWN)[:, : self.fleet.guest.shape[1]]
            self.fleet.set_cgroups(alone if low is None else low, alone if high is None else high)

    def _set_ksm(self, decision: Decision) -> None:
        """Hosts without KSM have nothing to set."""
        knobs = (decision.ksm_run, decision.ksm_pages_to_scan, decision.ksm_sleep_s)
        if all(knob is None for knob in knobs):
            return
        alone = np.full(self.hosts, UNKNOWN)
        run, pages, sleep_s = (alone if knob is None else np.asarray(knob) for knob in knobs)
        if (run > 2).any():
            raise Refused(f"ksm_run: {run.max()}: expected 0, 1 or 2")
        self.fleet.set_ksm(run, pages, np.nan_to_num(sleep_s, nan=-1.0))

    def _limits(self, name: str, wanted: Ints | None) -> Ints | None:
        """(H, G') [pages] settings of guests' cgroups; -1 leaves alone.

        An absent guest has none, nor has a host without cgroup v2.

        Raises:
            Refused: guests that share a cgroup are to have different ones.
        """
        if wanted is None:
            return None
        guest = self.fleet.guest
        asked = np.asarray(wanted)[:, : guest.shape[1]]
        pages = np.where(asked >= 0, asked // self._facts.page_bytes, UNKNOWN)
        limited = (guest["state"] > 0) & self._facts.cgroup2[:, None]
        pages = np.where(limited, pages, UNKNOWN)
        for host, slot in np.argwhere(pages >= 0):
            shared = (guest[host]["cgroup"] == guest[host, slot]["cgroup"]) & (pages[host] >= 0)
            if (pages[host][shared] != pages[host, slot]).any():
                raise Refused(
                    f"{name}: host {host}, slot {slot}: guests of one cgroup ask for different ones"
                )
        return pages

    @property
    def time_s(self) -> Floats:
        """(H,) [s] each host's clock."""
        return self.fleet.time_s

    @property
    def drawn(self) -> list[DrawnHost]:
        """What was drawn for each host: specs, names, mechanisms.

        Raises:
            RuntimeError: a host was never reset.
        """
        if any(one is None for one in self._drawn):
            raise RuntimeError("SimulatedHosts: reset() comes first")
        return [one for one in self._drawn if one is not None]

    def truth(self) -> Truth:
        """What no policy sees."""
        fleet = self.fleet
        page_bytes = self._facts.page_bytes[:, 0]
        return Truth(fleet.host, fleet.guest, fleet.task, fleet.account, page_bytes, fleet.group)

    def marks(self, host: int) -> list[tuple[str, Mark]]:
        """The marks of a host's timeline so far: names and all counters."""
        names = self.drawn[host].marks
        return [(names[index], mark) for index, mark in enumerate(self.fleet.marks(host))]

    def jobs(self) -> tuple[Ints, Ints]:
        """(H,) jobs, tasks that come to an end by themselves; and how many are over.

        A job whose guest was switched off for good is over.
        """
        task = self.fleet.task
        is_job = self._facts.is_job[:, : task.shape[1], : task.shape[2]]
        ended = np.isfinite(task["finished_s"])
        gone = (self._facts.stop_s <= self.fleet.time_s[:, None])[:, : task.shape[1], None]
        return is_job.sum((1, 2)), (is_job & (ended | gone)).sum((1, 2))

    def snapshot(self, rows: Sequence[int] | Ints) -> Snapshot:
        """Copy some hosts."""
        chosen = [int(row) for row in rows]
        return Snapshot(
            tuple(self.drawn[row].key for row in chosen),
            tuple(self._digests[row] for row in chosen),
            self.fleet.snapshot(chosen),
            carried.take_rows(self._remembered, np.array(chosen, np.int64)),
        )

    def restore(self, rows: Sequence[int] | Ints, snapshot: Snapshot) -> None:
        """Put copied hosts back, into the same or other rows that have the same scenario.

        Raises:
            ValueError: another number of rows, or another scenario.
        """
        chosen = [int(row) for row in rows]
        if len(chosen) != len(snapshot.keys):
            raise ValueError(f"restore: {len(chosen)} rows for {len(snapshot.keys)} hosts")
        for row, source in zip(chosen, snapshot.scenarios, strict=True):
            if self._digests[row] != source:
                raise ValueError(f"restore: host {row} has another scenario than was copied")
        self.fleet.restore(chosen, snapshot.fleet)
        drawn = [self._draw(row, key) for row, key in zip(chosen, snapshot.keys, strict=True)]
        self._put(chosen, drawn, snapshot.remembered)

    def _draw(self, row: int, key: Key) -> DrawnHost:
        name = (id(self.scenarios[row]), key)
        if name not in self._kept:
            while len(self._kept) >= DRAWS_KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[name] = draw(self.scenarios[row], key)
        return self._kept[name]

    def _put(self, rows: list[int], drawn: list[DrawnHost], remembered: Remembered) -> None:
        where = np.array(rows, np.int64)
        for row, one in zip(rows, drawn, strict=True):
            self._drawn[row] = one
        part = describe(drawn, [self.scenarios[row] for row in rows], self.guests)
        self._facts = Facts.put(self._facts, where, part)
        self._remembered = carried.put_rows(self._remembered, where, remembered)

    @property
    def _guest(self) -> np.ndarray:
        """(H, G) the simulator's records of guests, with empty slots up to G."""
        guest = self.fleet.guest
        if guest.shape[1] == self.guests:
            return guest
        padded = np.zeros((self.hosts, self.guests), guest.dtype)
        padded[:, : guest.shape[1]] = guest
        return padded

    def _collect(self, rows: Bools) -> None:
        kept = self._remembered.answers
        fresh = sensors.collect(self._guest, kept, self._with_agents)
        if not rows.all():
            chosen = np.flatnonzero(rows)
            fresh = carried.put_rows(kept, chosen, carried.take_rows(fresh, chosen))
        self._remembered = self._remembered._replace(answers=fresh)

    def _applied(self) -> tuple[Ints, Floats]:
        """(H, G) targets sent [bytes] and their age; a guest that was booted anew has none."""
        guest, kept = self._guest, self._remembered
        forgotten = (guest["target_pages"] < 0) & self._facts.resizes
        known = (kept.applied_bytes >= 0) & (guest["state"] > 0) & ~forgotten
        age = self.fleet.time_s[:, None] - kept.applied_at_s
        return np.where(known, kept.applied_bytes, UNKNOWN), np.where(known, age, np.nan)


def _has_limits(scenario: Scenario) -> bool:
    """Whether any of its hosts may have cgroup v2, and so memory.low and memory.high."""
    kernels = set(scenario.randomise.kernels) or {scenario.host.kernel}
    return Kernel.MODERN in ({scenario.arm.kernel} if scenario.arm.kernel else kernels)


def digest(scenario: Scenario) -> str:
    """What tells a scenario from any other: a hash of all that it says."""
    return hashlib.sha256(dump(scenario).encode()).hexdigest()


def _nothing(hosts: int, guests: int) -> Remembered:
    return Remembered(
        np.full((hosts, guests), UNKNOWN, np.int64),
        np.full((hosts, guests), np.nan),
        sensors.no_answers(hosts, guests),
    )
