"""Observations keep to their spaces, whatever is done."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from contract.feature_table import GUEST_FEATURES, HOST_FEATURES
from envs import privileged
from envs.spaces import observation_space
from envs.vector import OvercommitVectorEnv
from tests.envs.batches import actions, batch

ENV = batch(num_envs=2, privileged=True, episode_steps=9)
ENV.reset(seed=0)


def inside(env: OvercommitVectorEnv, seen: dict[str, Any]) -> None:
    assert seen in env.observation_space
    assert all(np.isfinite(part).all() for part in seen.values())
    absent = seen["present"] == 0
    rows = seen["guests"].reshape(*absent.shape, len(GUEST_FEATURES))
    assert not rows[absent].any()


@settings(max_examples=40)
@given(
    st.lists(
        arrays(np.float32, (2, 2), elements=st.floats(width=32, allow_nan=True)),
        min_size=1,
        max_size=4,
    )
)
def test_no_action_leads_out_of_the_spaces(told: list[np.ndarray]) -> None:
    for action in told:
        seen, reward, _, _, _ = ENV.step(action)
        inside(ENV, seen)
        assert np.isfinite(reward).all()
        assert (reward <= 0).all()


@pytest.mark.parametrize(
    "scenario", ["default", "burst", "family", "slides", "replay", "unseen", "talk"]
)
def test_random_actions_stay_inside_on_every_kind_of_host(scenario: str) -> None:
    env = batch(scenario, 4, episode_steps=8, warm_up_s=20.0, privileged=True)
    seen, _ = env.reset(seed=1)
    inside(env, seen)
    for action in actions(env, 14, spread=1.0):
        inside(env, env.step(action)[0])


def test_sizes_follow_from_the_table() -> None:
    space = observation_space(2, with_truth=True)
    assert space == ENV.single_observation_space
    assert space["guests"].shape == (2 * len(GUEST_FEATURES),)
    assert space["host"].shape == (len(HOST_FEATURES),)
    assert space["present"].shape == (2,)
    assert space["privileged"].shape == (privileged.length(2),)
    assert "privileged" not in observation_space(2, with_truth=False).spaces


def test_the_truth_is_the_simulators() -> None:
    env = batch("slides", 2, privileged=True, warm_up_s=60.0)
    env.reset(seed=0)
    seen, *_ = env.step(np.zeros((2, 3), np.float32))
    numbers = seen["privileged"][:, : 3 * len(privileged.GUEST_TRUTH)]
    rows = numbers.reshape(2, 3, len(privileged.GUEST_TRUTH))
    column = {name: rows[..., place] for place, name in enumerate(privileged.GUEST_TRUTH)}
    guest = env.core.hosts.truth().guest
    for name, field in (("cache", "file_pages"), ("resident", "resident_pages")):
        np.testing.assert_allclose(column[name], guest[field] / guest["pages"], rtol=1e-6)
    accounted = column["used"] + column["cache"] + column["free"]
    assert (accounted <= 1 + 1e-6).all()
    host = seen["privileged"][:, -len(privileged.HOST_TRUTH) :]
    truth = env.core.hosts.truth().host
    np.testing.assert_allclose(host[:, 0], truth["free_pages"] / truth["ram_pages"], rtol=1e-6)


def test_the_truth_changes_no_decision() -> None:
    told = actions(batch(), 6)
    plain, knowing = batch(), batch(privileged=True)
    plain.reset(seed=0)
    knowing.reset(seed=0)
    for action in told:
        seen, reward, *_ = plain.step(action)
        more, same, *_ = knowing.step(action)
        assert reward.tolist() == same.tolist()
        for name, part in seen.items():
            np.testing.assert_array_equal(part, more[name])
