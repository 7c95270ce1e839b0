"""Huge pages: what a fault costs, who splits one, and what a touch elsewhere takes more."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from memsim import params
from memsim.build import build
from memsim.fleet import Fleet
from memsim.spec import Cgroup, Device, Hinting, HostSpec, Pattern, Phase, Reporting, Resize, Start
from tests.memsim.hosts import (
    DISK,
    FLASH,
    SSD,
    ZRAM,
    allocate,
    anon,
    free,
    guest,
    host,
    run,
    seconds,
    sleep,
    swapped_out,
    targets,
    task,
    touch,
)

BLOCK = 512  # pages of 4 KiB


def one(
    *phases: Phase,
    blocks: int = 3,
    in_guest: bool = True,
    on_host: bool = True,
    **fields: Any,  # noqa: ANN401  any of GuestSpec
) -> HostSpec:
    """A guest with a region of whole blocks and memory for all of it."""
    settings: dict[str, Any] = {
        "pages": 8 * BLOCK,
        "regions": [anon(blocks * BLOCK)],
        "huge_pages": in_guest,
    }
    return host(guest(task(*phases), **settings | fields), huge_pages=on_host)


def huge(fleet: Fleet) -> tuple[int, int, int]:
    """Blocks that are huge in the guest, on the host, in both."""
    gs = fleet.guest[0, 0]
    return int(gs["thp_blocks"]), int(gs["host_thp_blocks"]), int(gs["both_thp_blocks"])


@pytest.mark.parametrize(
    ("in_guest", "on_host", "fault_s", "page_s"),
    [
        (False, False, BLOCK * params.EPT_FAULT_S, params.GUEST_FAULT_S),
        (True, False, BLOCK * params.EPT_FAULT_S, params.GUEST_FAULT_S),
        (False, True, params.EPT_FAULT_HUGE_S, params.GUEST_FAULT_S),
        (True, True, params.EPT_FAULT_HUGE_S, params.GUEST_FAULT_HUGE_S),
    ],
)
def test_a_first_touch_costs_what_both_faults_cost(
    in_guest: bool, on_host: bool, fault_s: float, page_s: float
) -> None:
    fleet = run(one(allocate(), in_guest=in_guest, on_host=on_host), 1.0)
    assert seconds(fleet)["nominal"] == pytest.approx(3 * (fault_s + BLOCK * page_s))
    expected = 3 * in_guest, 3 * on_host, 3 * (in_guest and on_host)
    assert huge(fleet) == expected
    assert fleet.guest[0, 0]["host_fresh"] == (3 if on_host else 3 * BLOCK)


def test_one_touch_takes_a_whole_block_of_memory_from_both() -> None:
    fleet = run(one(touch(count=1, write=1.0)), 1.0)
    assert fleet.guest[0, 0]["anon_pages"] == fleet.guest[0, 0]["resident_pages"] == BLOCK


@pytest.mark.parametrize(("in_guest", "on_host"), [(False, True), (True, False), (True, True)])
def test_a_touch_that_is_not_huge_in_both_takes_longer(in_guest: bool, on_host: bool) -> None:
    spec = one(allocate(), touch(count=10_000, cost_s=1e-6), in_guest=in_guest, on_host=on_host)
    spent = seconds(run(spec, 1.0))
    touching = 1e-2 * params.TLB_SHARE if in_guest and not on_host else 0.0
    assert spent.get("tlb", 0.0) == pytest.approx(touching)


def test_parts_of_a_region_that_are_no_whole_block_get_small_pages() -> None:
    fleet = run(one(allocate(), regions=[anon(BLOCK + 100)]), 1.0)
    assert huge(fleet)[0] == 1
    assert fleet.guest[0, 0]["anon_pages"] == BLOCK + 100
    assert fleet.guest[0, 0]["thp_fault_fallback"] == 0


def test_without_a_free_block_small_pages_are_taken() -> None:
    # The kernel's pages break the only block.
    spec = one(allocate(), blocks=1, pages=2 * BLOCK - 100, kernel_pages=10)
    fleet = run(spec, 1.0)
    assert huge(fleet)[0] == 0
    assert fleet.guest[0, 0]["thp_fault_fallback"] == 1
    assert fleet.guest[0, 0]["anon_pages"] == BLOCK


def test_freeing_all_of_it_splits_nothing_and_gives_whole_blocks() -> None:
    gs = run(one(allocate(), free()), 1.0).guest[0, 0]
    assert gs["thp_split"] == 0
    assert gs["free_blocks"] == 8


def test_freeing_a_part_splits_the_mapping() -> None:
    fleet = run(one(allocate(), free(count=BLOCK + 10)), 1.0)
    assert huge(fleet) == (1, 3, 1)
    assert fleet.guest[0, 0]["thp_split"] == 1
    assert fleet.guest[0, 0]["anon_pages"] == 2 * BLOCK - 10


@pytest.mark.parametrize(
    ("device", "old", "splits"),
    [(FLASH, False, False), (ZRAM, False, False), (DISK, False, True), (FLASH, True, True)],
)
def test_host_reclaim_splits_where_it_rotates_and_until_4_14_and_swaps_in_small_pages(
    device: Device, old: bool, splits: bool
) -> None:
    read_back = touch(count=3 * BLOCK, pattern=Pattern.SEQUENTIAL)
    spec = one(allocate(), sleep(2.0), read_back, cgroup=0)
    spec = replace(spec, cgroups=(Cgroup(),), devices=(device, SSD), lru_2011=old)
    fleet = run(swapped_out(spec), 0.9, 1.8)
    slots = fleet._machines[0].page["slot"][: 8 * BLOCK]
    out = slots[slots >= 0]
    assert len(out) == 3 * BLOCK
    fleet.advance(np.array([15.0]))
    fleet.check()
    gs = fleet.guest[0, 0]
    assert gs["host_thp_split"] == (3 if splits else 0)
    assert gs["host_thp_swap_out"] == (0 if splits else 3)
    if not splits:  # each in a row of slots
        first = out.reshape(3, BLOCK)
        assert (np.diff(first, axis=1) == 1).all()
    assert gs["host_swap_in"] == 3 * BLOCK
    assert huge(fleet) == (3, gs["host_thp_collapse"], gs["host_thp_collapse"])


def test_without_slots_in_a_row_or_with_a_free_page_in_it_host_reclaim_splits() -> None:
    spec = one(allocate(), sleep(2.0), cgroup=0)
    spec = replace(spec, cgroups=(Cgroup(),), swap_pages=BLOCK + 100)
    gs = run(swapped_out(spec), 0.9, 1.8).guest[0, 0]
    assert gs["host_thp_swap_out"] == 1
    assert gs["host_thp_split"] > 0
    spec = one(allocate(), free(count=10), sleep(2.0), cgroup=0, hinting=Hinting.BITMAP)
    gs = run(swapped_out(replace(spec, cgroups=(Cgroup(),))), 0.9, 1.8).guest[0, 0]
    assert gs["host_thp_swap_out"] == 2
    assert gs["host_thp_split"] == 1
    assert gs["discarded"] == 10


def test_guest_reclaim_splits() -> None:
    spec = one(allocate(0), allocate(1), regions=[anon(4 * BLOCK)] * 2, swap_pages=8 * BLOCK)
    gs = run(spec, 20.0).guest[0, 0]
    assert gs["guest_swap_out"] > 0
    assert gs["thp_split"] > 0


def test_a_balloon_of_small_pages_breaks_the_hosts_pages() -> None:
    fleet = run(one(start=Start.RESIDENT), 0.5)
    assert huge(fleet)[1] == 8
    targets(fleet, 8 * BLOCK - 10)
    fleet.advance(np.array([2.0]))
    fleet.check()
    assert huge(fleet)[1] == 7
    assert fleet.guest[0, 0]["resident_pages"] == 8 * BLOCK - 10


def test_where_small_pages_were_dropped_faults_stay_small() -> None:
    # The balloon takes nearly all and gives it back: the host keeps its tables of small pages.
    fleet = run(one(sleep(5.0), allocate(), start=Start.RESIDENT), 0.5)
    targets(fleet, 2 * BLOCK)
    fleet.advance(np.array([2.0]))
    targets(fleet, 8 * BLOCK)
    fleet.advance(np.array([10.0]))
    fleet.check()
    gs = fleet.guest[0, 0]
    assert gs["thp_fault_alloc"] == 3
    assert gs["host_thp_fault"] == 0
    assert huge(fleet)[2] < 3


@pytest.mark.parametrize("hinting", [Hinting.REPORTING, Hinting.NONE])
def test_whole_blocks_go_back_to_the_host_whole(hinting: Hinting) -> None:
    resize = Resize.BALLOON_HUGE if hinting == Hinting.NONE else Resize.NONE
    often = Reporting(batch=1)  # a report of more would leave too little to a guest so small
    spec = one(start=Start.RESIDENT, hinting=hinting, reporting=often, resize=resize)
    fleet = run(spec, 0.5)
    targets(fleet, 6 * BLOCK)
    fleet.advance(np.array([30.0]))
    fleet.check()
    gs = fleet.guest[0, 0]
    assert gs["host_thp_split"] == 0
    assert gs["resident_pages"] == (0 if hinting == Hinting.REPORTING else 6 * BLOCK)


def test_coarse_pages_and_exact_lists_are_refused() -> None:
    spec = one(sleep(1.0))
    with pytest.raises(ValueError, match="page_bytes: 131072, at most 65536 with huge pages"):
        build(replace(spec, page_bytes=131072))
    with pytest.raises(ValueError, match="lru_exact: not with huge pages"):
        build(one(sleep(1.0), lru_exact=True))
