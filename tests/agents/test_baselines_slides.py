"""The talk's rule: each condition at its threshold, each step in closed form."""

from typing import Any

import numpy as np
import pytest

from agents.baselines.slides import Slides, SlidesConfig, SlidesState
from contract.arrays import GIB, MIB, PAGE, Ints
from contract.telemetry import Telemetry
from tests.contract.readings import mib, reading

RAM = 16 * GIB


def pages(share: float, size: int) -> int:
    return int(size * share) // PAGE * PAGE


def run(*readings: Telemetry, config: SlidesConfig | None = None) -> tuple[Ints, SlidesState]:
    policy = Slides(config)
    state = policy.reset(*readings[0].present.shape)
    for telemetry in readings:
        decision, state, wake_at_s = policy.decide(telemetry, state)
        assert (wake_at_s == telemetry.time_s + policy.config.period_s).all()
    return decision.target_bytes, state


def later(telemetry: Telemetry, time_s: float, **columns: object) -> Telemetry:
    arrays = {name: np.asarray(value) for name, value in columns.items()}
    return telemetry._replace(time_s=np.full(len(telemetry.time_s), time_s), **arrays)


def test_with_a_calm_host_and_calm_guests_nothing_moves() -> None:
    assert run(reading(1, 3))[0].tolist() == [[-1, -1, -1]]


@pytest.mark.parametrize(("available", "gives"), [(int(0.10 * RAM) - 1, True), (RAM // 8, False)])
def test_a_host_short_of_memory_is_near_swap_out(available: int, gives: bool) -> None:
    target, _ = run(reading(available_bytes=available))
    assert target.tolist() == [[2 * GIB - pages(0.05, 2 * GIB) if gives else -1]]


@pytest.mark.parametrize(("written", "gives"), [(0, False), (4096, True)])
def test_a_host_that_swaps_out_is_near_swap_out(written: int, gives: bool) -> None:
    calm = reading(swap_out_bytes=10**9)
    target, _ = run(calm, later(calm, 5.0, swap_out_bytes=[10**9 + written]))
    assert (target[0, 0] >= 0) == gives


@pytest.mark.parametrize(
    ("size", "available", "asks"),
    [
        (2 * GIB, int(0.1 * 2 * GIB), True),
        (2 * GIB, int(0.1 * 2 * GIB) + 1, False),
        (256 * MIB, 64 * MIB - 1, True),
        (256 * MIB, 64 * MIB, False),
    ],
)
def test_a_guest_with_little_available_is_near_and_asks(
    size: int, available: int, asks: bool
) -> None:
    """10 % of its size or 64 MiB, whichever is more."""
    target, _ = run(
        reading(current_bytes=size, applied_target_bytes=size, stats_available_bytes=available)
    )
    assert target.tolist() == [[size + pages(0.10, size) if asks else -1]]


@pytest.mark.parametrize(
    ("column", "rise", "asks"),
    [
        ("stats_swap_in_bytes", 5 * 256 * 1024, False),
        ("stats_swap_in_bytes", 5 * 256 * 1024 + 1, True),
        ("stats_major_faults", 250, False),
        ("stats_major_faults", 251, True),
    ],
)
def test_a_guest_that_swaps_in_or_faults_is_near(column: str, rise: int, asks: bool) -> None:
    calm = reading()
    target, _ = run(calm, later(calm, 5.0, **{column: [[rise]]}))
    assert (target[0, 0] >= 0) == asks


def test_near_guests_give_nothing_and_ask_even_of_a_short_host() -> None:
    target, _ = run(reading(1, 2, available_bytes=GIB, stats_available_bytes=[[GIB, 100 * MIB]]))
    step = pages(0.05, 2 * GIB)
    assert target.tolist() == [[2 * GIB - step, 2 * GIB + pages(0.10, 2 * GIB)]]


def test_light_guests_give_more_and_at_most_a_tenth() -> None:
    """Mean weight 1000: a weight of 500 gives 10 %, 250 is held there, 2250 gives 2.2 %."""
    target, _ = run(reading(1, 4, available_bytes=GIB, weight=[[500, 250, 2250, 1000]]))
    shares = (0.10, 0.10, 0.05 / 2.25, 0.05)
    assert (2 * GIB - target).tolist() == [[pages(share, 2 * GIB) for share in shares]]


def test_an_unknown_weight_is_the_usual_one_and_weight_zero_is_left_alone() -> None:
    target, _ = run(reading(1, 3, available_bytes=GIB, weight=[[-1, 1000, 0]]))
    step = pages(0.05, 2 * GIB)
    assert target.tolist() == [[2 * GIB - step, 2 * GIB - step, -1]]


def test_nobody_gives_below_min_or_asks_above_max() -> None:
    giving = reading(available_bytes=GIB, min_bytes=2 * GIB - MIB)
    assert run(giving)[0].tolist() == [[2 * GIB - MIB]]
    asking = reading(stats_available_bytes=0, max_bytes=2 * GIB + MIB)
    assert run(asking)[0].tolist() == [[2 * GIB + MIB]]
    assert run(reading(available_bytes=GIB, min_bytes=2 * GIB))[0].tolist() == [[-1]]


def test_steps_are_taken_from_the_current_size_and_not_back_on_the_way() -> None:
    """A guest that lags behind its target is neither called back nor driven further."""
    giving = reading(available_bytes=GIB, applied_target_bytes=mib([[1800]]))
    assert run(giving)[0].tolist() == [[-1]]
    asking = reading(stats_available_bytes=0, applied_target_bytes=mib([[2500]]))
    assert run(asking)[0].tolist() == [[2500 * MIB]]


def test_a_host_clearly_free_for_thirty_seconds_lets_guests_grow_in_steps() -> None:
    calm = reading(1, 2, current_bytes=mib([[2048, 4000]]))
    calm = calm._replace(applied_target_bytes=calm.current_bytes)
    run_up = [later(calm, 5.0 * number) for number in range(7)]
    assert run(*run_up[:6])[0].tolist() == [[-1, -1]]
    grown = [2 * GIB + pages(0.05, 2 * GIB), 4 * GIB]
    assert run(*run_up)[0].tolist() == [grown]


def test_a_moment_that_is_not_clear_starts_the_thirty_seconds_anew() -> None:
    calm = reading()
    tight = later(calm, 15.0, available_bytes=[int(0.15 * RAM)])
    story = [calm, tight, later(calm, 20.0), later(calm, 45.0)]
    assert run(*story)[0].tolist() == [[-1]]
    assert run(*story, later(calm, 50.0))[0][0, 0] > 2 * GIB


def test_a_free_host_that_swaps_out_lets_nobody_grow() -> None:
    calm = reading(stats_available_bytes=-1)
    swaps = later(calm, 40.0, swap_out_bytes=[MIB])
    assert run(calm, later(calm, 40.0))[0][0, 0] > 2 * GIB
    assert run(calm, swaps)[0].tolist() == [[-1]]


def test_a_near_guest_takes_its_tenth_on_a_free_host_too() -> None:
    calm = reading(stats_available_bytes=0)
    target, _ = run(calm, later(calm, 40.0))
    assert target.tolist() == [[2 * GIB + pages(0.10, 2 * GIB)]]


@pytest.mark.parametrize(
    ("columns", "target"),
    [
        ({"stats_available_bytes": -1, "available_bytes": GIB}, -1),
        ({"available_bytes": -1}, -1),
        ({"total_bytes": -1, "available_bytes": 0}, -1),
        ({"min_bytes": -1, "available_bytes": GIB}, -1),
        ({"max_bytes": -1, "stats_available_bytes": 0}, -1),
        ({"current_bytes": -1, "available_bytes": GIB}, -1),
        ({"stats_age_s": np.nan, "stats_available_bytes": 0}, 2 * GIB + pages(0.1, 2 * GIB)),
    ],
    ids=str,
)
def test_unknown_is_never_zero(columns: dict[str, Any], target: int) -> None:
    assert run(reading(**columns))[0].tolist() == [[target]]


def test_frozen_statistics_keep_a_guest_near() -> None:
    calm = reading()
    busy = later(calm, 5.0, stats_swap_in_bytes=[[GIB]])
    frozen = [later(busy, 5.0 + age, stats_age_s=[[1.0 + age]]) for age in (5.0, 10.0)]
    assert run(calm, busy, *frozen)[0][0, 0] > 2 * GIB


def test_thresholds_without_sense_are_refused_together() -> None:
    with pytest.raises(ValueError, match=r"give_share.*clear_s|clear_s.*give_share"):
        SlidesConfig(give_share=1.5, clear_s=-1.0)
