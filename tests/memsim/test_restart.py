"""Lives after a power-off or an OOM kill: what is remembered, what is done again, who wakes."""

from dataclasses import replace

import numpy as np
import pytest

from memsim.law import Broken
from memsim.params import BALLOON_DEFLATE_S, RESTART_S
from memsim.spec import Act, Curve, Entry, GuestSpec, HostSpec, Op, Phase

from .hosts import (
    again,
    allocate,
    anon,
    compute,
    free,
    guest,
    host,
    machine,
    run,
    seconds,
    sleep,
    targets,
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
    footprint = one.regions[0].pages
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


RATE, COST_S, BACKLOG_S, END_S = 100.0, 1e-3, 0.5, 60.0


def users(boot_s: float = 0.0) -> GuestSpec:
    """A guest whose users ask without end, whatever becomes of it."""
    serving = touch(0, rate=RATE, cost_s=COST_S, backlog_s=BACKLOG_S)
    return guest(task(serving), regions=[anon(300), anon(400)], boot_s=boot_s)


def arrivals(spec: HostSpec) -> tuple[int, int, int]:
    """Arrivals, served and dropped of the first guest's first task."""
    row = run(spec, 10.0, 30.0, END_S).task[0, 0, 0]
    return int(row["arrivals"]), int(row["served"]), int(row["dropped"])


def undisturbed(one: GuestSpec) -> int:
    """Arrivals if nothing happens, all of them served."""
    came, served, dropped = arrivals(host(one))
    assert dropped == 0 and came == served == pytest.approx(RATE * END_S, rel=0.1)
    return came


def test_users_go_on_asking_while_a_killed_guest_boots() -> None:
    one = users(boot_s=BOOT_S)
    came, served, dropped = arrivals(killed(one, at_s=20.0))
    assert came == undisturbed(one)
    assert served + dropped == came
    # They wait as long as they have patience; who is older when the guest is back is gone.
    assert dropped == pytest.approx(RATE * (BOOT_S - BACKLOG_S), rel=0.3)


def killer(one: GuestSpec, at_s: float) -> GuestSpec:
    """The guest with another task that asks for more than there is, and dies first or second."""
    short = task(sleep(at_s), allocate(1), sleep(0.1), free(1), sleep(1e9))
    return replace(one, tasks=(*one.tasks, short), pages=512)


def test_users_go_on_asking_while_a_killed_task_starts_again() -> None:
    one = users()
    # The users' task owns 300 pages, and the other one 200 when there are no more.
    fleet = run(host(killer(one, at_s=20.0)), END_S)
    row = fleet.task[0, 0, 0]
    assert row["restarts"] == 1
    assert row["arrivals"] == undisturbed(one)
    assert row["served"] + row["dropped"] == row["arrivals"]
    assert row["dropped"] == pytest.approx(RATE * (RESTART_S - BACKLOG_S), rel=0.3)
    # Each served arrival is nominal work once; all that is done again is the interrupted one.
    spent = seconds(fleet)
    assert spent["nominal"] == pytest.approx(row["served"] * COST_S, rel=0.02)
    assert spent["restart"] == pytest.approx(RESTART_S, abs=2 * COST_S)


def test_a_phase_of_users_ends_on_time_whatever_happens() -> None:
    morning = touch(0, rate=RATE, cost_s=COST_S, seconds=15.0)
    evening = touch(0, rate=RATE, cost_s=COST_S, seconds=25.0)
    one = guest(task(morning, evening, sleep(1e9)), regions=[anon(300), anon(400)], boot_s=BOOT_S)
    plain = run(host(one), END_S).task[0, 0, 0]
    again = run(killed(one, at_s=20.0), END_S).task[0, 0, 0]
    assert again["restarts"] == 1
    assert again["arrivals"] == plain["arrivals"]


def test_a_machine_that_is_off_on_purpose_has_no_users() -> None:
    came, served, dropped = arrivals(off_and_on(users()))
    assert dropped == 0
    assert came == served == pytest.approx(RATE * (END_S - (START_S - STOP_S)), rel=0.05)


def test_a_killed_task_begins_with_its_first_phase() -> None:
    lapping = task(allocate(0), compute(1.0), again(1))
    one = guest(lapping, regions=[anon(300), anon(400)])
    fleet = run(host(killer(one, at_s=20.5)), 20.4, END_S)
    assert fleet.task["restarts"][0, 0].tolist() == [1, 0]
    owned = machine(fleet).vpage["page"][:300]
    assert (owned >= 0).all()


def test_only_the_lap_in_progress_and_what_was_set_up_are_done_again() -> None:
    setup_s, lap_s, kill_s = 3.0, 5.0, 20.5
    lapping = task(allocate(0), compute(setup_s), compute(lap_s), again(2))
    one = guest(lapping, regions=[anon(300), anon(400)], vcpus=2)
    spent = seconds(run(host(killer(one, at_s=kill_s)), END_S))
    redone_s = setup_s + (kill_s - setup_s) % lap_s
    assert spent["restart"] == pytest.approx(RESTART_S + redone_s, abs=0.01)
    assert spent["nominal"] == pytest.approx(END_S - RESTART_S - redone_s, abs=0.01)


def test_nothing_of_an_earlier_life_is_done_again() -> None:
    kill_s = 10.5
    one = guest(task(allocate(0), compute(15.0), again(1)), regions=[anon(300), anon(400)], vcpus=2)
    spec = off_and_on(killer(one, at_s=kill_s - START_S))  # it counts from the new life on
    assert "restart" not in seconds(run(spec, kill_s - 0.1))
    spent = seconds(run(spec, END_S))
    assert spent["restart"] == pytest.approx(RESTART_S + kill_s - START_S, abs=0.01)


def test_a_new_life_counts_repeats_and_signals_anew() -> None:
    ringing = task(compute(0.5), Phase(Op.SIGNAL, event=0), again(0, count=8))
    waiting = task(Phase(Op.WAIT, event=0), compute(0.1), again(0, count=8))
    fleet = run(off_and_on(guest(ringing, waiting, vcpus=2)), END_S)
    # The last signal comes 4 s after the start, the last wait's work takes 0.1 s more.
    assert fleet.task["finished_s"][0, 0, 1] == pytest.approx(START_S + 4.1)
    assert seconds(fleet, task=1)["nominal"] == pytest.approx((5 + 8) * 0.1, abs=0.02)


def test_a_killed_task_takes_no_signal_twice_and_misses_none() -> None:
    bell = task(sleep(1.0), Phase(Op.SIGNAL, event=0), again(0))
    working = task(allocate(0), Phase(Op.WAIT, event=0), compute(0.5), again(1))
    one = guest(working, bell, regions=[anon(300), anon(400)], vcpus=3)
    fleet = run(host(killer(one, at_s=20.25)), 59.8)
    assert fleet.task["restarts"][0, 0].tolist() == [1, 0, 0]
    assert seconds(fleet)["nominal"] == pytest.approx(59 * 0.5, abs=0.01)


def test_a_guests_oom_killer_counts_what_is_in_its_swap() -> None:
    old = task(allocate(0), sleep(1e9))
    new = task(sleep(1.0), allocate(1), sleep(1e9))
    last = task(sleep(5.0), allocate(2), sleep(1e9))
    regions = [anon(400), anon(350), anon(100)]
    one = guest(old, new, last, pages=512, regions=regions, swap_pages=300)
    fleet = run(host(one), 4.9, 6.0)
    assert fleet.guest[0, 0]["oom_kills"] == 1
    # The old task has most memory, but most of it was swapped out for the new one.
    assert fleet.task["restarts"][0, 0].tolist() == [1, 0, 0]


def test_the_hosts_oom_killer_counts_what_is_swapped_out() -> None:
    wishes = ((0.0, 400), (10.0, 350), (20.0, 300))  # when [s], how much [pages]
    guests = [
        guest(
            task(sleep(at_s), allocate(0), sleep(1e9)),
            regions=[anon(pages)],
            guest_id=number,
            boot_s=30.0,  # who is killed is not back before the end
        )
        for number, (at_s, pages) in enumerate(wishes)
    ]
    spec = host(*guests, ram_pages=600, swap_pages=250)
    before = run(spec, 49.0).guest[0]
    assert before["resident_pages"][0] < before["resident_pages"][1]
    assert before["host_swapped_pages"][0] > 100
    assert run(spec, 60.0).guest[0]["host_kills"].tolist() == [1, 0, 0]


def test_who_runs_out_of_memory_pays_for_what_leaves_the_balloon() -> None:
    one = guest(task(sleep(10.0), allocate(0), sleep(1e9)), regions=[anon(600)])
    fleet = run(host(one), 1.0)
    targets(fleet, 300)
    fleet.advance(np.array([9.0]))
    assert fleet.guest[0, 0]["balloon_pages"] > 700
    targets(fleet, -1)
    fleet.advance(np.array([20.0]))
    fleet.check()
    left = fleet.guest[0, 0]["deflated"]
    assert left > 300 and fleet.guest[0, 0]["oom_kills"] == 0
    assert seconds(fleet)["balloon"] >= left * BALLOON_DEFLATE_S
