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
from memsim.state import R_SERVED, SWAP_READ, SWAP_WRITE
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
    m.request[r].count = 1
    if m.device[0].head != head:
        m.device[0].head = m.device[0].buffer = head
    return disk._service_end(m, 0, r, ops, size, t)


def on(device: Device) -> Machine:
    return build(host(guest(task(sleep(1.0))), devices=(device, SSD)))


NEAR_S = 1e-3 + 60 / 7200 / 2  # a short seek, then half a turn


@pytest.mark.parametrize(
    ("distance", "positioning_s"),
    [
        (0, 0.0),
        (1, 4096 / 1.5e8),  # a sector a little ahead comes by itself
        (100, 100 * 4096 / 1.5e8),
        (-1, NEAR_S),
        (4095, NEAR_S),
        (4096, 8e-3),
        (-100_000, 8e-3),
    ],
)
def test_a_rotating_disk_seeks_by_distance(distance: int, positioning_s: float) -> None:
    head = 200_000
    end = served_at(on(DISK), head + distance, head, 1.0, 4096.0, 5.0)
    assert end - 5.0 == pytest.approx(positioning_s + 4096 / 1.5e8, rel=1e-3)


@pytest.mark.parametrize("third", [1 / 100, 1 / 4, 1.0, 2.0])
def test_on_a_disk_of_known_size_a_seek_costs_by_the_root_of_the_distance(third: float) -> None:
    span = 3 * 2**30
    away = int(third * span / 3 / 4096)
    disk_of_3_gib = replace(DISK, span_bytes=float(span), half_turn_s=3e-3)
    end = served_at(on(disk_of_3_gib), 0, away, 1.0, 4096.0, 0.0)
    seek_s = 4e-3 + (8e-3 - 4e-3) * min(1.0, third**0.5)
    assert end == pytest.approx(seek_s + 4096 / 1.5e8, rel=1e-3)


def test_what_the_head_passed_over_is_in_the_drives_buffer() -> None:
    m = on(DISK)
    transfer_s = 4096 / 1.5e8
    ahead = served_at(m, 210, 200, 1.0, 4096.0, 0.0)
    behind = served_at(m, 205, 211, 1.0, 4096.0, 0.0)
    assert (ahead, behind) == pytest.approx((11 * transfer_s, transfer_s))
    assert m.device[0]["head"] == 211
    assert served_at(m, 150, 211, 1.0, 4096.0, 0.0) == pytest.approx(NEAR_S, rel=0.01)


@entry
def _order(m: Machine, sectors: np.ndarray, writes: np.ndarray, order: np.ndarray) -> None:
    # All wait while the device is busy; `order` gets who is served first, second ...
    m.device[0].busy = m.device[0].parallel
    for i in range(sectors.size):
        kind = SWAP_WRITE if writes[i] else SWAP_READ
        r = disk.new_request(m, kind, 0, 0, NOMINAL)
        m.request[r].sector = sectors[i]
        m.request[r].count = 1
        m.request[r].page = i
        disk.submit(m, r, 0.0)
    for i in range(sectors.size):
        order[i] = m.request[disk._take(m, 0, 0.1 if i < 40 else 1.0)].page


def order_of(device: Device, sectors: list[int], writes: list[int]) -> list[int]:
    m = on(device)
    order = np.zeros(len(sectors), np.int64)
    _order(m, np.array(sectors), np.array(writes), order)
    return [int(i) for i in order]


def test_a_disk_goes_up_in_the_order_of_sectors_in_batches_of_reads_and_of_writes() -> None:
    # From the oldest read upwards, then from the oldest that is left; after two batches of reads
    # the writes, upwards as well.
    reads = [50, 90, 70, 10, 30, 5]
    writes = [400, 600, 500]
    order = order_of(DISK, reads + writes, [0] * 6 + [1] * 3)
    assert order == [0, 2, 1, 3, 4, 6, 8, 7, 5]


def test_a_batch_ends_after_sixteen() -> None:
    order = order_of(DISK, [*range(100, 120), 7], [0] * 20 + [1])
    assert order == [*range(20), 20]  # two batches of reads, the second of four
    order = order_of(DISK, [*range(100, 140), 7], [0] * 40 + [1])
    assert order.index(40) == 32


def test_flash_takes_the_oldest_first() -> None:
    assert order_of(FLASH, [50, 90, 70, 10], [0, 0, 0, 1]) == [0, 1, 3, 2]


def test_images_lie_behind_the_swap_area_of_their_disk() -> None:
    one = guest(task(sleep(1.0)), pages=64, regions=[file(64)], disk=0)
    m = build(host(one, devices=(DISK, SSD)))
    assert m.guest[0]["sector0"] == m.host[0]["swap_pages"] > 0


def test_many_small_reads_in_one_share_each_seek() -> None:
    end = served_at(on(DISK), 100_000, 0, 8.0, 32768.0, 0.0)
    assert end == pytest.approx(8 * 8e-3 + 32768 / 1.5e8)


@entry
def _in_turns(m: Machine, spans: np.ndarray, ops: float) -> None:
    # A stream and a request of many small ones take turns, a share each: when each of them ends.
    stream = disk.new_request(m, SWAP_READ, 0, 0, NOMINAL)
    many = disk.new_request(m, SWAP_READ, 0, 0, NOMINAL)
    m.request[many].sector, m.request[many].count, m.request[many].ops = 500_000, 1, ops
    m.request[stream].count = 8
    t = 0.0
    for i in range(len(spans)):
        m.request[stream].sector = 8 * i
        m.request[stream].begun = 0
        end = disk._service_end(m, 0, stream, 1.0, 32768.0, t)
        spans[i, 0] = end - t
        t = disk._service_end(m, 0, many, 1.0, 4096.0, end)
        m.request[many].begun = 1
        spans[i, 1] = t - end


def test_a_stream_seeks_again_after_each_of_many_small_reads() -> None:
    spans = np.zeros((6, 2))
    _in_turns(on(DISK), spans, 16.0)
    np.testing.assert_allclose(spans[1:, 0], 8e-3 + 32768 / 1.5e8)
    np.testing.assert_allclose(spans[:, 1], 8e-3 + 4096 / 1.5e8)


def test_many_small_reads_leave_little_in_the_drives_buffer() -> None:
    m = on(DISK)
    _in_turns(m, np.zeros((1, 2)), 16.0)
    end = served_at(m, 500_000, int(m.device[0]["head"]), 1.0, 4096.0, 0.0)
    assert end > 4096 / 1.5e8 + 1e-3


@entry
def _side_by_side(m: Machine, ops: float, ends: np.ndarray) -> None:
    # A share of many small reads and then one read, both begun at 0.
    for i in range(2):
        r = disk.new_request(m, SWAP_READ, 0, 0, NOMINAL)
        m.request[r].count = 1
        ends[i] = disk._service_end(m, 0, r, ops if i == 0 else 1.0, 32768.0, 0.0)


def test_the_latencies_of_many_small_reads_leave_the_path_to_others() -> None:
    ends = np.zeros(2)
    _side_by_side(on(SSD), 8.0, ends)
    transfer_s = 32768 / 5e8
    np.testing.assert_allclose(ends, [8e-4 + transfer_s, 1e-4 + 2 * transfer_s])


@entry
def _long_among_short(m: Machine, shorts: np.ndarray, at_s: float, served: np.ndarray) -> float:
    # A read of 2 MiB in order at sector 1000, and short ones queued behind it:
    # `served` gets who is, share by share (the long one: -1).  Returns how long it was busy.
    m.device[0].busy = m.device[0].parallel
    for i in range(-1, shorts.size):
        r = disk.new_request(m, SWAP_READ, 0, 0, NOMINAL)
        m.request[r].sector = 1000 if i < 0 else shorts[i]
        m.request[r].count = 512 if i < 0 else 1
        m.request[r].bytes = 4096.0 * m.request[r].count
        m.request[r].page = i
        disk.submit(m, r, 0.0)
    m.device[0].busy = 0
    disk.serve(m, 0, at_s)
    for k in range(served.size):
        r = 0
        while m.request[r].state != R_SERVED:
            r += 1
        served[k] = m.request[r].page
        if disk.end_share(m, r, at_s):
            disk.free_request(m, r)
            disk.serve(m, 0, at_s)
    return float(m.device[0].busy_s)


# In its batch; and when it has waited too long, which all of it has, and the short ones too.
@pytest.mark.parametrize("at_s", [0.0, 1.0])
def test_the_parts_of_a_long_read_follow_each_other(at_s: float) -> None:
    served = np.zeros(6, np.int64)
    busy_s = _long_among_short(on(DISK), np.array([5000, 100_000]), at_s, served)
    assert served.tolist() == [-1, -1, -1, -1, 0, 1]
    seeks_s, transfer_s = 2 * NEAR_S + 8e-3, 514 * 4096 / 1.5e8
    assert busy_s == pytest.approx(seeks_s + transfer_s, rel=1e-3)


@entry
def _long_both_ways(m: Machine, many: int, t: float) -> int:
    # Long reads and writes in turn, all queued at once; returns how many end, the last begun first.
    m.device[0].busy = m.device[0].parallel
    for i in range(many):
        r = disk.new_request(m, SWAP_WRITE if i % 2 else SWAP_READ, 0, 0, NOMINAL)
        m.request[r].sector, m.request[r].count = 1000 * (i + 1), 512
        m.request[r].bytes = 4096.0 * m.request[r].count
        disk.submit(m, r, t)
    m.device[0].busy = ended = 0
    disk.serve(m, 0, t)
    while m.device[0].busy > 0:
        r = many - 1
        while m.request[r].state != R_SERVED:
            r -= 1
        if disk.end_share(m, r, t):
            disk.free_request(m, r)
            disk.serve(m, 0, t)
            ended += 1
    return ended


def test_a_disk_that_serves_reads_beside_writes_ends_all_of_them() -> None:
    assert _long_both_ways(on(replace(DISK, parallel=2)), 6, 0.0) == 6


@entry
def _second_part(m: Machine, sector: int) -> float:
    # How long a read of one page takes after the first quarter of one of 2 MiB at sector 1000.
    r = disk.new_request(m, SWAP_READ, 0, 0, NOMINAL)
    m.request[r].sector, m.request[r].count, m.request[r].bytes = 1000, 512, 512 * 4096.0
    disk.submit(m, r, 0.0)
    other = disk.new_request(m, SWAP_READ, 0, 0, NOMINAL)
    m.request[other].sector, m.request[other].count = sector, 1
    return float(disk._service_end(m, 0, other, 1.0, 4096.0, 0.0))


@pytest.mark.parametrize(
    ("sector", "wait_s"), [(1100, 0.0), (1128, 0.0), (1140, 12 * 4096 / 1.5e8)]
)
def test_the_drive_has_in_its_buffer_what_was_read_and_no_more(sector: int, wait_s: float) -> None:
    assert _second_part(on(DISK), sector) == pytest.approx(wait_s + 4096 / 1.5e8)


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
