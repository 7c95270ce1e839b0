"""Watermarks of guests and host, and what raises them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsim.build import watermarks
from memsim.lists import inactive_is_low
from memsim.spec import Resize
from tests.memsim.hosts import guest, host, run, sleep, targets, task

GIB = 1 << 18  # [pages]


@pytest.mark.parametrize(
    ("pages", "lowest_kb"), [(GIB // 2, 2896), (GIB, 4096), (4 * GIB, 8192), (16 * GIB, 16384)]
)
def test_the_min_watermark_is_min_free_kbytes(pages: int, lowest_kb: int) -> None:
    low, middle, high = watermarks(pages, 1.0)
    assert low * 4 == pytest.approx(lowest_kb, abs=4)
    step = max(low / 4, pages / 1000)
    assert middle - low == pytest.approx(step, abs=1)
    assert high - low == pytest.approx(2 * step, abs=1)


@given(st.integers(1, 1 << 24), st.sampled_from([1, 4, 16, 64, 256, 1024]))
def test_watermarks_stay_distinct_after_rounding(pages: int, sub: int) -> None:
    low, middle, high = watermarks(pages, float(sub))
    assert 0 < low < middle < high
    assert low * sub >= 32 or low == 1  # 128 kB at least


@given(st.integers(256, 1 << 20))
def test_a_coarse_page_keeps_the_same_memory(pages: int) -> None:
    fine = watermarks(pages * 16, 1.0)
    coarse = watermarks(pages, 16.0)
    for a, b in zip(fine, coarse, strict=True):
        assert abs(a - 16 * b) <= 16 + 16  # each of the two steps rounds


@pytest.mark.parametrize(("gib", "ratio"), [(0.5, 1), (1, 3), (10, 10), (100, 31), (1024, 101)])
def test_the_inactive_list_is_low_below_its_share(gib: float, ratio: int) -> None:
    active = ratio * 1000
    assert not inactive_is_low.py_func(1000, active, gib)  # type: ignore[attr-defined]
    assert inactive_is_low.py_func(999, active, gib)  # type: ignore[attr-defined]


def raised(resize: Resize, pages: int, target: int, kernel: int) -> tuple[int, int, int, int]:
    """The watermarks (min, low, high) with a target, and the normal high one."""
    one = guest(task(sleep(1.0)), pages=pages, kernel_pages=kernel, resize=resize)
    fleet = run(host(one), 0.1)
    targets(fleet, target)
    seen = fleet.guest[0, 0]
    return seen["wm_min"], seen["wm_target_low"], seen["wm_target_high"], seen["wm_high"]


def test_extra_free_kbytes_moves_low_and_high_but_not_min() -> None:
    lowest, low, high, normal = raised(Resize.FREE_TARGET_2011, 4096, 3000, 100)
    assert (lowest, low, high) == tuple(
        mark + extra for mark, extra in zip(watermarks(4096, 1.0), (0, 1096, 1096), strict=True)
    )
    assert normal == watermarks(4096, 1.0)[2]


@pytest.mark.parametrize("target", [8192, 8000, 7400, 6600, 6000, 100])
def test_the_scale_factor_is_rounded_up_and_capped(target: int) -> None:
    pages, kernel = 8192, 192
    managed = pages - kernel
    factor = min(1000, math.ceil(1e4 * (pages - target) / (2 * managed)))
    lowest, low, high, normal = raised(Resize.FREE_TARGET, pages, target, kernel)
    assert low == max(watermarks(pages, 1.0)[1], lowest + managed * factor // 10_000)
    assert high == max(normal, lowest + 2 * (managed * factor // 10_000))
    if target <= 0.79 * pages:  # so a target below 0.8 of the size is out of reach
        assert high == lowest + 2 * (managed // 10)


def test_a_target_at_the_maximum_is_no_target() -> None:
    for resize in (Resize.FREE_TARGET, Resize.FREE_TARGET_2011):
        _, low, high, _ = raised(resize, 4096, 4096, 0)
        assert (low, high) == watermarks(4096, 1.0)[1:]
