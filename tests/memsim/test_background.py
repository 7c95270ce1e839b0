"""What a guest's kernel and its emulator use all the time: it stays, or comes back."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from memsim import state
from memsim.fleet import Fleet
from memsim.spec import Act, Cgroup, Entry, HostSpec
from tests.memsim.hosts import (
    SSD,
    ZRAM,
    allocate,
    anon,
    guest,
    host,
    machine,
    run,
    sleep,
    swapped_out,
    task,
    touch,
)

KERNEL, USED, OWN, OWN_USED = 400, 40, 200, 50


def idle(**fields: Any) -> HostSpec:  # noqa: ANN401  any of HostSpec
    """A guest that does nothing; all it has is its kernel and its emulator."""
    one = guest(
        task(sleep(1e6)),
        regions=[anon(10)],
        pages=2048,
        kernel_pages=KERNEL,
        kernel_spread=1000,
        kernel_used=USED,
        emulator_pages=OWN,
        emulator_used=OWN_USED,
        cgroup=0,
    )
    return host(one, cgroups=(Cgroup(),), **fields)


def resident(fleet: Fleet) -> tuple[int, int]:
    """Pages of the kernel and of the emulator that are in memory."""
    m = machine(fleet)
    there = m.page["hstate"] == state.RESIDENT
    kernel = m.page["gstate"][:2048] == state.KERNEL
    return int(there[:2048][kernel].sum()), int(there[2048:].sum())


@pytest.mark.parametrize("devices", [(SSD, SSD), (ZRAM, SSD)], ids=["ssd", "zram"])
def test_what_is_used_comes_back_and_no_more(devices: tuple[object, object]) -> None:
    fleet = run(swapped_out(idle(devices=devices)), 1.89, 30.0)
    assert resident(fleet) == (USED, OWN_USED)
    assert fleet.guest[0, 0]["host_swap_in"] == USED + OWN_USED
    m = machine(fleet)
    kernel = np.flatnonzero(m.page["gstate"][:2048] == state.KERNEL)
    back = np.flatnonzero(m.page["hstate"][kernel] == state.RESIDENT)
    assert (np.diff(back) == KERNEL // USED).all()  # evenly among them


def test_without_anything_in_use_nothing_comes_back() -> None:
    spec = swapped_out(idle())
    (one,) = spec.guests
    quiet = replace(spec, guests=(replace(one, kernel_used=0, emulator_used=0),))
    assert resident(run(quiet, 30.0)) == (0, 0)


def test_it_stays_where_little_by_little_all_else_goes() -> None:
    squeeze = tuple(
        Entry(Act.CGROUP_MAX, at_s=3.0 * i, index=0, value=650 - 25 * i) for i in range(1, 18)
    )
    fleet = run(replace(idle(), timeline=squeeze), 90.0)
    kernel, own = resident(fleet)
    assert (kernel >= USED, own >= OWN_USED) == (True, True)
    assert kernel + own < 650 - 25 * 17


def test_it_holds_its_own_against_a_program_that_wants_all_memory() -> None:
    # A program goes through all of the limit: what is idle goes first, then both take turns.
    one = replace(
        idle().guests[0],
        regions=(anon(400),),
        tasks=(task(sleep(1.0), allocate(0), touch(0, count=10**9, write=1.0, cost_s=1e-3)),),
    )
    spec = replace(idle(), guests=(one,), cgroups=(Cgroup(max_pages=400),))
    fleet = Fleet(1)
    fleet.reset([spec])
    used = []
    for end_s in range(10, 30, 2):
        fleet.advance(np.full(1, end_s + 0.5))
        used.append(sum(resident(fleet)))
    assert np.mean(used) > (USED + OWN_USED) / 2
    assert fleet.guest[0, 0]["host_swap_in"] > 10 * (USED + OWN_USED)


def test_one_request_at_a_time_fetches_it_and_ends_with_the_guest() -> None:
    slow = idle(devices=(replace(SSD, latency_s=0.5), SSD), swap_device=0)
    stop = Entry(Act.STOP_GUEST, at_s=4.2, guest=0)
    spec = swapped_out(slow)
    fleet = run(replace(spec, timeline=(*spec.timeline, stop)), 4.0)
    m = machine(fleet)
    kinds = m.request["kind"][m.request["state"] != state.R_FREE]
    assert (kinds == state.UPKEEP).sum() == 1
    fleet.advance(np.full(1, 5.0))
    assert machine(fleet).guest["upkeep"][0] == state.NOBODY


def test_where_no_frame_is_to_be_had_nobody_is_killed() -> None:
    tight = Entry(Act.CGROUP_MAX, at_s=1.0, index=0, value=20)
    fleet = run(replace(idle(), timeline=(tight,)), 60.0)
    assert sum(resident(fleet)) <= 20
    assert fleet.host[0]["oom_kills"] == 0


def test_more_than_there_is_cannot_be_in_use() -> None:
    spec = idle()
    for field, most in (("kernel_used", KERNEL), ("emulator_used", OWN)):
        more: dict[str, Any] = {field: most + 1}
        wrong = replace(spec.guests[0], **more)
        with pytest.raises(ValueError, match=f"{field}: {most + 1}"):
            Fleet(1).reset([replace(spec, guests=(wrong,))])
