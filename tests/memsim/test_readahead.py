"""Readahead follows what came of the last windows; what is swapped in for nothing is counted."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from memsim.readahead import window
from memsim.spec import Act, Cgroup, Entry, GuestSpec, HostSpec, Pattern, Start
from memsim.state import AHEAD, CACHED

from .hosts import DISK, SSD, allocate, anon, file, guest, host, machine, read, run, sleep, task
from .hosts import touch as touching

PAGES = 512


def next_window(prev: int, at: int, hits: int, last: int, most: int = 8) -> int:
    return int(getattr(window, "py_func", window)(prev, at, hits, most, last))


def test_windows_grow_with_hits_and_shrink_by_half() -> None:
    # Hits of a reader in order: all of each window but its first page.
    sizes, last, hits = [], 0, 0
    for at in (101, 103, 107, 115, 123):
        last = next_window(100, at, hits, last)
        sizes.append(last)
        hits = last - 1
    assert sizes == [2, 4, 8, 8, 8]
    # Then at random, where nothing hits.
    sizes = []
    for at in (500, 20, 900, 33):
        last = next_window(123, at, 0, last)
        sizes.append(last)
    assert sizes == [4, 2, 1, 1]
    assert next_window(7, 6, 0, 0) == 2  # next to the last one, downwards
    assert [next_window(0, 99, hits, 0) for hits in (1, 2, 3, 6, 7)] == [4, 4, 8, 8, 8]


def squeezed(one: GuestSpec, **fields: Any) -> HostSpec:  # noqa: ANN401  any of HostSpec
    """All of the guest is swapped out at 1 s."""
    limits = (
        Entry(Act.CGROUP_MAX, at_s=1.0, index=0, value=0),
        Entry(Act.CGROUP_MAX, at_s=1.9, index=0, value=-1),
    )
    plain: dict[str, Any] = {"readahead_bytes": 32768, "cgroups": (Cgroup(),), "timeline": limits}
    return host(replace(one, cgroup=0), **plain | fields)


def reader(**fields: Any) -> GuestSpec:  # noqa: ANN401  any of Phase
    again = touching(0, cost_s=1e-5, **fields)
    return guest(task(allocate(0), sleep(2.0), again), pages=1024, regions=[anon(PAGES)])


@pytest.mark.parametrize("virtual", [True, False])
def test_in_order_full_windows_are_read(virtual: bool) -> None:
    spec = squeezed(reader(pattern=Pattern.SEQUENTIAL, count=PAGES), readahead_virtual=virtual)
    fleet = run(spec, 5.0)
    row = fleet.guest[0, 0]
    assert row["ahead_hits"] > 0.98 * row["ahead_pages"] > 0
    assert row["host_major"] == pytest.approx(PAGES / 8, rel=0.1)


@pytest.mark.parametrize("virtual", [True, False])
def test_at_random_hardly_anything_is_read_ahead_unless_windows_are_fixed(virtual: bool) -> None:
    ahead = {}
    for adapts in (True, False):
        spec = squeezed(
            reader(count=60, pattern=Pattern.UNIFORM),
            readahead_virtual=virtual,
            readahead_adapts=adapts,
        )
        row = run(spec, 5.0).guest[0, 0]
        ahead[adapts] = row["ahead_pages"] / row["host_major"]
    assert ahead[False] > 4.0
    assert ahead[True] < 0.5 * ahead[False]


def test_what_was_read_ahead_bears_its_mark_until_it_is_found() -> None:
    spec = squeezed(reader(pattern=Pattern.SEQUENTIAL, count=1))
    fleet = run(spec, 5.0)
    page = machine(fleet).page
    marked = np.flatnonzero(page["gflags"] & AHEAD)
    assert len(marked) == fleet.guest[0, 0]["ahead_pages"] == 4  # a window of 8 around it
    assert (page["hstate"][marked] == CACHED).all()
    assert fleet.guest[0, 0]["ahead_hits"] == 0


def reading(start: Start, pages: int = 256) -> HostSpec:
    one = guest(
        task(read(0, pattern=Pattern.SEQUENTIAL, count=pages, cost_s=1e-5)),
        pages=1024,
        regions=[file(pages)],
        start=start,
    )
    return host(one, devices=(SSD, DISK))


def test_dma_into_swapped_memory_is_a_stale_read() -> None:
    # Each page that the disk's DMA goes to was swapped out: read in by the host for nothing.
    row = run(reading(Start.RECLAIMED), 30.0).guest[0, 0]
    assert row["stale_reads"] == row["host_major"] == 256
    assert row["false_reads"] == 0
    assert run(reading(Start.FRESH), 30.0).guest[0, 0]["stale_reads"] == 0


def test_a_fill_of_swapped_memory_is_a_false_read() -> None:
    one = guest(
        task(allocate(0)), pages=1024, regions=[anon(PAGES)], start=Start.RECLAIMED, kernel_pages=16
    )
    row = run(host(one), 30.0).guest[0, 0]
    assert row["false_reads"] == row["host_major"] > 0
    assert row["stale_reads"] == 0


def test_unchanged_pages_of_files_are_written_silently() -> None:
    work = task(
        read(0, pattern=Pattern.SEQUENTIAL, count=100, cost_s=1e-5), allocate(1), sleep(9.0)
    )
    one = guest(work, pages=1024, regions=[file(100), anon(50)])
    row = run(squeezed(one), 3.0).guest[0, 0]
    assert row["silent_writes"] == 100
    assert row["host_swap_out"] >= 150
