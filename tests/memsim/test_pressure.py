"""Pressure stall information: the kernel's definition, and what it measures."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsim import state
from memsim.pressure import shares
from memsim.spec import Cgroup, HostSpec, Pattern, Resize
from tests.memsim.hosts import (
    FLASH,
    SLOW,
    SLOW_READ_S,
    SSD,
    allocate,
    anon,
    compute,
    guest,
    host,
    machine,
    run,
    seconds,
    sleep,
    swapped_out,
    targets,
    task,
    touch,
)


@pytest.mark.parametrize(
    ("stalled", "working", "cpus", "some", "full"),
    [
        (1, 3, 4, 0.25, 0.25),  # 1 of 4 tasks on 4 CPUs; full counts idle CPUs as the kernel does
        (1, 256, 256, 1 / 256, 0.0),  # 257 tasks on 256 CPUs: 0.4 % and 0 %
        (0, 5, 4, 0.0, 0.0),
        (4, 0, 4, 1.0, 1.0),
        (8, 0, 4, 1.0, 1.0),
        (2, 1, 4, 2 / 3, 2 / 3),  # 3 tasks keep 3 CPUs busy at most
        (2, 3, 4, 0.5, 0.25),
    ],
)
def test_shares_are_those_of_psi_c(
    stalled: int, working: int, cpus: int, some: float, full: float
) -> None:
    assert shares(stalled, working, cpus) == pytest.approx((some, full))


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 64))
def test_full_is_part_of_some(stalled: int, working: int, cpus: int) -> None:
    some, full = shares(stalled, working, cpus)
    assert 0.0 <= full <= some <= 1.0


def test_a_lone_waiter_is_full_pressure_for_the_time_of_its_reads() -> None:
    reads = 20
    toucher = task(allocate(0), sleep(2.5), touch(0, count=reads))
    one = guest(toucher, regions=[anon(reads)], cgroup=0)
    fleet = run(
        swapped_out(host(one, devices=(SLOW, SSD), cgroups=(Cgroup(),), lru_2011=True)), 2.4, 4.0
    )
    waited = int(fleet.host[0]["swap_in_pages"]) * SLOW_READ_S
    seen = fleet.host[0]
    assert waited > 0
    assert seen["psi_some_s"] == pytest.approx(waited, rel=1e-3)
    assert seen["psi_full_s"] == pytest.approx(waited, rel=1e-3)
    # The guest cannot see what the host does to it.
    assert fleet.guest[0, 0]["psi_some_s"] == 0.0


def test_guests_reclaim_is_work_to_the_host() -> None:
    # Whenever a vCPU is in its guest's reclaim, that is a stall there, and at work on the host.
    thrash = task(touch(0, write=1.0, cost_s=1e-7))
    one = guest(thrash, regions=[anon(3000)], swap_pages=4000, cgroup=0)
    fleet = run(host(one, devices=(SLOW, FLASH), cgroups=(Cgroup(),)), 1.0)
    seen = 0
    for i in range(1, 400):
        fleet.advance(np.array([1.0 + i * 1.7e-3]))
        fleet.check()
        m = machine(fleet)
        reclaims = (m.task["state"] == state.RUNNING) & (m.task["stalls"] == state.OF_TASK)
        if reclaims.any():
            seen += 1
            assert fleet.host[0]["psi_working"] >= 1
            assert fleet.guest[0, 0]["psi_stalled"] >= 1
    assert seen > 5


@pytest.mark.parametrize("balloon", [False, True])
def test_a_guest_feels_what_its_kernel_reclaims(balloon: bool) -> None:
    # Nobody in it allocates after 1 s: a target is met by kswapd, a balloon reclaims itself too.
    one = guest(
        task(allocate(0), sleep(1e9)),
        pages=8192,
        regions=[anon(7000)],
        swap_pages=8192,
        resize=Resize.BALLOON if balloon else Resize.FREE_TARGET,
    )
    fleet = run(host(one), 1.0)
    assert fleet.guest[0, 0]["psi_some_s"] == 0.0
    targets(fleet, 5000)
    fleet.advance(np.array([6.0]))
    fleet.check()
    seen = fleet.guest[0, 0]
    scanned = {"async": int(seen["async_scan"]), "direct": int(seen["direct_scan"])}
    assert scanned["direct" if balloon else "async"] > 0
    assert 0.0 < seen["psi_some_s"] < 1.0
    assert fleet.host[0]["psi_some_s"] == 0.0


def test_averages_follow_the_total_with_their_time_constants() -> None:
    # A task that waits all the time, next to nothing else, from 2 s on.
    pages = 2000
    toucher = task(allocate(0), sleep(1.999), touch(0, seconds=60.0))
    one = guest(toucher, regions=[anon(pages)], pages=4096, cgroup=0)
    spec = swapped_out(host(one, devices=(SLOW, SSD), cgroups=(Cgroup(),), lru_2011=True), at_s=0.5)
    fleet = run(spec, 2.0)
    before = float(fleet.host[0]["psi_some_s"])
    fleet.advance(np.array([12.0]))
    seen = fleet.host[0]
    share = (seen["psi_some_s"] - before) / 10.0
    assert share == pytest.approx(1.0, abs=0.01)
    for window in (10, 60, 300):
        updated = 1.0 - math.exp(-10 / window)  # five updates of 2 s
        assert seen[f"psi_some_{window}"] == pytest.approx(updated, abs=0.01), window


def test_nobody_waits_nobody_presses() -> None:
    busy = guest(task(compute(math.inf)))
    seen = run(host(busy), 10.0).host[0]
    assert seen["psi_some_s"] == seen["psi_some_10"] == 0.0


def test_only_reads_of_the_workingset_are_pressure() -> None:
    def spec(pattern: Pattern, limit: int) -> HostSpec:
        toucher = task(allocate(0), touch(0, pattern=pattern, cost_s=1e-4))
        one = guest(toucher, regions=[anon(1000)], pages=2048, emulator_pages=0, cgroup=0)
        return host(one, devices=(SLOW, SSD), cgroups=(Cgroup(max_pages=limit),))

    # In a loop nothing is used twice before it goes: no page was ever active.
    loop = run(spec(Pattern.SEQUENTIAL, 700), 60.0)
    assert loop.host[0]["swap_in_pages"] > 500
    waits = loop.host[0]["swap_in_pages"] * SLOW_READ_S
    reads = seconds(loop)["host_swap"]
    assert reads > 0.5 * waits
    assert loop.group[0, 1]["psi_some_s"] < 0.05 * reads
    # At random many are used again while they are there, and missed again soon after they went.
    hot = run(spec(Pattern.UNIFORM, 900), 60.0)
    reads = seconds(hot)["host_swap"]
    assert reads > 10.0
    assert hot.group[0, 1]["psi_some_s"] > 0.1 * reads
