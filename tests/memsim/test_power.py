"""Time that a guest is off as planned belongs to nobody, whatever the OOM killer did before."""

from dataclasses import replace

import numpy as np
import pytest

from memsim import spec
from memsim.account import RESTART
from memsim.fleet import Fleet

DISK = spec.Device(spec.DeviceKind.SOLID, latency_s=1e-4, bytes_per_s=5e8)
BOOT_S = 20.0
PAGES = 600


def guest(number: int, fill_s: float = 0.0, start_s: float = 0.0) -> spec.GuestSpec:
    """Fills its memory some time after its boot, and then sleeps."""
    phases = (
        spec.Phase(spec.Op.SLEEP, seconds=fill_s),
        spec.Phase(spec.Op.ALLOCATE, region=0, count=PAGES, cost_s=1e-5),
        spec.Phase(spec.Op.SLEEP, seconds=1.0),  # a task is ahead of its host by no more
        spec.Phase(spec.Op.REPEAT, jump=2),
    )
    return spec.GuestSpec(
        guest_id=number,
        pages=PAGES + 64,
        regions=(spec.Region(spec.RegionKind.ANON, PAGES),),
        tasks=(spec.Task(phases),),
        kernel_pages=16,
        start_s=start_s,
        boot_s=BOOT_S,
    )


def run(
    guests: tuple[spec.GuestSpec, ...], timeline: tuple[spec.Entry, ...], end_s: float
) -> Fleet:
    """One host without swap that has room for one and a half guests."""
    fleet = Fleet(1, threads=1)
    host = spec.HostSpec(1 << 20, PAGES * 3 // 2, guests, (DISK,), timeline=timeline)
    fleet.reset([host])
    for until_s in np.arange(5.0, end_s + 1, 5.0):
        fleet.advance(np.array([until_s]))
        fleet.check()
    return fleet


def test_planned_power_is_no_lost_time() -> None:
    stop, start = spec.Act.STOP_GUEST, spec.Act.START_GUEST
    timeline = (spec.Entry(stop, at_s=100.0, guest=0), spec.Entry(start, at_s=600.0, guest=0))
    fleet = run((guest(0),), timeline, 700.0)
    assert fleet.account[0, 0, 0, RESTART] == 0
    assert fleet.task["started_s"][0, 0, 0] == pytest.approx(600 + BOOT_S - (100 - BOOT_S), abs=1)
    assert fleet.account[0, 0, 0].sum() == pytest.approx(80 + 80, abs=2)


def test_a_planned_stop_ends_what_a_reboot_loses() -> None:
    timeline = (
        spec.Entry(spec.Act.STOP_GUEST, at_s=130.0, guest=0),
        spec.Entry(spec.Act.STOP_GUEST, at_s=400.0, guest=1),
        spec.Entry(spec.Act.START_GUEST, at_s=600.0, guest=0),
    )
    fleet = run((guest(0), guest(1, start_s=100.0)), timeline, 700.0)
    assert fleet.guest["host_kills"][0].tolist() == [1, 0]  # at 121.6 s
    assert fleet.account[0, 0, 0, RESTART] == pytest.approx(130 - 121, abs=1.0)
    assert fleet.account[0, 0, 0].sum() == pytest.approx(110 + 80, abs=2)


def test_a_kill_in_a_planned_boot_loses_no_work() -> None:
    leave = spec.Entry(spec.Act.STOP_GUEST, at_s=112.0, guest=1)
    booting = replace(guest(0, start_s=100.0), start=spec.Start.RESIDENT)
    fleet = run((booting, guest(1, fill_s=90.0)), (leave,), 160.0)
    assert fleet.guest["host_kills"][0, 0] >= 1  # by the other one, which fills from 110 s on
    assert fleet.account[0, 0, 0, RESTART] == 0
    assert fleet.task["started_s"][0, 0, 0] == pytest.approx(111 + BOOT_S, abs=1)
