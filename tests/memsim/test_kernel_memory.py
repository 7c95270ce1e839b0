"""Memory that work makes the guest's kernel allocate: it moves nowhere, and scatters."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from memsim import state
from memsim.fleet import Fleet
from memsim.machine import Machine
from memsim.spec import Hinting, Pattern, Region, RegionKind, Task
from tests.memsim.hosts import (
    FILE,
    again,
    allocate,
    anon,
    free,
    guest,
    host,
    machine,
    run,
    sleep,
    task,
    touch,
    write,
)

SLAB = RegionKind.KERNEL
BLOCK = 512


def test_kernel_memory_is_allocated_used_and_freed_by_phases() -> None:
    script = task(allocate(0, 100), touch(0, count=500), sleep(1.0), free(0), sleep(1e9))
    one = guest(script, pages=1024, regions=[Region(SLAB, 300)], kernel_pages=50)
    seen = run(host(one), 0.5).guest[0, 0]
    assert 150 < seen["kernel_pages"] <= 350
    assert seen["anon_pages"] == seen["file_pages"] == 0
    seen = run(host(one), 2.0).guest[0, 0]
    assert seen["kernel_pages"] == 50
    assert seen["free_pages"] == 1024 - 50


def test_nothing_reclaims_kernel_memory() -> None:
    # A program wants more than is there beside 600 pages of the kernel: it is killed, they stay.
    script = task(allocate(0), sleep(0.1), allocate(1), sleep(1e9))
    one = guest(script, pages=1024, regions=[Region(SLAB, 600), anon(500)])
    fleet = run(host(one), 5.0)
    assert fleet.guest[0, 0]["oom_kills"] > 0
    assert fleet.guest[0, 0]["kernel_pages"] == 600


def _kernel_blocks(m: Machine) -> list[int]:
    """Blocks of the first guest that hold a page of its kernel."""
    pages = int(m.guest[0]["pages"])
    of_kernel = np.flatnonzero(m.page["gstate"][:pages] == state.KERNEL)
    return sorted({int(p) // BLOCK for p in of_kernel})


def test_a_page_of_the_kernel_keeps_its_block_from_coalescing() -> None:
    # Programs come and go, and each leaves a little slab behind.
    one = guest(
        task(allocate(0), touch(1, pattern=3, count=4), free(0), again(0, count=8), sleep(1e9)),
        pages=16384,
        regions=[anon(4000), Region(SLAB, 64)],
        hinting=Hinting.BITMAP,
    )
    m = machine(run(host(one), 5.0))
    assert len(_kernel_blocks(m)) > 1
    assert m.guest[0]["free_blocks"] == m.guest[0]["blocks"] - len(_kernel_blocks(m))


@pytest.mark.parametrize("leaves", [BLOCK, BLOCK - 200])
def test_what_is_free_among_the_kernels_pages_is_taken_last(leaves: int) -> None:
    # 8 blocks, 2 of them half the kernel's: a program takes what is elsewhere, then 200 of those.
    one = guest(
        task(allocate(0), sleep(1e9)),
        pages=8 * BLOCK,
        regions=[anon(7 * BLOCK - leaves)],
        kernel_pages=BLOCK,
        kernel_spread=2 * BLOCK,
    )
    m = machine(run(host(one), 5.0))
    among = m.page["gstate"][: 2 * BLOCK]
    assert m.guest[0]["anon_pages"] == 7 * BLOCK - leaves
    assert (among == state.FREE).sum() == leaves
    assert (among == state.ANON).sum() == BLOCK - leaves


def test_slab_fills_the_kernels_own_blocks_first() -> None:
    one = guest(
        task(allocate(0, BLOCK), allocate(1), sleep(1e9)),
        pages=8 * BLOCK,
        regions=[anon(4000), Region(SLAB, 100)],
        kernel_pages=BLOCK,
        kernel_spread=2 * BLOCK,
    )
    m = machine(run(host(one), 5.0))
    assert m.guest[0]["kernel_pages"] == BLOCK + 100
    assert _kernel_blocks(m) == [0, 1]


def test_a_file_that_is_deleted_leaves_the_cache_unwritten() -> None:
    script = task(write(0, count=200, pattern=2), free(0), sleep(1e9))
    one = guest(script, pages=4096, regions=[Region(FILE, 300)])
    seen = run(host(one), 60.0).guest[0, 0]
    assert seen["file_pages"] == seen["dirty_pages"] == 0
    assert seen["disk_written"] == 0


def test_appending_goes_on_where_any_task_left_and_begins_anew_in_a_new_file() -> None:
    def writer(late_s: float) -> Task:
        return task(sleep(late_s), write(0, count=100, pattern=Pattern.APPEND), sleep(1e9))

    cleaner = task(sleep(1.0), free(0), write(0, count=10, pattern=Pattern.APPEND), sleep(1e9))
    one = guest(writer(0.1), writer(0.2), cleaner, pages=4096, regions=[Region(FILE, 300)])
    spec = host(one)
    assert run(spec, 0.9).guest[0, 0]["file_pages"] == 200
    m = machine(run(spec, 2.0))
    assert np.flatnonzero(m.vpage["page"][:300] >= 0).tolist() == list(range(10))


def test_what_was_used_to_boot_is_free_in_the_guest_and_backed_by_the_host() -> None:
    one = guest(task(sleep(100.0)), pages=1000, kernel_pages=100, booted_pages=300)
    fleet = run(host(one), 1.0)
    assert fleet.guest[0, 0]["resident_pages"] == 300
    assert fleet.guest[0, 0]["free_pages"] == 900
    with pytest.raises(ValueError, match="booted_pages: 1001"):
        Fleet(1).reset([host(guest(task(sleep(1.0)), pages=1000, booted_pages=1001))])


def test_a_scattered_kernel_leaves_pieces_that_are_backed_and_cannot_be_reported() -> None:
    # 400 pages of the kernel in two blocks; backed are these blocks and a third of the others.
    size, spread = 512, 1024
    fields: dict[str, Any] = {"pages": 80 * size, "booted_pages": spread + 26 * size}
    one = guest(task(sleep(100.0)), kernel_pages=400, kernel_spread=spread, **fields)
    m = machine(run(host(one), 1.0))
    backed = m.page["hstate"] == state.RESIDENT
    kernel = m.page["gstate"] == state.KERNEL
    assert kernel.sum() == kernel[:spread].sum() == 400
    assert (np.diff(np.flatnonzero(kernel)) <= 3).all()
    assert m.guest[0]["free_blocks"] == 78
    whole = backed.reshape(80, size).all(axis=1)
    assert np.flatnonzero(whole).tolist() == [0, 1, *range(4, 80, 3)]
    assert backed.sum() == 28 * size
    told = run(host(replace(one, hinting=Hinting.REPORTING)), 20.0)
    assert told.guest[0, 0]["resident_pages"] == spread
    with pytest.raises(ValueError, match="kernel_spread: 50000"):
        Fleet(1).reset([host(replace(one, kernel_spread=50000))])
