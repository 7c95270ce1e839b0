"""Plain hosts for tests: one thing each, everything else ample and out of the way."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from memsim.account import CLASSES
from memsim.fleet import Fleet
from memsim.machine import Machine
from memsim.spec import (
    Act,
    Async,
    Device,
    DeviceKind,
    Entry,
    GuestSpec,
    HostSpec,
    Op,
    Phase,
    Region,
    RegionKind,
    Task,
)

FLASH = Device(DeviceKind.SOLID, latency_s=2e-5, bytes_per_s=4e9, parallel=64)
SSD = Device(DeviceKind.SOLID, latency_s=1e-4, bytes_per_s=5e8, parallel=32)
DISK = Device(DeviceKind.ROTATING, latency_s=8e-3, bytes_per_s=1.5e8)
ZRAM = Device(DeviceKind.ZRAM, latency_s=3e-6, bytes_per_s=1e12)
SLOW_READ_S = 0.01
SLOW = Device(DeviceKind.SOLID, latency_s=SLOW_READ_S, bytes_per_s=1e12)  # one 10 ms read at a time

ANON, FILE = RegionKind.ANON, RegionKind.FILE


def touch(region: int = 0, **fields: Any) -> Phase:  # noqa: ANN401  any of Phase
    return Phase(Op.TOUCH, region=region, **fields)


def read(region: int = 0, **fields: Any) -> Phase:  # noqa: ANN401
    return Phase(Op.READ, region=region, **fields)


def write(region: int = 0, **fields: Any) -> Phase:  # noqa: ANN401
    return Phase(Op.WRITE, region=region, **fields)


def allocate(region: int = 0, count: int = -1) -> Phase:
    # no time of the program: rates that were measured have it in the fault's cost
    return Phase(Op.ALLOCATE, region=region, count=count, cost_s=0.0)


def free(region: int = 0, count: int = -1) -> Phase:
    return Phase(Op.FREE, region=region, count=count)


def compute(seconds: float) -> Phase:
    return Phase(Op.COMPUTE, seconds=seconds)


def sleep(seconds: float) -> Phase:
    return Phase(Op.SLEEP, seconds=seconds)


def again(jump: int = 0, count: int = -1) -> Phase:
    return Phase(Op.REPEAT, jump=jump, count=count)


def task(*phases: Phase, weight: int = 1024) -> Task:
    return Task(phases, weight)


def anon(pages: int, **fields: Any) -> Region:  # noqa: ANN401  any of Region
    return Region(ANON, pages, **fields)


def file(pages: int, **fields: Any) -> Region:  # noqa: ANN401
    return Region(FILE, pages, **fields)


def guest(
    *tasks: Task,
    pages: int = 1024,
    regions: Sequence[Region] = (),
    guest_id: int = 1,
    **fields: Any,  # noqa: ANN401  any of GuestSpec
) -> GuestSpec:
    """A guest without statistics queue, so that nothing but its script uses CPU."""
    plain: dict[str, Any] = {"stats_period_s": 0.0, "disk": 1}
    return GuestSpec(guest_id, pages, tuple(regions), tasks, **plain | fields)


def host(*guests: GuestSpec, **fields: Any) -> HostSpec:  # noqa: ANN401  any of HostSpec
    """A host with a core for every vCPU and, unless said otherwise, memory for all."""
    total = sum(g.pages + g.emulator_pages + 1024 for g in guests)
    plain: dict[str, Any] = {
        "page_bytes": 4096,
        "ram_pages": total + 4096,
        "devices": (FLASH, SSD),
        "cores": sum(g.vcpus for g in guests) + 1,
        "swap_pages": 4 * total,
        "readahead_bytes": 4096,
    }
    return HostSpec(guests=guests, **plain | fields)


def run(spec: HostSpec, *until_s: float) -> Fleet:
    """One host advanced to a time (through others), all laws checked on the way."""
    fleet = Fleet(1)
    fleet.reset([spec])
    for t in until_s:
        fleet.advance(np.array([t]))
        fleet.check()
    return fleet


def machine(fleet: Fleet, h: int = 0) -> Machine:
    """A host's arrays, as kernels see them."""
    return fleet._machines[h]


def seconds(fleet: Fleet, g: int = 0, task: int = 0, h: int = 0) -> dict[str, float]:
    """Where a task's time went, without what got nothing."""
    found = dict(zip(CLASSES, fleet.account[h, g, task].tolist(), strict=True))
    return {name: s for name, s in found.items() if s != 0.0}


def targets(fleet: Fleet, *pages: int) -> None:
    """Set the targets of the guests of a batch of one."""
    fleet.set_targets(np.array([pages]))


def swapped_out(spec: HostSpec, cgroup: int = 0, at_s: float = 1.0) -> HostSpec:
    """The same host, where a limit on one cgroup has swapped all of it out for a moment."""
    squeeze = (
        Entry(Act.CGROUP_MAX, at_s=at_s, index=cgroup, value=0),
        Entry(Act.CGROUP_MAX, at_s=at_s + 0.9, index=cgroup, value=-1),
    )
    return replace(spec, timeline=squeeze)


MODES = tuple(Async)
