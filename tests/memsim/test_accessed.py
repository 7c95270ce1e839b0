"""Sampled memory and committed memory: what is touched, and what was asked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsim import state
from memsim.accessed import SAMPLE_PAGES
from memsim.account import CLASSES
from memsim.params import MAP_S
from memsim.spec import Phase, Resize
from tests.memsim.hosts import (
    again,
    allocate,
    anon,
    file,
    free,
    guest,
    host,
    machine,
    read,
    run,
    sleep,
    targets,
    task,
    touch,
)

PAGES = 8192


def _loop(hot: int) -> tuple[Phase, ...]:
    # All of region 0 once, then its first pages again and again.
    return allocate(0), touch(1, cost_s=1e-6, count=hot), sleep(0.1), again(1)


@given(hot=st.sampled_from([0, 512, 2048, 6144]), seed=st.integers(0, 1000))
def test_the_touched_share_of_a_sample_is_what_is_active(hot: int, seed: int) -> None:
    regions = [anon(PAGES - 2048 - hot), anon(max(hot, 1))]
    one = guest(task(*_loop(max(hot, 1))), pages=PAGES, regions=regions)
    fleet = run(host(one, seed=seed, sample_every_s=30.0), 61.0)
    fleet.check()
    seen = fleet.guest[0, 0]
    assert seen["active_s"] == 60.0
    share = hot / PAGES
    error = np.sqrt(share * (1 - share) / SAMPLE_PAGES)
    one_page = 1.5 / SAMPLE_PAGES  # whoever is hot alone is in the sample now and then
    assert abs(seen["active_pages"] / PAGES - share) <= 5 * error + one_page


def test_pages_that_a_program_only_holds_are_idle() -> None:
    one = guest(task(allocate(0), sleep(1e9)), pages=PAGES, regions=[anon(6000)])
    fleet = run(host(one, sample_every_s=30.0), 31.0)
    assert fleet.guest[0, 0]["active_pages"] == -1  # none is complete
    fleet.advance(np.array([61.0]))
    assert fleet.guest[0, 0]["active_pages"] == 0
    assert fleet.guest[0, 0]["anon_pages"] == 6000


def test_page_cache_that_is_read_counts() -> None:
    phases = read(0, cost_s=1e-6, count=4000), sleep(0.1), again(0)
    one = guest(task(*phases), pages=PAGES, regions=[file(4000)])
    fleet = run(host(one, sample_every_s=30.0), 61.0)
    share = 4000 / PAGES
    error = np.sqrt(share * (1 - share) / SAMPLE_PAGES)
    assert fleet.guest[0, 0]["active_pages"] / PAGES == pytest.approx(share, abs=4 * error)


def test_what_the_balloon_holds_is_not_drawn() -> None:
    one = guest(task(*_loop(1024)), pages=PAGES, regions=[anon(16), anon(1024)])
    fleet = run(host(one, sample_every_s=30.0), 1.0)
    targets(fleet, 2048)
    fleet.advance(np.array([121.0]))
    fleet.check()
    seen = fleet.guest[0, 0]
    left = seen["pages"] - seen["balloon_pages"]
    share = 1024 / left
    error = np.sqrt(share * (1 - share) / SAMPLE_PAGES)
    assert seen["active_pages"] / left == pytest.approx(share, abs=5 * error)


def test_a_sample_costs_a_fault_for_each_page_that_is_touched() -> None:
    one = guest(task(*_loop(6000)), pages=PAGES, regions=[anon(16), anon(6000)])
    plain, sampled = (run(host(one, sample_every_s=every), 61.0) for every in (0.0, 30.0))
    assert sampled.guest[0, 0]["touches"] == plain.guest[0, 0]["touches"]
    watched = (machine(sampled).page["gflags"] & state.G_WATCHED != 0).sum()
    assert 0 < watched < SAMPLE_PAGES  # the third sample is under way, all of it that is touched is
    more_s = (sampled.account[0, 0] - plain.account[0, 0]).sum(axis=0)[CLASSES.index("nominal")]
    seen = sampled.guest[0, 0]["active_pages"] / PAGES * SAMPLE_PAGES + SAMPLE_PAGES - watched
    assert more_s / MAP_S == pytest.approx(seen, abs=2)
    assert not (machine(plain).page["gflags"] & state.G_WATCHED).any()


def test_the_fast_path_sees_what_the_plain_one_sees() -> None:
    one = guest(
        task(touch(0, cost_s=1e-6), weight=1024), pages=PAGES, regions=[anon(4000)], vcpus=1
    )
    seen = [
        run(host(one, sample_every_s=30.0, fast=fast), 61.0).guest[0, 0]["active_pages"]
        for fast in (False, True)
    ]
    # All of the region is touched; where its pages lie follows from the order.
    assert seen == pytest.approx([4000, 4000], rel=0.5) and abs(seen[0] - seen[1]) < 1000


def test_committed_is_what_was_mapped_touched_or_not() -> None:
    script = touch(0, cost_s=1e-6, count=10), sleep(10.0), free(0), sleep(1e9)
    regions = [anon(5000), file(1000)]
    one = guest(task(*script), pages=PAGES, regions=regions, stats_period_s=1.0)
    fleet = run(host(one), 5.0)
    assert 0 < fleet.guest[0, 0]["anon_pages"] <= 10
    assert fleet.guest[0, 0]["committed_pages"] == 5000
    fleet.advance(np.array([15.0]))
    assert fleet.guest[0, 0]["committed_pages"] == 0


@pytest.mark.parametrize("every_s", [-1.0, 1.0])
def test_who_samples_too_often_is_told_so(every_s: float) -> None:
    with pytest.raises(ValueError, match="sample_every_s"):
        run(host(guest(task(sleep(1.0)), regions=[anon(10)]), sample_every_s=every_s), 0.1)


def test_what_is_left_of_a_freed_region_stays_committed() -> None:
    # One frees all of the region slowly; the other touches it all the while.
    freer = task(allocate(0), sleep(1.0), free(0), sleep(1e9))
    other = task(sleep(1.0), touch(0, cost_s=1e-6))
    one = guest(freer, other, pages=PAGES, regions=[anon(5000)], stats_period_s=0.1, vcpus=2)
    fleet = run(host(one), 0.9, *(1.0 + i * 1e-4 for i in range(1, 60)), 2.0)
    assert fleet.guest[0, 0]["anon_pages"] > 0
    assert fleet.guest[0, 0]["committed_pages"] == 5000


@pytest.mark.parametrize("resize", [Resize.BALLOON, Resize.VIRTIO_MEM])
def test_who_leaves_untouched_leaves_the_sample(resize: Resize) -> None:
    # The guest shrinks to half while a sample is under way; of the rest a fifth is touched.
    regions = [anon(16), anon(820)]
    one = guest(task(*_loop(820)), pages=PAGES, regions=regions, resize=resize)
    fleet = run(host(one, sample_every_s=30.0), 31.0)
    targets(fleet, PAGES // 2)
    fleet.advance(np.array([61.0]))
    fleet.check()
    seen = fleet.guest[0, 0]
    assert seen["balloon_pages"] == PAGES // 2
    share = 820 / (PAGES // 2)
    assert seen["active_pages"] / (PAGES // 2) == pytest.approx(share, abs=0.2)
    assert seen["active_pages"] <= PAGES // 2
