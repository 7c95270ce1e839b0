"""The emulator's disk requests among each other: what they hold, and whose memory they get."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from memsim import state
from memsim.fleet import Fleet
from memsim.spec import Act, Cgroup, Entry, HostSpec, Op, Pattern, Phase
from tests.memsim.hosts import (
    FLASH,
    SLOW,
    SLOW_READ_S,
    SSD,
    ZRAM,
    again,
    allocate,
    anon,
    file,
    guest,
    host,
    machine,
    read,
    run,
    seconds,
    sleep,
    swapped_out,
    task,
    touch,
)

IN_ORDER = Pattern.SEQUENTIAL


def pinned(fleet: Fleet) -> int:
    """How many pages are under DMA."""
    return int((machine(fleet).page["hflags"] & state.H_PINNED != 0).sum())


@pytest.mark.parametrize("limited", [False, True])
def test_requests_that_wait_for_frames_do_not_hold_all_of_them(limited: bool) -> None:
    # 20 readers ask for 32 pages each where there are frames for 300: if each kept what it has
    # until it has the rest, none would ever be done.
    readers = [task(read(i, pattern=IN_ORDER, count=200)) for i in range(20)]
    one = guest(*readers, pages=5000, regions=[file(200) for _ in range(20)], vcpus=4, cgroup=0)
    spec = host(one, devices=(FLASH, SSD), cgroups=(Cgroup(300 if limited else -1),))
    if not limited:
        spec = replace(spec, ram_pages=330)
    fleet = run(spec, 0.01, 0.1, 1.0, 30.0)
    assert (fleet.task[0, 0]["done"] == 200).all()
    assert fleet.host[0]["oom_kills"] == 0
    assert pinned(fleet) == 0


def test_the_largest_guest_is_killed_for_another_ones_emulator() -> None:
    large = guest(task(allocate(0), sleep(99.0)), pages=1024, regions=[anon(700)], guest_id=1)
    reader = guest(
        task(sleep(1.0), read(0, pattern=IN_ORDER, count=400)),
        pages=1024,
        regions=[file(400)],
        guest_id=2,
    )
    fleet = run(host(large, reader, ram_pages=1000, swap_pages=0), 0.9, 20.0)
    assert fleet.guest[0]["host_kills"][0] >= 1
    assert fleet.guest[0]["host_kills"][1] == 0
    assert fleet.task[0, 1, 0]["done"] == 400


def test_the_emulators_decompressions_take_their_time() -> None:
    script = task(
        read(0, pattern=IN_ORDER, count=800),
        Phase(Op.DROP_CACHES),
        sleep(3.0),
        read(0, pattern=IN_ORDER, count=800),
    )
    one = guest(script, pages=1024, regions=[file(800)], cgroup=0)
    spec = host(one, devices=(ZRAM, SSD), cgroups=(Cgroup(-1),))
    before = run(spec, 9.0)
    after = run(swapped_out(spec), 9.0)
    swapped_in = int(after.guest[0, 0]["host_swap_in"])
    assert swapped_in > 500
    lost = seconds(after)["host_swap"]
    assert lost >= swapped_in * float(machine(after).host[0]["c_zram"])
    took = after.task[0, 0, 0]["finished_s"] - before.task[0, 0, 0]["finished_s"]
    busy = [sum(seconds(f).values()) - seconds(f)["idle"] for f in (before, after)]
    assert took == pytest.approx(busy[1] - busy[0], rel=0.05)


OWN = 900  # pages of an emulator's own memory, more than it works with


def _idle_emulator(*phases: Phase, **fields: Any) -> HostSpec:  # noqa: ANN401  any of HostSpec
    """A program that fills 600 pages, then does something else; its emulator idles meanwhile."""
    one = guest(
        task(sleep(1.0), allocate(0), *phases),
        regions=[anon(600), file(64)],
        pages=2048,
        emulator_pages=OWN,
        cgroup=0,
    )
    return host(one, cgroups=(Cgroup(1100),), **fields)


def test_an_emulators_idle_memory_goes_before_its_guests() -> None:
    keeps = touch(0, count=600, pattern=IN_ORDER)
    spec = _idle_emulator(keeps, keeps, sleep(1.0), again(1))
    spec = replace(spec, guests=(replace(spec.guests[0], emulator_used=0),))
    fleet = run(spec, 0.5, 9.0)
    seen = fleet.guest[0, 0]
    assert 0 <= seen["host_swapped_pages"] - (OWN + 600 - 1100) < 64  # by batches
    states = machine(fleet).page["hstate"]
    assert (states[:600] == state.RESIDENT).all()
    assert seen["host_swap_in"] == 0
    assert seconds(fleet).get("host_swap", 0.0) == 0.0


def test_a_request_takes_a_page_of_the_emulators_own_memory() -> None:
    # All of it is swapped; each request of the reader then waits for a page, one after another,
    # before the emulator has looked at any of it at 2 s.
    one = guest(
        task(sleep(1.92), read(0, count=64, pattern=Pattern.SEQUENTIAL)),
        regions=[file(64)],
        pages=512,
        emulator_pages=OWN,
        cgroup=0,
    )
    spec = host(one, devices=(SLOW, SSD), cgroups=(Cgroup(-1),))
    quick = run(spec, 1.999)
    slow = run(swapped_out(spec), 1.999)
    before, after = quick.guest[0, 0], slow.guest[0, 0]
    assert before["host_swap_in"] == 0
    hand = int(after["emulator_hand"])  # one page a request
    assert hand == before["emulator_hand"] > 0
    used = machine(slow).page["hstate"][512 : 512 + OWN]
    assert (used[:hand] == state.RESIDENT).all()
    assert (used[hand:] == state.SWAPPED).all()
    late = slow.task[0, 0, 0]["finished_s"] - quick.task[0, 0, 0]["finished_s"]
    assert late >= SLOW_READ_S
    assert seconds(slow)["host_swap"] >= SLOW_READ_S


def test_it_works_with_a_part_of_its_memory_in_turns() -> None:
    script = [read(1, count=64, pattern=IN_ORDER), Phase(Op.DROP_CACHES), again(1)]
    fleet = run(_idle_emulator(*script), 60.0)
    m = machine(fleet)
    used = int(m.guest[0]["emulator_used"])
    assert used == 768
    hands = {int(m.guest[0]["emulator_hand"])}
    for t in range(61, 90):
        fleet.advance(np.array([float(t)]))
        hands.add(int(m.guest[0]["emulator_hand"]))
    assert len(hands) > 10
    assert max(hands) < used


def test_who_pays_for_a_request_holds_no_pages_for_it() -> None:
    # The device is done, its worker asleep above high: nothing is under DMA meanwhile.
    one = guest(
        task(sleep(1.0), read(0, count=1300, pattern=IN_ORDER)),
        regions=[file(1300)],
        pages=2048,
        high_pages=1000,
        emulator_pages=0,
    )
    fleet = run(host(one, swap_pages=0))
    asleep = 0
    for t in np.arange(1.0, 20.0, 0.25):
        fleet.advance(np.array([t]))
        fleet.check()
        requests = machine(fleet).request
        pays = requests["state"] == state.R_THROTTLED
        asleep += int(pays.any())
        assert requests["returned"][pays].all()
        if pays.all(where=requests["state"] != state.R_FREE):
            assert pinned(fleet) == 0
    assert asleep > 20


def test_a_worker_owes_nothing_for_what_it_charged_below_high() -> None:
    # A slow read is under way, far below high, when another task takes the guest above that.
    one = guest(
        task(sleep(1.0), read(0, count=64, pattern=IN_ORDER)),
        task(sleep(1.0 + SLOW_READ_S / 10), allocate(1)),
        regions=[file(64), anon(1500)],
        pages=2048,
        vcpus=2,
        high_pages=1500,
        emulator_pages=0,
    )
    spec = host(one, devices=(FLASH, SLOW), swap_pages=0)
    fleet = run(spec)
    above = 0
    for t in np.arange(1.0, 1.0 + 8 * SLOW_READ_S, SLOW_READ_S / 8):
        fleet.advance(np.array([t]))
        m = machine(fleet)
        above += int(m.group[1]["usage"] > 1500)
        assert above or m.request["owed"].max() == 0
    assert above > 0


@pytest.mark.parametrize(("used", "stays"), [(-1, 768), (300, 300), (0, 0)])
def test_what_an_emulator_uses_stays_in_memory_under_any_limit(used: int, stays: int) -> None:
    # Nothing else is used: step by step all but that goes, without a single disk request.
    spec = _idle_emulator(sleep(1e6))
    (one,) = spec.guests
    squeeze = tuple(
        Entry(Act.CGROUP_MAX, at_s=9.0 + 3.0 * i, index=0, value=1500 - 50 * i) for i in range(15)
    )
    cgroups = (Cgroup(-1),)
    one = replace(one, emulator_used=used)
    fleet = run(replace(spec, guests=(one,), cgroups=cgroups, timeline=squeeze), 8.9, 60.0)
    m = machine(fleet)
    own = m.page["hstate"][2048:]
    assert (own[:stays] == state.RESIDENT).all()
    assert (m.page["hstate"] == state.SWAPPED).sum() >= OWN + 600 - 800
