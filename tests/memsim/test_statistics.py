"""What a guest says of itself: balloon statistics as the driver's tags define them."""

import numpy as np

from memsim.spec import Pattern, Resize
from tests.memsim.hosts import (
    allocate,
    anon,
    file,
    guest,
    host,
    read,
    run,
    sleep,
    task,
    touch,
)

POLLED_S = 0.1


def test_faults_are_those_of_the_virtual_memory_events() -> None:
    # 100 first touches, 40 pages of a file by read(2), then 20 of another one by mapping.
    work = task(
        allocate(0),
        read(1, count=40),
        touch(2, count=20),
        sleep(1.0),
    )
    one = guest(work, regions=[anon(100), file(40), file(20)], stats_period_s=POLLED_S)
    seen = run(host(one), 3.0).guest[0, 0]
    mapped = int(seen["guest_major"] - seen["missed_reads"])
    assert seen["missed_reads"] > 0
    assert mapped > 0
    assert seen["stats_major"] == mapped
    assert seen["stats_minor"] == 100 + mapped  # PGFAULT counts the major ones too


def test_without_pressure_nothing_is_scanned() -> None:
    one = guest(task(allocate(0), sleep(1.0)), regions=[anon(100)], stats_period_s=POLLED_S)
    seen = run(host(one), 3.0).guest[0, 0]
    for name in ("oom_kills", "alloc_stalls", "async_scan", "direct_scan", "async_reclaim"):
        assert seen[f"stats_{name}"] == 0, name


def test_what_kswapd_reclaims_is_asynchronous() -> None:
    # A free target wakes kswapd alone: it drops clean cache that nobody asked for again.
    work = task(read(0, count=600, pattern=Pattern.SEQUENTIAL), sleep(60.0))
    one = guest(
        work,
        pages=1024,
        regions=[file(600)],
        resize=Resize.FREE_TARGET_2011,
        stats_period_s=POLLED_S,
    )
    fleet = run(host(one), 2.0)
    before = int(fleet.guest[0, 0]["file_pages"])
    fleet.set_targets(np.array([[500]]))
    fleet.advance(np.array([4.0]))
    fleet.check()
    seen = fleet.guest[0, 0]
    dropped = before - int(seen["file_pages"])
    assert dropped > 0
    assert seen["stats_async_reclaim"] == dropped
    assert seen["stats_async_scan"] >= dropped
    assert seen["stats_direct_scan"] == seen["stats_direct_reclaim"] == 0
    assert seen["stats_alloc_stalls"] == 0


def test_swap_writes_count_as_reclaimed_when_they_are_done() -> None:
    # More anonymous memory than there is: all that leaves goes to the guest's own swap.
    work = task(allocate(0), sleep(60.0))
    one = guest(work, pages=512, regions=[anon(800)], swap_pages=2048, stats_period_s=POLLED_S)
    seen = run(host(one), 20.0).guest[0, 0]
    taken = int(seen["stats_async_reclaim"] + seen["stats_direct_reclaim"])
    assert seen["swap_used_pages"] > 0
    assert seen["writeback_pages"] == 0
    assert taken == seen["stats_swap_out"]
    scanned = int(seen["stats_async_scan"] + seen["stats_direct_scan"])
    assert scanned >= taken


def test_one_call_of_direct_reclaim_is_one_stall() -> None:
    # Anonymous memory and no swap: every priority of every round is fruitless, then a kill.
    work = task(allocate(0), sleep(60.0))
    one = guest(work, pages=256, regions=[anon(400)], stats_period_s=POLLED_S)
    seen = run(host(one), 1.0).guest[0, 0]
    assert seen["oom_kills"] == seen["stats_oom_kills"] > 0
    assert seen["stats_direct_reclaim"] == 0
    # Nothing to reclaim is seen at once: one call before each kill.
    assert seen["stats_alloc_stalls"] == seen["oom_kills"]
