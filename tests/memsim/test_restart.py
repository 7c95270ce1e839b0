"""Lives after a power-off or an OOM kill: what is remembered, what is done again, who wakes."""

from dataclasses import replace

import numpy as np
import pytest

from memsim.invariants import Broken
from memsim.spec import Act, Curve, Entry, GuestSpec, HostSpec, Op, Phase

from .hosts import (
    allocate,
    anon,
    compute,
    guest,
    host,
    machine,
    run,
    seconds,
    sleep,
    task,
    touch,
)

STOP_S, START_S = 3.0, 4.0
BOOT_S = 2.0


def off_and_on(one: GuestSpec) -> HostSpec:
    """A host that switches its guest off and on again as planned."""
    stop = Entry(Act.STOP_GUEST, at_s=STOP_S, guest=0)
    return host(one, timeline=(stop, Entry(Act.START_GUEST, at_s=START_S, guest=0)))


def killed(one: GuestSpec, at_s: float) -> HostSpec:
    """A host without swap that kills its guest to serve another one, which then leaves."""
    footprint = sum(region.pages for region in one.regions)
    taker = guest(
        task(sleep(at_s), allocate(0), sleep(1e9)),
        regions=[anon(footprint - 50)],
        guest_id=2,
        stop_s=at_s + BOOT_S / 2,
    )
    booting = replace(one, boot_s=BOOT_S)
    return host(booting, taker, ram_pages=2 * footprint - 70, swap_pages=0)


FOLLOWER = guest(
    task(Phase(Op.FOLLOW, region=0, size=0, interval_s=0.5)),
    regions=[anon(600)],
    curves=(Curve(np.array([0.0, 1e3]), np.array([600.0, 600.0])),),
)


def test_a_guest_that_boots_again_asks_for_its_memory_again() -> None:
    fleet = run(off_and_on(FOLLOWER), STOP_S - 0.1, START_S + 5.0)
    assert fleet.guest[0, 0]["anon_pages"] == 600


def test_a_guest_that_the_host_kills_asks_for_its_memory_again() -> None:
    fleet = run(killed(FOLLOWER, at_s=3.0), 2.9, 30.0)
    assert fleet.guest[0, 0]["host_kills"] == 1
    assert fleet.guest[0, 0]["anon_pages"] == 600


def test_the_vcpu_of_a_killed_task_goes_on_with_the_next_task() -> None:
    hog = task(sleep(1.0), touch(0, write=1.0, cost_s=1e-4))
    worker = task(compute(np.inf))
    one = guest(hog, worker, pages=512, regions=[anon(900)])
    fleet = run(host(one), *np.arange(1.0, 6.0, 0.05).tolist())
    assert fleet.guest[0, 0]["oom_kills"] >= 2
    # Two tasks share one vCPU, and the hog spends most of the time in its restarts.
    assert seconds(fleet, task=1)["nominal"] > 5.0


def test_the_laws_notice_a_lost_wake_up() -> None:
    one = guest(task(compute(np.inf)), task(compute(np.inf)))
    fleet = run(host(one), 1.0)
    machine(fleet).cpu["state"][0] = 0
    with pytest.raises(Broken, match="a vCPU is idle"):
        fleet.check()
