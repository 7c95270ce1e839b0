"""More RAM, hinting, asynchronous faults, a faster disk: on the mean they do not hurt fixed work.

Pairs of lives with the same keys, one with and one without; finite jobs, so that a faster guest
does not ask for more.  A single pair may go either way.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from memsim.account import FIRST_LOST
from memsim.fleet import Fleet
from memsim.spec import Async, Device, DeviceKind, Hinting, HostSpec, Pattern, Phase
from tests.memsim.hosts import (
    DISK,
    FLASH,
    SSD,
    again,
    allocate,
    anon,
    compute,
    free,
    guest,
    host,
    read,
    sleep,
    task,
    touch,
    write,
)

SEEDS = range(30)
SLOWER = Device(DeviceKind.SOLID, latency_s=4e-4, bytes_per_s=1e8, parallel=4)
Change = Callable[[HostSpec], HostSpec]


def job(r: random.Random) -> tuple[Phase, ...]:
    """Fixed work of a few random kinds on memory that is filled, used and freed."""
    phases = [sleep(r.uniform(0, 0.2)), allocate(0)]
    for _ in range(r.randint(2, 4)):
        how = r.choice([touch, touch, read, write])
        pattern = r.choice([Pattern.UNIFORM, Pattern.ZIPF, Pattern.SEQUENTIAL, Pattern.LOOP])
        region = r.choice([0, 0, 1])
        fields: dict[str, Any] = {"write": 0.5} if how is touch else {}
        phases.append(
            how(region, pattern=pattern, count=r.randint(300, 1500), cost_s=5e-5, **fields)
        )
    phases += [compute(0.05), free(0), sleep(0.1), again(1, count=3)]
    return tuple(phases)


def crowded(seed: int) -> HostSpec:
    """Three guests with two jobs each and memory for about two thirds of them."""
    r = random.Random(seed)
    guests = tuple(
        guest(
            task(*job(r)),
            task(sleep(0.1), compute(0.3), touch(1, pattern=Pattern.ZIPF, count=2000, cost_s=5e-5)),
            pages=900,
            regions=[anon(r.randint(300, 600)), anon(r.randint(50, 150))],
            guest_id=10 + i,
        )
        for i in range(3)
    )
    return host(
        *guests, ram_pages=1100, devices=(SSD, SSD), cores=3, seed=seed, readahead_bytes=32768
    )


def with_guests(spec: HostSpec, **fields: Any) -> HostSpec:  # noqa: ANN401  any of GuestSpec
    return replace(spec, guests=tuple(replace(g, **fields) for g in spec.guests))


def outcome(spec: HostSpec) -> tuple[float, float]:
    """Mean time of completion and lost time of the jobs [s], all of which end."""
    fleet = Fleet(1)
    fleet.reset([spec])
    t = 0.0
    while np.isnan(fleet.task["finished_s"][0]).any():
        t += 5.0
        assert t < 1000.0
        fleet.advance(np.array([t]))
    fleet.check()
    assert fleet.host[0]["oom_kills"] == fleet.guest["oom_kills"].sum() == 0
    lost = fleet.account[0, ..., FIRST_LOST:].sum(axis=-1)
    return float(fleet.task["finished_s"][0].mean()), float(lost.mean())


def with_disk(spec: HostSpec, swap: Device) -> HostSpec:
    return replace(spec, devices=(swap, SSD))


def more_ram(spec: HostSpec) -> HostSpec:
    return replace(spec, ram_pages=spec.ram_pages * 5 // 4)


def hinting(spec: HostSpec) -> HostSpec:
    return with_guests(spec, hinting=Hinting.BITMAP)


def async_user(spec: HostSpec) -> HostSpec:
    return with_guests(spec, async_mode=Async.USER)


def async_any(spec: HostSpec) -> HostSpec:
    return with_guests(spec, async_mode=Async.ANY)


def faster_disk(spec: HostSpec) -> HostSpec:
    return with_disk(spec, FASTER[spec.devices[0]])


FASTER = {DISK: SLOWER, SLOWER: SSD, SSD: FLASH}
CHANGES = [more_ram, hinting, async_user, async_any, faster_disk]


def interval(change: Change, swap: Device) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of the mean change of time of completion and of lost time: (2,) each [s]."""
    pairs = []
    for seed in SEEDS:
        plain = with_disk(crowded(seed), swap)
        pairs.append((outcome(plain), outcome(change(plain))))
    differences = np.array([np.subtract(after, before) for before, after in pairs])
    n = len(differences)
    half = stats.t.ppf(0.975, n - 1) * differences.std(axis=0, ddof=1) / n**0.5
    mean = differences.mean(axis=0)
    return mean - half, mean + half


@pytest.mark.parametrize("swap", FASTER, ids=["hdd", "slow ssd", "ssd"])
@pytest.mark.parametrize("change", CHANGES)
def test_it_does_not_hurt_fixed_work(change: Change, swap: Device) -> None:
    least, most = interval(change, swap)
    print(f"{change.__name__}: completion {least[0]:.3f} to {most[0]:.3f} s,", end=" ")
    print(f"lost {least[1]:.3f} to {most[1]:.3f} s")
    assert (least <= 0.0).all()


@pytest.mark.parametrize("change", CHANGES)
def test_it_helps_where_it_should(change: Change) -> None:
    # Jobs that swap a lot, with others on the same vCPU that could go on.
    _, most = interval(change, SSD)
    assert (most < 0.0).all()
