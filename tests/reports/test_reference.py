from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import scenarios
from memsim.spec import Act, Cgroup, Entry, HostSpec, Resize, Start
from reports import reference
from reports.reference import Grid
from scenarios.draw import draw
from scenarios.solo import alone

GRID = Grid(5.0, 60.0)


@pytest.fixture(scope="module")
def host() -> HostSpec:
    return draw(scenarios.load("small"), 3).spec


def test_alone_means_ample_unlimited_and_never_resized(host: HostSpec) -> None:
    limited = replace(host, cgroups=(Cgroup(max_pages=5),))
    guests = (replace(host.guests[0], cgroup=0, start=Start.RECLAIMED), host.guests[1])
    found = alone(replace(limited, guests=guests), 0)
    (guest,) = found.guests
    assert guest.pages == host.guests[0].pages
    assert guest.guest_id == host.guests[0].guest_id
    assert (guest.cgroup, guest.resize, guest.start) == (-1, Resize.NONE, Start.RESIDENT)
    assert found.ram_pages > host.reserved_pages + 2 * guest.pages
    assert (found.seed, found.cgroups) == (host.seed, ())


def test_only_the_guests_own_power_switch_is_left(host: HostSpec) -> None:
    timeline = (
        Entry(Act.MARK, at_s=10.0),
        Entry(Act.START_GUEST, after_s=5.0, guest=1),
        Entry(Act.WAIT_TARGET, guest=0),
        Entry(Act.STOP_GUEST, after_s=2.0, guest=0),
        Entry(Act.TARGET, at_s=20.0, guest=1, value=3),
        Entry(Act.STOP_GUEST, at_s=30.0, guest=1),
    )
    found = alone(replace(host, timeline=timeline), 1).timeline
    assert [(entry.act, entry.at_s, entry.guest) for entry in found] == [
        (Act.START_GUEST, 15.0, 0),
        (Act.STOP_GUEST, 30.0, 0),
    ]


def test_names_tell_runs_apart(host: HostSpec) -> None:
    first = alone(host, 0)
    other_curve = replace(
        first.guests[0],
        curves=tuple(
            replace(curve, value=curve.value + (index == 0))
            for index, curve in enumerate(first.guests[0].curves)
        ),
    )
    names = {
        reference.name(first, GRID),
        reference.name(alone(host, 1), GRID),
        reference.name(first, Grid(5.0, 65.0)),
        reference.name(replace(first, seed=first.seed + 1), GRID),
        reference.name(replace(first, guests=(other_curve,)), GRID),
    }
    assert len(names) == 5
    assert reference.name(alone(host, 0), GRID) in names


def test_runs_are_kept_and_read_back(host: HostSpec, tmp_path: Path) -> None:
    hosts = [alone(host, slot) for slot in range(2)]
    assert reference.missing(hosts, GRID, tmp_path) == 2
    first = reference.references(hosts, GRID, tmp_path, lambda _: None)
    assert reference.missing(hosts, GRID, tmp_path) == 0
    ran: list[float] = []
    again = reference.references(hosts, GRID, tmp_path, ran.append)
    assert not ran
    for key, work in first.items():
        for mine, kept in zip(work, again[key], strict=True):
            np.testing.assert_array_equal(mine, kept)
    damaged = next(tmp_path.glob("*.npz"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    repaired = reference.references(hosts, GRID, tmp_path, ran.append)
    assert ran
    np.testing.assert_array_equal(repaired[damaged.stem].nominal_s, first[damaged.stem].nominal_s)


def test_a_guest_alone_swaps_nothing_and_does_work(host: HostSpec, tmp_path: Path) -> None:
    (work,) = reference.references([alone(host, 0)], GRID, tmp_path, lambda _: None).values()
    assert work.nominal_s[-1].sum() > 1
    assert work.kills[-1] == 0
    assert work.dropped[-1].sum() == 0
