"""Decisions that leave things alone."""

import numpy as np

from contract.decision import ALL_COLUMNS, TARGETS_ONLY, Decision, beyond, hold, only, spread


def test_hold_leaves_all_alone() -> None:
    decision = hold(2, 3)
    assert (decision.target_bytes == -1).all()
    assert decision.target_bytes.shape == (2, 3)
    assert all(values is None for values in decision[1:])


def test_spread_leaves_other_hosts_alone() -> None:
    part = Decision(np.array([[5, 6]]), ksm_sleep_s=np.array([0.02]), ksm_run=np.array([1]))
    wide = spread(part, np.array([1]), 3)
    assert wide.target_bytes.tolist() == [[-1, -1], [5, 6], [-1, -1]]
    assert wide.ksm_run is not None
    assert wide.ksm_run.tolist() == [-1, 1, -1]
    assert wide.ksm_sleep_s is not None
    assert np.isnan(wide.ksm_sleep_s).tolist() == [True, False, True]
    assert wide.memory_high_bytes is None


def test_only_keeps_what_a_host_can_do() -> None:
    high = np.array([[7, 8]])
    decision = Decision(np.array([[5, 6]]), memory_high_bytes=high)
    assert only(decision, TARGETS_ONLY).memory_high_bytes is None
    assert only(decision, TARGETS_ONLY).target_bytes.tolist() == [[5, 6]]
    kept = only(decision, frozenset({"memory_high_bytes"}))
    assert kept.target_bytes.tolist() == [[-1, -1]]
    assert kept.memory_high_bytes is high


def test_what_is_asked_and_not_supported_is_named() -> None:
    decision = hold(2, 3)._replace(
        memory_high_bytes=np.array([[-1, -1, -1], [-1, 2**30, -1]]),
        memory_low_bytes=np.full((2, 3), -1),
        ksm_run=np.array([1, -1]),
        ksm_sleep_s=np.full(2, np.nan),
    )
    assert beyond(decision, TARGETS_ONLY) == {"memory_high_bytes", "ksm_run"}
    assert beyond(decision, TARGETS_ONLY | {"ksm_run"}) == {"memory_high_bytes"}
    assert beyond(decision, ALL_COLUMNS) == frozenset()
