"""Check, unmap, look again: whatever the guest does at whatever moment, no used page is lost.

One batch of the host's reclaim holds pages that are clean, dirty, hinted free by their owner, and
freed.  An operation of the guest begins before the batch, at each of its steps, between them, and
after it.
"""

from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from memsim.fleet import Fleet
from memsim.reclaim import CHECKED, IDLE, UNMAPPED
from memsim.spec import Act, Cgroup, Device, Entry, Hinting, HostSpec, Op, Pattern, Phase
from memsim.state import H_DIRTY, RESIDENT
from tests.memsim.hosts import (
    SSD,
    ZRAM,
    allocate,
    anon,
    free,
    guest,
    host,
    machine,
    read,
    sleep,
    task,
    touch,
    write,
)

PAGES = 8  # of each region
CLEAN, DIRTY, HINTED, FREED = range(4)
FIRST_S, SQUEEZE_S, LAST_S = 0.5, 1.0, 1.1

# All in one step.
IN_ORDER: dict[str, Any] = {
    "count": PAGES,
    "pattern": Pattern.SEQUENTIAL,
    "cost_s": 1e-7,
}
LOAD, STORE, READ, WRITE = (
    touch(**IN_ORDER),
    touch(write=1.0, **IN_ORDER),
    read(**IN_ORDER),
    write(**IN_ORDER),
)
ALLOCATE, FREE, HINT = allocate(), free(), Phase(Op.HINT_FREE)
ON_MAPPED = (
    (LOAD,),
    (STORE,),
    (READ,),
    (WRITE,),
    (FREE,),
    (HINT,),
    (HINT, STORE),
    (FREE, ALLOCATE),
)
ON_FREED = ((ALLOCATE,), (ALLOCATE, FREE), (ALLOCATE, HINT), (ALLOCATE, HINT, LOAD), (STORE,))
RACES = [(region, ON_MAPPED) for region in (CLEAN, DIRTY, HINTED)] + [(FREED, ON_FREED)]


def on(region: int, *phases: Phase) -> list[Phase]:
    return [replace(phase, region=region) for phase in phases]


def racing(region: int, phases: tuple[Phase, ...], at_s: float, swap: Device = SSD) -> HostSpec:
    """A limit of nothing for a moment, and a task that does something with a region about then."""
    owner = (
        *(allocate(r) for r in range(4)),
        sleep(0.8),  # all of it is swapped out, and read again: clean, with slots
        *(replace(LOAD, region=r) for r in range(4)),
        *on(DIRTY, STORE),
        *on(HINTED, HINT),
        *on(FREED, FREE),
    )
    racer = task(sleep(at_s), *on(region, *phases))
    one = guest(
        task(*owner),
        racer,
        pages=512,
        vcpus=2,
        regions=[anon(PAGES)] * 4,
        cgroup=0,
        hinting=Hinting.BITMAP,
    )
    limits = [
        Entry(Act.CGROUP_MAX, at_s=at + after, index=0, value=value)
        for at in (FIRST_S, SQUEEZE_S, LAST_S)
        for after, value in ((0.0, 0), (1e-3, -1))
    ]
    return host(one, devices=(swap, SSD), cgroups=(Cgroup(),), timeline=tuple(limits))


def stage(fleet: Fleet) -> int:
    return int(machine(fleet).cpu["stage"].max())


@cache
def moments() -> tuple[tuple[float, int], ...]:
    """Times about the batch and the stage that it is then in, from a run without a race."""
    fleet = Fleet(1)
    fleet.reset([racing(CLEAN, (), 2.0)])
    times = SQUEEZE_S + 1e-7 * np.arange(-20, 3000)
    stages = []
    for t in times:
        fleet.advance(np.array([t]))
        stages.append(stage(fleet))
    turns = [i for i in range(1, len(times)) if stages[i] != stages[i - 1]]
    assert [stages[i] for i in turns] == [CHECKED, UNMAPPED, IDLE]
    edges = [1, *turns, len(times) - 1]
    chosen = [i + d for i in edges for d in (-1, 0)] + [(i + j) // 2 for i, j in pairwise(edges)]
    return tuple((float(times[i]), stages[i]) for i in sorted(chosen))


def stale(fleet: Fleet, region: int) -> int:
    """Pages of a region that the host holds for unchanged since it wrote them."""
    m = machine(fleet)
    first = m.region[region]["vpage0"]
    pages = m.page[m.vpage["page"][first : first + PAGES]]
    return int(((pages["hstate"] == RESIDENT) & (pages["hflags"] & H_DIRTY == 0)).sum())


def race(region: int, phases: tuple[Phase, ...], at_s: float, swap: Device = SSD) -> Fleet:
    """Run it, with all laws checked on the way, until all is swapped out once more."""
    fleet = Fleet(1)
    fleet.reset([racing(region, phases, at_s, swap)])
    ways = (at_s, *(SQUEEZE_S + 4e-5 * np.arange(8)), LAST_S - 1e-3, LAST_S + 0.05)
    for t in sorted(ways):
        fleet.advance(np.array([t]))
        fleet.check()
        if phases[-1] in (STORE, WRITE, ALLOCATE) and fleet.task[0, 0, 1]["finished_s"] <= t:
            assert stale(fleet, region) == 0
    return fleet


@pytest.mark.parametrize("swap", [SSD, ZRAM])
@pytest.mark.parametrize(("region", "operations"), RACES)
def test_no_interleaving_loses_a_used_page(
    region: int, operations: tuple[tuple[Phase, ...], ...], swap: Device
) -> None:
    for phases in operations:
        for at_s, _ in moments():
            fleet = race(region, phases, at_s, swap)
            assert fleet.task[0, 0, 1]["finished_s"] < LAST_S
            assert fleet.host[0]["oom_kills"] == 0


def test_hints_count_until_the_last_look_and_uses_until_the_page_is_unmapped() -> None:
    # What is hinted then is thrown away without I/O, region by region.
    stages = [step for _, step in moments()]
    settled, unmapped = stages.index(UNMAPPED) + stages.count(UNMAPPED), stages.index(UNMAPPED)
    for i, (at_s, _) in enumerate(moments()):
        hinted = race(CLEAN, (HINT,), at_s).guest[0, 0]["discarded"]
        assert hinted == (3 if i < settled else 2) * PAGES
        used = race(HINTED, (STORE,), at_s).guest[0, 0]["discarded"]
        if i < unmapped - 1:  # the last moment before is too late for all of the pages
            assert used == PAGES
        elif i >= unmapped:
            assert used == 2 * PAGES


@pytest.mark.parametrize(
    ("region", "use"),
    [
        (CLEAN, LOAD),
        (CLEAN, READ),
        (HINTED, LOAD),
        (HINTED, STORE),
        (FREED, ALLOCATE),
    ],
)
def test_what_is_used_between_check_and_unmap_stays(region: int, use: Phase) -> None:
    stages = [step for _, step in moments()]
    at_s = moments()[stages.index(CHECKED) + 1][0]  # the first one may come before its check
    settled_s = moments()[stages.index(UNMAPPED) + stages.count(UNMAPPED)][0]
    fleet = Fleet(1)
    fleet.reset([racing(region, (use,), at_s)])
    fleet.advance(np.array([settled_s]))
    m = machine(fleet)
    first = m.region[region]["vpage0"]
    pages = m.page[m.vpage["page"][first : first + PAGES]]
    assert (pages["hstate"] == RESIDENT).all()
