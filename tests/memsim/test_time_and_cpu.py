"""Where the seconds of a task go: its own work, its idling, its queueing, and fair shares."""

import numpy as np
import pytest

from memsim import params
from memsim.account import FRESH_FAULT, IDLE, NOMINAL, QUEUED, RESTART
from memsim.pressure import shares
from memsim.spec import GuestSpec, Op, Phase, Region, RegionKind, Task

from .builders import anon, guest, host, live

SPIN = (Phase(Op.COMPUTE, seconds=1.0), Phase(Op.REPEAT, jump=0))


def test_a_task_alone_works_all_the_time() -> None:
    fleet = live(host(guest((), SPIN)), 10.0)
    assert fleet.account[0, 0, 0, NOMINAL] == pytest.approx(10.0, abs=0.02)
    assert fleet.account[0, 0, 0, QUEUED] == 0.0


def test_sleep_is_idle_and_a_finished_task_too() -> None:
    script = (Phase(Op.COMPUTE, seconds=1.0), Phase(Op.SLEEP, seconds=2.5))
    fleet = live(host(guest((), script)), 10.0)
    assert fleet.task["finished_s"][0, 0, 0] == pytest.approx(3.5)
    assert fleet.account[0, 0, 0, NOMINAL] == pytest.approx(1.0)
    assert fleet.account[0, 0, 0, IDLE] == pytest.approx(9.0)


def test_two_tasks_share_a_vcpu_and_queue_for_each_other() -> None:
    fleet = live(host(guest((), SPIN, SPIN)), 10.0)
    for task in range(2):
        assert fleet.account[0, 0, task, NOMINAL] == pytest.approx(5.0, abs=0.1)
        assert fleet.account[0, 0, task, QUEUED] == pytest.approx(5.0, abs=0.1)


@pytest.mark.parametrize("weight", [512, 2048])
def test_cpu_time_goes_by_weight(weight: int) -> None:
    tasks = (Task(SPIN, 1024), Task(SPIN, weight))
    one = GuestSpec(1, 64, (), tasks, stats_period_s=0.0)
    fleet = live(host(one), 20.0)
    first, second = fleet.account[0, 0, :2, NOMINAL]
    assert second / first == pytest.approx(weight / 1024, rel=0.05)


def test_guests_share_the_cores_of_a_host() -> None:
    guests = [guest((), SPIN, guest_id=i, pages=64) for i in range(3)]
    fleet = live(host(*guests, cores=1), 12.0)
    assert fleet.account[0, :, 0, NOMINAL] == pytest.approx(np.full(3, 4.0), abs=0.1)
    assert fleet.account[0, :, 0, QUEUED] == pytest.approx(np.full(3, 8.0), abs=0.1)


def test_first_touches_cost_what_was_measured_and_what_the_program_takes() -> None:
    fleet = live(host(guest((anon(500),), (Phase(Op.ALLOCATE, region=0, cost_s=22e-6),))), 1.0)
    once = params.EPT_FAULT_S + params.GUEST_FAULT_S + 22e-6
    assert fleet.account[0, 0, 0, NOMINAL] == pytest.approx(500 * once, rel=1e-6)
    assert fleet.guest["host_fresh"][0, 0] == 500
    assert fleet.account[0, 0, 0, FRESH_FAULT] == 0.0


def test_emulation_stretches_the_guest_kernels_part_alone() -> None:
    spec = host(guest((anon(500),), (Phase(Op.ALLOCATE, region=0, cost_s=0.0),)), emulation=4.0)
    once = params.EPT_FAULT_S + 4 * params.GUEST_FAULT_S
    assert live(spec, 1.0).account[0, 0, 0, NOMINAL] == pytest.approx(500 * once, rel=1e-6)


def test_what_a_guest_sets_aside_at_boot_is_not_in_its_total() -> None:
    pages = {"kernel_pages": 100, "reserved_pages": 40}
    one = guest((anon(8),), (Phase(Op.SLEEP, seconds=9.0),), stats_period_s=1.0, **pages)
    seen = live(host(one), 3.0).guest[0, 0]
    assert seen["stats_total"] == seen["pages"] - 40
    assert seen["stats_available"] <= seen["pages"] - 100


def test_open_loop_arrivals_come_at_their_rate_and_wait_for_service() -> None:
    # Utilisation 0.5, deterministic service: the mean wait in line is rho / (2 (1 - rho)) services.
    touch = Phase(Op.TOUCH, region=0, rate=50.0, cost_s=0.01)
    fleet = live(
        host(guest((anon(8),), (Phase(Op.ALLOCATE, region=0), touch), pages=64), tick_s=0.01),
        2000.0,
    )
    task = fleet.task[0, 0, 0]
    assert task["arrivals"] == pytest.approx(100_000, rel=0.02)
    assert task["dropped"] == 0
    mean_s = task["latency_s"] / task["served"]
    assert mean_s == pytest.approx(0.01 * 1.5, rel=0.05)  # Pollaczek-Khinchine


def test_arrivals_beyond_the_backlog_are_dropped_and_counted() -> None:
    touch = Phase(Op.TOUCH, region=0, rate=200.0, cost_s=0.01, backlog_s=0.5)
    fleet = live(host(guest((anon(8),), (Phase(Op.ALLOCATE, region=0), touch), pages=64)), 100.0)
    task = fleet.task[0, 0, 0]
    assert task["served"] == pytest.approx(100 * 100, rel=0.02)
    assert task["dropped"] == pytest.approx(100 * 100, rel=0.05)
    assert task["latency_s"] / task["served"] < 0.52


def test_a_killed_task_does_its_work_again_as_restart() -> None:
    # The first task holds little, the second fills memory: it is killed, again and again.
    regions = (Region(RegionKind.ANON, 30), Region(RegionKind.ANON, 400))
    hog = (Phase(Op.ALLOCATE, region=1), Phase(Op.COMPUTE, seconds=5.0))
    spec = guest(regions, (Phase(Op.ALLOCATE, region=0), *SPIN), hog, pages=256, vcpus=2, resize=0)
    fleet = live(host(spec), 20.0)
    assert fleet.guest["oom_kills"][0, 0] > 2
    assert fleet.task["restarts"][0, 0].tolist()[0] == 0
    lost = fleet.account[0, 0, 1]
    assert lost[RESTART] >= params.RESTART_S * (fleet.guest["oom_kills"][0, 0] - 1)
    assert lost[NOMINAL] < 0.01  # what is done again is not new


def test_pressure_shares_are_the_kernels() -> None:
    assert shares(1, 3, 4) == (0.25, 0.25)
    some, full = shares(1, 256, 256)
    assert some == pytest.approx(1 / 256)
    assert full == 0.0
    assert shares(0, 4, 4) == (0.0, 0.0)
    assert shares(8, 0, 4) == (1.0, 1.0)
