"""The policy that does what it is told: how an action takes part in the contract's loop.

It decodes actions chosen elsewhere, as `agents.onnx_policy` decodes its own, and keeps the same
memory; the observation that an action was chosen on is made when the host is read.
"""

from typing import Any, NamedTuple

import numpy as np

from contract import features
from contract.arrays import Floats, Floats32
from contract.decision import Decision
from contract.decode import Decoding, decode
from contract.features import EncoderState
from contract.policy import Policy
from contract.telemetry import Telemetry


class PuppetState(NamedTuple):
    """What it is told, and what a learned policy would remember."""

    action: Floats32  # (H, G) in [-1, 1], to be carried out next
    encoder: EncoderState
    rule: Any  # state of the rule that is corrected, None without one


class Puppet:
    """Carries out the actions in its state, once a period."""

    name = "action"

    def __init__(self, decoding: Decoding, period_s: float, rule: Policy[Any] | None) -> None:
        """Store what an action means; `rule` is what mode `correction` corrects."""
        self.decoding, self.period_s, self.rule = decoding, period_s, rule

    def reset(self, hosts: int, guests: int) -> PuppetState:
        """Nothing was seen yet; told nothing, it leaves all alone."""
        action = np.full((hosts, guests), np.nan, np.float32)
        rule = self.rule.reset(hosts, guests) if self.rule else None
        return PuppetState(action, features.reset(hosts, guests), rule)

    def decide(
        self, telemetry: Telemetry, state: PuppetState
    ) -> tuple[Decision, PuppetState, Floats]:
        """Decode the actions; wakes again after the period."""
        rule_state, rule_target_bytes = state.rule, None
        if self.rule is not None:
            asked, rule_state, _ = self.rule.decide(telemetry, state.rule)
            rule_target_bytes = asked.target_bytes
        decision = decode(state.action, telemetry, self.decoding, rule_target_bytes)
        encoder = features.remember(state.encoder, decision.target_bytes)
        return (
            decision,
            PuppetState(state.action, encoder, rule_state),
            telemetry.time_s + self.period_s,
        )
