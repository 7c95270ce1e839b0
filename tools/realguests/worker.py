"""Does the tasks of one guest: each phase a command to the agent, one after the other."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from scenarios.work import (
    Access,
    Allocate,
    Compute,
    DropCaches,
    Exit,
    Free,
    Phase,
    Repeat,
    Signal,
    Sleep,
    Touch,
    Wait,
)
from tools.realguests.agent import Agent
from tools.realguests.plan import ACCESS_BYTES, PlannedGuest, PlannedTask, middle_s
from tools.realguests.problems import Failed
from tools.realguests.record import Operation

ANSWER_S = 600.0  # [s] a command under heavy swapping may take


class Over(Exception):
    """The run is over before its tasks are."""


class Clock:
    """Seconds of the scenario; a wait on it ends early when the run is over."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        """Store what tells the time."""
        self.now_s = now_s
        self.over = threading.Event()

    def wait_until(self, until_s: float) -> None:
        """Sleep.

        Raises:
            Over: the run ended meanwhile.
        """
        if self.over.wait(max(0.0, until_s - self.now_s())):
            raise Over


@dataclass
class Events:
    """How often each event of a guest has been signalled."""

    counts: Counter[str] = field(default_factory=Counter)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def signal(self, name: str) -> None:
        """Count one more."""
        with self.changed:
            self.counts[name] += 1
            self.changed.notify_all()

    def wait(self, name: str, times: int, clock: Clock) -> None:
        """Wait until it has been signalled so often.

        Raises:
            Over: the run ended meanwhile.
        """
        with self.changed:
            while self.counts[name] < times:
                if clock.over.is_set():
                    raise Over
                self.changed.wait(0.1)


@dataclass
class Worker:
    """One task of one guest that has booted."""

    guest: PlannedGuest
    task: PlannedTask
    agent: Agent
    clock: Clock
    events: Events
    done: Callable[[Operation], None]  # told of each operation
    waited: Counter[str] = field(default_factory=Counter)

    def run(self, begin_s: float) -> None:
        """Do the task from its beginning.

        Raises:
            Failed: the guest did not do what it was told.
        """
        try:
            self.clock.wait_until(begin_s + self.task.delay_s)
            self._block(self.task.phases)
        except Over:
            return

    def _block(self, phases: tuple[Phase, ...]) -> bool:
        """Whether the task goes on."""
        for phase in phases:
            if isinstance(phase, Exit):
                return False
            if isinstance(phase, Repeat):
                if not self._repeat(phase):
                    return False
            else:
                self._phase(phase)
        return True

    def _repeat(self, phase: Repeat) -> bool:
        laps = 0
        times = self.guest.vcpus if phase.times == "vcpus" else phase.times
        while times is None or laps < times:
            if self.clock.over.is_set():
                raise Over
            if not self._block(phase.phases):
                return False
            laps += 1
        return True

    def _phase(self, phase: Phase) -> None:
        if isinstance(phase, Sleep):
            self.clock.wait_until(self.clock.now_s() + middle_s(phase.seconds))
        elif isinstance(phase, Wait):
            self.waited[phase.event] += 1
            self.events.wait(phase.event, self.waited[phase.event], self.clock)
        elif isinstance(phase, Signal):
            self.events.signal(phase.event)
        else:
            self._command(phase)

    def _command(self, phase: Phase) -> None:
        began_s = self.clock.now_s()
        try:
            answer = self.agent.call(command(phase, self.guest), ANSWER_S)
        except Failed:
            if self.clock.over.is_set():
                raise Over from None
            raise
        operation = Operation(
            guest=self.guest.name,
            task=self.task.name,
            op=phase.op,
            region=getattr(phase, "region", ""),
            begin_s=began_s,
            seconds=self.clock.now_s() - began_s,
            accesses=int(answer.get("accesses", 0)),
        )
        self.done(operation)


def command(phase: Phase, guest: PlannedGuest) -> str:
    """What the agent is told for a phase."""
    if isinstance(phase, Compute):
        return f"compute {middle_s(phase.seconds):.6f}"
    if isinstance(phase, DropCaches):
        return "drop_caches"
    if isinstance(phase, Allocate | Free):
        region = guest.regions[phase.region]
        size = min(region.bytes, phase.bytes.of(region.bytes))
        if isinstance(phase, Allocate):
            return f"allocate {region.number} {size}"
        return f"free {region.number} {region.bytes - size}"
    if isinstance(phase, Access):
        region = guest.regions[phase.region]
        share = f" {phase.write:g}" if isinstance(phase, Touch) else ""
        limits = f"{_accesses(phase, region.bytes)} {_seconds(phase):.6f}"
        return f"{phase.op} {region.number} {phase.pattern}{share} {limits}"
    raise Failed(f"{phase.op}: not a command of the agent")


def _accesses(phase: Access, region_bytes: int) -> int:
    """After which the phase ends; 0: never."""
    if phase.count is not None:
        return phase.count
    if phase.bytes is not None:
        return max(1, phase.bytes.of(region_bytes) // ACCESS_BYTES)
    return 0


def _seconds(phase: Access) -> float:
    """After which the phase ends; 0: never."""
    return 0.0 if phase.seconds is None else middle_s(phase.seconds)
