"""Readahead follows what came of the last windows; what is swapped in for nothing is counted."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from memsim import guest_readahead
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


def plain(kernel: Any) -> Any:  # noqa: ANN401  kernels are called from kernels only
    """The Python function behind a kernel."""
    return getattr(kernel, "py_func", kernel)


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels call the Python functions of one another."""
    for name, value in list(vars(guest_readahead).items()):
        if hasattr(value, "py_func"):
            monkeypatch.setattr(guest_readahead, name, value.py_func)


@pytest.mark.usefixtures("uncompiled")
def test_windows_of_a_file_read_in_order_double_up_to_32_pages() -> None:
    ph: Any = SimpleNamespace(ra_start=0, ra_size=0, ra_async=0)
    found = []
    at = 0
    for _ in range(6):
        guest_readahead.plan(ph, at, 1, -1)
        found.append((ph.ra_start, ph.ra_size, ph.ra_async))
        at = ph.ra_start + ph.ra_size - ph.ra_async  # the reader comes to the mark
    assert found == [(0, 4, 3), (4, 8, 8), (12, 16, 16), (28, 32, 32), (60, 32, 32), (92, 32, 32)]


@pytest.mark.usefixtures("uncompiled")
def test_a_read_elsewhere_begins_anew_and_a_strange_mark_goes_on_behind_what_is_there() -> None:
    ph: Any = SimpleNamespace(ra_start=28, ra_size=32, ra_async=32)
    guest_readahead.plan(ph, 500, 1, -1)
    assert (ph.ra_start, ph.ra_size, ph.ra_async) == (500, 4, 3)
    guest_readahead.plan(ph, 700, 1, 710)  # 10 pages behind the mark are there
    assert (ph.ra_start, ph.ra_size, ph.ra_async) == (710, 22, 22)
    # Windows of 64 KiB pages: 128 KiB at once, then on from the second one.
    guest_readahead.plan(ph, 0, 16, -1)
    assert (ph.ra_start, ph.ra_size, ph.ra_async) == (0, 32, 16)
    assert guest_readahead.first_window(1, 32) == 4
    assert [guest_readahead.next_window(size, 32) for size in (1, 2, 16, 32)] == [4, 4, 32, 32]


@pytest.mark.parametrize("page_bytes", [4096, 65536, 1 << 20])
def test_a_file_is_read_once_in_order_and_in_few_requests(page_bytes: int) -> None:
    pages = (8 << 20) // page_bytes
    work = task(read(0, pattern=Pattern.SEQUENTIAL, count=pages, cost_s=1e-9))
    one = guest(work, pages=2 * pages, regions=[file(pages)])
    row = run(host(one, page_bytes=page_bytes), 30.0).guest[0, 0]
    assert row["disk_read"] == pages
    if page_bytes == 4096:
        assert row["guest_major"] == 1  # all but the first window were asked for ahead


def test_at_random_a_read_is_of_one_page() -> None:
    one = guest(task(read(0, count=50, cost_s=1e-6)), pages=4096, regions=[file(3000)])
    row = run(host(one), 30.0).guest[0, 0]
    assert row["disk_read"] == row["guest_major"] > 45


@pytest.mark.parametrize("old", [False, True])
def test_own_swap_is_read_by_windows_of_slots(old: bool) -> None:
    # Twice through 900 pages in 600: in order of reclaim, which is that of the slots.
    sweep = touching(0, pattern=Pattern.SEQUENTIAL, count=900, cost_s=1e-5)
    one = guest(
        task(allocate(0), sweep, sweep),
        pages=600,
        regions=[anon(900)],
        swap_pages=2000,
        lru_2011=old,
    )
    row = run(host(one), 60.0).guest[0, 0]
    assert row["guest_swap_in"] > 900
    assert row["guest_major"] < row["guest_swap_in"] / 2
