"""Compaction and khugepaged: free blocks out of pieces, huge pages out of small ones."""

from dataclasses import replace
from typing import Any

import pytest

from memsim import params
from memsim.spec import HostSpec, Op, Pattern, Phase, RegionKind, Start
from tests.memsim.hosts import (
    allocate,
    anon,
    compute,
    file,
    free,
    guest,
    host,
    read,
    run,
    seconds,
    sleep,
    task,
)

BLOCK = 512


def in_pieces(*then: Phase, hot: int = 3, **fields: Any) -> HostSpec:  # noqa: ANN401
    """Two files are read in turns, then one is deleted: what is free is between the other's."""
    in_order: dict[str, Any] = {"pattern": Pattern.SEQUENTIAL, "cost_s": 1e-5}
    size = 6 * BLOCK
    work = task(sleep(2.0), *then)
    one = task(read(0, count=size, **in_order), free(0))
    two = task(read(1, count=size, **in_order))
    settings: dict[str, Any] = {"pages": 16 * BLOCK, "vcpus": 3, "huge_pages": True}
    regions = [file(size), file(size), anon(hot * BLOCK)]
    return host(guest(work, one, two, regions=regions, **settings | fields))


def test_a_first_touch_compacts_where_no_block_is_free() -> None:
    gs = run(in_pieces(allocate(2), hot=6), 5.0).guest[0, 0]
    assert gs["thp_fault_alloc"] == 6
    assert gs["thp_fault_fallback"] == 0
    assert gs["compact_stall"] > 0
    assert gs["compact_migrated"] > 0


def test_the_time_of_compaction_is_the_tasks_and_as_long_as_pages_are_moved() -> None:
    # The host backs all of it, and kcompactd of 2011 does not look ahead.
    fleet = run(in_pieces(allocate(2), hot=6, start=Start.RESIDENT, lru_2011=True), 5.0)
    moved = int(fleet.guest[0, 0]["compact_migrated"])
    scanned = int(fleet.guest[0, 0]["compact_scanned"])
    expected = moved * params.MIGRATE_S + scanned * params.COMPACT_SCAN_S
    assert moved > 0
    assert seconds(fleet)["compaction"] == pytest.approx(expected)


def test_without_direct_compaction_it_falls_back_to_small_pages() -> None:
    fleet = run(in_pieces(allocate(2), hot=6, direct_compaction=False, lru_2011=True), 5.0)
    gs = fleet.guest[0, 0]
    assert gs["thp_fault_fallback"] > 0
    assert gs["thp_fault_alloc"] + gs["thp_fault_fallback"] == 6
    assert gs["compact_migrated"] == 0


def test_unmovable_pages_keep_their_blocks() -> None:
    spec = in_pieces(allocate(2), hot=6)
    # The second file's pages are the kernel's own.
    one = spec.guests[0]
    slab = replace(one.regions[1], kind=RegionKind.KERNEL)
    grow = Phase(Op.ALLOCATE, region=1)
    tasks = (one.tasks[0], one.tasks[1], task(compute(1e-4), grow))
    fleet = run(
        replace(
            spec,
            guests=(replace(one, regions=(one.regions[0], slab, one.regions[2]), tasks=tasks),),
        ),
        5.0,
    )
    assert fleet.guest[0, 0]["kernel_pages"] == 6 * BLOCK
    assert fleet.guest[0, 0]["compact_migrated"] == 0


def test_khugepaged_makes_small_pages_huge_eight_blocks_in_ten_seconds() -> None:
    # 4096 pages a pass: 1.6 MiB/s.
    spec = in_pieces(
        allocate(2), free(1), hot=12, pages=20 * BLOCK, direct_compaction=False, lru_2011=True
    )
    until = [9.0, 11.0, 19.0, 21.0, 31.0]
    fleet = run(spec, 5.0)
    small = int(fleet.guest[0, 0]["thp_fault_fallback"])
    assert small > 0
    counts = [int(run(spec, t).guest[0, 0]["thp_collapse_alloc"]) for t in until]
    assert counts[0] == 0
    assert counts[1] == counts[2] <= 8
    assert counts[-1] == small
