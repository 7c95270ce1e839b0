"""One run of a scenario on real guests: starts and stops them, keeps the timeline, samples."""

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from contract.arrays import PAGE, Floats
from contract.loop import Loop
from scenarios.schema import (
    AwaitEvent,
    AwaitTarget,
    Entry,
    LimitCgroup,
    Mark,
    Scenario,
    SetTarget,
    SignalEvent,
    StartGuest,
    StopGuest,
)
from tools.realguests import daemon, procfs, record
from tools.realguests.host import RealHost, Slot
from tools.realguests.image import Image
from tools.realguests.modes import Mode
from tools.realguests.plan import Plan, plan
from tools.realguests.pressure import Pressure, pressure
from tools.realguests.problems import Failed
from tools.realguests.qemu import Emulator, Hardware
from tools.realguests.worker import Clock, Events, Worker

SAMPLE_S = 0.5
LOOK_S = 0.02  # [s] between looks at what is due
BOOT_S = 120.0  # [s] a guest may take to boot on a busy machine
NEAR_BYTES = 1 << 20  # a balloon that near its target has reached it

Say = Callable[[str], None]


def run(
    scenario: Scenario, mode: Mode, settings: tuple[str, ...], image: Image, disk: Path, say: Say
) -> record.Record:
    """Run a scenario once; whatever happens, guests, cgroups and swap are gone afterwards.

    Args:
        scenario: as loaded.
        mode: what keeps guests within the host.
        settings: the options that changed the scenario, for the record.
        image: what guests boot.
        disk: a folder that may hold a swap file.
        say: told what happens.

    Raises:
        Problem: this machine or the scenario will not do, or something failed.
        contract.host.HostError: an emulator does not answer.
    """
    planned = plan(scenario)
    with ExitStack() as stack:
        # short paths: those of sockets hold no more than 107 characters
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="realguests-")))
        made = stack.enter_context(pressure(planned.limits, planned.swap, disk))
        alive = stack.enter_context(_Run(scenario, planned, mode, image, made, folder, say))
        alive.live()
        return alive.record(settings)


class _Run:
    """Everything that is alive during a run; one thread does all but the guests' tasks."""

    def __init__(
        self,
        scenario: Scenario,
        planned: Plan,
        mode: Mode,
        image: Image,
        made: Pressure,
        folder: Path,
        say: Say,
    ) -> None:
        self._scenario, self._plan, self._mode, self._image = scenario, planned, mode, image
        self._pressure, self._folder, self._say = made, folder, say
        began = time.monotonic()
        self._clock = Clock(lambda: time.monotonic() - began)
        self._slots = [Slot(guest, mode.reports) for guest in planned.guests]
        self._events = {guest.name: Events() for guest in planned.guests}
        tasks = sum(len(guest.tasks) for guest in planned.guests)
        self._pool = ThreadPoolExecutor(max(1, tasks + len(planned.guests)))
        self._pending: list[Future[None]] = []
        self._unborn = [
            (guest.start_s, guest.name) for guest in planned.guests if not guest.spec.on_demand
        ]
        self._leaving = [(g.spec.stop, g.name) for g in planned.guests if g.spec.stop is not None]
        self._entry, self._entry_at_s = 0, 0.0
        self._sample_at_s = 0.0
        self._marks: list[record.Mark] = []
        self._operations: list[record.Operation] = []
        self._samples: list[record.Sample] = []

    def __enter__(self) -> "_Run":
        self._plan_entry(0.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._clock.over.set()
        for slot in self._slots:
            self._stop(slot)
        self._pool.shutdown(wait=True)

    def live(self) -> None:
        """Live until the scenario's end, or its last mark."""
        policy = self._mode.policy()
        if policy is None or self._mode.by_daemon:
            with daemon.running(self._mode, self._pressure, self._plan, self._folder):
                self._wait_until(np.full(1, self._plan.end_s))
            return
        host = RealHost(self._slots, self._clock.now_s)
        loop = Loop(host, policy, self._mode.guard, self._wait_until)
        while not self._over:
            loop.turn(self._plan.end_s)

    def record(self, settings: tuple[str, ...]) -> record.Record:
        """What was seen."""
        return record.Record(
            side="real",
            scenario=self._scenario.name,
            mode=self._mode,
            settings=settings,
            note=f"QEMU under TCG, guest {self._image.version}",
            guests=tuple(guest.name for guest in self._plan.guests),
            marks=tuple(self._marks),
            operations=tuple(sorted(self._operations, key=lambda one: one.begin_s)),
            samples=tuple(self._samples),
        )

    @property
    def _over(self) -> bool:
        wanted = sum(entry.do == "mark" for entry in self._plan.timeline)
        done = bool(wanted) and len(self._marks) == wanted
        return done or self._clock.now_s() >= self._plan.end_s

    def _wait_until(self, until_s: Floats) -> None:
        while self._clock.now_s() < until_s[0] and not self._over:
            self._turn(self._clock.now_s())
            time.sleep(LOOK_S)

    def _turn(self, now_s: float) -> None:
        """Do all that is due."""
        for start_s, name in [due for due in self._unborn if due[0] <= now_s]:
            self._unborn.remove((start_s, name))
            self._start(self._slot(name), start_s)
        for stop_s, name in [due for due in self._leaving if due[0] <= now_s]:
            self._leaving.remove((stop_s, name))
            self._stop(self._slot(name))
        while self._entry < len(self._plan.timeline) and self._entry_at_s <= self._clock.now_s():
            if not self._act(self._plan.timeline[self._entry]):
                break
            self._entry += 1
            self._plan_entry(self._clock.now_s())
        if self._sample_at_s <= now_s:
            self._sample(now_s)
        self._check()

    def _plan_entry(self, now_s: float) -> None:
        if self._entry < len(self._plan.timeline):
            entry = self._plan.timeline[self._entry]
            self._entry_at_s = now_s + (entry.after or 0.0) if entry.at is None else entry.at

    def _act(self, entry: Entry) -> bool:
        """Do an entry of the timeline; False: it is not time yet."""
        if isinstance(entry, Mark):
            self._mark(entry.name)
        elif isinstance(entry, LimitCgroup) and entry.cgroup is not None:
            self._pressure.set_limit(entry.cgroup, None if entry.max == "none" else entry.max)
        elif isinstance(entry, StartGuest):
            self._start(self._slot(entry.guest), self._clock.now_s())
        elif isinstance(entry, StopGuest):
            self._stop(self._slot(entry.guest))
        elif isinstance(entry, SetTarget):
            self._running(entry.guest).resize(entry.size, self._clock.now_s())
        elif isinstance(entry, AwaitTarget):
            slot = self._running(entry.guest)
            return slot.target < 0 or abs(slot.actual() - slot.target) <= NEAR_BYTES
        elif isinstance(entry, SignalEvent):
            self._events[entry.guest].signal(entry.event)
        elif isinstance(entry, AwaitEvent):
            return self._events[entry.guest].counts[entry.event] >= entry.times
        return True

    def _slot(self, name: str) -> Slot:
        return next(slot for slot in self._slots if slot.planned.name == name)

    def _running(self, name: str) -> Slot:
        slot = self._slot(name)
        if slot.emulator is None:
            raise Failed(f"{name}: asked for something while it is off")
        return slot

    def _start(self, slot: Slot, start_s: float) -> None:
        guest, spec = slot.planned, slot.planned.spec
        if slot.emulator is not None:
            return
        hardware = Hardware(
            name=guest.name,
            size=spec.size,
            vcpus=guest.vcpus,
            reporting=self._mode.reports,
            deflate_on_oom=spec.mechanisms.deflate_on_oom,
            disk=guest.disk,
            second_qmp=self._mode.by_daemon,
        )
        cgroup = self._pressure.join(spec.cgroup)
        slot.emulator = Emulator(hardware, self._image, self._folder, cgroup)
        slot.poll_statistics(self._scenario.sensors.period)
        self._say(f"{self._clock.now_s():6.1f} s  {guest.name} starts")
        self._pending.append(self._pool.submit(self._work, slot, slot.emulator, start_s))

    def _stop(self, slot: Slot) -> None:
        emulator, slot.emulator = slot.emulator, None
        slot.target, slot.target_at_s = -1, np.nan
        if emulator is not None:
            emulator.stop()

    def _work(self, slot: Slot, emulator: Emulator, start_s: float) -> None:
        """Wait until a guest has booted, define its regions, then let its tasks begin."""
        guest = slot.planned
        try:
            emulator.agent.wait_ready(BOOT_S)
            for region in guest.regions.values():
                offset = f" {region.offset}" if region.kind == "file" else ""
                line = f"{region.kind} {region.number} {region.bytes}{offset}"
                emulator.agent.call(line, BOOT_S)
        except Failed:
            if slot.emulator is emulator and not self._clock.over.is_set():
                raise
            return
        begin_s = max(start_s + guest.spec.boot, self._clock.now_s())
        for task in guest.tasks:
            worker = Worker(
                guest,
                task,
                emulator.agent,
                self._clock,
                self._events[guest.name],
                self._operations.append,
            )
            self._pending.append(self._pool.submit(self._task, slot, emulator, worker, begin_s))

    def _task(self, slot: Slot, emulator: Emulator, worker: Worker, begin_s: float) -> None:
        try:
            worker.run(begin_s)
        except Failed:
            if slot.emulator is emulator and not self._clock.over.is_set():
                raise  # not because the guest was switched off

    def _check(self) -> None:
        for slot in self._slots:
            if slot.emulator is not None:
                slot.emulator.check()
        for future in [one for one in self._pending if one.done()]:
            self._pending.remove(future)
            future.result()

    def _mark(self, name: str) -> None:
        events = procfs.host_events()
        alive = [slot.emulator for slot in self._slots if slot.emulator is not None]
        self._say(f"{self._clock.now_s():6.1f} s  mark {name}")
        self._marks.append(
            record.Mark(
                name=name,
                time_s=self._clock.now_s(),
                host_swap_in_bytes=events["pswpin"] * PAGE,
                host_swap_out_bytes=events["pswpout"] * PAGE,
                host_major_faults=sum(emulator.memory()["major"] for emulator in alive),
            )
        )

    def _sample(self, now_s: float) -> None:
        self._sample_at_s = (now_s // SAMPLE_S + 1) * SAMPLE_S
        for slot in self._slots:
            if slot.emulator is not None:
                memory = slot.emulator.memory()
                given = slot.planned.spec.size - slot.actual()
                name = slot.planned.name
                one = record.Sample(name, now_s, memory["resident"], memory["swapped"], given)
                self._samples.append(one)
