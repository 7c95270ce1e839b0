"""Compaction and khugepaged: free blocks out of pieces, huge pages out of small ones."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from memsim import params
from memsim.build import watermarks
from memsim.content import UNIQUE
from memsim.spec import Cgroup, Defrag, HostSpec, Ksm, Op, Pattern, Phase, RegionKind, Start
from memsim.state import G_REF, H_WROTE, SWAPPED_BASE
from tests.memsim.hosts import (
    allocate,
    anon,
    compute,
    file,
    free,
    guest,
    host,
    machine,
    read,
    run,
    seconds,
    sleep,
    swapped_out,
    task,
    touch,
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


def test_who_compacts_for_a_huge_page_is_stalled_meanwhile() -> None:
    fleet = run(in_pieces(allocate(2), hot=6, start=Start.RESIDENT), 5.0)
    compacted = seconds(fleet)["compaction"]
    assert compacted > 0.0
    assert fleet.guest[0, 0]["psi_some_s"] == pytest.approx(compacted)


def test_what_was_moved_before_it_had_to_wait_is_paid_too() -> None:
    # As above, but the host has swapped out what is to be moved, and reads it page by page.
    spec = in_pieces(allocate(2), hot=6, lru_2011=True, cgroup=0)
    spec = swapped_out(replace(spec, cgroups=(Cgroup(),)), at_s=1.0)
    fleet = run(spec, 1.95, 30.0)
    moved = int(fleet.guest[0, 0]["compact_migrated"])
    scanned = int(fleet.guest[0, 0]["compact_scanned"])
    expected = moved * params.MIGRATE_S + scanned * params.COMPACT_SCAN_S
    assert fleet.guest[0, 0]["host_swap_in"] > 500
    assert seconds(fleet)["compaction"] == pytest.approx(expected)


def test_without_direct_compaction_it_falls_back_to_small_pages() -> None:
    fleet = run(in_pieces(allocate(2), hot=6, defrag=Defrag.NEVER, lru_2011=True), 5.0)
    gs = fleet.guest[0, 0]
    assert gs["thp_fault_fallback"] > 0
    assert gs["thp_fault_alloc"] + gs["thp_fault_fallback"] == 6
    assert gs["compact_migrated"] == 0


def full(
    defrag: Defrag,
    old: bool,
    wants: Phase = allocate(1),  # noqa: B008  it is frozen
) -> HostSpec:
    """A guest full of cache, and then a program that wants four huge pages."""
    size = 20 * BLOCK
    reader = task(read(0, count=size, pattern=Pattern.SEQUENTIAL, cost_s=1e-5))
    settings: dict[str, Any] = {
        "pages": 16 * BLOCK,
        "vcpus": 3,
        "huge_pages": True,
        "regions": [file(size), anon(4 * BLOCK)],
        "defrag": defrag,
        "lru_2011": old,
    }
    return host(guest(task(sleep(3.0), wants), reader, **settings))


def test_kernels_of_2011_reclaim_for_a_huge_page() -> None:
    before = run(full(Defrag.ALWAYS, old=True), 2.9).guest[0, 0]
    gs = run(full(Defrag.ALWAYS, old=True), 4.0).guest[0, 0]
    assert before["free_blocks"] == 0
    assert gs["thp_fault_alloc"] == 4
    assert gs["alloc_stalls"] > before["alloc_stalls"]
    # At least a block for each, and at most the room for compaction and a batch.
    freed = int(gs["direct_reclaim"] - before["direct_reclaim"])
    assert BLOCK <= freed <= 4 * (2 * BLOCK + params.RECLAIM_BATCH)


def test_today_a_first_touch_without_room_for_compaction_fails_at_once() -> None:
    gs = run(full(Defrag.ALWAYS, old=False), 4.0).guest[0, 0]
    assert gs["thp_fault_fallback"] == 4
    assert gs["compact_stall"] == gs["compact_migrated"] == 0


def test_a_pool_of_huge_pages_takes_no_small_ones_and_counts_what_it_misses() -> None:
    pool = Phase(Op.ALLOCATE, region=1, huge_only=True)
    gs = run(full(Defrag.ALWAYS, old=False, wants=pool), 4.0).guest[0, 0]
    assert gs["thp_fault_fallback"] == 4
    assert gs["anon_pages"] == 0
    gs = run(full(Defrag.ALWAYS, old=True, wants=pool), 4.0).guest[0, 0]
    assert gs["thp_fault_alloc"] == 4
    assert gs["anon_pages"] == 4 * BLOCK


def test_who_compacts_and_reclaims_in_vain_falls_back_once() -> None:
    # A sixth of memory is the kernel's, a page in each six: no block can be made.
    spec = in_pieces(sleep(1.0), allocate(2), hot=2, lru_2011=True)
    one = spec.guests[0]
    regions = (file(20 * BLOCK), *one.regions[1:])
    reader = task(read(0, count=20 * BLOCK, pattern=Pattern.SEQUENTIAL, cost_s=1e-5))
    one = replace(one, pages=12 * BLOCK, regions=regions, tasks=(one.tasks[0], reader))
    one = replace(one, kernel_pages=2 * BLOCK, kernel_spread=12 * BLOCK)
    gs = run(replace(spec, guests=(one,)), 5.0).guest[0, 0]
    assert gs["alloc_stalls"] > 0
    assert gs["thp_fault_alloc"] + gs["thp_fault_fallback"] == 2
    assert gs["thp_fault_fallback"] > 0


@pytest.mark.parametrize(("defrag", "made"), [(Defrag.NEVER, 0), (Defrag.DEFER, 1)])
def test_to_defer_is_to_have_kswapd_and_kcompactd_make_a_block(defrag: Defrag, made: int) -> None:
    spec = full(defrag, old=False, wants=touch(1, count=1, write=1.0))
    before = run(spec, 2.9).guest[0, 0]
    gs = run(spec, 3.4).guest[0, 0]
    assert gs["thp_fault_fallback"] == 1
    assert before["free_blocks"] == 0
    assert gs["free_blocks"] >= made
    assert (gs["free_pages"] > before["free_pages"] + BLOCK) == (made > 0)


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


def test_what_is_stored_while_khugepaged_copies_is_not_lost() -> None:
    spec = in_pieces(
        allocate(2), free(1), hot=12, pages=20 * BLOCK, defrag=Defrag.NEVER, lru_2011=True
    )
    one = spec.guests[0]
    same = anon(12 * BLOCK, content=np.full(12 * BLOCK, 9, np.uint32))
    one = replace(one, regions=(*one.regions[:2], same))
    fleet = run(replace(spec, guests=(one,), ksm=Ksm(run=0)), 19.9)
    m = fleet._machines[0]
    until = 19.9
    while m.guest[0]["collapse_block"] < 0 or m.block[m.guest[0]["collapse_block"]]["filled"] < 64:
        until += 1e-5
        assert until < 20.1
        fleet.advance(np.array([until]))
    block, v = int(m.guest[0]["collapse_block"]), int(m.guest[0]["collapse_hand"])
    copied = [v + i for i in (3, 40) if m.vpage[v + i]["page"] >= 0]
    assert copied
    for i in copied:
        m.page[m.vpage[i]["page"]]["hflags"] |= H_WROTE  # what a store does
    fleet.advance(np.array([until + 1.0]))
    first = int(m.block[block]["first"])
    assert m.vpage[v]["page"] == first  # it was collapsed
    for i in copied:
        q = int(m.vpage[i]["page"])
        assert m.page[q]["hflags"] & H_WROTE or m.ksm[q]["content"] == UNIQUE
    others = [first + i for i in range(BLOCK) if v + i not in copied]
    assert (m.ksm["content"][others] == 9).all()
    fleet.check()


def test_khugepaged_makes_small_pages_huge_eight_blocks_in_ten_seconds() -> None:
    # 4096 pages a pass: 1.6 MiB/s.
    spec = in_pieces(
        allocate(2), free(1), hot=12, pages=20 * BLOCK, defrag=Defrag.NEVER, lru_2011=True
    )
    until = [9.0, 11.0, 19.0, 21.0, 31.0]
    fleet = run(spec, 5.0)
    small = int(fleet.guest[0, 0]["thp_fault_fallback"])
    assert small > 0
    counts = [int(run(spec, t).guest[0, 0]["thp_collapse_alloc"]) for t in until]
    assert counts[0] == 0
    assert counts[1] == counts[2] <= 8
    assert counts[-1] == small


@pytest.mark.parametrize(
    ("back", "old", "few"), [(150, False, True), (0, False, False), (0, True, True)]
)
def test_khugepaged_reads_a_few_pages_from_the_guests_swap_since_4_8(
    back: int, old: bool, few: bool
) -> None:
    # Reclaim splits huge pages for a moment, and swaps a part of them; some are read back.
    size = 16 * BLOCK
    big = size - 4 * BLOCK - watermarks(size, 1.0)[1] + 150
    again = touch(0, pattern=Pattern.SEQUENTIAL, count=back)
    work = task(allocate(0), sleep(1.0), allocate(1), sleep(2.0), free(1), again)
    one = guest(
        work,
        pages=size,
        regions=[anon(4 * BLOCK), anon(big)],
        swap_pages=size,
        huge_pages=True,
        lru_2011=old,
    )
    fleet = run(host(one), 9.9)
    m = machine(fleet)
    before = int(fleet.guest[0, 0]["guest_swap_in"])
    gone = m.vpage["page"][: 4 * BLOCK] <= SWAPPED_BASE
    parts = gone.reshape(4, BLOCK).sum(axis=1)
    assert ((parts > 0) & (parts <= params.COLLAPSE_MAX_SWAP)).any() == few
    mapped = m.vpage["page"][: 4 * BLOCK][~gone]
    m.page["gflags"][mapped] |= np.uint16(G_REF)
    fleet.advance(np.array([11.0]))
    fleet.check()
    gs = fleet.guest[0, 0]
    good = parts <= (0 if old else params.COLLAPSE_MAX_SWAP)
    assert gs["thp_blocks"] == good.sum()
    assert gs["guest_swap_in"] - before == parts[good].sum()
    assert gs["swap_used_pages"] == parts[~good].sum()
