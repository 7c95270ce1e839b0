"""ESX: the idle tax in closed form, states of free memory, smoothing, and what is never taken."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.baselines.esx import (
    Esx,
    EsxConfig,
    EsxState,
    free_state,
    min_free_bytes,
    price,
    rule,
)
from contract.arrays import GIB, MIB, PAGE, Ints
from contract.telemetry import Telemetry
from tests.contract.readings import mib, reading

C = EsxConfig()
BOTH = np.ones((1, 2), np.bool_)


def run(*readings: Telemetry) -> tuple[Ints, EsxState]:
    policy = Esx()
    state = policy.reset(*readings[0].present.shape)
    for telemetry in readings:
        decision, state, wake_at_s = policy.decide(telemetry, state)
        assert (wake_at_s == telemetry.time_s + 15.0).all()
    return decision.target_bytes, state


def shared(tax: float, active: list[float], shares: list[float], budget: int = 360) -> list[int]:
    """[MiB] of two guests of 256 MiB without reservations."""
    sizes = rule(
        mib([budget]),
        np.array([shares]),
        np.array([active]) * MIB,
        mib([[0, 0]]),
        mib([[256, 256]]),
        BOTH,
        EsxConfig(idle_tax=tax),
    )
    return [round(size / MIB) for size in sizes[0].tolist()]


def test_without_a_tax_shares_alone_decide() -> None:
    """The paper's experiment: 360 MiB for an idle guest and a busy one of 256 MiB each."""
    assert shared(0.0, [0.0, 256.0], [1.0, 1.0]) == [180, 180]
    assert shared(0.0, [0.0, 256.0], [2.0, 1.0], 300) == [200, 100]


def test_with_the_shipped_tax_the_busy_guest_has_all_it_can_use() -> None:
    """An idle byte costs four: 4 * 72 = 288 > 256, so the busy one is full, the rest is left."""
    assert shared(0.75, [0.0, 256.0], [1.0, 1.0]) == [104, 256]
    assert shared(0.75, [0.0, 256.0], [1.0, 1.0], 250) == [50, 200]  # 4 to 1


def test_the_tax_is_the_most_of_idle_memory_that_a_guest_loses_to_its_equal() -> None:
    """Active 40 each, one of them has use for no more: (40 + 4 x) = 200 at equal prices."""
    assert shared(0.75, [40.0, 200.0], [1.0, 1.0], 280) == [80, 200]


@given(st.integers(0, 2**32 - 1))
def test_who_is_at_no_bound_pays_the_same_price(seed: int) -> None:
    rng = np.random.default_rng(seed)
    high = mib(rng.integers(256, 4096, (2, 6)))
    low = (high * rng.uniform(0, 0.5, (2, 6))).astype(np.int64)
    active, shares = high * rng.random((2, 6)), rng.uniform(100, 10_000, (2, 6))
    budget = mib(rng.integers(500, 12_000, 2))
    sizes = rule(budget, shares, active, low, high, np.ones((2, 6), np.bool_), C)
    assert ((low <= sizes) & (sizes <= high)).all()
    for host in range(2):
        least, most = int(low[host].sum()), int(high[host].sum())
        expected = int(np.clip(budget[host], least, most))
        assert expected - 16 <= sizes[host].sum() <= expected
        paid = price(shares[host], sizes[host].astype(float), active[host], C)
        free = (sizes[host] > low[host]) & (sizes[host] < high[host])
        if free.any():
            common = paid[free].mean()
            assert np.allclose(paid[free], common, rtol=1e-5)
            assert (paid[sizes[host] == high[host]] >= common * (1 - 1e-5)).all()
            assert (paid[(sizes[host] == low[host]) & (low[host] > 0)] <= common * 1.00001).all()


def test_the_published_price() -> None:
    """S / (P * (f + k * (1 - f))) with f = 1/4 and k = 4: 1000 / (400 * 3.25)."""
    found = price(np.array([1000.0]), np.array([400.0]), np.array([100.0]), C)
    assert found[0] == pytest.approx(1000 / (400 * (0.25 + 4 * 0.75)))


@pytest.mark.parametrize(
    ("gib", "mib_free"), [(4, 245.76), (12, 573.44), (28, 901.12), (128, 1925.12)]
)
def test_min_free_is_a_falling_share_of_ram(gib: int, mib_free: float) -> None:
    """28 GiB: 899 to 901 MB are printed."""
    assert min_free_bytes(np.array([gib * GIB]))[0] == pytest.approx(mib_free * MIB, abs=1)


def test_states_are_entered_at_once_and_left_late() -> None:
    """minFree 100: soft below 64, hard below 32, low below 16; back above 100, 64, 32."""
    state, found = np.zeros(1, np.int64), []
    for free in (70, 64, 63, 90, 100, 101, 31, 60, 65, 100, 15, 33, 200):
        state = free_state(np.array([free]), np.array([100]), state, C)
        found.append(int(state[0]))
    assert found == [0, 0, 1, 1, 1, 0, 2, 2, 1, 1, 3, 2, 0]


def short(**columns: object) -> Telemetry:
    """Two guests of 2 GiB out of 4 on a host of 4 GiB that has 100 MiB available: soft."""
    arrays: dict[str, object] = {
        "total_bytes": 4 * GIB,
        "available_bytes": 100 * MIB,
        "min_bytes": 0,
        "max_bytes": 2 * GIB,
        "resident_bytes": 2 * GIB - 100 * MIB,
        **columns,
    }
    return reading(1, 2, **arrays)  # type: ignore[arg-type]


def test_nobody_shrinks_while_the_host_is_high() -> None:
    target, state = run(short(available_bytes=200 * MIB))
    assert target.tolist() == [[2 * GIB] * 2]
    assert state.free_state.tolist() == [0]


def test_idle_memory_is_taken_first_and_what_is_held_less_min_free_is_shared() -> None:
    """1948 MiB each held and 100 available less 245.76 leave 3750.24; the busy one stays full."""
    used = mib([[200, 1900]])
    target, state = run(short(stats_total_bytes=2 * GIB, stats_available_bytes=2 * GIB - used))
    assert state.free_state.tolist() == [1]
    assert target[0, 1] == 2 * GIB
    assert target[0, 0] == pytest.approx((3750.24 - 2048) * MIB, abs=2 * PAGE)


def test_the_balloon_takes_at_most_65_percent() -> None:
    target, _ = run(short(resident_bytes=100 * MIB))
    assert target.tolist() == [[int(0.35 * 2 * GIB) // PAGE * PAGE] * 2]


def test_sampled_activity_goes_before_statistics_and_silence_is_activity() -> None:
    told = mib([[200, 1900]])
    telemetry = short(stats_total_bytes=2 * GIB, stats_available_bytes=2 * GIB - told)
    _, by_stats = run(telemetry)
    _, by_sample = run(telemetry._replace(active_bytes=mib([[50, 60]])))
    assert by_stats.guests.fast.tolist() == told.tolist()
    assert by_sample.guests.fast.tolist() == mib([[50, 60]]).tolist()
    silent = short(stats_total_bytes=-1, stats_available_bytes=-1)
    target, _ = run(silent)
    assert target[0, 0] == target[0, 1]


def test_demand_is_believed_at_once_and_idleness_late() -> None:
    """Used 400, 1600, 400, 400 MiB, a complete sample every 30 s."""
    policy = Esx()
    state, seen = policy.reset(1, 1), []
    for number, used in enumerate((400, 1600, 400, 400)):
        telemetry = reading(
            time_s=15.0 * number,
            stats_total_bytes=2 * GIB,
            stats_available_bytes=2 * GIB - used * MIB,
        )
        memory, active = policy._sample(telemetry, state.guests)
        state = state._replace(guests=memory)
        seen.append(active[0, 0] / MIB)
    assert seen == [400.0, 1000.0, 400.0, 400.0]  # the running sample alone was high
    busy = reading(time_s=60.0, stats_total_bytes=2 * GIB, stats_available_bytes=448 * MIB)
    memory, active = policy._sample(busy, state.guests)
    assert active[0, 0] == 1000 * MIB
    assert memory.fast[0, 0] == 1000 * MIB
    assert memory.slow[0, 0] == 550 * MIB
    calm = reading(time_s=90.0, stats_total_bytes=2 * GIB, stats_available_bytes=1648 * MIB)
    memory, active = policy._sample(calm, memory)
    assert active[0, 0] == 1000 * MIB  # fast, before this sample
    assert memory.fast[0, 0] == 700 * MIB


@pytest.mark.parametrize(
    "columns",
    [
        {"total_bytes": -1},
        {"available_bytes": -1},
        {"max_bytes": -1},
        {"weight": 0},
        {"state": 1},
        {"state": 3},
    ],
    ids=str,
)
def test_who_is_not_managed_or_not_known_is_left_alone(columns: dict[str, int]) -> None:
    assert run(short(**columns))[0].tolist() == [[-1, -1]]


def test_a_host_that_tells_nothing_keeps_its_state() -> None:
    silent = short(available_bytes=-1, time_s=15.0)
    assert run(short(), silent)[1].free_state.tolist() == [1]


@pytest.mark.parametrize(
    "settings", [{"idle_tax": 1.0}, {"hard_share": 0.9}, {"slow_gain": 2.0}], ids=str
)
def test_settings_without_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        EsxConfig(**settings)
