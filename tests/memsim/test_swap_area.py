"""The host's swap: slots in clusters, windows of readahead, the swap cache, dirty bits."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from memsim import swap
from memsim.build import build
from memsim.fleet import Fleet
from memsim.jit import entry
from memsim.machine import Machine
from memsim.spec import (
    Act,
    Async,
    Cgroup,
    Device,
    DeviceKind,
    Entry,
    GuestSpec,
    HostSpec,
    Pattern,
    Start,
)
from memsim.state import CACHED, NOBODY, R_FREE, RESIDENT, SWAP_WRITE, SWAPPED
from tests.memsim.hosts import (
    DISK,
    SLOW,
    SSD,
    ZRAM,
    allocate,
    anon,
    guest,
    host,
    machine,
    run,
    sleep,
    swapped_out,
    task,
    touch,
)

KIB = 1024


def sweeper(pages: int, **fields: Any) -> GuestSpec:  # noqa: ANN401  any of GuestSpec
    """Fills its memory in order, and touches it again in order from 3 s on."""
    script = task(allocate(0), sleep(3.0), touch(0, count=pages, pattern=Pattern.SEQUENTIAL))
    regions = [anon(pages)]
    return guest(script, pages=2 * pages, regions=regions, cgroup=0, **fields)


def squeezed(pages: int, **fields: Any) -> HostSpec:  # noqa: ANN401  any of HostSpec
    return swapped_out(host(sweeper(pages), cgroups=(Cgroup(),), **fields))


def test_slots_follow_the_order_of_reclaim() -> None:
    fleet = run(squeezed(600), 2.5)
    m = machine(fleet)
    pages = m.vpage["page"][:600]
    assert (m.page["hstate"][pages] == SWAPPED).all()
    # Filled in order, reclaimed in order: each next page in the next slot.
    assert (np.diff(m.page["slot"][pages]) == 1).all()


def test_a_used_cluster_is_left_for_a_free_one() -> None:
    fleet = run(squeezed(1200), 2.5)
    used = machine(fleet).cluster
    assert used.sum() == 1200
    assert sorted(used[used > 0].tolist()) == [1200 % 512, 512, 512]


@pytest.mark.parametrize(
    ("fields", "slots"),
    [
        ({}, 512),
        ({"lru_2011": True}, 256),
        ({"page_bytes": 65536}, 32),
        ({"page_bytes": 1 << 21}, 1),
        ({"page_bytes": 1 << 21, "lru_2011": True}, 1),
    ],
)
def test_a_cluster_is_a_huge_page_since_those_are_swapped_whole(
    fields: dict[str, Any], slots: int
) -> None:
    m = build(host(guest(task(sleep(1.0)), pages=1024), **fields))
    assert m.host[0]["cluster_slots"] == slots
    assert m.host[0]["clusters_free"] == m.host[0]["swap_pages"] // slots


@entry
def run_of(m: Machine, n: int) -> int:
    return swap.find_run(m, n)


def test_a_huge_page_takes_a_cluster_that_is_free_and_nothing_else() -> None:
    m = build(host(guest(task(sleep(1.0)), pages=1024), swap_pages=4 * 512 + 100))
    for used, found in (((), 0), ((0, 511), 512), ((600, 1100), 1536), ((2000, 2060), NOBODY)):
        for s in used:
            take(m, s % 1000, s)
        m.host[0]["slot_next"] = 0
        assert run_of(m, 512) == found
    assert m.host[0]["clusters_free"] == 0
    drop(m, 100)  # of the page that has slot 1100
    assert run_of(m, 512) == 1024


@entry
def take(m: Machine, p: int, s: int) -> None:
    swap.take_slot(m, p, s)


@entry
def drop(m: Machine, p: int) -> None:
    swap.free_slot(m, p)


def slots_after_half_was_read_and_written_again(device: Device) -> list[int]:
    """Slots of the first 300 pages of 600, read back in order and then swapped out again."""
    reader = task(allocate(0), sleep(3.0), touch(0, count=300, pattern=Pattern.SEQUENTIAL))
    one = guest(reader, pages=1200, regions=[anon(600)], cgroup=0)
    old: dict[str, Any] = {"ept_dirty_bits": False, "lru_2011": True}
    spec = swapped_out(host(one, cgroups=(Cgroup(),), devices=(device, SSD), **old))
    again = Entry(Act.CGROUP_MAX, at_s=6.0, index=0, value=0)
    fleet = run(replace(spec, timeline=(*spec.timeline, again)), 2.5, 5.9, 8.0)
    m = machine(fleet)
    slots: list[int] = m.page["slot"][m.vpage["page"][:300]].tolist()
    return slots


def test_a_disk_that_seeks_keeps_its_swap_short() -> None:
    # The run from 512 on is filled first, then the lowest that is free.
    slots = slots_after_half_was_read_and_written_again(DISK)
    assert slots == [*range(600, 768), *range(132)]


def test_flash_goes_on_behind_what_it_wrote_last() -> None:
    slots = slots_after_half_was_read_and_written_again(SSD)
    assert slots == [*range(600, 900)]


@pytest.mark.parametrize("virtual", [True, False], ids=["virtual", "slots"])
def test_a_window_comes_to_the_lists_in_its_order(virtual: bool) -> None:
    one = replace(sweeper(64), tasks=(task(allocate(0), sleep(3.0), touch(0, count=1, pattern=3)),))
    spec = host(one, cgroups=(Cgroup(),), readahead_bytes=32 * KIB, readahead_virtual=virtual)
    m = machine(run(swapped_out(spec), 2.5, 4.0))
    ahead = 4 if virtual else 7  # a first window in memory lies around the page
    assert m.page["hstate"][m.vpage["page"][: 1 + ahead]].tolist() == [RESIDENT] + ahead * [CACHED]
    found, p = [], m.vpage["page"][0]
    while p != NOBODY:
        found.append(int(p))
        p = m.page["hprev"][p]
    assert found[: 1 + ahead] == m.vpage["page"][: 1 + ahead].tolist()


def test_swap_that_is_full_takes_no_more() -> None:
    fleet = run(squeezed(600, swap_pages=500), 2.5)
    assert fleet.host[0]["swap_used_pages"] == 500
    assert fleet.guest[0, 0]["resident_pages"] >= 100
    assert fleet.guest[0, 0]["host_kills"] == 0  # the limit's thread kills nobody


@pytest.mark.parametrize(
    ("window", "virtual", "faults"),
    [
        (4 * KIB, False, 64),
        (16 * KIB, False, 64 / 4),
        (32 * KIB, False, 64 / 8),
        (4 * KIB, True, 64),
        # in memory the first window lies around the first page: 3 and 5 pages of it are there
        (16 * KIB, True, 1 + 16),
        (32 * KIB, True, 1 + 8),
    ],
)
def test_a_fault_reads_its_window(window: int, virtual: bool, faults: float) -> None:
    spec = squeezed(64, readahead_bytes=window, readahead_virtual=virtual)
    fleet = run(spec, 2.9, 4.0)
    seen = fleet.guest[0, 0]
    assert seen["host_swap_in"] == 64
    assert seen["host_major"] == faults


def test_a_coarse_page_is_its_own_window() -> None:
    spec = squeezed(64, page_bytes=64 * KIB, readahead_bytes=32 * KIB)
    fleet = run(spec, 2.9, 4.0)
    assert fleet.guest[0, 0]["host_major"] == 64


def test_what_was_read_ahead_waits_in_the_swap_cache() -> None:
    one = replace(sweeper(64), tasks=(task(allocate(0), sleep(3.0), touch(0, count=1, pattern=3)),))
    spec = swapped_out(host(one, cgroups=(Cgroup(),), readahead_bytes=32 * KIB))
    fleet = run(spec, 2.5, 4.0)
    states = machine(fleet).page["hstate"][machine(fleet).vpage["page"][:8]]
    assert (states == RESIDENT).sum() == 1
    assert (states == CACHED).sum() == 4
    assert fleet.host[0]["swap_used_pages"] == 64  # a copy stays in swap while nothing is dirtied


def test_zram_charges_the_frames_that_it_fills() -> None:
    fleet = run(squeezed(600, devices=(ZRAM, SSD)), 2.5)
    seen = fleet.host[0]
    assert seen["zram_stored"] == 600
    assert seen["zram_pages"] == 200
    assert fleet.guest[0, 0]["resident_pages"] == 0
    fleet.advance(np.array([4.0]))
    fleet.check()
    assert fleet.host[0]["zram_pages"] == 0
    assert fleet.host[0]["swap_used_pages"] == 0


def rereading(dirty_bits: bool, write: float) -> Fleet:
    """A loop over more than a cgroup may hold, after a first fill; returns after 20 s."""
    loop = touch(0, pattern=Pattern.LOOP, write=write, cost_s=1e-4)
    one = guest(task(allocate(0), loop), pages=1024, regions=[anon(400)], cgroup=0)
    spec = host(one, cgroups=(Cgroup(300),), ept_dirty_bits=dirty_bits, swap_pages=4096)
    return run(spec, 5.0, 20.0)


def test_without_dirty_bits_what_is_only_read_is_written_again_and_again() -> None:
    blind, seeing = rereading(False, 0.0), rereading(True, 0.0)
    assert seeing.host[0]["swap_out_pages"] <= 400  # each page once
    assert seeing.host[0]["swap_in_pages"] > 10_000
    written = blind.host[0]["swap_out_pages"] / blind.host[0]["swap_in_pages"]
    assert written == pytest.approx(1.0, abs=0.05)


def test_what_is_written_to_is_written_out_again_anyway() -> None:
    seeing = rereading(True, 1.0).host[0]
    assert seeing["swap_out_pages"] / seeing["swap_in_pages"] == pytest.approx(1.0, abs=0.05)


def test_above_half_full_swap_keeps_no_copies() -> None:
    # vm_swap_full: a slot whose page is mapped is freed.
    loop = touch(0, pattern=Pattern.LOOP, cost_s=1e-4)
    one = guest(task(allocate(0), loop), pages=1024, regions=[anon(400)], cgroup=0)
    tight = run(host(one, cgroups=(Cgroup(300),), swap_pages=180), 20.0)
    assert tight.host[0]["swap_out_pages"] > 10_000
    assert tight.host[0]["swap_used_pages"] <= 180


def test_a_page_under_write_back_is_taken_back_without_io() -> None:
    # Writes take 10 ms each; the task touches again at once what is on its way out.
    again = task(allocate(0), sleep(1.0005), touch(0, count=20, pattern=Pattern.SEQUENTIAL))
    one = guest(again, pages=256, regions=[anon(20)], cgroup=0)
    squeeze = (
        Entry(Act.CGROUP_MAX, at_s=1.0, index=0, value=0),
        Entry(Act.CGROUP_MAX, at_s=1.0004, index=0, value=-1),
    )
    spec = host(one, devices=(SLOW, SSD), cgroups=(Cgroup(),), timeline=squeeze)
    fleet = run(spec, 3.0)
    seen = fleet.guest[0, 0]
    assert seen["host_swap_out"] == 20
    assert seen["host_swap_in"] == 0
    assert seen["resident_pages"] == 20
    assert fleet.task[0, 0, 0]["done"] == 40


def test_a_frame_is_kept_until_its_write_ends() -> None:
    # Pages are taken back from a slow write-back, and reclaim wants them again meanwhile: clean
    # as they are, they may not go before they are written.
    script = task(
        allocate(0), sleep(2.0), touch(0, count=600, pattern=Pattern.SEQUENTIAL, cost_s=1e-5)
    )
    one = guest(script, pages=700, regions=[anon(600)], cgroup=0)
    slow = Device(DeviceKind.SOLID, latency_s=0.5, bytes_per_s=1e9)
    squeeze = (
        Entry(Act.CGROUP_MAX, at_s=1.99, index=0, value=0),
        Entry(Act.CGROUP_MAX, at_s=2.4, index=0, value=300),
    )
    spec = host(one, devices=(slow, SSD), cgroups=(Cgroup(),), timeline=squeeze)
    fleet = Fleet(1)
    fleet.reset([replace(spec, ept_dirty_bits=True)])
    m = machine(fleet)
    taken_back = 0
    for t in np.arange(1.99, 4.0, 0.005):
        fleet.advance(np.array([t]))
        fleet.check()
        for rq in m.request[(m.request["state"] != R_FREE) & (m.request["kind"] == SWAP_WRITE)]:
            pages = m.slot[rq["sector"] : rq["sector"] + rq["count"]]
            states = m.page["hstate"][pages[pages != NOBODY]]
            assert not (states == SWAPPED).any()
            taken_back += int((states == RESIDENT).sum())
    assert taken_back > 50
    fleet.advance(np.array([30.0]))
    fleet.check()
    assert fleet.host[0]["oom_kills"] == 0
    assert fleet.guest[0, 0]["host_swapped_pages"] >= 300


@pytest.mark.parametrize("start", list(Start))
def test_start_states(start: Start) -> None:
    idle = guest(task(sleep(9.0)), pages=600, kernel_pages=10, start=start)
    fleet = run(host(idle), 1.0)
    seen = fleet.guest[0, 0]
    resident = {Start.FRESH: 10, Start.RESIDENT: 600, Start.RECLAIMED: 10}[start]
    assert seen["resident_pages"] == resident
    assert seen["host_swapped_pages"] == (590 if start == Start.RECLAIMED else 0)
    assert fleet.host[0]["swap_used_pages"] == seen["host_swapped_pages"]


def test_adjacent_writes_merge_into_few_requests() -> None:
    # 512 pages in the order of reclaim at 10 ms a request: far below a request a page.
    fleet = run(squeezed(512, devices=(SLOW, SSD)), 1.9)
    assert fleet.host[0]["swap_out_pages"] == 512
    requests = fleet.host[0]["io_busy_s"] / SLOW.latency_s
    assert requests <= 512 / 16


@pytest.mark.parametrize(
    ("how", "slots_kept", "moved"),
    [(Async.OFF, True, 0), (Async.HALT, True, 64 / 8), (Async.HALT, False, 64)],
)
def test_where_slots_are_kept_only_what_a_worker_read_for_a_vcpu_moves(
    how: Async, slots_kept: bool, moved: float
) -> None:
    spec = squeezed(64, ept_dirty_bits=False, slots_kept=slots_kept, readahead_virtual=False)
    spec = replace(spec, readahead_adapts=False, readahead_bytes=32 * KIB)
    spec = replace(spec, guests=(replace(spec.guests[0], async_mode=how),))
    again = Entry(Act.CGROUP_MAX, at_s=6.0, index=0, value=0)
    fleet = run(replace(spec, timeline=(*spec.timeline, again)), 2.5)
    m = machine(fleet)
    pages = m.vpage["page"][:64]
    before = m.page["slot"][pages].copy()
    fleet.advance(np.array([5.9]))
    assert fleet.guest[0, 0]["host_major"] == 64 / 8
    fleet.advance(np.array([8.0]))
    fleet.check()
    assert (m.page["hstate"][pages] == SWAPPED).all()
    assert fleet.guest[0, 0]["host_swap_out"] == 2 * 64  # nothing says that it was only read
    assert (m.page["slot"][pages] != before).sum() == moved
