"""The limits that hold at both levels, in closed form, and what holds for every decision."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import guard
from contract.arrays import GIB, MIB, PAGE, Ints
from contract.decision import Decision
from contract.guard import GuardConfig
from contract.interventions import NAMES, Intervention, count
from contract.state import take_rows
from contract.telemetry import Telemetry, select
from tests.contract.readings import arbitrary, mib, permuted, reading

LIMITS, FULL = GuardConfig("limits"), GuardConfig("full")
LEVELS = pytest.mark.parametrize("config", [LIMITS, FULL], ids=["limits", "full"])


def run(telemetry: Telemetry, targets: object, config: GuardConfig = LIMITS) -> tuple[Ints, Ints]:
    """Targets and interventions of a first call."""
    asked = np.broadcast_to(np.asarray(targets, np.int64), telemetry.present.shape)
    state = guard.reset(*telemetry.present.shape)
    decision, _, fired = guard.guard(telemetry, Decision(asked), state, config)
    return decision.target_bytes, fired


def test_a_decision_within_limits_passes() -> None:
    telemetry = reading(1, 3)
    target, fired = run(telemetry, [-1, GIB, 3 * GIB])
    assert target.tolist() == [[-1, GIB, 3 * GIB]]
    assert not fired.any()


def test_targets_are_clipped_to_min_and_max() -> None:
    target, fired = run(reading(1, 2), [0, 5 * GIB])
    assert target.tolist() == [[GIB // 2, 4 * GIB]]
    assert fired.tolist() == [[Intervention.MIN, Intervention.MAX]]


def test_a_largest_size_below_the_guaranteed_one_wins() -> None:
    target, _ = run(reading(min_bytes=3 * GIB, max_bytes=GIB), 2 * GIB)
    assert target.tolist() == [[GIB]]


def test_the_sum_of_targets_may_exceed_ram() -> None:
    telemetry = reading(1, 8, current_bytes=4 * GIB, applied_target_bytes=4 * GIB)
    target, fired = run(telemetry, 4 * GIB)
    assert target.sum() == 2 * telemetry.total_bytes[0]
    assert not fired.any()


def test_growth_beyond_the_budget_is_scaled() -> None:
    """1064 MiB available less 2 % of 16 GiB (327.68 MiB) for 1024 + 512 MiB asked."""
    telemetry = reading(1, 2, available_bytes=1064 * MIB)
    target, fired = run(telemetry, [3 * GIB, 2 * GIB + GIB // 2])
    budget = 1064 * MIB - int(0.02 * 16 * GIB)
    factor = budget / (1536 * MIB)
    expected = [int(ask * MIB * factor) // PAGE * PAGE for ask in (1024, 512)]
    assert (target - 2 * GIB).tolist() == [expected]
    assert 700 * MIB < sum(expected) <= budget
    assert fired.tolist() == [[Intervention.GROWTH, Intervention.GROWTH]]


def test_guests_below_min_are_served_first_even_if_nobody_asked() -> None:
    telemetry = reading(
        1,
        3,
        available_bytes=327 * MIB + MIB + 300 * MIB,
        current_bytes=mib([[256, 384, 1024]]),
        applied_target_bytes=mib([[256, 384, 1024]]),
    )
    target, fired = run(telemetry, [-1, 400 * MIB, 4 * GIB])
    budget = 628 * MIB - int(0.02 * 16 * GIB)
    factor = budget / (384 * MIB)
    first = [256 * MIB + int(256 * MIB * factor) // PAGE * PAGE]
    first += [384 * MIB + int(128 * MIB * factor) // PAGE * PAGE]
    assert target.tolist() == [[*first, GIB]]
    assert (fired & Intervention.MIN).tolist() == [[Intervention.MIN, Intervention.MIN, 0]]


def test_a_target_in_force_below_min_is_raised_without_being_growth() -> None:
    telemetry = reading(available_bytes=0, applied_target_bytes=256 * MIB, current_bytes=GIB)
    target, fired = run(telemetry, -1)
    assert target.tolist() == [[GIB // 2]]
    assert fired.tolist() == [[Intervention.MIN]]


def test_a_guest_held_above_a_lowered_max_is_brought_down() -> None:
    target, fired = run(reading(max_bytes=GIB), -1)
    assert target.tolist() == [[GIB]]
    assert fired.tolist() == [[Intervention.MAX]]


@pytest.mark.parametrize(
    ("unknown", "asked", "target"),
    [
        (("current_bytes", "applied_target_bytes"), GIB, -1),
        (("min_bytes",), GIB, 2 * GIB),
        (("min_bytes",), 3 * GIB, 3 * GIB),
        (("max_bytes",), 3 * GIB, 2 * GIB),
        (("max_bytes",), GIB, GIB),
    ],
)
def test_what_is_not_known_is_not_crossed(
    unknown: tuple[str, ...], asked: int, target: int
) -> None:
    found, fired = run(reading(**dict.fromkeys(unknown, -1)), asked)
    assert found.tolist() == [[target]]
    assert bool(fired[0, 0] & Intervention.UNKNOWN_SIZE) == (target != asked)


def test_an_empty_slot_gets_nothing() -> None:
    target, fired = run(reading(1, 2, present=[[True, False]]), GIB)
    assert target.tolist() == [[GIB, -1]]
    assert not fired[0, 1]


def test_memory_high_is_kept_at_the_guaranteed_size() -> None:
    telemetry = reading(1, 3)
    high = np.array([[-1, MIB, GIB]])
    decision = Decision(np.full((1, 3), -1), memory_high_bytes=high, ksm_run=np.array([1]))
    after, _, fired = guard.guard(telemetry, decision, guard.reset(1, 3), LIMITS)
    assert after.memory_high_bytes is not None
    assert after.memory_high_bytes.tolist() == [[-1, GIB // 2, GIB]]
    assert fired.tolist() == [[0, Intervention.HIGH, 0]]
    assert after.ksm_run is decision.ksm_run


def test_interventions_are_counted_by_name() -> None:
    fired = np.array([[Intervention.MIN | Intervention.GROWTH, Intervention.GROWTH]])
    counted = dict(zip(NAMES, count(fired)[0].tolist(), strict=True))
    assert counted["min"] == 1
    assert counted["growth"] == 2
    assert sum(counted.values()) == 3


@pytest.mark.parametrize("wrong", ["Limits", "none", ""])
def test_an_unknown_level_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="expected 'limits' or 'full'"):
        GuardConfig(wrong)  # type: ignore[arg-type] # the error


@LEVELS
@given(seed=st.integers(0, 2**32 - 1))
def test_no_decision_gets_past_the_bounds(config: GuardConfig, seed: int) -> None:
    """Any targets on any readings in sequence: bounds, growth within budget, -1 if unknown."""
    rng = np.random.default_rng(seed)
    hosts, guests = int(rng.integers(1, 4)), int(rng.integers(1, 6))
    state = guard.reset(hosts, guests)
    ids = arbitrary(rng, hosts, guests)
    for number in range(4):
        telemetry = arbitrary(rng, hosts, guests, 5.0 * number)
        telemetry = telemetry._replace(guest_id=ids.guest_id, present=ids.present)
        asked = np.exp2(rng.uniform(0, 45, (hosts, guests))).astype(np.int64) - 2
        in_force = np.where(
            telemetry.applied_target_bytes < 0,
            state.promises.target_bytes,
            telemetry.applied_target_bytes,
        )
        size = np.maximum(in_force, telemetry.current_bytes)
        decision, state, fired = guard.guard(telemetry, Decision(asked), state, config)
        target = decision.target_bytes
        sent = target >= 0
        assert not (sent & ~telemetry.present).any()
        known_max = sent & (telemetry.max_bytes >= 0)
        assert (target <= telemetry.max_bytes)[known_max].all()
        floor = np.minimum(telemetry.min_bytes, np.where(known_max, telemetry.max_bytes, 2**62))
        kept = target >= np.minimum(floor, size)
        assert kept[sent & (telemetry.min_bytes >= 0)].all()
        growth = np.where(sent, np.maximum(target - size, 0), 0).sum(axis=1)
        reserve = np.maximum(64 * MIB, (telemetry.total_bytes * 0.02).astype(np.int64))
        assert (growth <= np.maximum(telemetry.available_bytes - reserve, 0)).all()
        assert (growth[telemetry.available_bytes < 0] == 0).all()
        assert not fired[~telemetry.present].any()


@LEVELS
@given(seed=st.integers(0, 2**32 - 1))
def test_a_batch_is_guarded_as_its_hosts_alone_and_slots_do_not_matter(
    config: GuardConfig, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    hosts, guests = 3, 4
    order = rng.permutation(guests)
    batch, moved = guard.reset(hosts, guests), guard.reset(hosts, guests)
    alone = [guard.reset(1, guests) for _ in range(hosts)]
    for number in range(3):
        telemetry = arbitrary(rng, hosts, guests, 5.0 * number)
        asked = np.exp2(rng.uniform(0, 45, (hosts, guests))).astype(np.int64) - 2
        decision, batch, fired = guard.guard(telemetry, Decision(asked), batch, config)
        other, moved, fired_moved = guard.guard(
            permuted(telemetry, order), Decision(asked[:, order]), moved, config
        )
        assert (other.target_bytes == decision.target_bytes[:, order]).all()
        assert (fired_moved == fired[:, order]).all()
        for host in range(hosts):
            row = np.array([host])
            single, alone[host], fired_alone = guard.guard(
                select(telemetry, row), Decision(asked[row]), alone[host], config
            )
            assert (single.target_bytes == decision.target_bytes[row]).all()
            assert (fired_alone == fired[row]).all()
            mine = take_rows(batch, row).promises
            assert all((a == b).all() for a, b in zip(mine, alone[host].promises, strict=True))
