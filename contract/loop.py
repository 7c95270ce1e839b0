"""The one loop: wait, read, decide, guard, apply.

Environment, evaluation, planner and daemon share these steps.  Hosts of a batch keep clocks of
their own: each waits until its own next wake, so a batch does what its hosts would do alone.
"""

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from contract import guard
from contract.arrays import Bools, Floats, Ints
from contract.decision import Decision, hold, only, spread
from contract.guard import GuardConfig, GuardState
from contract.host import Host
from contract.policy import Policy, PolicyError
from contract.state import put_rows, take_rows
from contract.telemetry import Telemetry, select

S = TypeVar("S")

EARLY_S = 1e-6  # [s] a host whose clock is so close to its wake is due

WaitUntil = Callable[[Floats], None]  # (H,) host clock; a time that is past returns at once


class LoopState(NamedTuple, Generic[S]):
    """Everything that is carried from turn to turn."""

    wake_at_s: Floats  # (H,) when each host is due, -inf: at once
    policy: S
    guard: GuardState


class Turn(NamedTuple):
    """What happened in one turn."""

    telemetry: Telemetry
    due: Bools  # (H,) hosts that were decided for; the others hold their targets
    asked: Decision  # by the policy
    applied: Decision  # after the guard
    interventions: Ints  # (H, G) bits of Intervention


def start(policy: Policy[S], hosts: int, guests: int) -> LoopState[S]:
    """The state before the first turn: every host is due at once."""
    wake_at_s = np.full(hosts, -np.inf)
    return LoopState(wake_at_s, policy.reset(hosts, guests), guard.reset(hosts, guests))


def restart(state: LoopState[S], policy: Policy[S], rows: Ints) -> LoopState[S]:
    """The state after the hosts in `rows` (R,) began anew."""
    return put_rows(state, rows, start(policy, len(rows), state.guard.watch.guest_id.shape[1]))


def step(
    policy: Policy[S],
    config: GuardConfig,
    telemetry: Telemetry,
    state: LoopState[S],
    until_s: Floats | float = np.inf,
) -> tuple[Turn, LoopState[S]]:
    """Decide and guard for the hosts that are due before `until_s` (H,); pure.

    Raises:
        PolicyError: the policy breaks its protocol.
    """
    due = telemetry.time_s >= state.wake_at_s - EARLY_S
    due &= telemetry.time_s < until_s - EARLY_S
    hosts, guests = telemetry.guest_id.shape
    if due.all():
        asked, applied, state, fired = _decide(policy, config, telemetry, state)
        return Turn(telemetry, due, asked, applied, fired), state
    fired = np.zeros((hosts, guests), np.int64)
    rows = np.flatnonzero(due)
    if not len(rows):
        return Turn(telemetry, due, hold(hosts, guests), hold(hosts, guests), fired), state
    asked, applied, part, fired[rows] = _decide(
        policy, config, select(telemetry, rows), take_rows(state, rows)
    )
    turn = Turn(telemetry, due, spread(asked, rows, hosts), spread(applied, rows, hosts), fired)
    return turn, put_rows(state, rows, part)


def _decide(
    policy: Policy[S], config: GuardConfig, telemetry: Telemetry, state: LoopState[S]
) -> tuple[Decision, Decision, LoopState[S], Ints]:
    answer: object = policy.decide(telemetry, state.policy)
    if not (isinstance(answer, tuple) and len(answer) == 3 and isinstance(answer[0], Decision)):
        raise PolicyError(
            f"policy {policy.name}: decide: {type(answer).__name__}, expected (Decision, state,"
            " wake_at_s)"
        )
    asked, policy_state, wake_at_s = answer
    target, wake_at_s = np.asarray(asked.target_bytes), np.asarray(wake_at_s)
    if target.shape != telemetry.guest_id.shape or target.dtype != np.int64:
        raise PolicyError(
            f"policy {policy.name}: target_bytes: {target.dtype} {target.shape}, "
            f"expected int64 {telemetry.guest_id.shape}"
        )
    if wake_at_s.shape != telemetry.time_s.shape or not (wake_at_s > telemetry.time_s).all():
        raise PolicyError(
            f"policy {policy.name}: wake_at_s: {wake_at_s}, expected times after {telemetry.time_s}"
        )
    applied, guard_state, fired = guard.guard(telemetry, asked, state.guard, config)
    return asked, applied, LoopState(wake_at_s, policy_state, guard_state), fired


class Loop(Generic[S]):
    """Runs a policy on a batch of hosts, turn by turn."""

    def __init__(
        self, host: Host, policy: Policy[S], config: GuardConfig, wait_until: WaitUntil
    ) -> None:
        """Store the parts; the first turn begins at once."""
        self.host = host
        self.policy = policy
        self.config = config
        self.wait_until = wait_until
        self.state: LoopState[S] | None = None

    def turn(self, until_s: Floats | float = np.inf) -> Turn:
        """Wait until each host's next wake, or `until_s` (H,) if that is sooner; then act."""
        if self.state is not None:
            self.wait_until(np.minimum(self.state.wake_at_s, until_s))
        telemetry = self.host.read()
        state = self.state or start(self.policy, *telemetry.guest_id.shape)
        turn, self.state = step(self.policy, self.config, telemetry, state, until_s)
        if turn.due.any():
            self.host.apply(only(turn.applied, self.host.supports))
        return turn

    def run(self, until_s: Floats | float, watch: Callable[[Turn], None] | None = None) -> Turn:
        """Take turns until the clock of every host has reached `until_s` (H,).

        Returns:
            The last turn, with the reading at the end; nobody is decided for at that moment.
        """
        while True:
            turn = self.turn(until_s)
            if watch is not None:
                watch(turn)
            if (turn.telemetry.time_s >= until_s - EARLY_S).all():
                return turn
