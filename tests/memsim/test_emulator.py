"""The emulator's disk requests among each other: what they hold, and whose memory they get."""

from dataclasses import replace

import pytest

from memsim import state
from memsim.fleet import Fleet
from memsim.spec import Cgroup, Op, Pattern, Phase
from tests.memsim.hosts import (
    FLASH,
    SSD,
    ZRAM,
    allocate,
    anon,
    file,
    guest,
    host,
    machine,
    read,
    run,
    seconds,
    sleep,
    swapped_out,
    task,
)

IN_ORDER = Pattern.SEQUENTIAL


def pinned(fleet: Fleet) -> int:
    """How many pages are under DMA."""
    return int((machine(fleet).page["hflags"] & state.H_PINNED != 0).sum())


@pytest.mark.parametrize("limited", [False, True])
def test_requests_that_wait_for_frames_do_not_hold_all_of_them(limited: bool) -> None:
    # 20 readers ask for 32 pages each where there are frames for 300: if each kept what it has
    # until it has the rest, none would ever be done.
    readers = [task(read(i, pattern=IN_ORDER, count=200)) for i in range(20)]
    one = guest(*readers, pages=5000, regions=[file(200) for _ in range(20)], vcpus=4, cgroup=0)
    spec = host(one, devices=(FLASH, SSD), cgroups=(Cgroup(300 if limited else -1),))
    if not limited:
        spec = replace(spec, ram_pages=330)
    fleet = run(spec, 0.01, 0.1, 1.0, 30.0)
    assert (fleet.task[0, 0]["done"] == 200).all()
    assert fleet.host[0]["oom_kills"] == 0
    assert pinned(fleet) == 0


def test_the_largest_guest_is_killed_for_another_ones_emulator() -> None:
    large = guest(task(allocate(0), sleep(99.0)), pages=1024, regions=[anon(700)], guest_id=1)
    reader = guest(
        task(sleep(1.0), read(0, pattern=IN_ORDER, count=400)),
        pages=1024,
        regions=[file(400)],
        guest_id=2,
    )
    fleet = run(host(large, reader, ram_pages=1000, swap_pages=0), 0.9, 20.0)
    assert fleet.guest[0]["host_kills"][0] >= 1
    assert fleet.guest[0]["host_kills"][1] == 0
    assert fleet.task[0, 1, 0]["done"] == 400


def test_the_emulators_decompressions_take_their_time() -> None:
    script = task(
        read(0, pattern=IN_ORDER, count=800),
        Phase(Op.DROP_CACHES),
        sleep(3.0),
        read(0, pattern=IN_ORDER, count=800),
    )
    one = guest(script, pages=1024, regions=[file(800)], cgroup=0)
    spec = host(one, devices=(ZRAM, SSD), cgroups=(Cgroup(-1),))
    before = run(spec, 9.0)
    after = run(swapped_out(spec), 9.0)
    swapped_in = int(after.guest[0, 0]["host_swap_in"])
    assert swapped_in > 500
    lost = seconds(after)["host_swap"]
    assert lost >= swapped_in * float(machine(after).host[0]["c_zram"])
    took = after.task[0, 0, 0]["finished_s"] - before.task[0, 0, 0]["finished_s"]
    busy = [sum(seconds(f).values()) - seconds(f)["idle"] for f in (before, after)]
    assert took == pytest.approx(busy[1] - busy[0], rel=0.05)
