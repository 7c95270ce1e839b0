"""The encoder: bounded and finite on anything, equivariant, and each number what its entry says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import features
from contract.arrays import GIB, MIB
from contract.feature_table import (
    FEATURES,
    GUEST_FEATURES,
    HOST_FEATURES,
    MEANS_S,
    Feature,
    bounds,
    describe,
    doublings,
)
from contract.features import EncoderState, Observation, encode, remember, reset
from contract.state import put_rows, take_rows
from contract.telemetry import Telemetry, select
from tests.contract.readings import arbitrary, mib, permuted, reading

GUEST = {entry.name: number for number, entry in enumerate(GUEST_FEATURES)}
HOST = {entry.name: number for number, entry in enumerate(HOST_FEATURES)}


def guest(observation: Observation, name: str, slot: int = 0, host: int = 0) -> float:
    return float(observation.guests[host, slot, GUEST[name]])


def host(observation: Observation, name: str) -> float:
    return float(observation.host[0, HOST[name]])


def story(*readings: Telemetry) -> tuple[Observation, EncoderState]:
    state = reset(*readings[0].present.shape)
    for telemetry in readings:
        observation, state = encode(telemetry, state)
    return observation, state


def later(telemetry: Telemetry, time_s: float, **columns: object) -> Telemetry:
    arrays = {name: np.asarray(value) for name, value in columns.items()}
    return telemetry._replace(time_s=np.full(len(telemetry.time_s), time_s), **arrays)


def test_names_are_unique_and_bounds_are_in_order() -> None:
    for table in (GUEST_FEATURES, HOST_FEATURES):
        assert len({entry.name for entry in table}) == len(table)
        assert all(entry.low < entry.high and entry.knee > 0 for entry in table)
        flags = {entry.name for entry in table if entry.name.startswith("known_")}
        assert {f"known_{entry.known}" for entry in table if entry.known} == flags
    assert GUEST_FEATURES + HOST_FEATURES == FEATURES


def test_the_documentation_has_a_line_for_every_feature() -> None:
    lines = describe().splitlines()[2:]
    assert len(lines) == len(FEATURES)
    assert all(entry.meaning in line for entry, line in zip(FEATURES, lines, strict=True))


@given(st.integers(0, 2**32 - 1))
def test_any_telemetry_gives_finite_numbers_in_bounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hosts, guests = int(rng.integers(1, 4)), int(rng.integers(1, 6))
    state, time_s = reset(hosts, guests), 0.0
    for _ in range(3):
        time_s += float(rng.choice([0.0, 1.0, 1e6]))
        telemetry = arbitrary(rng, hosts, guests, time_s)
        observation, state = encode(telemetry, state)
        for values, table in (
            (observation.guests, GUEST_FEATURES),
            (observation.host, HOST_FEATURES),
        ):
            low, high = bounds(table)
            assert values.dtype == np.float32
            assert np.isfinite(values).all()
            assert (values >= low).all()
            assert (values <= high).all()
        assert (observation.guests[~telemetry.present] == 0).all()
        state = remember(state, telemetry.applied_target_bytes[:, ::-1])


@given(st.integers(0, 2**32 - 1))
def test_rows_do_not_depend_on_slots_or_on_other_hosts(seed: int) -> None:
    """Bit for bit: guests in other slots, and hosts alone."""
    rng = np.random.default_rng(seed)
    hosts, guests = 3, 4
    order = rng.permutation(guests)
    batch, moved = reset(hosts, guests), reset(hosts, guests)
    alone = [reset(1, guests) for _ in range(hosts)]
    for number in range(3):
        telemetry = arbitrary(rng, hosts, guests, 4.0 * number)
        asked = telemetry.max_bytes
        observation, batch = encode(telemetry, remember(batch, asked))
        other, moved = encode(permuted(telemetry, order), remember(moved, asked[:, order]))
        assert (other.guests == observation.guests[:, order]).all()
        assert (other.host == observation.host).all()
        for row in range(hosts):
            rows = np.array([row])
            single, alone[row] = encode(select(telemetry, rows), remember(alone[row], asked[rows]))
            assert (single.guests == observation.guests[rows]).all()
            assert (single.host == observation.host[rows]).all()


def test_unknown_is_zero_with_its_flag_down_and_zero_has_it_up() -> None:
    blind, _ = story(reading(resident_bytes=-1))
    empty, _ = story(reading(resident_bytes=0))
    assert guest(blind, "resident_of_max") == guest(empty, "resident_of_max") == 0
    assert guest(blind, "known_resident") == 0
    assert guest(empty, "known_resident") == 1


def test_an_unknown_value_hides_its_averages_too() -> None:
    seen = reading()
    observation, _ = story(seen, later(seen, 5.0, resident_bytes=[[-1]]))
    assert guest(observation, "resident_of_max_10s") == 0
    observation, _ = story(seen, later(seen, 5.0))
    assert guest(observation, "resident_of_max_10s") == 0.25


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("max_of_ram", 4 / 16),
        ("min_of_max", 0.5 / 4),
        ("size_of_max", 2 / 4),
        ("applied_of_max", 3 / 4),
        ("pending_of_max", 1 / 4),
        ("resident_of_max", 1 / 4),
        ("available_of_size", 1 / 2),
        ("free_of_size", 0.5 / 2),
        ("used_of_max", 1 / 4),
        ("running", 1),
        ("booting", 0),
        ("known_applied_age", 1),
        ("known_active", 0),
    ],
)
def test_guest_values_are_shares(name: str, expected: float) -> None:
    observation, _ = story(reading(applied_target_bytes=3 * GIB))
    assert guest(observation, name) == expected


def test_host_values_are_shares_of_ram() -> None:
    observation, _ = story(reading(1, 3, swapped_bytes=GIB))
    assert host(observation, "available_of_ram") == 0.5
    assert host(observation, "cached_of_ram") == np.float32(2.25 / 16)
    assert host(observation, "sum_max_of_ram") == np.float32(12 / 16 / 8)
    assert host(observation, "sum_swapped_of_ram") == np.float32(3 / 16 / 4)
    assert host(observation, "guests") == np.float32(2 / 10)


def test_a_sum_over_guests_is_unknown_if_one_of_them_is() -> None:
    observation, _ = story(reading(1, 2, resident_bytes=[[GIB, -1]]))
    assert host(observation, "known_sum_resident") == 0
    observation, _ = story(reading(1, 2, resident_bytes=[[GIB, -1]], present=[[True, False]]))
    assert host(observation, "sum_resident_of_ram") == 1 / 16 / 2


@pytest.mark.parametrize(
    ("x", "expected"), [(1.0, 0.0), (2.0, 1.0), (3.0, 1.5), (6.0, 2.5), (1024.0, 10.0)]
)
def test_doublings_are_log2_at_powers_and_linear_between(x: float, expected: float) -> None:
    assert doublings(np.array([x])).tolist() == [expected]


def test_rates_are_logarithmic_in_units_of_their_knee() -> None:
    """64 KiB/s is one knee: log2(2) of the log2(1 + 65536) doublings up to 4 GiB/s."""
    calm = reading(stats_swap_in_bytes=0)
    observation, _ = story(calm, later(calm, 4.0, stats_swap_in_bytes=[[256 * 1024]]))
    assert guest(observation, "swap_in_per_s") == pytest.approx(1 / 16, rel=1e-5)


def test_frozen_statistics_keep_their_rate_and_age() -> None:
    calm = reading(stats_swap_in_bytes=0)
    busy = later(calm, 4.0, stats_swap_in_bytes=[[MIB]])
    rate = guest(story(calm, busy)[0], "swap_in_per_s")
    frozen = later(busy, 64.0, stats_age_s=[[61.0]])
    observation, _ = story(calm, busy, frozen)
    assert guest(observation, "swap_in_per_s") == rate > 0
    assert guest(observation, "stats_age_s") > guest(story(calm, busy)[0], "stats_age_s")


def test_moving_averages_have_their_closed_form() -> None:
    """From 0.25 towards 0.75 in one step of 10 s: dt / (tau + dt) of the way."""
    first = reading(resident_bytes=GIB)
    observation, _ = story(first, later(first, 10.0, resident_bytes=[[3 * GIB]]))
    for mean_s in MEANS_S:
        expected = 0.25 + 0.5 * 10.0 / (mean_s + 10.0)
        assert guest(observation, f"resident_of_max_{mean_s:.0f}s") == pytest.approx(expected)


def test_an_unknown_value_leaves_the_average_where_it_was() -> None:
    first = reading(resident_bytes=GIB)
    gap = later(first, 10.0, resident_bytes=[[-1]])
    observation, _ = story(first, gap, later(first, 20.0))
    assert guest(observation, "resident_of_max_10s") == 0.25


@pytest.mark.parametrize(
    ("applied", "which"),
    [(3072, "applied_as_asked"), (2900, "applied_below"), (3100, "applied_above")],
)
def test_the_last_target_says_whether_it_is_the_one_asked(applied: int, which: str) -> None:
    first = reading()
    _, state = encode(first, reset(1, 1))
    state = remember(state, mib([[3072]]))
    state = remember(state, np.array([[-1]]))
    observation, _ = encode(later(first, 5.0, applied_target_bytes=mib([[applied]])), state)
    reasons = ("applied_as_asked", "applied_below", "applied_above")
    assert [guest(observation, name) for name in reasons] == [name == which for name in reasons]
    assert guest(observation, "cut_of_max") == np.float32((applied - 3072) / 4096)


def test_before_anything_was_asked_there_is_no_reason() -> None:
    observation, _ = story(reading())
    reasons = ("applied_as_asked", "applied_below", "applied_above", "known_asked")
    assert [guest(observation, name) for name in reasons] == [0, 0, 0, 0]


def test_a_kill_is_dated_by_the_answer_that_showed_it() -> None:
    calm = reading(stats_oom_kills=0)
    assert guest(story(calm)[0], "oom_age_s") == 1.0
    kill = later(calm, 5.0, stats_oom_kills=[[1]])
    assert guest(story(calm, kill)[0], "oom_age_s") == 0.0
    frozen = later(kill, 8.0, stats_age_s=[[4.0]])
    age = doublings(np.array([1.0 + 3.0]))[0] / doublings(np.array([3601.0]))[0]
    assert guest(story(calm, kill, frozen)[0], "oom_age_s") == np.float32(age)


def test_a_slot_that_changes_hands_forgets_and_a_moved_guest_remembers() -> None:
    first = reading(1, 2, resident_bytes=mib([[1024, 2048]]))
    _, state = encode(first, reset(1, 2))
    state = remember(state, mib([[1000, 2000]]))
    swapped = later(first, 10.0, guest_id=[[1, 9]], resident_bytes=mib([[2048, 512]]))
    observation, after = encode(swapped, state)
    assert after.guests.asked_bytes.tolist() == [[2000 * MIB, -1]]
    assert guest(observation, "seen_s", slot=1) == 0
    assert guest(observation, "seen_s", slot=0) > 0
    assert guest(observation, "resident_of_max_300s", slot=0) == 0.5
    assert guest(observation, "resident_of_max_300s", slot=1) == 0.125


def test_a_restarted_row_is_as_a_new_one() -> None:
    first = reading(2, 1)
    _, state = encode(first, reset(2, 1))
    state = put_rows(state, np.array([1]), reset(1, 1))
    observation, _ = encode(later(first, 7.0), state)
    assert guest(observation, "seen_s", host=1) == 0
    assert guest(observation, "seen_s", host=0) > 0
    kept = take_rows(state, np.array([0]))
    single, _ = encode(select(later(first, 7.0), np.array([0])), kept)
    assert (single.guests == observation.guests[:1]).all()


def test_optional_columns_show_when_they_are_there() -> None:
    telemetry = reading()._replace(
        agent_working_set_bytes=np.full((1, 1, 60), GIB), agent_age_s=np.array([[1.0]])
    )
    observation, _ = story(telemetry)
    assert guest(observation, "working_set_10min_of_max") == 0.25
    assert guest(observation, "known_working_set") == 1
    assert guest(story(reading())[0], "known_working_set") == 0


def test_the_state_that_was_given_is_not_changed() -> None:
    first = reading()
    _, state = encode(first, reset(1, 1))
    before = state.guests.means.copy()
    encode(later(first, 5.0, resident_bytes=[[3 * GIB]]), state)
    np.testing.assert_array_equal(state.guests.means, before)


def test_bounds_follow_the_table() -> None:
    table = (
        Feature("a", "guest", "share", -1.0, 1.0, "linear", "both ways"),
        Feature("b", "guest", "s", 0.0, 60.0, "log", "one way"),
    )
    low, high = bounds(table)
    assert low.tolist() == [-1, 0]
    assert high.tolist() == [1, 1]
    assert features.FEATURES is FEATURES
