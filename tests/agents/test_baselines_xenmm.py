"""xenmm: parts that add up, the tax that gives the greediest its reserve, and its slow fall."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.baselines.xenmm import Xenmm, XenmmConfig, XenmmState, rule
from contract.arrays import GIB, MIB, Ints
from contract.telemetry import Telemetry
from tests.contract.readings import mib, reading

C = XenmmConfig()


def run(*readings: Telemetry, config: XenmmConfig | None = None) -> tuple[Ints, XenmmState]:
    policy = Xenmm(config)
    state = policy.reset(*readings[0].present.shape)
    for telemetry in readings:
        decision, state, wake_at_s = policy.decide(telemetry, state)
        assert (wake_at_s == telemetry.time_s + 2.0).all()
    return decision.target_bytes, state


def shared(
    budget: int, used: list[int], tau: float = 0.0, config: XenmmConfig = C
) -> tuple[list[int], float]:
    guests = np.ones((1, len(used)), np.bool_)
    sizes, after = rule(mib([budget]), mib([used]), guests, np.array([tau]), config)
    return [round(size / MIB) for size in sizes[0].tolist()], float(after[0])


def test_with_room_for_all_everybody_has_the_same() -> None:
    """The greediest uses 900 and is to have 1000: that is an equal part."""
    assert shared(3000, [900, 300, 300]) == ([1000, 1000, 1000], 0.0)


def test_the_greediest_has_its_use_and_the_reserve() -> None:
    """Equal parts of 1000; 1200 and 100 free need 300 of the 600 above the mean: tau = 1/2."""
    sizes, tau = shared(3000, [1200, 300, 300])
    assert tau == 0.5
    assert sizes == [1300, 850, 850]


def test_tau_is_at_most_one_and_then_all_have_the_same_free() -> None:
    sizes, tau = shared(1800, [1200, 200, 250])
    assert tau == 1.0
    assert [size - used for size, used in zip(sizes, [1200, 200, 250], strict=True)] == [50] * 3


def test_tau_rises_at_once_and_falls_by_a_tenth() -> None:
    assert shared(3000, [1200, 300, 300], tau=0.1)[1] == 0.5
    assert shared(3000, [900, 300, 300], tau=0.5)[1] == pytest.approx(0.45)


@pytest.mark.parametrize(("budget", "tau"), [(2000, 0.0), (1500, 1.0)])
def test_equal_use_leaves_equal_parts_whatever_the_tax(budget: int, tau: float) -> None:
    assert shared(budget, [900, 900]) == ([budget // 2] * 2, tau)


def test_a_fixed_tax_stays() -> None:
    fixed = XenmmConfig(tax=0.75)
    assert shared(3000, [1200, 300, 300], config=fixed) == ([1450, 775, 775], 0.75)


@given(st.integers(0, 2**32 - 1))
def test_parts_add_up(seed: int) -> None:
    rng = np.random.default_rng(seed)
    takes_part = rng.random((3, 6)) < 0.8
    budget, used = mib(rng.integers(100, 9000, 3)), mib(rng.integers(0, 2000, (3, 6)))
    sizes, tau = rule(budget, used, takes_part, rng.random(3), C)
    some = takes_part.any(axis=1)
    assert (np.abs(sizes.sum(axis=1) - budget)[some] <= 6).all()
    assert (sizes[~takes_part] == 0).all()
    assert ((tau >= 0) & (tau <= 1)).all()


def test_use_is_the_last_size_asked_for_less_free_and_cached() -> None:
    """Asked for 2 GiB, size 3 GiB yet: 1 GiB free and half of it cache leave half a GiB."""
    telemetry = reading(
        1,
        2,
        total_bytes=2300 * MIB,
        current_bytes=3 * GIB,
        applied_target_bytes=2 * GIB,
        stats_free_bytes=[[GIB, GIB // 2]],
        stats_caches_bytes=[[GIB // 2, GIB // 2]],
    )
    budget = 2300 * MIB - 64 * MIB
    sizes, tau = rule(
        np.array([budget]), mib([[512, 1024]]), np.ones((1, 2), np.bool_), np.zeros(1), C
    )
    target, state = run(telemetry)
    assert target[0].tolist() == sizes[0].tolist()
    assert state.tau.tolist() == tau.tolist()


def test_small_changes_are_not_sent_and_no_size_is_above_the_largest() -> None:
    budget = 4 * GIB - int(4 * GIB * 0.02)
    for away, sent in ((MIB - 1, False), (MIB, True)):
        telemetry = reading(
            1,
            2,
            total_bytes=4 * GIB,
            applied_target_bytes=budget // 2 - away,
            stats_free_bytes=GIB,
            stats_caches_bytes=0,
        )
        assert (run(telemetry)[0] >= 0).tolist() == [[sent] * 2]
    roomy = reading(stats_caches_bytes=0, max_bytes=3 * GIB)
    assert run(roomy)[0].tolist() == [[3 * GIB]]


def test_who_takes_no_part_keeps_its_size_out_of_the_budget() -> None:
    telemetry = reading(
        1,
        2,
        total_bytes=8 * GIB,
        max_bytes=16 * GIB,
        stats_caches_bytes=[[0, -1]],
        current_bytes=[[GIB, 2 * GIB]],
    )
    assert run(telemetry)[0].tolist() == [[8 * GIB - int(8 * GIB * 0.02) - 2 * GIB, -1]]


@pytest.mark.parametrize(
    "columns",
    [{"total_bytes": -1}, {"stats_free_bytes": -1}, {"weight": 0}, {"state": 1}, {"present": 0}],
    ids=str,
)
def test_who_is_not_managed_or_not_known_is_left_alone(columns: dict[str, int]) -> None:
    target, state = run(reading(**{"stats_caches_bytes": 0, **columns}))
    assert target.tolist() == [[-1]]
    assert state.tau.tolist() == [0.0]


@pytest.mark.parametrize("settings", [{"tax": 1.5}, {"headroom_bytes": -1}], ids=str)
def test_settings_without_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        XenmmConfig(**settings)  # type: ignore[arg-type]
