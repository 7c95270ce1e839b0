"""Decides: telemetry in, decision and who took it out.  No clock, no socket, no backend.

A policy that fails (an error, no number, too slow, of another contract) is not obeyed: first the
targets in force stay, then the fall-back rule takes over, and now and then the policy is tried
again.  The guard, its distress release included, works all the while.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from contract import growth, loop
from contract.arrays import Floats
from contract.decision import Decision, hold
from contract.guard import GuardConfig, GuardState
from contract.loop import LoopState, Turn
from contract.policy import Policy
from contract.state import Nothing
from contract.telemetry import Telemetry


class By(StrEnum):
    """Who decided."""

    POLICY = "policy"
    HELD = "held"  # nobody: targets stay
    FALLBACK = "fallback"


class Hold:
    """The policy that leaves everything alone."""

    name = "hold"

    def __init__(self, period_s: float) -> None:
        """Store how often the guard looks."""
        self.period_s = period_s

    def reset(self, hosts: int, guests: int) -> Nothing:
        """There is nothing to remember."""
        return Nothing()

    def decide(self, telemetry: Telemetry, state: Nothing) -> tuple[Decision, Nothing, Floats]:
        """Ask for nothing."""
        decision = hold(*telemetry.guest_id.shape)
        return decision, state, telemetry.time_s + self.period_s


@dataclass(frozen=True)
class Plan:
    """Who decides, and what happens when it cannot."""

    policy: Policy[Any]
    fallback: Policy[Any]
    guard: GuardConfig
    hold_s: float = 30.0  # targets stay so long before the fall-back takes over
    retry_s: float = 300.0  # under the fall-back the policy is tried so often
    period_s: float = 5.0  # between two looks while targets stay


class Trouble(NamedTuple):
    """Since when the policy fails, and when it is tried again: (1,) [s], NaN while it works."""

    since_s: Floats
    retry_at_s: Floats


class CoreState(NamedTuple):
    """What is carried from turn to turn, and over a restart."""

    wake_at_s: Floats  # (1,)
    guard: GuardState
    policy: Any
    fallback: Any
    trouble: Trouble


@dataclass(frozen=True)
class Outcome:
    """A turn, who decided in it, and what went wrong."""

    turn: Turn
    by: By
    problem: str = ""


def start(plan: Plan, guests: int) -> CoreState:
    """The state before the first turn of one host with so many slots."""
    first = loop.start(plan.policy, 1, guests)
    fallback = plan.fallback.reset(1, guests)
    return CoreState(first.wake_at_s, first.guard, first.policy, fallback, _fine())


def turn(
    plan: Plan, telemetry: Telemetry, state: CoreState, applies: bool = True
) -> tuple[Outcome, CoreState]:
    """Decide and guard, if the time has come.

    Args:
        plan: who decides.
        telemetry: one host.
        state: as of the last turn.
        applies: whether the decision will be sent; if not, the guard must not believe it was.
    """
    outcome, after = _turn(plan, telemetry, state)
    if not applies:
        settled = growth.settle(telemetry, state.guard.promises)[0]
        after = after._replace(guard=after.guard._replace(promises=settled))
    return outcome, after


def _turn(plan: Plan, telemetry: Telemetry, state: CoreState) -> tuple[Outcome, CoreState]:
    now_s = telemetry.time_s
    since_s, retry_at_s = state.trouble
    holding = now_s < since_s + plan.hold_s
    problem = ""
    if np.isnan(since_s[0]) or holding[0] or now_s[0] >= retry_at_s[0]:
        try:
            done, after = _step(plan.policy, plan.guard, telemetry, state, state.policy)
            fine = _fine() if done.due.any() else state.trouble
            by = By.POLICY if np.isnan(fine.since_s[0]) else By.HELD
            return Outcome(done, by), _after(state, after)._replace(
                policy=after.policy, trouble=fine
            )
        except Exception as error:  # whatever a policy does, guests are looked after
            problem = f"{plan.policy.name}: {type(error).__name__}: {error}"
        first = np.where(np.isnan(since_s), now_s, since_s)
        retry_at_s = np.where(
            now_s < first + plan.hold_s, first + plan.hold_s, now_s + plan.retry_s
        )
        state = state._replace(trouble=Trouble(first, retry_at_s))
    if now_s[0] < state.trouble.since_s[0] + plan.hold_s:
        return _held(plan, telemetry, state, problem)
    try:
        done, after = _step(plan.fallback, plan.guard, telemetry, state, state.fallback)
    except Exception as error:  # as above
        both = f"{plan.fallback.name}: {type(error).__name__}: {error}"
        return _held(plan, telemetry, state, f"{problem}; {both}" if problem else both)
    never = np.isinf(after.wake_at_s)  # of a rule that decides once; the policy is to be tried
    wake_at_s = np.where(never, state.trouble.retry_at_s, after.wake_at_s)
    state = _after(state, after)._replace(fallback=after.policy, wake_at_s=wake_at_s)
    return Outcome(done, By.FALLBACK, problem), state


def watch(plan: Plan, telemetry: Telemetry, state: CoreState) -> tuple[Outcome, CoreState]:
    """Look without deciding: nobody is asked for anything, in distress or not."""
    due = telemetry.time_s >= state.wake_at_s - loop.EARLY_S
    nothing = hold(*telemetry.guest_id.shape)
    fired = np.zeros(telemetry.guest_id.shape, np.int64)
    wake_at_s = np.where(due, telemetry.time_s + plan.period_s, state.wake_at_s)
    done = Turn(telemetry, due, nothing, nothing, fired)
    return Outcome(done, By.HELD), state._replace(wake_at_s=wake_at_s)


def _held(
    plan: Plan, telemetry: Telemetry, state: CoreState, problem: str
) -> tuple[Outcome, CoreState]:
    done, after = _step(Hold(plan.period_s), plan.guard, telemetry, state, Nothing())
    return Outcome(done, By.HELD, problem), _after(state, after)


def _step(
    policy: Policy[Any],
    guard: GuardConfig,
    telemetry: Telemetry,
    state: CoreState,
    own: Any,  # noqa: ANN401  the policy's state
) -> tuple[Turn, LoopState[Any]]:
    return loop.step(policy, guard, telemetry, LoopState(state.wake_at_s, own, state.guard))


def _after(state: CoreState, done: LoopState[Any]) -> CoreState:
    return state._replace(wake_at_s=done.wake_at_s, guard=done.guard)


def _fine() -> Trouble:
    return Trouble(np.full(1, np.nan), np.full(1, np.nan))
