"""Actions to targets and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.arrays import GIB, MIB
from contract.decode import Decoding, Mode, action_for, decode
from tests.contract.readings import arbitrary, mib, reading

ABSOLUTE = Decoding()
CHANGE = Decoding("change")
CORRECTION = Decoding("correction", rule="slides")


@pytest.mark.parametrize(
    ("action", "target"), [(-1.0, 512), (0.0, 2304), (1.0, 4096), (-0.5, 1408), (7.0, 4096)]
)
def test_absolute_spans_min_to_max(action: float, target: int) -> None:
    decision = decode(np.array([[action]]), reading(), ABSOLUTE)
    assert (decision.target_bytes / MIB).tolist() == [[target]]


@pytest.mark.parametrize(("action", "target"), [(0.0, 3072), (1.0, 3482), (-0.5, 2867)])
def test_change_moves_from_the_target_in_force(action: float, target: int) -> None:
    """A tenth of 4,096 MiB at full action, to the nearest MiB."""
    telemetry = reading(applied_target_bytes=3 * GIB)
    decision = decode(np.array([[action]]), telemetry, CHANGE)
    assert (decision.target_bytes / MIB).tolist() == [[target]]


def test_change_starts_from_the_current_size_before_there_is_a_target() -> None:
    decision = decode(np.array([[0.0]]), reading(applied_target_bytes=-1), CHANGE)
    assert decision.target_bytes.tolist() == [[2 * GIB]]


@pytest.mark.parametrize(
    ("action", "rule", "target"), [(0.0, 1000, 1000), (0.25, 1000, 1256), (0.0, -1, 2048)]
)
def test_correction_moves_from_the_rule(action: float, rule: int, target: int) -> None:
    """A quarter of 4,096 MiB at full action; a rule that holds stands for what is in force."""
    rule_target = np.where(np.array([[rule]]) < 0, -1, mib([[rule]]))
    decision = decode(np.array([[action]]), reading(), CORRECTION, rule_target)
    assert (decision.target_bytes / MIB).tolist() == [[target]]


def test_targets_are_whole_quanta_but_bounds_are_exact() -> None:
    telemetry = reading(1, 3, min_bytes=100 * MIB + 7, max_bytes=4000 * MIB + 9)
    target = decode(np.array([[-1.0, 0.1234, 1.0]]), telemetry, ABSOLUTE).target_bytes
    assert target[0, 0] == 100 * MIB + 7
    assert (target[0, 1] - 7) % MIB == 0
    assert target[0, 2] == 4000 * MIB + 9


def test_a_guest_that_has_less_than_a_quantum_to_move_has_its_two_bounds() -> None:
    telemetry = reading(1, 4, min_bytes=GIB, max_bytes=GIB + 1000)
    target = decode(np.array([[-1.0, -0.1, 0.1, 1.0]]), telemetry, ABSOLUTE).target_bytes
    assert (target - GIB).tolist() == [[0, 0, 1000, 1000]]
    telemetry = reading(1, 1, min_bytes=GIB, max_bytes=GIB)
    assert decode(np.array([[0.0]]), telemetry, ABSOLUTE).target_bytes.tolist() == [[GIB]]


def test_close_outputs_of_two_networks_decode_alike() -> None:
    action = np.array([[0.3]])
    assert (
        decode(action, reading(), ABSOLUTE).target_bytes
        == decode(action + 1e-6, reading(), ABSOLUTE).target_bytes
    )


@pytest.mark.parametrize(
    "change", [{"min_bytes": -1}, {"max_bytes": -1}, {"present": False}], ids=str
)
def test_what_cannot_be_decoded_is_left_alone(change: dict[str, int]) -> None:
    assert decode(np.array([[0.5]]), reading(**change), ABSOLUTE).target_bytes.tolist() == [[-1]]
    assert action_for(mib([[1000]]), reading(**change), ABSOLUTE).tolist() == [[0]]


def test_an_action_that_is_no_number_leaves_the_guest_alone() -> None:
    assert decode(np.array([[np.nan]]), reading(), ABSOLUTE).target_bytes.tolist() == [[-1]]


@pytest.mark.parametrize("decoding", [ABSOLUTE, CHANGE, CORRECTION], ids=lambda d: d.mode)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_target_in_reach_survives_the_round_trip(decoding: Decoding, seed: int) -> None:
    """Any target that an action can mean decodes from its action to the same byte."""
    rng = np.random.default_rng(seed)
    telemetry = arbitrary(rng, 3, 4)
    rule = None
    if decoding.mode == "correction":
        rule = np.exp2(rng.uniform(0, 40, (3, 4))).astype(np.int64) - 1
    reachable = decode(rng.uniform(-1, 1, (3, 4)), telemetry, decoding, rule).target_bytes
    action = action_for(reachable, telemetry, decoding, rule)
    assert action.dtype == np.float32
    assert (np.abs(action) <= 1).all()
    back = decode(action, telemetry, decoding, rule).target_bytes
    off = np.abs(back - reachable)
    small = (reachable >= 0) & (telemetry.max_bytes < 2**40)
    assert (off[small] == 0).all()
    assert (back[reachable < 0] == -1).all()


def test_holding_is_the_action_that_keeps_the_target_in_force() -> None:
    telemetry = reading(applied_target_bytes=mib([[1408]]))
    hold = np.array([[-1]])
    assert action_for(hold, telemetry, ABSOLUTE).tolist() == [[-0.5]]
    assert action_for(hold, telemetry, CHANGE).tolist() == [[0]]
    assert action_for(hold, telemetry, CORRECTION, hold).tolist() == [[0]]


def test_a_target_out_of_reach_is_approached_as_far_as_it_goes() -> None:
    action = action_for(mib([[512]]), reading(), CHANGE)
    assert action.tolist() == [[-1]]


@pytest.mark.parametrize(
    ("mode", "settings", "complaint"),
    [
        ("relative", {}, "mode: 'relative'"),
        ("absolute", {"target_quantum_bytes": 0}, "target_quantum_bytes: 0"),
        ("change", {"change_share": 1.5}, "change_share: 1.5"),
        ("correction", {}, "rule: ''"),
        ("absolute", {"rule": "slides"}, "rule: 'slides'"),
    ],
)
def test_settings_without_sense_are_refused(
    mode: Mode, settings: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Decoding(mode, **settings)  # type: ignore[arg-type] # the errors


def test_a_rule_goes_with_correction_and_with_nothing_else() -> None:
    action, hold = np.zeros((1, 1)), np.array([[-1]])
    with pytest.raises(ValueError, match="mode correction"):
        decode(action, reading(), CORRECTION)
    with pytest.raises(ValueError, match="mode correction"):
        decode(action, reading(), ABSOLUTE, hold)
