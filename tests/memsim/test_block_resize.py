"""Resizing by blocks: the measured rates, and what one page that nobody moves does to it."""

import numpy as np
import pytest

from memsim import params
from memsim.fleet import Fleet
from memsim.spec import GuestSpec, Hinting, Region, RegionKind, Reporting, Resize, Start
from tests.memsim.hosts import (
    allocate,
    anon,
    file,
    free,
    guest,
    host,
    machine,
    read,
    run,
    sleep,
    targets,
    task,
    touch,
)

BLOCK = 512  # [pages]
GIB = 1 << 18
SMALL = 102 * BLOCK  # about a tenth of 2 GiB
TOLERANCE = 0.25  # of the published rates (HyperAlloc, EuroSys 2025: inflate)
BOTH = [Resize.BALLOON_HUGE, Resize.VIRTIO_MEM]


def idle(resize: Resize, **fields: object) -> GuestSpec:
    how = {"pages": 2 * GIB, "start": Start.RESIDENT, "vcpus": 2, "resize": resize}
    return guest(task(sleep(1e9)), **how | fields)  # type: ignore[arg-type]


def time_to(fleet: Fleet, target: int) -> float:
    start = float(fleet.time_s[0])
    targets(fleet, target)
    want = int(fleet.guest[0, 0]["pages"]) - target
    t = start
    while fleet.guest[0, 0]["taken_pages"] != want:
        t += 1e-4
        assert t < start + 5.0
        fleet.advance(np.array([t]))
    fleet.check()
    return t - start


@pytest.mark.parametrize(
    ("resize", "touched", "reclaim", "back"),
    [
        (Resize.BALLOON_HUGE, True, 136.0, 326.0),
        (Resize.BALLOON_HUGE, False, 288.0, 326.0),
        (Resize.VIRTIO_MEM, True, 34.5, 102.0),
        (Resize.VIRTIO_MEM, False, 42.2, 102.0),
    ],
)
def test_rates_are_the_measured_ones(
    resize: Resize, touched: bool, reclaim: float, back: float
) -> None:
    start = Start.RESIDENT if touched else Start.FRESH
    fleet = run(host(idle(resize, start=start)), 1.0)
    # As the paper counts, 20 GiB for the 18 that move.
    gib = 1.8 * 20 / 18
    assert gib / time_to(fleet, SMALL) == pytest.approx(reclaim, rel=TOLERANCE)
    assert fleet.guest[0, 0]["resident_pages"] == (SMALL if touched else 0)
    assert gib / time_to(fleet, 2 * GIB) == pytest.approx(back, rel=TOLERANCE)
    assert fleet.guest[0, 0]["free_pages"] == 2 * GIB


@pytest.mark.parametrize("resize", BOTH)
def test_sizes_are_whole_blocks(resize: Resize) -> None:
    fleet = run(host(idle(resize)), 1.0)
    for target, taken in ((2 * GIB - 700, 1), (2 * GIB - 1024, 2), (2 * GIB - 800, 1)):
        targets(fleet, target)
        fleet.advance(fleet.time_s + 1.0)
        fleet.check()
        assert fleet.guest[0, 0]["taken_pages"] == taken * BLOCK


def test_only_virtio_mem_leaves_the_total() -> None:
    for resize, total in ((Resize.BALLOON_HUGE, 2 * GIB), (Resize.VIRTIO_MEM, GIB)):
        fleet = run(host(idle(resize, stats_period_s=1.0)), 1.0)
        targets(fleet, GIB)
        fleet.advance(np.array([3.0]))
        assert fleet.guest[0, 0]["stats_total"] == total
        assert fleet.guest[0, 0]["stats_free"] == GIB


@pytest.mark.parametrize("resize", BOTH)
def test_one_page_of_the_kernel_keeps_its_block(resize: Resize) -> None:
    one = guest(
        task(touch(0, pattern=2, count=40), sleep(1e9)),
        pages=64 * BLOCK,
        regions=[Region(RegionKind.KERNEL, 40)],
        kernel_pages=BLOCK,
        resize=resize,
    )
    fleet = run(host(one), 1.0)
    kept = {int(p) // BLOCK for p in np.flatnonzero(machine(fleet).page["gstate"][: 64 * BLOCK])}
    targets(fleet, BLOCK)
    fleet.advance(np.array([2.0]))
    fleet.check()
    seen = fleet.guest[0, 0]
    assert seen["taken_pages"] == (64 - len(kept)) * BLOCK
    assert seen["resize_failures"] >= 1
    failures = int(seen["resize_failures"])
    fleet.advance(np.array([100.0]))
    tries = int(fleet.guest[0, 0]["resize_failures"]) - failures
    assert tries == (1 if resize == Resize.VIRTIO_MEM else pytest.approx(98 / 0.2, rel=0.01))


@pytest.mark.parametrize("resize", BOTH)
def test_they_take_what_is_reported_and_give_it_back(resize: Resize) -> None:
    one = idle(resize, hinting=Hinting.REPORTING, reporting=Reporting(every_s=0.1))
    fleet = run(host(one), 10.0)
    assert fleet.guest[0, 0]["resident_pages"] == 0
    for target in (GIB, 2 * GIB):
        targets(fleet, target)
        fleet.advance(fleet.time_s + 5.0)
        fleet.check()
        assert fleet.guest[0, 0]["taken_pages"] == 2 * GIB - target


def test_the_balloon_of_blocks_deflates_when_memory_runs_out() -> None:
    script = task(sleep(2.0), allocate(0), sleep(1e9))
    for resize, kills in ((Resize.BALLOON_HUGE, False), (Resize.VIRTIO_MEM, True)):
        one = guest(script, pages=16 * BLOCK, regions=[anon(10 * BLOCK)], resize=resize)
        fleet = run(host(one), 1.0)
        targets(fleet, 6 * BLOCK)
        fleet.advance(np.array([10.0]))
        fleet.check()
        assert (fleet.guest[0, 0]["oom_kills"] > 0) == kills
        assert (fleet.guest[0, 0]["taken_pages"] < 10 * BLOCK) != kills


def test_virtio_mem_moves_what_can_be_moved() -> None:
    script = task(read(0, count=10 * BLOCK, pattern=2), allocate(1), sleep(1e9))
    one = guest(
        script,
        pages=32 * BLOCK,
        regions=[file(10 * BLOCK), anon(6 * BLOCK)],
        resize=Resize.VIRTIO_MEM,
        kernel_pages=BLOCK,
    )
    fleet = run(host(one), 5.0)
    before = fleet.guest[0, 0].copy()
    for target in (18 * BLOCK, 9 * BLOCK):
        targets(fleet, target)
        fleet.advance(fleet.time_s + 20.0)
        fleet.check()
        assert fleet.guest[0, 0]["taken_pages"] == 32 * BLOCK - target
    # First they were moved together, then the cache had to go, and no program lost anything.
    seen = fleet.guest[0, 0]
    assert seen["anon_pages"] == before["anon_pages"]
    assert seen["file_pages"] < 3 * BLOCK
    assert seen["compact_migrated"] > 0
    assert seen["oom_kills"] == 0
    targets(fleet, 32 * BLOCK)
    fleet.advance(fleet.time_s + 5.0)
    fleet.check()
    assert fleet.guest[0, 0]["taken_pages"] == 0


def test_constants_are_those_of_the_rates() -> None:
    blocks = 18 * 512
    seconds = blocks * (params.VIRTIO_MEM_UNPLUG_S + params.DONTNEED_HUGE_S)
    assert 20 / seconds == pytest.approx(34.5, rel=0.02)
    seconds = blocks * (params.BALLOON_HUGE_INFLATE_S + params.DONTNEED_HUGE_S)
    assert 20 / seconds == pytest.approx(136, rel=0.02)


def test_the_balloon_of_blocks_compacts_where_no_block_is_free() -> None:
    # Two files in turns, then one is deleted: half of memory is free, in pieces.
    size = 6 * BLOCK
    one = task(read(0, count=size, pattern=2, cost_s=1e-5), free(0))
    two = task(read(1, count=size, pattern=2, cost_s=1e-5))
    spec = guest(
        one,
        two,
        pages=14 * BLOCK,
        vcpus=3,
        kernel_pages=BLOCK,
        regions=[file(size), file(size)],
        resize=Resize.BALLOON_HUGE,
    )
    fleet = run(host(spec), 5.0)
    blocks = int(fleet.guest[0, 0]["free_blocks"])
    want = blocks + 4
    targets(fleet, (14 - want) * BLOCK)
    fleet.advance(np.array([15.0]))
    fleet.check()
    gs = fleet.guest[0, 0]
    assert gs["taken_pages"] == want * BLOCK
    assert gs["compact_migrated"] > 0
