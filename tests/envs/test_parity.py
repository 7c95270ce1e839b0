"""A policy does in an environment what it does in the contract's loop."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from agents.baselines import load_policy
from contract import features
from contract.arrays import Floats, Floats32
from contract.decision import Decision
from contract.decode import Decoding, action_for, decode
from contract.features import EncoderState, Observation
from contract.guard import GuardConfig
from contract.loop import Loop, Turn
from contract.policy import Policy
from contract.telemetry import Telemetry
from envs import keys
from scenarios.hosts import SimulatedHosts
from tests.envs.batches import batch

STEPS = 25


def network(guests: np.ndarray, host: np.ndarray, present: np.ndarray) -> Floats32:
    """Any function of what is seen: (H, G) from (H, G, F), (H, Fh), (H, G)."""
    rng = np.random.default_rng(5)
    own, shared = rng.normal(size=guests.shape[2]), rng.normal(size=host.shape[1])
    each = (guests.astype(np.float64) * own).sum(-1) + (host * shared).sum(-1)[:, None]
    return np.where(present, np.sin(3.0 * each), 0.0).astype(np.float32)


class Remembers(NamedTuple):
    encoder: EncoderState
    rule: Any


class Learned:
    """As `agents.onnx_policy` runs a network."""

    name = "learned"

    def __init__(self, decoding: Decoding, period_s: float) -> None:
        self.decoding, self.period_s = decoding, period_s
        self.rule: Policy[Any] | None = load_policy(decoding.rule) if decoding.rule else None
        self.seen: list[Observation] = []

    def reset(self, hosts: int, guests: int) -> Remembers:
        rule = self.rule.reset(hosts, guests) if self.rule else None
        return Remembers(features.reset(hosts, guests), rule)

    def decide(self, telemetry: Telemetry, state: Remembers) -> tuple[Decision, Remembers, Floats]:
        seen, encoder = features.encode(telemetry, state.encoder)
        self.seen.append(seen)
        rule_state, wanted = state.rule, None
        if self.rule is not None:
            asked, rule_state, _ = self.rule.decide(telemetry, state.rule)
            wanted = asked.target_bytes
        decision = decode(network(*seen), telemetry, self.decoding, wanted)
        encoder = features.remember(encoder, decision.target_bytes)
        return decision, Remembers(encoder, rule_state), telemetry.time_s + self.period_s


@pytest.mark.parametrize("guard", ["limits", "full"])
@pytest.mark.parametrize(
    "decoding",
    [Decoding(), Decoding(mode="change"), Decoding(mode="correction", rule="slides")],
    ids=lambda decoding: decoding.mode,
)
def test_the_rollout_is_that_of_the_loop(guard: Any, decoding: Decoding) -> None:  # noqa: ANN401
    env = batch(
        "small",
        episode_steps=STEPS,
        staggered=False,
        warm_up_s=0.0,
        guard=guard,
        decoding=decoding,
        period_s=2.5,
    )
    seen, _ = env.reset(seed=11)
    readings, observations = [env.telemetry], [seen]
    for _ in range(STEPS):
        shape = (3, env.core.guests)
        rows = seen["guests"].reshape(*shape, -1)
        action = network(rows, seen["host"], seen["present"] > 0)
        seen, *_ = env.step(action)
        readings.append(env.telemetry)
        observations.append(seen)

    hosts = SimulatedHosts(env.settings.scenarios[0], 3, threads=1)
    hosts.reset(range(3), [keys.pool_host(11 + row, 0, 4) for row in range(3)])
    turns: list[Turn] = []
    policy = Learned(decoding, 2.5)
    loop = Loop(hosts, policy, GuardConfig(guard), hosts.advance)
    loop.run(np.full(3, STEPS * 2.5), turns.append)
    assert len(turns) == len(readings)
    for turn, reading in zip(turns, readings, strict=True):
        for name, column in turn.telemetry._asdict().items():
            if column is not None:
                np.testing.assert_array_equal(column, getattr(reading, name), name)
    for one, other in zip(policy.seen, observations, strict=False):
        np.testing.assert_array_equal(one.guests.reshape(3, -1), other["guests"])
        np.testing.assert_array_equal(one.host, other["host"])
    moved = np.stack([reading.applied_target_bytes for reading in readings])
    assert len(np.unique(moved)) > 15  # it was not about nothing


def test_a_rule_told_by_actions_acts_like_the_rule() -> None:
    decoding = Decoding(mode="absolute", target_quantum_bytes=4096)
    env = batch("small", 1, episode_steps=40, staggered=False, warm_up_s=0.0, decoding=decoding)
    env.reset(seed=2)
    rule = load_policy("slides")
    state = rule.reset(1, env.core.guests)
    differences = []
    for _ in range(40):
        decision, state, _ = rule.decide(env.telemetry, state)
        action = action_for(decision.target_bytes, env.telemetry, decoding)
        wanted, before = decision.target_bytes, env.telemetry
        env.step(action)
        asked = wanted >= 0
        growing = wanted > np.maximum(before.applied_target_bytes, before.current_bytes)
        exact = asked & ~growing  # growth is the guard's to grant
        differences.append(np.abs(env.telemetry.applied_target_bytes - wanted)[exact])
    found = np.concatenate(differences)
    assert len(found) > 5
    assert found.max() <= 4096 + 96 * 2**20 * 1e-6  # float32 actions
