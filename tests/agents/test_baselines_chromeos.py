"""ChromeOS: the midpoint, its caps, 2 % that are called 1 %, a critical amount that falls."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.baselines.chromeos import (
    Balance,
    Chromeos,
    ChromeosConfig,
    ChromeosState,
    Seen,
    rule,
)
from contract.arrays import GIB, MIB, Ints
from contract.telemetry import Telemetry
from tests.contract.readings import mib, reading

C = ChromeosConfig()
NEVER = Balance(mib([0]), mib([400]), np.array([-1]), np.array([0]))


def run(*readings: Telemetry) -> tuple[Ints, ChromeosState]:
    policy = Chromeos()
    state = policy.reset(*readings[0].present.shape)
    for telemetry in readings:
        decision, state, wake_at_s = policy.decide(telemetry, state)
        assert (wake_at_s == telemetry.time_s + 1.0).all()
    return decision.target_bytes, state


def balanced(
    available: float, host_above: float, balloon: int = 0, total: int = 4096, kept: Balance = NEVER
) -> tuple[float, Balance]:
    """[MiB] change of the balloon."""
    seen = Seen(
        mib([balloon]),
        np.array([int(available * MIB)]),
        mib([total]),
        np.array([int(host_above * MIB)]),
    )
    change, after = rule(seen, kept, C)
    return change[0] / MIB, after


def test_half_of_the_difference_moves() -> None:
    """1400 available are 1000 above critical; the host has 200, or 2000."""
    assert balanced(1400, 200)[0] == 400
    assert balanced(1400, 2000, balloon=1000, total=4096)[0] == pytest.approx(
        (1000 - 48 * 32 // 100 - 2000) / 2, abs=1
    )


def test_the_bias_grows_with_the_balloon() -> None:
    """The full balloon is 3/4 of 4096 MiB; half of it: 24 MiB."""
    assert balanced(1400, 200, balloon=1536)[0] == (1000 - 24 - 200) / 2
    assert balanced(1400, 200, balloon=3072)[0] == (1000 - 48 - 200) / 2


def test_the_host_is_not_brought_more_than_10_mib_below_critical() -> None:
    assert balanced(100, 5, balloon=2000)[0] == -(5 + 10)  # half would be 150


def test_a_host_far_below_critical_takes_all_it_lacks_but_10_mib() -> None:
    """The two caps cross, and the host's wins, though it ruins the guest."""
    assert balanced(450, -1000)[0] == 1000 - 10


def test_a_balloon_cannot_be_less_than_empty() -> None:
    assert balanced(500, 3000, balloon=7)[0] == -7


def test_two_percent_in_integers() -> None:
    """19 MiB of 1000 are 1 %, 20 are 2 %."""
    kept = NEVER._replace(largest_balloon=mib([1 << 20]))
    assert balanced(1400, 962, balloon=100, kept=kept)[0] == 0
    assert balanced(1400, 960, balloon=100, kept=kept)[0] == 20


def test_near_critical_every_change_is_sent() -> None:
    assert balanced(400.5, 0.5)[0] == 0
    assert balanced(400.5, 0.25)[0] == 0.125


def test_the_critical_amount_falls_to_what_a_guest_had_and_never_rises() -> None:
    """Below 400 MiB at two readings: 300, the former; then 250 is below it, 350 is not."""
    _, first = balanced(300, 1000)
    assert first.critical.tolist() == [400 * MIB]
    _, second = balanced(250, 1000, kept=first)
    assert second.critical.tolist() == [300 * MIB]
    _, third = balanced(200, 1000, kept=second)
    assert third.critical.tolist() == [250 * MIB]
    _, fourth = balanced(2000, 1000, kept=third)
    assert fourth.critical.tolist() == [250 * MIB]


def test_a_full_balloon_is_no_reason_to_lower_it() -> None:
    _, first = balanced(300, 1000, balloon=3072 * 95 // 100 + 1)
    assert first.full_percent.tolist() == [95]
    _, second = balanced(250, 1000, kept=first)
    assert second.critical.tolist() == [400 * MIB]


@given(st.integers(0, 2**32 - 1))
def test_a_balance_is_never_overshot(seed: int) -> None:
    """What moves takes both sides towards each other, not past."""
    rng = np.random.default_rng(seed)
    available, host = rng.integers(500, 4000, 20), rng.integers(50, 4000, 20)
    seen = Seen(mib(rng.integers(0, 3000, 20)), mib(available), mib([8192] * 20), mib(host))
    kept = Balance(*(np.repeat(values, 20) for values in NEVER))
    change, after = rule(seen, kept, C)
    above = seen.available - after.critical - C.bias_bytes * after.full_percent // 100
    before, later = above - seen.host_above, above - seen.host_above - 2 * change
    assert (np.abs(later) <= np.abs(before)).all()
    assert ((np.sign(later) == np.sign(before)) | (np.abs(later) <= 1)).all()


def test_what_the_host_and_the_guests_tell_is_what_counts() -> None:
    """RAM 10 GiB: critical at 532.48 MiB.  Guest: 600 MiB free and 400 cached."""
    telemetry = reading(
        total_bytes=10 * GIB,
        available_bytes=GIB,
        current_bytes=2 * GIB,
        stats_free_bytes=600 * MIB,
        stats_caches_bytes=400 * MIB,
    )
    full = 2048 * 100 // 2048  # 3/4 of 2 GiB is less than the balloon
    above = 600 * MIB - C.bias_bytes * full // 100
    host = GIB - int(10 * GIB * 0.052)
    delta = above - host
    assert run(telemetry)[0].tolist() == [[2 * GIB - delta // 2]]


def test_each_guest_moves_by_half_of_its_own_difference() -> None:
    columns = {"available_bytes": 2 * GIB, "stats_caches_bytes": 0, "stats_free_bytes": GIB}
    one, two = run(reading(1, 1, **columns))[0], run(reading(1, 2, **columns))[0]
    assert two.tolist() == [one[0].tolist() * 2]


@pytest.mark.parametrize(
    "columns",
    [
        {"total_bytes": -1},
        {"available_bytes": -1},
        {"max_bytes": -1},
        {"current_bytes": -1},
        {"stats_free_bytes": -1},
        {"stats_caches_bytes": -1},
        {"stats_total_bytes": -1},
        {"weight": 0},
        {"state": 1},
    ],
    ids=str,
)
def test_who_is_not_managed_or_not_known_is_left_alone(columns: dict[str, int]) -> None:
    target, state = run(reading(**{"stats_caches_bytes": 0, **columns}))
    assert target.tolist() == [[-1]]
    assert state.guests.available.tolist() == [[-1]]


@pytest.mark.parametrize("settings", [{"parts": 0}, {"host_critical_share": 2.0}], ids=str)
def test_settings_without_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        ChromeosConfig(**settings)  # type: ignore[arg-type]
