"""Free page reporting: how much a pass tells of, what the host gets back, and what that costs."""

import numpy as np
import pytest

from memsim import blocks, cpu, events, hinting, lists, params, state
from memsim.account import FRESH_FAULT
from memsim.fleet import Fleet
from memsim.spec import GuestSpec, Hinting, HostSpec, Pattern, Reporting, Start
from tests.memsim.hosts import (
    SLOW,
    SSD,
    allocate,
    anon,
    compute,
    free,
    guest,
    host,
    machine,
    run,
    sleep,
    swapped_out,
    task,
    touch,
)

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def reporting(
    *tasks: object, order: int = 9, batch: int = 32, every_s: float = 2.0, **fields: object
) -> GuestSpec:
    told = Reporting(order=order, batch=batch, every_s=every_s)
    how = {"hinting": Hinting.REPORTING, "reporting": told}
    return guest(*tasks, **how | fields)  # type: ignore[arg-type]


def idle(size: int, page: int, order: int = 9) -> HostSpec:
    """A guest that never does anything, all of its memory backed."""
    one = reporting(task(sleep(1e9)), pages=size // page, start=Start.RESIDENT, order=order)
    return host(one, page_bytes=page)


def resident(fleet: Fleet) -> int:
    return int(fleet.guest[0, 0]["resident_pages"])


def test_a_pass_takes_whole_reports_of_a_sixteenth_of_the_list_and_one_more() -> None:
    fleet = run(idle(16 * GIB, 64 * KIB), 1.9)
    blocks = 16 * GIB // (2 * MIB)
    assert resident(fleet) == blocks * 32
    for n in range(1, 15):
        fleet.advance(np.array([2.0 * n + 0.1]))
        fleet.check()
        seen = fleet.guest[0, 0]
        assert seen["reports"] == 9 * n  # 1 + ceil(4096 / (32 * 16)) a pass
        assert resident(fleet) == (blocks - 9 * 32 * 2 * n) * 32  # of 32 pieces of 4 MiB
    # All of an idle system in about 30 s, and then no more.
    fleet.advance(np.array([30.1]))
    assert resident(fleet) == 0
    fleet.advance(np.array([99.0]))
    assert fleet.guest[0, 0]["reports"] == 4096 // 32
    each = params.USER_EXIT_S + 32 * (params.REPORT_PIECE_S + 2 * params.DONTNEED_HUGE_S)
    assert fleet.guest[0, 0]["report_s"] == pytest.approx(128 * each)


def test_a_guest_with_little_memory_tells_of_256_mib_a_pass() -> None:
    # So does a real guest of 2 GiB (Linux 6.1): 1733, 1491, 1235, 979, 723, 467 MiB every 2 s.
    fleet = run(idle(GIB, 64 * KIB), 1.9)
    for n, held in enumerate((768, 512, 256, 0), start=1):
        fleet.advance(np.array([2.0 * n + 0.1]))
        assert resident(fleet) * 64 * KIB == held * MIB


@pytest.mark.parametrize("page", [4 * KIB, 2 * MIB, 4 * MIB])
def test_all_of_an_idle_guest_is_told_of_at_any_size_of_a_page(page: int) -> None:
    fleet = run(idle(512 * MIB, page), 40.0)
    assert resident(fleet) == 0
    seen = fleet.guest[0, 0]
    assert seen["reports"] == 512 // 4 // 32
    each = params.REPORT_PIECE_S + 2 * params.DONTNEED_HUGE_S
    assert seen["report_s"] == pytest.approx(128 * each + 4 * params.USER_EXIT_S, rel=0.02)


def test_a_reserve_of_free_memory_is_not_told_of() -> None:
    # 64 MiB are to stay free beside the low watermark, or nothing is told of.
    assert resident(run(idle(64 * MIB, 4 * KIB), 60.0)) == 64 * MIB // (4 * KIB)
    assert resident(run(idle(72 * MIB, 4 * KIB), 60.0)) == 0
    assert resident(run(idle(4 * MIB, 4 * KIB, order=0), 60.0)) == 0


def scattered(order: int, seconds: float = 60.0) -> Fleet:
    """Two programs fill 128 MiB by turns, one of them frees its half."""
    fill = allocate(0), sleep(1.0), free(0), sleep(1e9)
    keep = allocate(1), sleep(1e9)
    one = reporting(
        task(*fill), task(*keep), pages=65536, regions=[anon(16384), anon(16384)], order=order
    )
    return run(host(one, tick_s=1e-4), seconds)


def test_the_host_backs_what_is_not_free_in_pieces_of_the_order() -> None:
    found = {order: scattered(order) for order in (0, 4, 9)}
    for order, fleet in found.items():
        m = machine(fleet)
        used = m.page["gstate"][:65536] != state.FREE
        pieces = used.reshape(-1, 1 << order).any(axis=1)
        backed = (m.page["hstate"][:65536] == state.RESIDENT).reshape(-1, 1 << order)
        assert used.sum() == 16384
        assert not backed[~pieces].any()
        assert resident(fleet) <= (pieces.sum() << order)
    assert resident(found[0]) == 16384
    assert resident(found[0]) <= resident(found[4]) <= resident(found[9])
    assert resident(found[9]) > 1.2 * 16384


def again_after(hinting: Hinting, order: int) -> tuple[Fleet, Fleet]:
    """Fill, free and fill once more: after the free and at the end."""
    script = task(allocate(0), free(0), sleep(60.0), allocate(0), sleep(1e9))
    one = reporting(script, pages=65536, regions=[anon(32768)], order=order, hinting=hinting)
    return run(host(one), 59.0), run(host(one), 90.0)


def test_reporting_is_eager_and_the_bitmap_is_lazy() -> None:
    lazy_free, lazy = again_after(Hinting.BITMAP, 9)
    assert resident(lazy_free) == 32768
    assert lazy.account[0, 0, 0, FRESH_FAULT] == 0.0
    costs = []
    for order in (0, 9):
        eager_free, eager = again_after(Hinting.REPORTING, order)
        assert resident(eager_free) == 0
        each = params.EPT_FAULT_S + params.GUEST_FAULT_S
        assert eager.account[0, 0, 0, FRESH_FAULT] == pytest.approx(32768 * each)
        costs.append(float(eager_free.guest[0, 0]["report_s"]))
    assert costs[0] == pytest.approx(costs[1])  # whole blocks are told of as such at any order


def test_nothing_is_told_of_twice() -> None:
    seen = again_after(Hinting.REPORTING, 9)[0].guest[0, 0]
    # The first pass, after boot, tells of 32 blocks; none of them is taken before the others.
    assert seen["reported"] == seen["free_pages"]


def test_the_allocator_prefers_what_is_still_backed() -> None:
    script = task(allocate(1), sleep(2.4), free(1), sleep(0.5), allocate(0), sleep(1e9))
    one = reporting(script, pages=65536, regions=[anon(16384), anon(16384)], start=Start.RESIDENT)
    fleet = run(host(one), 4.0)
    # The pass at 2 s told of 32 blocks; then 32 more are needed, and none of those is taken.
    assert fleet.account[0, 0, 0, FRESH_FAULT] == 0.0


def test_what_the_host_was_just_reading_is_dropped_when_it_is_read() -> None:
    # One touch reads a window of pages; the others of the window are free and reported meanwhile.
    script = task(sleep(1.995), allocate(0), sleep(9.0))
    one = reporting(script, order=0, pages=1024, regions=[anon(1)], start=Start.RECLAIMED, vcpus=2)
    fleet = run(host(one, devices=(SLOW, SSD), readahead_bytes=1 << 15), 2.003)
    page = machine(fleet).page
    told = page["gflags"] & state.G_REPORTED != 0
    assert (page["hstate"][told] == state.READING).any()
    fleet.advance(np.array([60.0]))
    fleet.check()
    assert fleet.guest[0, 0]["resident_pages"] == 1
    assert fleet.guest[0, 0]["host_swapped_pages"] == 0


def test_reported_slots_come_free_without_io() -> None:
    script = task(allocate(0), free(0), compute(20.0))
    one = reporting(script, pages=4096, regions=[anon(3000)], order=0)
    fleet = run(swapped_out(host(one), at_s=0.1), 20.0)
    assert fleet.guest[0, 0]["host_swap_out"] >= 3000
    assert fleet.guest[0, 0]["host_swapped_pages"] == 0
    assert fleet.host[0]["swap_in_pages"] == 0


def _pieces(free_pages: np.ndarray) -> list[tuple[int, int]]:
    """First page and size of the buddy allocator's free pieces, up to a block."""
    found, p = [], 0
    while p < len(free_pages):
        n = 1
        if free_pages[p]:
            while n < 512 and p % (2 * n) == 0 and free_pages[p : p + 2 * n].all():
                n *= 2
            found.append((p, n))
        p += n
    return found


def test_a_pass_takes_its_share_of_pieces_not_of_pages() -> None:
    # Two programs fill memory by turns, 16 pages at a time; then one frees what it has.
    bursts = {"pattern": Pattern.SEQUENTIAL, "rate": 200.0, "per_arrival": 16, "cost_s": 1e-6}
    fill = [touch(i, count=187, **bursts) for i in range(2)]
    one = reporting(
        task(fill[0], sleep(3.0), free(0), sleep(1e9)),
        task(fill[1], sleep(1e9)),
        pages=6200,
        regions=[anon(3000), anon(3000)],
        order=3,
        batch=2,
        vcpus=2,
        every_s=60.0,
    )
    fleet = run(host(one, tick_s=1e-4), 59.9)
    page = machine(fleet).page[:6200]
    assert not (page["gflags"] & state.G_REPORTED).any()
    pieces = [p for p, n in _pieces(page["gstate"] == state.FREE) if 8 <= n < 512]
    assert len(pieces) > 100
    fleet.advance(np.array([60.9]))
    fleet.check()
    told = int((page["gflags"][pieces] & state.G_REPORTED != 0).sum())
    assert told == 2 * (1 + -(-len(pieces) // (16 * 2)))


def test_a_block_that_was_backed_for_a_move_and_not_taken_is_told_of_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (hinting, blocks, lists, cpu, events):
        for name, value in list(vars(module).items()):
            if hasattr(value, "py_func"):
                monkeypatch.setattr(module, name, value.py_func)
    fleet = run(idle(512 * MIB, 64 * KIB), 60.0)
    m = machine(fleet)
    told = m.page["gflags"] & state.G_REPORTED != 0
    p = int(m.block[m.guest[0]["block_tail"]]["first"])
    assert told[p]
    with np.errstate(over="ignore"):
        hinting.on_claim(m, p)
    fleet.check()
    assert not m.page[p]["gflags"] & state.G_REPORTED
    fleet.advance(np.array([70.0]))
    fleet.check()
    assert m.page[p]["gflags"] & state.G_REPORTED
