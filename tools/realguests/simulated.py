"""The same scenario in the simulator, recorded as a real run is."""

from typing import NamedTuple

import numpy as np

from contract.arrays import Floats
from contract.loop import Loop
from memsim import spec
from memsim.state import TIMER
from scenarios import check
from scenarios.hosts import SimulatedHosts
from scenarios.schema import Scenario
from tools.realguests import record
from tools.realguests.modes import Mode
from tools.realguests.plan import ACCESS_BYTES

LOOK_S = 0.02  # [s] between looks at what tasks do: how exact times of operations are
SAMPLE_S = 0.5
OPS = {
    spec.Op.ALLOCATE: "allocate",
    spec.Op.TOUCH: "touch",
    spec.Op.READ: "read",
    spec.Op.FREE: "free",
    spec.Op.COMPUTE: "compute",
}


def run(scenario: Scenario, mode: Mode, settings: tuple[str, ...], seed: int = 0) -> record.Record:
    """Simulate a scenario once, to its last mark or its end.

    Raises:
        configs.loading.ConfigError: the simulator does not know the mode.
    """
    hosts = SimulatedHosts(mode.of(scenario), 1, threads=1)
    hosts.reset([0], [seed])
    watch = _Watch(hosts, scenario)
    policy = mode.policy()
    if policy is None:
        watch.wait_until(np.full(1, scenario.end_s))
    else:
        loop = Loop(hosts, policy, mode.guard, watch.wait_until)
        while not watch.over:
            loop.turn(scenario.end_s)
    return record.Record(
        side="simulated",
        scenario=scenario.name,
        mode=mode,
        settings=settings,
        note=f"seed {seed}",
        guests=tuple(guest.name for guest in hosts.drawn[0].guests),
        marks=watch.marks(),
        operations=tuple(sorted(watch.operations, key=lambda one: one.begin_s)),
        samples=tuple(watch.samples),
    )


class _Doing(NamedTuple):
    """What a task was doing at a moment."""

    phase: int
    time_s: float
    done: int  # pages accessed by then


class _Watch:
    """Lets simulated time pass in short steps and notes what tasks do meanwhile."""

    def __init__(self, hosts: SimulatedHosts, scenario: Scenario) -> None:
        self._hosts, self._end_s = hosts, scenario.end_s
        self._wanted = sum(entry.do == "mark" for entry in scenario.timeline)
        self._doing: dict[tuple[int, int], _Doing] = {}  # by slot and task
        self._regions = [
            [*check.work_of(scenario, guest).regions, ""]  # the last is that of phases without
            for guest in scenario.guests
            for _ in guest.names
        ]
        self._steps = 0
        self.operations: list[record.Operation] = []
        self.samples: list[record.Sample] = []

    @property
    def over(self) -> bool:
        """Whether the last mark or the scenario's end has been reached."""
        done = bool(self._wanted) and len(self._hosts.marks(0)) >= self._wanted
        return done or bool(self._hosts.time_s[0] >= self._end_s - 1e-9)

    def wait_until(self, until_s: Floats) -> None:
        """Let time pass."""
        while not self.over and self._hosts.time_s[0] < until_s[0] - 1e-9:
            step_s = (self._steps + 1) * LOOK_S
            self._hosts.advance(float(min(step_s, until_s[0], self._end_s)))
            if step_s <= until_s[0] + 1e-9:
                self._steps += 1
                self._look()
                if self._steps % round(SAMPLE_S / LOOK_S) == 0:
                    self._sample()

    def marks(self) -> tuple[record.Mark, ...]:
        """The scenario's marks."""
        page = self._hosts.drawn[0].spec.page_bytes
        return tuple(
            record.Mark(
                name=name,
                time_s=mark.time_s,
                host_swap_in_bytes=int(mark.host["swap_in_pages"]) * page,
                host_swap_out_bytes=int(mark.host["swap_out_pages"]) * page,
                host_major_faults=int(mark.guest["host_major"].sum()),
            )
            for name, mark in self._hosts.marks(0)
        )

    def _look(self) -> None:
        """Note which phase each task is in; one that changed ended an operation.

        A task that sleeps is in the phase after the sleep already, and has not begun it.
        """
        drawn, view = self._hosts.drawn[0], self._hosts.truth().task[0]
        now_s = float(self._hosts.time_s[0])
        for slot, guest in enumerate(drawn.spec.guests):
            started = np.isfinite(view["started_s"][slot, : len(guest.tasks)])
            for j in np.flatnonzero(started).tolist():
                seen = _Doing(int(view["phase"][slot, j]), now_s, int(view["done"][slot, j]))
                before = self._doing.setdefault((slot, j), seen)
                if before.phase != seen.phase:
                    did = self._ended(slot, j, before, seen)
                    self._doing[slot, j] = seen._replace(done=before.done + did)
                elif view["state"][slot, j] == TIMER and seen.done == before.done:
                    self._doing[slot, j] = seen

    def _ended(self, slot: int, j: int, before: _Doing, seen: _Doing) -> int:
        """Keep the operation that a task ended; returns how many pages it accessed."""
        drawn = self._hosts.drawn[0]
        phases, facts = drawn.spec.guests[slot].tasks[j].phases, drawn.guests[slot]
        phase = phases[before.phase]
        if phase.op not in OPS:
            return 0
        did = seen.done - before.done
        if phase.count >= 0:  # what the next phase did before we looked is not this one's
            did = min(did, phase.count)
        one = record.Operation(
            guest=facts.name,
            task=facts.task_names[j],
            op=OPS[phase.op],
            region=self._regions[slot][phase.region],
            begin_s=before.time_s,
            seconds=seen.time_s - before.time_s,
            accesses=did * drawn.spec.page_bytes // ACCESS_BYTES,
        )
        self.operations.append(one)
        return did

    def _sample(self) -> None:
        drawn, guests = self._hosts.drawn[0], self._hosts.truth().guest[0]
        page, now_s = drawn.spec.page_bytes, float(self._hosts.time_s[0])
        for slot, facts in enumerate(drawn.guests):
            guest = guests[slot]
            if guest["state"] == 0:
                continue
            one = record.Sample(
                guest=facts.name,
                time_s=now_s,
                resident_bytes=int(guest["resident_pages"]) * page,
                host_swapped_bytes=int(guest["host_swapped_pages"]) * page,
                taken_bytes=int(guest["taken_pages"]) * page,
            )
            self.samples.append(one)
