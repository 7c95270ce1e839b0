"""Fair shares of vCPUs and cores, and where the waiting goes."""

from math import inf

import numpy as np
import pytest

from memsim.account import BALLOON, IDLE, NOMINAL, QUEUED
from memsim.spec import Act, Entry
from tests.memsim.hosts import (
    anon,
    compute,
    guest,
    host,
    run,
    seconds,
    sleep,
    targets,
    task,
    touch,
)

BUSY = task(compute(inf))


def test_tasks_share_a_vcpu_by_weight() -> None:
    light, heavy = task(compute(inf), weight=1024), task(compute(inf), weight=2048)
    fleet = run(host(guest(light, heavy)), 30.0)
    assert seconds(fleet, task=0)["nominal"] == pytest.approx(10.0, rel=0.005)
    assert seconds(fleet, task=1)["nominal"] == pytest.approx(20.0, rel=0.005)
    assert seconds(fleet, task=0)["queued"] == pytest.approx(20.0, rel=0.005)


def test_touching_tasks_share_as_computing_ones_do() -> None:
    toucher = task(touch(0, cost_s=1e-5))
    fleet = run(host(guest(toucher, BUSY, regions=[anon(100)])), 10.0)
    assert seconds(fleet, task=0)["nominal"] == pytest.approx(5.0, rel=0.01)


def test_vcpus_share_cores_one_by_one() -> None:
    # Three vCPUs on one core: the guest with two of them gets two thirds.
    two = guest(BUSY, BUSY, vcpus=2, guest_id=1)
    one = guest(BUSY, guest_id=2)
    fleet = run(host(two, one, cores=1), 30.0)
    for g, j in ((0, 0), (0, 1), (1, 0)):
        assert seconds(fleet, g, j)["nominal"] == pytest.approx(10.0, rel=0.01)
        assert seconds(fleet, g, j)["queued"] == pytest.approx(20.0, rel=0.01)


def test_cores_are_shared_by_the_vcpus_weight() -> None:
    heavy = guest(BUSY, cpu_weight=3072, guest_id=1)
    light = guest(BUSY, cpu_weight=1024, guest_id=2)
    fleet = run(host(heavy, light, cores=1), 20.0)
    assert seconds(fleet, 0)["nominal"] == pytest.approx(15.0, rel=0.01)


def test_fairness_nests() -> None:
    # A guest's tasks divide what its one vCPU gets of one core.
    crowd = guest(BUSY, BUSY, BUSY, guest_id=1)
    single = guest(BUSY, guest_id=2)
    fleet = run(host(crowd, single, cores=1), 30.0)
    assert seconds(fleet, 1)["nominal"] == pytest.approx(15.0, rel=0.01)
    for j in range(3):
        assert seconds(fleet, 0, j)["nominal"] == pytest.approx(5.0, rel=0.01)


def test_more_vcpus_than_tasks_leave_nobody_waiting() -> None:
    fleet = run(host(guest(BUSY, BUSY, vcpus=4)), 5.0)
    assert seconds(fleet, 0, 0) == pytest.approx({"nominal": 5.0}, abs=0.011)


def test_a_sleeper_has_no_claim_on_the_time_it_slept() -> None:
    # Alone for 20 s the first task has a long virtual run time; the second wakes to a fair half.
    late = task(sleep(20.0), compute(inf))
    fleet = run(host(guest(BUSY, late)), 20.0, 30.0)
    assert seconds(fleet, task=1)["nominal"] == pytest.approx(5.0, abs=0.02)


def test_a_late_guest_has_no_claim_on_the_time_before() -> None:
    early, late = guest(BUSY, guest_id=1), guest(BUSY, guest_id=2, start_s=20.0)
    fleet = run(host(early, late, cores=1), 20.0, 30.0)
    assert seconds(fleet, 1)["nominal"] == pytest.approx(5.0, abs=0.02)


def test_kernel_work_before_a_task_is_lost_with_its_cause() -> None:
    # 4096 pages at 2.54 us take 10.4 ms of the only vCPU, half of it while the task waits.
    fleet = run(host(guest(BUSY, pages=8192, regions=[anon(10)])), 1.0)
    targets(fleet, 4096)
    fleet.advance(np.array([2.0]))
    fleet.check()
    lost = fleet.account[0, 0, 0, BALLOON]
    assert lost == pytest.approx(fleet.guest[0, 0]["resize_s"], rel=0.05)
    assert fleet.account[0, 0, 0, QUEUED] == pytest.approx(0.0, abs=1e-9)


def test_cores_may_be_taken_and_given() -> None:
    pair = host(
        guest(BUSY, guest_id=1),
        guest(BUSY, guest_id=2),
        cores=2,
        timeline=(Entry(Act.CORES, at_s=10.0, value=1), Entry(Act.CORES, at_s=20.0, value=2)),
    )
    fleet = run(pair, 10.0, 20.0, 30.0)
    for g in range(2):
        assert seconds(fleet, g)["nominal"] == pytest.approx(25.0, abs=0.03)
        assert seconds(fleet, g)["queued"] == pytest.approx(5.0, abs=0.03)


def test_a_sleep_is_idle_time_as_it_passes() -> None:
    fleet = run(host(guest(task(compute(1.0), sleep(50.0)))), 11.0)
    assert fleet.account[0, 0, 0, NOMINAL] == pytest.approx(1.0)
    assert fleet.account[0, 0, 0, IDLE] == pytest.approx(10.0)
