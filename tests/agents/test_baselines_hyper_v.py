"""Hyper-V: printed examples of buffer and floor, pressure by weight, and late collection."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.baselines.hyper_v import (
    HyperV,
    HyperVConfig,
    HyperVState,
    floor_bytes,
    ideal_bytes,
    pressure,
    rule,
)
from contract.arrays import GIB, MIB, Ints
from contract.telemetry import Telemetry
from tests.contract.readings import mib, reading

C = HyperVConfig()
PLENTY = {"total_bytes": 64 * GIB, "available_bytes": 32 * GIB}


def run(*readings: Telemetry) -> tuple[Ints, HyperVState]:
    policy = HyperV()
    state = policy.reset(*readings[0].present.shape)
    for telemetry in readings:
        decision, state, wake_at_s = policy.decide(telemetry, state)
        assert (wake_at_s == telemetry.time_s + 1.0).all()
    return decision.target_bytes, state


def shared(budget: int, demand: list[int], weight: list[int], least: int = 0) -> list[int]:
    """[MiB] guests of at most 4 GiB."""
    guests = (1, len(demand))
    sizes = rule(
        mib([budget]),
        mib([demand]),
        np.full(guests, least * MIB),
        np.full(guests, 4 * GIB),
        np.array([weight]),
        np.ones(guests, np.bool_),
        C,
    )
    return [round(size / MIB) for size in sizes[0].tolist()]


def test_the_printed_example_of_the_buffer() -> None:
    """1000 MB committed and 20 %: 1200 MB."""
    size = ideal_bytes(mib([[1000]]), mib([[512]]), mib([[4096]]), C)
    assert size.tolist() == mib([[1200]]).tolist()
    assert shared(10_000, [1000, 2000], [1000, 1000]) == [1200, 2400]


@pytest.mark.parametrize(
    ("size", "floor"), [(64, 40), (128, 72), (512, 168), (2048, 360), (8192, 744), (32768, 1512)]
)
def test_the_floor_of_a_linux_guest(size: int, floor: int) -> None:
    assert floor_bytes(mib([size])).tolist() == [floor * MIB]


def test_the_buffer_goes_first_and_equal_weights_are_under_equal_pressure() -> None:
    """3300 for demands of 1000 and 2000: 10 % each; 2400: 80 % of demand each."""
    assert shared(3300, [1000, 2000], [1000, 1000]) == [1100, 2200]
    assert shared(2400, [1000, 2000], [1000, 1000]) == [800, 1600]
    assert pressure(mib([1000]), mib([800])).tolist() == [125.0]


def test_twice_the_weight_is_half_the_pressure() -> None:
    assert shared(1500, [1000, 1000], [2000, 1000]) == [1000, 500]
    assert shared(2000, [1000, 1000], [2000, 1000]) == [1200, 800]  # no more than the ideal


def test_nobody_falls_below_its_minimum() -> None:
    assert shared(600, [1000, 1000], [1000, 1000], least=512) == [512, 512]


@given(st.integers(0, 2**32 - 1))
def test_sizes_keep_bounds_and_budget(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low, demand = mib(rng.integers(0, 500, (2, 5))), mib(rng.integers(0, 4000, (2, 5)))
    high, weight = low + mib(rng.integers(0, 4000, (2, 5))), rng.integers(1, 10_000, (2, 5))
    budget, takes_part = mib(rng.integers(0, 16_000, 2)), rng.random((2, 5)) < 0.8
    sizes = rule(budget, demand, low, high, weight, takes_part, C)
    ideal = ideal_bytes(demand, low, high, C)
    assert (sizes[~takes_part] == 0).all()
    assert ((low <= sizes) & (sizes <= ideal))[takes_part].all()
    least = np.where(takes_part, low, 0).sum(axis=1)
    assert (sizes.sum(axis=1) <= np.maximum(budget, least)).all()


def test_memory_is_added_at_once() -> None:
    """Used 1 GiB of 2, and 2 of 2: the first keeps what it has, the second has 20 % more."""
    telemetry = reading(1, 2, **PLENTY, stats_available_bytes=[[GIB, 0]])
    assert run(telemetry)[0].tolist() == [[2 * GIB, int(2 * GIB * 1.2) // (2 * MIB) * 2 * MIB]]


def test_unneeded_memory_is_collected_after_five_minutes() -> None:
    start = reading(**PLENTY)
    ideal = int(GIB * 1.2) // (2 * MIB) * 2 * MIB
    for later_s, size in ((299.0, 2 * GIB), (300.0, ideal)):
        later = start._replace(time_s=np.array([later_s]))
        assert run(start, later)[0].tolist() == [[size]]
    busy = start._replace(time_s=np.array([200.0]), stats_available_bytes=np.array([[0]]))
    again = start._replace(time_s=np.array([350.0]))
    assert run(start, busy, again)[0].tolist() == [[2 * GIB]]


def test_unneeded_memory_is_collected_at_once_when_somebody_needs_it() -> None:
    """Two of 2 GiB, one idle; the other wants 2.4 GiB of a host that has nothing left."""
    full = reading(
        1, 2, available_bytes=0, resident_bytes=2 * GIB, stats_available_bytes=[[GIB, 0]]
    )
    target, _ = run(full)
    budget = 4 * GIB - int(16 * GIB * 0.02)
    assert target[0, 0] == int(GIB * 1.2) // (2 * MIB) * 2 * MIB
    assert target[0, 1] == int(2 * GIB * 1.2) // (2 * MIB) * 2 * MIB
    assert target.sum() <= budget


def test_what_guests_may_still_take_is_not_free() -> None:
    """1 GiB is available, and each of two may take 1 GiB more without asking."""
    promised = reading(1, 2, available_bytes=GIB, stats_available_bytes=0, resident_bytes=GIB)
    target, _ = run(promised)
    assert target.sum() <= 4 * GIB - GIB - int(16 * GIB * 0.02)


def test_committed_memory_of_an_agent_is_read_first_and_has_the_floor() -> None:
    """1 GiB committed in a guest of 4 GiB: the floor is 232 + 4096 / 16 MiB."""
    telemetry = reading(**PLENTY, current_bytes=GIB, applied_target_bytes=GIB)
    told = telemetry._replace(agent_committed_bytes=mib([[1024]]))
    assert run(told)[0][0, 0] == int((1024 + 488) * 1.2) // 2 * 2 * MIB
    touched = telemetry._replace(
        agent_anonymous_bytes=mib([[1000]]), agent_swap_used_bytes=mib([[500]])
    )
    assert run(touched)[0].tolist() == mib([[1800]]).tolist()


def test_what_a_guest_has_swapped_is_committed() -> None:
    """1 GiB used, 500 MiB out and 200 back; more read back than written counts for nothing."""
    telemetry = reading(**PLENTY, current_bytes=GIB, applied_target_bytes=GIB)
    for back, size in ((200, (1024 + 300) * 1.2), (600, 1024 * 1.2)):
        swapped = telemetry._replace(
            stats_swap_out_bytes=mib([[500]]), stats_swap_in_bytes=mib([[back]])
        )
        assert run(swapped)[0][0, 0] == int(size) // 2 * 2 * MIB


@pytest.mark.parametrize(
    "columns",
    [
        {"total_bytes": -1},
        {"available_bytes": -1},
        {"min_bytes": -1},
        {"max_bytes": -1},
        {"current_bytes": -1},
        {"stats_available_bytes": -1},
        {"weight": 0},
        {"state": 1},
        {"state": 3},
    ],
    ids=str,
)
def test_who_is_not_managed_or_not_known_is_left_alone(columns: dict[str, int]) -> None:
    assert run(reading(**columns))[0].tolist() == [[-1]]


@pytest.mark.parametrize("settings", [{"buffer_percent": -1.0}, {"unit_bytes": 0}], ids=str)
def test_settings_without_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        HyperVConfig(**settings)  # type: ignore[arg-type]
