"""What of a scenario real guests can do, and that they do just that.

Ignored are the fields that describe simulated hardware, because the machine is what it is: the
host's page, ram, cores, tick, emulation, kernel, reserved and devices, a guest's emulator, its
work's kernel and reserved, and the cost of an access.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from configs.loading import ConfigError
from scenarios import check
from scenarios.machine import AsyncFaults
from scenarios.quantities import Amount, Span
from scenarios.schema import Entry, Guest, LimitCgroup, Mechanisms, Scenario, SetCores
from scenarios.work import (
    Allocate,
    Compute,
    DropCaches,
    Exit,
    Free,
    Phase,
    Profile,
    Read,
    Repeat,
    Signal,
    Sleep,
    Task,
    Touch,
    Wait,
    Work,
    walk,
)
from tools.realguests.problems import Refused

MIB = 1 << 20
ACCESS_BYTES = 4096  # [bytes] of an access of a scenario
LOWEST = 96 * MIB  # [bytes] a guest that boots at all
POSSIBLE = Touch | Read | Compute | Allocate | Free | DropCaches | Sleep | Wait | Signal | Exit
PATTERNS = ("uniform", "sequential", "loop")
OWN = (
    "vary",
    "cooperation",
    "own_swap",
    "disk",
    "lru",
    "cpu_weight",
    "memory",
    "low",
    "high",
)  # of a guest
OF_ACCESS = ("rate", "size", "stream")


@dataclass(frozen=True)
class PlannedTask:
    """A task of a guest: its name and what it does."""

    name: str
    phases: tuple[Phase, ...]
    delay_s: float  # after the guest has booted


@dataclass(frozen=True)
class PlannedRegion:
    """A region by the number that the agent knows it by."""

    number: int
    kind: str
    bytes: int
    offset: int  # on the guest's disk


@dataclass(frozen=True)
class PlannedGuest:
    """A guest, with all that is counted out."""

    name: str
    spec: Guest
    start_s: float
    vcpus: int
    regions: dict[str, PlannedRegion]
    tasks: tuple[PlannedTask, ...]

    @property
    def disk(self) -> int:
        """[bytes] of the files on its disk."""
        return sum(region.bytes for region in self.regions.values() if region.kind == "file")


@dataclass(frozen=True)
class Plan:
    """All of a scenario that real guests do."""

    guests: tuple[PlannedGuest, ...]
    limits: dict[str, int | None]  # [bytes] by cgroup
    swap: int  # [bytes]
    timeline: tuple[Entry, ...]
    end_s: float


def plan(scenario: Scenario) -> Plan:
    """Take a scenario apart for real guests.

    Raises:
        Refused: they cannot do all of it; one line a field.
    """
    problems = list(refusals(scenario))
    if problems:
        lines = "\n".join(f"{scenario.name}: {problem}" for problem in problems)
        raise Refused(lines)
    guests = [
        _planned(scenario, guest, copy, name)
        for guest in scenario.guests
        for copy, name in enumerate(guest.names)
    ]
    host = scenario.host
    return Plan(
        guests=tuple(guests),
        limits={name: cgroup.max for name, cgroup in host.cgroups.items()},
        swap=host.swap.size if host.swap else 0,
        timeline=scenario.timeline,
        end_s=scenario.end_s,
    )


def refusals(scenario: Scenario) -> Iterator[str]:
    """What real guests cannot do: field, value and reason each."""
    if scenario.replay is not None:
        yield "replay: real guests do a scenario's own work only"
    if scenario.randomise.guests is not None:
        yield "randomise.guests: real guests are those under guests only"
    for number, guest in enumerate(scenario.guests):
        for problem in _guest(scenario, guest):
            yield f"guests.{number}.{problem}"
    for number, entry in enumerate(scenario.timeline):
        if isinstance(entry, SetCores):
            yield f"timeline.{number}.do: cores: the cores of a real host stay as they are"
        if isinstance(entry, LimitCgroup):
            for field in ("guest", "low", "high"):
                if (found := getattr(entry, field)) is not None:
                    yield f"timeline.{number}.{field}: {found}: real guests have limits alone"
    if scenario.host.protection is not None:
        yield f"host.protection: {scenario.host.protection}: real guests have limits alone"
    for name, cgroup in scenario.host.cgroups.items():
        for field in ("low", "high"):
            if found := getattr(cgroup, field):
                yield f"host.cgroups.{name}.{field}: {found}: real guests have limits alone"


def _guest(scenario: Scenario, guest: Guest) -> Iterator[str]:
    usual = Guest.model_fields
    if guest.mechanisms.async_faults != AsyncFaults.OFF:
        yield (
            f"mechanisms.async_faults: {guest.mechanisms.async_faults}: software emulation has"
            " none; expected off"
        )
    if guest.mechanisms.reporting != Mechanisms().reporting:
        yield "mechanisms.reporting: a stock kernel has its own numbers; leave it out"
    if guest.size % MIB or guest.size < LOWEST:
        yield f"size: {guest.size}: expected whole MiB, at least {LOWEST // MIB}"
    for field in OWN:
        if (found := getattr(guest, field)) != usual[field].default:
            yield f"{field}: {found}: real guests have none of it; leave it out"
    try:
        work = check.work_of(scenario, guest)
    except ConfigError as error:
        yield str(error)
        return
    yield from _work(work)


def _work(work: Work) -> Iterator[str]:
    for name, region in work.regions.items():
        if region.kind == "kernel":
            yield f"work.regions.{name}.kind: kernel: the agent has programs' memory and files only"
        if region.each:
            yield f"work.regions.{name}.each: true: tasks of real guests share their regions"
    if isinstance(work, Profile) and work.own_swap != Amount():
        yield "profile.own_swap: real guests have no swap of their own"
    for name, task in work.tasks.items():
        if task.weight != Task.model_fields["weight"].default:
            yield f"work.tasks.{name}.weight: {task.weight}: tasks of real guests weigh the same"
        for path, phase in walk(task.phases):
            for problem in _phase(work, phase):
                yield f"work.tasks.{name}.{path}.{problem}"


def _phase(work: Work, phase: Phase) -> Iterator[str]:
    if isinstance(phase, Repeat):
        return
    if not isinstance(phase, POSSIBLE):
        yield f"op: {phase.op}: real guests do not know it"
        return
    if isinstance(phase, Touch | Read):
        yield from _access(work, phase)
    elif isinstance(phase, Free) and work.regions[phase.region].kind == "file":
        yield f"region: {phase.region}: a real guest gives back anonymous memory only"


def _access(work: Work, phase: Touch | Read) -> Iterator[str]:
    wanted = "file" if isinstance(phase, Read) else "anon"
    if work.regions[phase.region].kind != wanted:
        yield f"region: {phase.region}: a real guest does {phase.op} on kind {wanted} only"
    if phase.pattern not in PATTERNS:
        yield f"pattern: {phase.pattern}: expected one of {', '.join(PATTERNS)}"
    for field in OF_ACCESS:
        if getattr(phase, field) is not None:
            yield f"{field}: {getattr(phase, field)}: real guests do closed loops on whole regions"
    if isinstance(phase, Touch) and phase.context != "user":
        yield f"context: {phase.context}: expected user"


def _planned(scenario: Scenario, guest: Guest, copy: int, name: str) -> PlannedGuest:
    work = check.work_of(scenario, guest)
    usual = work.vcpus if isinstance(work, Profile) else 1
    return PlannedGuest(
        name=name,
        spec=guest,
        start_s=guest.start + copy * guest.start_every,
        vcpus=guest.vcpus or usual,
        regions=_regions(work, guest.size),
        tasks=tuple(_tasks(work, guest.vcpus or usual)),
    )


def _regions(work: Work, size: int) -> dict[str, PlannedRegion]:
    sizes = [_whole(region.size.of(size)) for region in work.regions.values()]
    kinds = [region.kind for region in work.regions.values()]
    on_disk = [size if kind == "file" else 0 for size, kind in zip(sizes, kinds, strict=True)]
    offsets = [0, *accumulate(on_disk)]
    return {
        name: PlannedRegion(number, kinds[number], sizes[number], offsets[number])
        for number, name in enumerate(work.regions)
    }


def _tasks(work: Work, vcpus: int) -> Iterator[PlannedTask]:
    for name, task in work.tasks.items():
        count = vcpus if task.count == "vcpus" else task.count
        copies = count * max(1, len(task.starts))
        for copy in range(copies):
            own_name = name if copies == 1 else f"{name}-{copy + 1}"  # as the simulator has it
            start = task.starts[copy % len(task.starts)] if task.starts else Span(0.0, 0.0)
            yield PlannedTask(own_name, task.phases, middle_s(start))


def middle_s(span: Span) -> float:
    """[s] Real guests do not draw: the middle of a span."""
    return span.at(0.5)


def _whole(size: int) -> int:
    return -(-size // ACCESS_BYTES) * ACCESS_BYTES
