"""squeezed: gamma in closed form, its two phases, who is stuck, and its two clocks."""

import numpy as np
import pytest

from agents.baselines._hypervisor import free_bytes
from agents.baselines.squeezed import (
    Domain,
    Progress,
    Squeezed,
    SqueezedConfig,
    SqueezedState,
    rule,
)
from contract.arrays import GIB, MIB, Ints
from contract.telemetry import Telemetry
from tests.contract.readings import reading

C = SqueezedConfig()
KEEP = C.keep_kib * 1024
NOBODY: dict[int, Progress] = {}


def domain(least: int, actual: int, most: int, target: int = -1) -> Domain:
    return Domain(least, actual if target < 0 else target, most, actual, 4)


def run(*readings: Telemetry) -> tuple[Ints, SqueezedState, list[float]]:
    policy, wakes = Squeezed(), []
    state = policy.reset(*readings[0].present.shape)
    for telemetry in readings:
        decision, state, wake_at_s = policy.decide(telemetry, state)
        wakes += (wake_at_s - telemetry.time_s).tolist()
    return decision.target_bytes, state, wakes


def test_all_stand_equally_high_between_their_bounds() -> None:
    """Freeable 1992 + 992, 16 free: 3000 above the minima, of ranges of 2000 and 4000."""
    domains = {1: domain(1000, 3000, 3000), 2: domain(2000, 3000, 6000)}
    found = rule(domains, 16, 0, NOBODY, 0.0, C)
    assert found.targets == {1: 2000}  # one shrinks first
    shrunk = {1: domain(1000, 2000, 3000), 2: domain(2000, 3000, 6000)}
    assert rule(shrunk, 1016, 0, NOBODY, 0.0, C).targets == {1: 2000, 2: 4000}


@pytest.mark.parametrize(("free", "size"), [(-10_000, 1000), (10_000, 3000)])
def test_gamma_is_from_zero_to_one(free: int, size: int) -> None:
    assert rule({1: domain(1000, 2000, 3000)}, free, 0, NOBODY, 0.0, C).targets == {1: size}


def test_without_any_range_all_stay_at_their_minimum() -> None:
    found = rule({1: domain(1000, 1000, 1000)}, 500, 0, NOBODY, 0.0, C)
    assert found.targets == {}
    assert found.settled


@pytest.mark.parametrize(("waited_s", "stuck"), [(5.0, False), (5.1, True)])
def test_who_does_not_move_for_five_seconds_is_stuck(waited_s: float, stuck: bool) -> None:
    """It may keep what it has, and the other gives the memory instead."""
    domains = {1: domain(1000, 3000, 3000, target=2000), 2: domain(1000, 2000, 3000)}
    watched = {1: Progress(3000, 0.0, False), 2: Progress(2000, 0.0, False)}
    found = rule(domains, 0, 500, watched, waited_s, C)
    assert found.stuck == [1] * stuck
    sizes = {1: 2000, 2: 1492} if stuck else {1: 2242, 2: 2242}
    expected = {1: 2000, 2: sizes[2]} if stuck else {1: 1000 + int((1992 + 992 - 500) / 2)}
    assert found.targets == expected


def test_a_stuck_guest_that_moves_is_asked_again() -> None:
    watched = {1: Progress(3000, 0.0, True)}
    found = rule({1: domain(1000, 2900, 3000, target=2000)}, 0, 500, watched, 60.0, C)
    assert found.stuck == []
    away = rule({1: domain(1000, 3000, 3000, target=2000)}, 0, 500, watched, 60.0, C)
    assert away.stuck == [1]
    assert away.targets == {}  # it was told before what it may keep


def test_a_stuck_guest_may_not_grow_later() -> None:
    """Asked for 3000, it stays at 2000, and below its minimum it is allowed the minimum."""
    for least, kept in ((1000, 2000), (2500, 2500)):
        watched = {1: Progress(2000, 0.0, False)}
        found = rule({1: domain(least, 2000, 3000, target=3000)}, 0, 0, watched, 6.0, C)
        assert found.targets == {1: kept}


def test_unbacked_memory_of_guests_is_not_free() -> None:
    """Under Xen it would be theirs already."""
    telemetry = reading(1, 2, available_bytes=8 * GIB, resident_bytes=[[GIB, 3 * GIB]])
    assert free_bytes(telemetry).tolist() == [7 * GIB]
    gone = telemetry._replace(present=np.array([[False, True]]))
    assert free_bytes(gone).tolist() == [8 * GIB]


def test_a_full_host_squeezes_and_looks_every_second_until_all_have_arrived() -> None:
    """Each of two gives half of the 9 MiB and twice the inaccuracy."""
    full = reading(1, 2, min_bytes=GIB, max_bytes=3 * GIB, resident_bytes=2 * GIB)
    full = full._replace(available_bytes=np.array([0]))
    target, state, wakes = run(full)
    assert target.tolist() == [[2 * GIB - KEEP // 2 - 8192] * 2]
    assert state.balancing.all()
    assert wakes == [1.0]
    asked = full._replace(time_s=np.array([1.0]), applied_target_bytes=target)
    there = asked._replace(
        time_s=np.array([2.0]), current_bytes=target, available_bytes=np.array([KEEP + 16384])
    )
    target, state, wakes = run(full, asked, there)
    assert wakes == [1.0, 1.0, 10.0]
    assert not state.balancing.any()


def test_a_guest_that_never_moves_is_given_up_after_five_seconds() -> None:
    full = reading(1, 2, resident_bytes=2 * GIB, available_bytes=0, current_bytes=2 * GIB)
    policy = Squeezed()
    state, size = policy.reset(1, 2), full.current_bytes
    asked: list[Ints] = []
    for second in range(8):
        telemetry = full._replace(time_s=np.array([float(second)]), current_bytes=size)
        if asked:
            telemetry = telemetry._replace(applied_target_bytes=asked[-1])
        decision, state, _ = policy.decide(telemetry, state)
        asked.append(np.where(decision.target_bytes < 0, 2 * GIB, decision.target_bytes))
        size = np.array([[2 * GIB, int(size[0, 1]) - MIB]])  # only the second one gives
    assert state.guests.stuck.tolist() == [[True, False]]
    assert asked[0][0, 0] < 2 * GIB
    assert asked[0][0, 0] == asked[0][0, 1]
    assert asked[-1][0, 1] < asked[0][0, 1]  # it gives more for the other


@pytest.mark.parametrize(
    "columns",
    [
        {"available_bytes": -1},
        {"current_bytes": -1},
        {"min_bytes": -1},
        {"max_bytes": -1},
        {"state": 1},
        {"state": 3},
        {"state": 4},
        {"weight": 0},
        {"resize_mechanism": 0},
    ],
    ids=str,
)
def test_who_cannot_balloon_or_is_not_known_is_left_alone(columns: dict[str, int]) -> None:
    target, _, wakes = run(reading(**{"free_bytes": 0, **columns}))
    assert target.tolist() == [[-1]]
    assert wakes == [10.0]


@pytest.mark.parametrize("settings", [{"check_s": 0.0}, {"stuck_s": -1.0}], ids=str)
def test_settings_without_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        SqueezedConfig(**settings)  # type: ignore[arg-type]
