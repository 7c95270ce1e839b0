"""Merged memory under pressure: one frame on an LRU list, one slot, copies for who comes back."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from memsim.fleet import Fleet
from memsim.params import MAP_S, UNSHARE_S
from memsim.spec import Act, Cgroup, Device, Entry, GuestSpec, HostSpec, Ksm, Phase

from .hosts import (
    FLASH,
    SSD,
    ZRAM,
    allocate,
    anon,
    guest,
    host,
    machine,
    run,
    seconds,
    sleep,
    swapped_out,
    task,
    touch,
)

FRAMES, SHARERS = 200, 5
PAGES = FRAMES * SHARERS
CONTENT = np.arange(PAGES, dtype=np.uint32) % FRAMES + 1
QUICK = Ksm(pages_to_scan=10_000, sleep_s=0.01)


def _guest(*more: Phase, guest_id: int = 1, **fields: object) -> GuestSpec:
    script = task(allocate(), *more, sleep(1000.0))
    plain: dict[str, Any] = {"pages": 2048, "regions": (anon(PAGES, content=CONTENT),), "cgroup": 0}
    return guest(script, guest_id=guest_id, **plain | fields)


def _host(*guests: GuestSpec, **fields: object) -> HostSpec:
    return replace(host(*guests, **fields), ksm=QUICK, cgroups=(Cgroup(),))


def _counts(fleet: Fleet, *names: str) -> list[int]:
    return [int(fleet.host[f"ksm_{name}"][0]) for name in names]


def _guests(fleet: Fleet, name: str) -> list[int]:
    return [int(n) for n in fleet.guest[name][0]]


@pytest.mark.parametrize("swap", [FLASH, ZRAM])
def test_a_merged_frame_goes_to_one_slot_whoever_shares_it(swap: Device) -> None:
    fleet = run(swapped_out(_host(_guest(), devices=(swap, SSD))), 0.9)
    assert _counts(fleet, "shared", "sharing") == [FRAMES, PAGES - FRAMES]
    fleet.advance(np.array([1.8]))
    fleet.check()
    assert _counts(fleet, "shared", "sharing") == [0, 0]
    assert _guests(fleet, "host_swapped_pages") == [PAGES]
    assert _guests(fleet, "resident_pages") == _guests(fleet, "merged_pages") == [0]
    assert fleet.host["swap_used_pages"][0] == fleet.host["swap_out_pages"][0] == FRAMES


def test_a_limit_below_what_is_merged_swaps_and_kills_nobody() -> None:
    limit = Entry(Act.CGROUP_MAX, at_s=1.0, index=0, value=FRAMES // 2)
    fleet = run(replace(_host(_guest()), timeline=(limit,)), 0.9, 3.0)
    assert _guests(fleet, "host_kills") == [0]
    assert 0 < _guests(fleet, "resident_pages")[0] <= FRAMES // 2


def test_what_one_sharer_uses_stays_for_all() -> None:
    # One page of every fourth frame is touched all the time; by and by half of the frames go.
    hot = FRAMES // 4
    used = anon(hot, content=4 * np.arange(hot, dtype=np.uint32) + 1)
    work = touch(1, pattern=2, cost_s=1e-7, seconds=100.0)
    spec = _host(_guest(allocate(1), work, regions=(_guest().regions[0], used)), tick_s=1e-4)
    steps = range(FRAMES, FRAMES // 2, -5)
    limits = [Entry(Act.CGROUP_MAX, after_s=0.05, index=0, value=pages) for pages in steps]
    limits[0] = replace(limits[0], at_s=1.0)
    fleet = run(replace(spec, timeline=tuple(limits)), 0.9)
    assert _counts(fleet, "shared", "sharing") == [FRAMES, PAGES - FRAMES + hot]
    fleet.advance(np.array([3.0]))
    fleet.check()
    assert fleet.host["swap_out_pages"][0] >= FRAMES // 2 - 5
    assert _guests(fleet, "host_major") == [0]  # of 50 that were used no frame is among 95


def test_the_first_to_come_back_reads_and_the_others_copy() -> None:
    again = touch(pattern=2, count=PAGES)
    spec = replace(swapped_out(_host(_guest(sleep(2.0), again))), ksm=replace(QUICK, run=1))
    fleet = run(spec, 1.8)
    fleet.set_ksm(np.array([0]), np.array([-1]), np.array([-1.0]))
    fleet.advance(np.array([4.0]))
    fleet.check()
    assert _guests(fleet, "host_swap_in") == _guests(fleet, "host_major") == [FRAMES]
    assert _guests(fleet, "unshared") == [PAGES - FRAMES]
    assert _guests(fleet, "resident_pages") == [PAGES]
    lost = seconds(fleet)["host_swap"]
    assert lost > (PAGES - FRAMES) * UNSHARE_S + FRAMES * MAP_S


def test_they_merge_again_later() -> None:
    again = touch(pattern=2, count=PAGES)
    fleet = run(swapped_out(_host(_guest(sleep(2.0), again))), 1.8, 6.0)
    assert _counts(fleet, "shared", "sharing") == [FRAMES, PAGES - FRAMES]


def test_compressed_memory_is_read_by_each() -> None:
    again = touch(pattern=2, count=PAGES)
    spec = swapped_out(_host(_guest(sleep(2.0), again), devices=(ZRAM, SSD)))
    fleet = run(spec, 1.8)
    fleet.set_ksm(np.array([0]), np.array([-1]), np.array([-1.0]))
    fleet.advance(np.array([4.0]))
    fleet.check()
    assert _guests(fleet, "host_swap_in") == [PAGES]
    assert fleet.host["swap_used_pages"][0] == 0


def test_a_slot_outlives_the_guest_that_was_charged_for_it() -> None:
    again = touch(pattern=2, count=PAGES)
    pair = (_guest(stop_s=1.95), _guest(sleep(3.0), again, guest_id=2))
    fleet = run(swapped_out(_host(*pair)), 1.8)
    assert fleet.host["swap_used_pages"][0] == FRAMES
    assert _guests(fleet, "host_swapped_pages") == [PAGES, PAGES]
    fleet.advance(np.array([2.5]))
    fleet.check()
    assert fleet.host["swap_used_pages"][0] == FRAMES
    assert _guests(fleet, "host_swapped_pages") == [0, PAGES]
    fleet.advance(np.array([5.0]))
    fleet.check()
    assert _guests(fleet, "host_swapped_pages") == [0, 0]


def test_what_is_touched_under_write_back_stays_shared() -> None:
    slow = replace(FLASH, bytes_per_s=1e5)  # 40 ms a page
    owner = _guest()
    toucher = task(sleep(1.003), touch(pattern=2, count=PAGES, cost_s=1e-7))
    spec = swapped_out(_host(replace(owner, tasks=(*owner.tasks, toucher)), devices=(slow, SSD)))
    fleet = run(spec, 1.0029)
    assert machine(fleet).host[0]["writing_pages"] == FRAMES
    fleet.advance(np.array([1.01]))
    fleet.check()
    assert _guests(fleet, "host_swap_in") == [0]
    assert _counts(fleet, "shared", "sharing") == [FRAMES, PAGES - FRAMES]
    assert machine(fleet).host[0]["back_pages"] == FRAMES
    assert seconds(fleet, task=1)["host_swap"] == pytest.approx(PAGES * MAP_S)


@pytest.mark.parametrize("store", [0.0, 0.3])
@pytest.mark.parametrize("swap", [FLASH, ZRAM])
def test_no_law_breaks_where_shared_memory_comes_and_goes(swap: Device, store: float) -> None:
    work = touch(write=store, cost_s=1e-4, seconds=100.0)
    pair = [_guest(work, guest_id=1), _guest(work, guest_id=2, stop_s=2.5)]
    tight = [
        Entry(Act.CGROUP_MAX, at_s=1.0 + 0.3 * i, index=0, value=100 + 300 * (i % 2))
        for i in range(6)
    ]
    spec = _host(*pair, devices=(swap, SSD), readahead_bytes=32768)
    fleet = Fleet(1)
    fleet.reset([replace(spec, timeline=tuple(tight))])
    for t in np.arange(0.9, 4.0, 0.01):
        fleet.advance(np.array([t]))
        fleet.check()
    assert fleet.host["swap_out_pages"][0] > FRAMES
