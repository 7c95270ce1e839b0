"""A scenario counted out for real guests: who they are, their regions, tasks and host."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from scenarios import check
from scenarios.quantities import Span
from scenarios.schema import Entry, Guest, Scenario
from scenarios.work import Phase, Profile, Work
from tools.realguests.problems import Refused
from tools.realguests.refusals import refusals

ACCESS_BYTES = 4096  # [bytes] of an access of a scenario


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
