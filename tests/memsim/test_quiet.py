"""The fast path: the same law as executing every touch, and no work where nothing changes."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from memsim.fleet import Fleet
from memsim.machine import NAMES
from memsim.spec import Async, HostSpec, Op, Pattern, Phase

from .builders import anon, file, guest, host, live

ALLOCATE = Phase(Op.ALLOCATE, region=0)


def _spec(
    *phases: Phase, seed: int = 0, fast: bool = True, region: int = 700, ram: int = 4096
) -> HostSpec:
    busy = guest((anon(region),), phases, kernel_pages=20)
    return host(busy, seed=seed, fast=fast, ram=ram)


def _counters(fleet: Fleet) -> dict[str, int]:
    names = ("touches", "host_swap_in", "host_swap_out", "host_major", "guest_minor")
    return {name: int(fleet.guest[0, 0][name]) for name in names}


def _jumped(fleet: Fleet, phase: int) -> int:
    machine = fleet.snapshot([0]).machines[0]
    return int(machine[NAMES.index("phase")][phase]["loud_jumped"])


def test_in_order_nothing_differs_from_the_plain_way() -> None:
    loop = Phase(Op.TOUCH, region=0, pattern=Pattern.LOOP, write=0.5, cost_s=7e-6)
    both = [live(_spec(ALLOCATE, loop, fast=fast, ram=600), 20.0) for fast in (False, True)]
    plain, fast = (_counters(fleet) for fleet in both)
    assert plain == fast
    assert plain["host_swap_in"] > 0
    assert np.allclose(both[0].account, both[1].account, atol=1e-6)


def test_where_all_is_quiet_nothing_differs_either() -> None:
    touch = Phase(Op.TOUCH, region=0, write=0.3, cost_s=5e-6, count=2_000_000)
    ends = [live(_spec(ALLOCATE, touch, fast=fast), 30.0).task[0, 0, 0] for fast in (False, True)]
    assert ends[0]["done"] == ends[1]["done"]
    assert ends[0]["finished_s"] == pytest.approx(ends[1]["finished_s"], abs=1e-6)


@pytest.mark.parametrize("pattern", [Pattern.UNIFORM, Pattern.ZIPF])
@pytest.mark.parametrize("rate", [0.0, 200.0])
def test_the_law_is_that_of_executing_every_touch(pattern: Pattern, rate: float) -> None:
    """First touches of a large region over time, and swap-ins under slight pressure."""
    touch = Phase(
        Op.TOUCH, region=0, pattern=pattern, zipf_s=0.9, write=0.3, cost_s=2e-5,
        rate=rate, per_arrival=16,
    )  # fmt: skip
    found: dict[bool, list[tuple[int, int]]] = {False: [], True: []}
    for fast, samples in found.items():
        for seed in range(24):
            spec = _spec(touch, seed=seed, fast=fast, region=900, ram=820)
            counters = _counters(live(spec, 4.0))
            samples.append((counters["guest_minor"], counters["host_swap_in"]))
    plain, fast_ones = np.array(found[False], float), np.array(found[True], float)
    for column in range(2):
        assert stats.ks_2samp(plain[:, column], fast_ones[:, column]).pvalue > 1e-3


def test_an_unpressured_guest_executes_next_to_nothing() -> None:
    touch = Phase(Op.TOUCH, region=0, pattern=Pattern.ZIPF, write=0.3, cost_s=1e-6)
    fleet = live(_spec(ALLOCATE, touch), 30.0)
    touches = int(fleet.guest[0, 0]["touches"])
    assert touches > 25_000_000
    assert touches - _jumped(fleet, 1) < 10_000


def test_reads_of_a_file_become_quiet_on_the_active_list() -> None:
    read = Phase(Op.READ, region=0, cost_s=5e-6)
    fleet = live(host(guest((file(300),), (read,)), fast=True), 10.0)
    assert _jumped(fleet, 0) > 1_000_000


@pytest.mark.parametrize("mode", [Async.OFF, Async.USER])
def test_a_squeezed_guest_executes_nearly_every_touch(mode: Async) -> None:
    touch = Phase(Op.TOUCH, region=0, write=0.5, cost_s=2e-5)
    spec = _spec(ALLOCATE, touch, region=900, ram=500)
    spec = replace(spec, guests=(replace(spec.guests[0], async_mode=mode),))
    fleet = live(spec, 5.0)
    assert _jumped(fleet, 1) < fleet.guest[0, 0]["touches"] // 10
