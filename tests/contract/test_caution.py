"""Each rule of the guard's full level, in a story of its own."""

import numpy as np
import pytest

from contract import guard
from contract.arrays import GIB, MIB, Ints
from contract.caution import CautionConfig
from contract.decision import Decision
from contract.guard import GuardConfig, GuardState
from contract.interventions import Intervention
from contract.telemetry import Telemetry
from tests.contract.readings import mib, reading

FULL = GuardConfig("full")


def run(
    telemetry: Telemetry, targets: object, state: GuardState | None = None
) -> tuple[Ints, Ints, GuardState]:
    asked = np.broadcast_to(np.asarray(targets, np.int64), telemetry.present.shape)
    state = state or guard.reset(*telemetry.present.shape)
    decision, state, fired = guard.guard(telemetry, Decision(asked), state, FULL)
    return decision.target_bytes, fired, state


@pytest.mark.parametrize("change", [{"state": 1}, {"state": 3}, {"state": 4}, {"weight": 0}])
def test_some_guests_are_left_out(change: dict[str, int]) -> None:
    """Booting, migrating, paused, weight 0; not even a bound is enforced on them."""
    telemetry = reading(min_bytes=3 * GIB, **change)
    target, fired, _ = run(telemetry, 2 * GIB)
    assert target.tolist() == [[-1]]
    assert fired.tolist() == [[Intervention.LEFT_OUT]]
    assert run(telemetry, -1)[0].tolist() == [[-1]]


def test_a_change_is_one_step_at_most_from_the_current_size() -> None:
    """Largest size 4 GiB: 10 % down, 25 % up, wherever the target in force is."""
    telemetry = reading(1, 2)
    target, fired, _ = run(telemetry, [GIB, 4 * GIB])
    assert target.tolist() == [[2 * GIB - int(0.1 * 4 * GIB), 3 * GIB]]
    assert fired.tolist() == [[Intervention.STEP, Intervention.STEP]]


def test_a_step_never_takes_back_a_target_in_force() -> None:
    telemetry = reading(applied_target_bytes=3 * GIB + GIB // 2, resident_bytes=2 * GIB)
    target, _, _ = run(telemetry, 4 * GIB)
    assert target.tolist() == [[3 * GIB + GIB // 2]]


def test_small_changes_are_left_out_but_not_at_a_bound() -> None:
    """The band is 0.25 % of 4 GiB = 10.24 MiB."""
    telemetry = reading(1, 4, current_bytes=mib([[2048, 2048, 2048, 4090]]))
    telemetry = telemetry._replace(applied_target_bytes=telemetry.current_bytes)
    target, fired, _ = run(telemetry, mib([[2058, 2059, 2038, 4096]]))
    assert (target // MIB).tolist() == [[-1, 2059, -1, 4096]]
    band = int(Intervention.DEAD_BAND)
    assert fired.tolist() == [[band, 0, band, 0]]


@pytest.mark.parametrize("age_s", [30.1, np.nan])
def test_stale_statistics_forbid_to_shrink_but_not_to_grow(age_s: float) -> None:
    telemetry = reading(1, 2, stats_age_s=age_s)
    target, fired, _ = run(telemetry, [2 * GIB - 200 * MIB, 3 * GIB])
    assert target.tolist() == [[-1, 3 * GIB]]
    assert fired.tolist() == [[Intervention.STALE, 0]]


def test_a_guest_that_does_not_move_is_stuck_in_that_direction_only() -> None:
    telemetry = reading(applied_target_bytes=mib([[1700]]))
    state = None
    for time_s in (0.0, 15.0, 15.5):
        now = telemetry._replace(time_s=np.array([time_s]))
        target, fired, state = run(now, mib([[1690]]), state)
        stuck = time_s > 15.0
        assert bool(fired[0, 0] & Intervention.STUCK) == stuck
        assert (target[0, 0] < 0) == (stuck or bool(fired[0, 0] & Intervention.DEAD_BAND))
    back, fired, _ = run(now, mib([[1800]]), state)
    assert (back // MIB).tolist() == [[1800]]
    assert not fired.any()


def test_any_movement_clears_a_stuck_guest() -> None:
    telemetry = reading(applied_target_bytes=mib([[1700]]))
    _, _, state = run(telemetry, -1)
    late = telemetry._replace(time_s=np.array([20.0]))
    moved = late._replace(current_bytes=mib([[2047]]))
    assert run(late, mib([[1600]]), state)[1][0, 0] & Intervention.STUCK
    assert not run(moved, mib([[1650]]), state)[1][0, 0] & Intervention.STUCK


def test_growth_waits_for_shrinking_guests_but_not_for_ever() -> None:
    """Room for 72 MiB; one guest gives 200, the other asks for 512."""
    telemetry = reading(1, 2, available_bytes=400 * MIB)
    asked, state = mib([[1848, 2560]]), None
    for time_s, waits in ((0.0, True), (9.0, True), (10.0, False)):
        now = telemetry._replace(time_s=np.array([time_s]))
        target, fired, state = run(now, asked, state)
        assert target[0, 0] == 1848 * MIB
        assert bool(fired[0, 1] & Intervention.SHRINK_FIRST) == waits
        assert (target[0, 1] == -1) == waits
    assert 2048 * MIB < target[0, 1] <= (2048 + 73) * MIB


def test_growth_that_the_host_has_does_not_wait() -> None:
    target, fired, _ = run(reading(1, 2), mib([[1848, 2560]]))
    assert (target // MIB).tolist() == [[1848, 2560]]
    assert not fired.any()


def sick(signs: dict[str, list[int]], **columns: object) -> tuple[Telemetry, GuardState]:
    """A reading 5 s after a first one, with counters that have risen since."""
    guests = len(next(iter(signs.values())))
    calm = reading(1, guests, **columns)  # type: ignore[arg-type] # array-likes
    _, _, state = run(calm, -1)
    risen = {name: np.array([values]) for name, values in signs.items()}
    return calm._replace(time_s=np.array([5.0]), **risen), state


@pytest.mark.parametrize(
    ("sign", "rise", "helped"),
    [
        ("stats_oom_kills", 1, True),
        ("stats_alloc_stalls", 101, True),
        ("stats_alloc_stalls", 100, False),
        ("stats_swap_in_bytes", 21 * MIB, True),
        ("stats_swap_in_bytes", 20 * MIB, False),
        ("host_major_faults", 10**6, False),
    ],
)
def test_own_signs_of_distress_release_memory(sign: str, rise: int, helped: bool) -> None:
    """A quarter of the largest size, over the policy's head; host swap does not count."""
    telemetry, state = sick({sign: [rise]})
    target, fired, _ = run(telemetry, mib([[1900]]), state)
    assert (target // MIB).tolist() == [[3072 if helped else 1900]]
    assert bool(fired[0, 0] & Intervention.DISTRESS) == helped


def test_the_neediest_is_released_first_then_the_heaviest() -> None:
    """Room for 700 MiB and 1024 each: a kill before stalls, stalls before swap-in."""
    room = {"available_bytes": 700 * MIB + int(0.02 * 16 * GIB) + 1}
    stalls = [0, 400, 200]
    telemetry, state = sick({"stats_alloc_stalls": stalls, "stats_oom_kills": [1, 0, 0]}, **room)
    target, _, _ = run(telemetry, -1, state)
    assert ((target - 2 * GIB) // MIB).tolist() == [[700, 0, 0]]
    telemetry, state = sick({"stats_alloc_stalls": stalls}, weight=[[1, 1000, 2000]], **room)
    target, _, _ = run(telemetry, -1, state)
    assert ((target - 2 * GIB) // MIB).tolist()[0][2] == 700
    telemetry, state = sick({"stats_swap_in_bytes": [10**9, 0, 0], "stats_alloc_stalls": stalls})
    target, _, _ = run(telemetry._replace(available_bytes=np.array([2 * GIB])), -1, state)
    assert target[0, 0] == 2 * GIB


def test_release_stays_within_what_the_host_has() -> None:
    telemetry, state = sick({"stats_oom_kills": [1, 1]}, available_bytes=0)
    target, _, _ = run(telemetry, mib([[1900, -1]]), state)
    assert target.tolist() == [[2 * GIB, 2 * GIB]]


def test_release_ends_a_shrink_even_at_the_largest_size() -> None:
    telemetry, state = sick(
        {"stats_oom_kills": [1]}, current_bytes=4 * GIB, applied_target_bytes=3 * GIB
    )
    assert run(telemetry, -1, state)[0].tolist() == [[4 * GIB]]


def test_a_guest_left_out_is_not_released() -> None:
    telemetry, state = sick({"stats_oom_kills": [1]}, state=3)
    assert run(telemetry, -1, state)[0].tolist() == [[-1]]


def test_thresholds_must_be_positive() -> None:
    with pytest.raises(ValueError, match="stuck_s, stale_s"):
        CautionConfig(stuck_s=0.0, stale_s=-1.0)
