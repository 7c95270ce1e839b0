"""Dirty limits, who waits for them, and what write-back does to the age of a page."""

import numpy as np
import pytest

from memsim.fleet import Fleet
from memsim.params import BACKGROUND_RATIO, DIRTY_RATIO
from memsim.spec import Device, DeviceKind, Pattern, Phase
from tests.memsim.hosts import (
    DISK,
    FLASH,
    file,
    guest,
    host,
    machine,
    read,
    run,
    seconds,
    sleep,
    targets,
    task,
    write,
)

IN_ORDER = Pattern.SEQUENTIAL
PAGES = 8192
SLOW_WRITES = Device(DeviceKind.SOLID, latency_s=0.05, bytes_per_s=1e8)


def writing(cost_s: float, disk: Device, at_s: float = 0.0) -> Fleet:
    """A guest that writes a large file in order, a page every so often."""
    script = task(sleep(at_s), write(0, pattern=IN_ORDER, cost_s=cost_s))
    fleet = Fleet(1)
    fleet.reset([host(guest(script, pages=PAGES, regions=[file(200_000)]), devices=(FLASH, disk))])
    return fleet


def shares(fleet: Fleet, until_s: float, every_s: float = 0.01) -> list[tuple[float, float]]:
    """Dirty pages, without and with those under write-back, over what could be dirty."""
    found = []
    start = float(fleet.time_s[0])
    for t in np.arange(start + every_s, until_s, every_s):
        fleet.advance(np.array([t]))
        seen = fleet.guest[0, 0]
        could = float(seen["free_pages"] + seen["file_pages"])
        dirty = float(seen["dirty_pages"])
        found.append((dirty / could, (dirty + float(seen["writeback_pages"])) / could))
    fleet.check()
    return found


def test_the_dirty_share_stays_below_its_limit() -> None:
    fleet = writing(2e-5, SLOW_WRITES)
    seen = shares(fleet, 6.0)
    assert max(both for _, both in seen) <= DIRTY_RATIO + 2 / PAGES
    # The disk holds the writer up, at a limit that is a share of the guest's memory.
    spent = seconds(fleet)
    assert spent["throttle"] > 1.0
    assert spent.get("queued", 0.0) == pytest.approx(0.0, abs=1e-9)


def test_the_flusher_starts_as_soon_as_too_much_is_dirty() -> None:
    # A quarter of the memory is written before the first tick of the flusher, two seconds on.
    fleet = writing(4e-4, FLASH, at_s=0.1)
    seen = shares(fleet, 1.5)
    assert max(dirty for dirty, _ in seen) <= BACKGROUND_RATIO + 2 / PAGES
    assert int(fleet.guest[0, 0]["disk_written"]) > BACKGROUND_RATIO * PAGES
    assert "throttle" not in seconds(fleet)


def test_a_writer_squeezed_below_what_it_rewrites_loses_time_to_the_limit() -> None:
    done, progress = [], []
    for target in (PAGES, 1024):
        script = task(sleep(0.5), write(0, pattern=Pattern.UNIFORM, cost_s=1e-5))
        one = guest(script, pages=PAGES, regions=[file(700)])
        fleet = run(host(one, devices=(FLASH, DISK)), 0.1)
        targets(fleet, target)
        fleet.advance(np.array([20.0]))
        fleet.check()
        spent = seconds(fleet)
        lost = sum(s for c, s in spent.items() if c not in ("idle", "nominal", "queued"))
        done.append(int(fleet.task[0, 0, 0]["done"]))
        progress.append(spent["nominal"] / (spent["nominal"] + lost))
        assert (spent.get("throttle", 0.0) > 1.0) == (target < PAGES)
    assert progress[0] > 0.95
    assert progress[1] == pytest.approx(done[1] / done[0], rel=0.2)


def cached_after(middle: Phase) -> tuple[int, int]:
    """Pages of an old file and of a newer one that a read of half the cache leaves."""
    script = task(
        read(0, count=1500, pattern=IN_ORDER),
        sleep(1.0),
        middle,
        sleep(200.0),
        read(2, count=500, pattern=IN_ORDER),
        sleep(99.0),
    )
    regions = [file(1500), file(300), file(600)]
    fleet = run(host(guest(script, pages=2048, regions=regions)), 250.0)
    cached = machine(fleet).vpage["page"] >= 0
    return int(cached[:1500].sum()), int(cached[1500:1800].sum())


def test_what_the_flusher_wrote_is_as_young_as_what_was_read() -> None:
    old, new = cached_after(write(1, count=300, pattern=IN_ORDER))
    assert (old, new) == cached_after(read(1, count=300, pattern=IN_ORDER))
    assert new == 300


def test_what_reclaim_wrote_goes_next() -> None:
    # Too little for the flusher, old by the time that memory runs out, before its first tick.
    script = task(
        write(0, count=80, pattern=IN_ORDER), read(1, count=1500, pattern=IN_ORDER), sleep(9.0)
    )
    fleet = run(host(guest(script, pages=1024, regions=[file(80), file(1500)])), 1.0)
    seen = fleet.guest[0, 0]
    assert (seen["disk_written"], seen["dirty_pages"]) == (80, 0)
    assert not (machine(fleet).vpage["page"][:80] >= 0).any()
