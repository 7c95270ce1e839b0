"""What every baseline keeps, found by its module, and how policies are looked up."""

import importlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agents.baselines import UnknownPolicy, load_policy, names
from contract.state import copy, put_rows, take_rows
from contract.telemetry import Telemetry, select
from tests.contract.readings import arbitrary, permuted, reading

EVERY = pytest.mark.parametrize("name", names())
SEEDS = given(st.integers(0, 2**32 - 1))


def leaves(state: Any) -> list[np.ndarray]:  # noqa: ANN401 - any policy's state
    if isinstance(state, np.ndarray):
        return [state]
    return [leaf for part in state for leaf in leaves(part)]


def equal(one: Any, other: Any) -> bool:  # noqa: ANN401 - any policy's state
    pairs = zip(leaves(one), leaves(other), strict=True)
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs)


def readings(seed: int, hosts: int = 3, guests: int = 4, count: int = 4) -> list[Telemetry]:
    """A run of readings in which guests mostly stay."""
    rng = np.random.default_rng(seed)
    run = [arbitrary(rng, hosts, guests)]
    for number in range(1, count):
        telemetry = arbitrary(rng, hosts, guests, 5.0 * number)
        if rng.random() < 0.7:
            telemetry = telemetry._replace(guest_id=run[-1].guest_id, present=run[-1].present)
        run.append(telemetry)
    return run


@EVERY
@SEEDS
def test_decisions_are_well_formed_and_pure(name: str, seed: int) -> None:
    policy = load_policy(name)
    state = policy.reset(3, 4)
    assert all(len(leaf) == 3 for leaf in leaves(state))
    for telemetry in readings(seed):
        before = leaves(take_rows(state, np.arange(3)))
        decision, after, wake_at_s = policy.decide(telemetry, state)
        again, _, _ = policy.decide(telemetry, state)
        assert equal(before, leaves(state))
        assert decision.target_bytes.dtype == np.int64
        assert decision.target_bytes.shape == (3, 4)
        assert (decision.target_bytes == again.target_bytes).all()
        assert (decision.target_bytes >= -1).all()
        assert (decision.target_bytes[~telemetry.present] == -1).all()
        assert (decision.target_bytes[telemetry.weight == 0] == -1).all()
        assert (wake_at_s > telemetry.time_s).all()
        state = after


@EVERY
@SEEDS
@example(41731)  # only one of the hosts has an empty slot, and all stay
def test_a_batch_is_decided_as_its_hosts_alone(name: str, seed: int) -> None:
    policy = load_policy(name)
    batch, alone = policy.reset(3, 4), [policy.reset(1, 4) for _ in range(3)]
    for telemetry in readings(seed):
        decision, batch, wake_at_s = policy.decide(telemetry, batch)
        for host in range(3):
            row = np.array([host])
            single, alone[host], wakes = policy.decide(select(telemetry, row), alone[host])
            assert (single.target_bytes == decision.target_bytes[row]).all()
            assert wakes[0] == wake_at_s[host]
            assert equal(take_rows(batch, row), alone[host])


@EVERY
@SEEDS
def test_a_state_that_was_kept_goes_on_as_if_nothing_had_been(name: str, seed: int) -> None:
    """Kept as copies, put into the state of other hosts, and by a policy built anew."""
    policy, run = load_policy(name), readings(seed, count=5)
    state = policy.reset(3, 4)
    for telemetry in run[:3]:
        _, state, _ = policy.decide(telemetry, state)
    kept = copy(state)
    for telemetry in run[3:]:
        decision, state, wake_at_s = policy.decide(telemetry, state)
    again = load_policy(name)
    restored = put_rows(again.reset(3, 4), np.arange(3), kept)
    for telemetry in run[3:]:
        repeated, restored, wakes = again.decide(telemetry, restored)
    assert (repeated.target_bytes == decision.target_bytes).all()
    assert (wakes == wake_at_s).all()
    assert equal(restored, state)


@EVERY
@SEEDS
def test_the_order_of_slots_does_not_matter(name: str, seed: int) -> None:
    policy = load_policy(name)
    order = np.random.default_rng(seed).permutation(4)
    state, moved = policy.reset(3, 4), policy.reset(3, 4)
    for telemetry in readings(seed):
        decision, state, _ = policy.decide(telemetry, state)
        other, moved, _ = policy.decide(permuted(telemetry, order), moved)
        assert (other.target_bytes == decision.target_bytes[:, order]).all()


@EVERY
@SEEDS
def test_a_slot_that_changes_hands_starts_anew(name: str, seed: int) -> None:
    """Newcomers everywhere are as first guests, host state apart."""
    policy = load_policy(name)
    run = readings(seed)
    state = policy.reset(3, 4)
    for telemetry in run:
        _, state, _ = policy.decide(telemetry, state)
    strangers = run[-1]._replace(
        guest_id=np.where(run[-1].present, run[-1].guest_id + 100, -1),
        time_s=run[-1].time_s + 5.0,
    )
    fresh = state
    if hasattr(state, "guests"):
        fresh = state._replace(guests=policy.reset(3, 4).guests)
    decision, _, _ = policy.decide(strangers, state)
    expected, _, _ = policy.decide(strangers, fresh)
    assert (decision.target_bytes == expected.target_bytes).all()


@EVERY
def test_every_module_has_its_rule_and_its_thresholds(name: str) -> None:
    module = importlib.import_module(f"agents.baselines.{name}")
    assert callable(module.rule)
    assert module.__doc__
    policy = load_policy(name)
    assert policy.name == name
    config = getattr(module, f"{type(policy).__name__}Config")
    assert all(entry.default is not None for entry in fields(config))
    assert load_policy(name, {"period_s": 2.0}).decide(reading(1, 2), policy.reset(1, 2))[
        2
    ].tolist() == [2.0]


@EVERY
@pytest.mark.parametrize("settings", [{"no_such": 1}, {"period_s": 0.0}, {"period_s": -5.0}])
def test_settings_that_do_not_fit_are_refused(name: str, settings: dict[str, float]) -> None:
    with pytest.raises(UnknownPolicy, match=f"policy '{name}': settings"):
        load_policy(name, settings)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(UnknownPolicy, match=r"expected one of .*equal, .*slides, .*static"):
        load_policy("magic")


def test_anyones_policy_is_found_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_module.py").write_text(
        "from agents.baselines.static import Static\n\n\n"
        "class MyPolicy(Static):\n    name = 'mine'\n\n\n"
        "class NoPolicy:\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    assert load_policy("my_module:MyPolicy").name == "mine"
    for wrong, complaint in (
        ("my_module:Other", "AttributeError"),
        ("no_module:MyPolicy", "ModuleNotFoundError"),
        ("my_module:NoPolicy", "lacks name, reset, decide"),
    ):
        with pytest.raises(UnknownPolicy, match=complaint):
            load_policy(wrong)
    with pytest.raises(UnknownPolicy, match="TypeError"):
        load_policy("my_module:MyPolicy", {"speed": 3})


def test_the_page_of_policies_has_all_of_them() -> None:
    page = Path(__file__).parents[2] / "docs" / "policies.md"
    titles = [line for line in page.read_text().splitlines() if line.startswith("## ")]
    described = {name.strip() for title in titles for name in title[3:].split("(")[0].split(",")}
    assert described == set(names())
