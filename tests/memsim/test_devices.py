"""Devices: positioning, transfer, order of service, and sharing."""

from dataclasses import replace

import numpy as np
import pytest

from memsim import disk
from memsim.account import NOMINAL
from memsim.build import build
from memsim.jit import entry
from memsim.machine import Machine
from memsim.spec import Device, DeviceKind
from memsim.state import SWAP_READ
from tests.memsim.hosts import (
    DISK,
    FLASH,
    SSD,
    anon,
    file,
    guest,
    host,
    read,
    run,
    seconds,
    sleep,
    task,
    touch,
)

KIB = 1024


@entry
def served_at(m: Machine, sector: int, head: int, ops: float, size: float, t: float) -> float:
    """When a share on device 0 that starts at t is served."""
    r = disk.new_request(m, SWAP_READ, 0, 0, NOMINAL)
    m.request[r].sector = sector
    m.device[0].head = head
    return disk._service_end(m, 0, r, ops, size, t)


def on(device: Device) -> Machine:
    return build(host(guest(task(sleep(1.0))), devices=(device, SSD)))


NEAR_S = 1e-3 + 60 / 7200 / 2  # a short seek, then half a turn


@pytest.mark.parametrize(
    ("distance", "positioning_s"),
    [(0, 0.0), (1, NEAR_S), (-1, NEAR_S), (4095, NEAR_S), (4096, 8e-3), (-100_000, 8e-3)],
)
def test_a_rotating_disk_seeks_by_distance(distance: int, positioning_s: float) -> None:
    head = 200_000
    end = served_at(on(DISK), head + distance, head, 1.0, 4096.0, 5.0)
    assert end - 5.0 == pytest.approx(positioning_s + 4096 / 1.5e8, rel=1e-3)


def test_many_small_reads_in_one_share_each_seek() -> None:
    end = served_at(on(DISK), 0, 0, 8.0, 32768.0, 0.0)
    assert end == pytest.approx(7 * 8e-3 + 32768 / 1.5e8)


def test_flash_overlaps_latencies_and_shares_the_transfer() -> None:
    m = on(FLASH)
    first = served_at(m, 10, 0, 1.0, 4e5, 0.0)
    second = served_at(m, 900, 0, 1.0, 4e5, 0.0)
    assert first == pytest.approx(2e-5 + 1e-4)
    assert second == pytest.approx(first + 1e-4)


def test_a_file_read_in_order_streams_from_the_disk() -> None:
    # All but the first window are asked for ahead: one seek, then transfers.
    script = task(read(0, count=4096, pattern=2, cost_s=1e-9))
    fleet = run(host(guest(script, pages=8192, regions=[file(4096)]), devices=(SSD, DISK)), 5.0)
    took = float(fleet.task[0, 0, 0]["finished_s"])
    # The emulator's own code, 4 MiB, is read first and shares the disk.
    assert took == pytest.approx(2 * 4096 * 4096 / 1.5e8, rel=0.6)
    assert took < 0.4
    assert fleet.guest[0, 0]["guest_major"] == 1


def test_a_file_read_at_random_seeks_for_every_page() -> None:
    script = task(read(0, count=200, pattern=0))
    pages = 65536
    fleet = run(host(guest(script, pages=8192, regions=[file(pages)]), devices=(SSD, DISK)), 9.0)
    took = float(fleet.task[0, 0, 0]["finished_s"])
    reads = int(fleet.guest[0, 0]["disk_read"])
    assert reads == pytest.approx(200, abs=3)  # nearly all different
    assert took / reads == pytest.approx(8e-3, rel=0.15)  # some land near the last one


def two_readers(device: Device, coarse: int) -> np.ndarray:
    """When two tasks on two guests are done that each read one coarse page at random."""
    pages = 4096
    each = [
        guest(
            task(sleep(1.0 + i * 1e-6), read(0, count=1)),
            pages=64,
            regions=[file(pages)],
            guest_id=i + 1,
        )
        for i in range(2)
    ]
    fleet = run(host(*each, page_bytes=coarse, devices=(SSD, device)), 9.0)
    ends: np.ndarray = fleet.task[0, :, 0]["finished_s"] - 1.0
    return ends


def test_coarse_requests_are_served_in_turns() -> None:
    # Two reads of 1 MiB that stand for 256 small ones each: neither is done before the other is
    # nearly done, because they take turns of 32 KiB.
    first, second = np.sort(two_readers(DISK, 1 << 20))
    alone = 256 * 8e-3
    assert second == pytest.approx(2 * alone, rel=0.1)
    assert first > 0.9 * second


def test_reads_go_before_writes_which_do_not_starve() -> None:
    # A dirty file flushed while others read at random: both get through.
    writer = guest(
        task(touch(0, count=600, pattern=2, write=1.0), sleep(90.0)),
        pages=1024,
        regions=[file(600)],
        guest_id=1,
    )
    reader = guest(task(read(0, pattern=0)), pages=1024, regions=[file(65536)], guest_id=2)
    fleet = run(host(writer, reader, devices=(SSD, DISK)), 10.0, 60.0)
    assert fleet.guest[0, 0]["disk_written"] == 600
    assert fleet.guest[0, 1]["disk_read"] > 5000


def test_a_read_never_done_before_is_nominal_and_a_queue_is_queued() -> None:
    one = guest(task(read(0, count=50)), pages=256, regions=[file(60_000)], guest_id=1)
    fleet = run(host(one, devices=(SSD, DISK)), 5.0)
    alone = seconds(fleet)
    assert alone["nominal"] == pytest.approx(fleet.task[0, 0, 0]["finished_s"], rel=0.1)
    crowd = [replace(one, guest_id=i) for i in range(1, 5)]
    fleet = run(host(*crowd, devices=(SSD, DISK)), 9.0)
    for g in range(4):
        shared = seconds(fleet, g)
        assert shared["nominal"] == pytest.approx(alone["nominal"], rel=0.1)
        assert shared["queued"] == pytest.approx(3 * alone["nominal"], rel=0.2)


def test_a_first_read_behind_swap_traffic_loses_time() -> None:
    # The same disk for swap and image: what holds it up is swap, so it is lost to swap.
    swapper = guest(task(touch(0, write=1.0)), pages=3000, regions=[anon(2600)], guest_id=1, disk=0)
    reader = guest(task(read(0)), pages=3000, regions=[file(60_000)], guest_id=2, disk=0)
    spec = host(swapper, reader, devices=(Device(DeviceKind.SOLID, 1e-3, 5e8),))
    spec = replace(spec, ram_pages=4200)
    fleet = run(spec, 5.0, 30.0)
    where = seconds(fleet, 1)
    assert where["host_swap"] > 3.0
    assert where.get("queued", 0.0) < 0.2 * where["host_swap"]
