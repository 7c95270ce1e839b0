"""The guard: what stands between any policy and any host.

Pure; two levels.  `limits` keeps the guaranteed and the largest size and the growth rule, and is
what policies are trained and compared under.  `full` adds `contract.caution` and is for production.
"""

from dataclasses import asdict, dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from contract import caution, growth
from contract.arrays import UNKNOWN, Bools, Floats, Ints
from contract.caution import CautionConfig, Restraint, Watch
from contract.decision import Decision
from contract.growth import Promises
from contract.interventions import Intervention
from contract.telemetry import Telemetry


@dataclass(frozen=True)
class GuardConfig:
    """Which level, and the thresholds of the full one."""

    level: Literal["limits", "full"] = "limits"
    caution: CautionConfig = field(default_factory=CautionConfig)

    def __post_init__(self) -> None:
        """Refuse a level that does not exist."""
        if self.level not in ("limits", "full"):
            raise ValueError(f"guard: level: {self.level!r}: expected 'limits' or 'full'")

    def as_dict(self) -> dict[str, object]:
        """The settings as plain data."""
        return asdict(self)


class GuardState(NamedTuple):
    """What the guard remembers between calls."""

    promises: Promises
    watch: Watch
    waits_since_s: Floats  # (H,) since when growth waits for shrinking guests, NaN if it does not


class Bounded(NamedTuple):
    """Asks brought between the guaranteed and the largest size."""

    wanted: Ints  # (H, G) [bytes]
    acted: Bools  # (H, G) a target is to be sent
    floor: Ints  # (H, G) [bytes] guaranteed size, 0 if unknown
    ceiling: Ints  # (H, G) [bytes] most it may have
    fired: Ints  # (H, G) bits of Intervention


class Grants(NamedTuple):
    """Who may grow, and what waits."""

    granted: Ints  # (H, G) [bytes]
    put_off: Bools  # (H, G) growth that waits for shrinking guests
    short: Bools  # (H,) growth exceeds what the host has while guests are shrinking


def reset(hosts: int, guests: int) -> GuardState:
    """The guard's state before its first call."""
    return GuardState(
        growth.reset(hosts, guests), caution.reset(hosts, guests), np.full(hosts, np.nan)
    )


def guard(
    telemetry: Telemetry, decision: Decision, state: GuardState, config: GuardConfig
) -> tuple[Decision, GuardState, Ints]:
    """Make a decision safe to apply.

    No target is above the largest size; none is lowered below the guaranteed one; together the
    guests of a host grow by no more than it has (`contract.growth`).  A guest whose policy leaves
    it alone is still brought back between its bounds.

    Args:
        telemetry: the reading that the decision was made on.
        decision: what the policy asks; all but targets and memory.high pass unchanged.
        state: as of the last call for these hosts.
        config: level and thresholds.

    Returns:
        The decision to apply, the new state, and interventions (H, G) int64, the bits of
        `Intervention` (named and counted by `contract.interventions`).
    """
    promises, size = growth.settle(telemetry, state.promises)
    asked = np.where(telemetry.present, np.maximum(decision.target_bytes, UNKNOWN), UNKNOWN)
    watch, restraint = state.watch, None
    if config.level == "full":
        watch = caution.look(telemetry, promises.target_bytes, watch, config.caution)
        restraint = caution.restrain(telemetry, asked, promises.target_bytes, watch, config.caution)
        asked = restraint.asked
    bounded = _bound(telemetry, asked, promises.target_bytes, size, restraint)
    need = np.zeros(asked.shape)
    if restraint is not None:
        need = np.where(restraint.left_out, 0.0, caution.distressed(watch, config.caution))
        bounded, need = _release(
            telemetry, bounded, promises.target_bytes, size, need, config.caution
        )

    budget = growth.budget_bytes(telemetry, promises)
    grants = _grant(telemetry, bounded, size, need, budget, restraint, state, config)
    target = np.where(bounded.wanted > size, size + grants.granted, bounded.wanted)
    acted = bounded.acted & ~grants.put_off
    fired = bounded.fired | (restraint.fired if restraint is not None else 0)
    less = bounded.acted & (target < bounded.wanted)
    waits = int(Intervention.SHRINK_FIRST)
    fired |= np.where(less, np.where(grants.put_off, waits, int(Intervention.GROWTH)), 0)

    high, raised = _high(telemetry, decision)
    fired |= raised
    since = np.where(np.isnan(state.waits_since_s), telemetry.time_s, state.waits_since_s)
    after = GuardState(
        growth.promise(promises, target, grants.granted, acted),
        watch,
        np.where(grants.short, since, np.nan),
    )
    target = np.where(acted, target, UNKNOWN)
    return decision._replace(target_bytes=target, memory_high_bytes=high), after, fired


def _bound(
    telemetry: Telemetry, asked: Ints, applied: Ints, size: Ints, restraint: Restraint | None
) -> Bounded:
    """Clip asks to the bounds; -1 stands for the target in force and acts only if that is out.

    A guaranteed size above the largest gives way.  An unknown guaranteed size forbids to shrink,
    an unknown largest size forbids to grow, an unknown size forbids both.
    """
    held = asked < 0
    wish = np.where(held, np.where(applied < 0, telemetry.current_bytes, applied), asked)
    ceiling = np.where(telemetry.max_bytes < 0, size, telemetry.max_bytes)
    guaranteed = np.minimum(telemetry.min_bytes, ceiling)
    floor = np.where(telemetry.min_bytes < 0, np.where(held, 0, size), guaranteed)
    wanted = np.minimum(np.maximum(wish, floor), ceiling)
    acted = telemetry.present & (wish >= 0) & (size >= 0) & (~held | (wanted != wish))
    if restraint is not None:
        acted &= ~restraint.left_out
    raised, lowered = acted & (wanted > wish), acted & (wanted < wish)
    blind = telemetry.present & ~held & (size < 0)
    blind |= (raised & (telemetry.min_bytes < 0)) | (lowered & (telemetry.max_bytes < 0))
    fired = np.where(raised & ~blind, int(Intervention.MIN), 0)
    fired |= np.where(lowered & ~blind, int(Intervention.MAX), 0)
    fired |= np.where(blind, int(Intervention.UNKNOWN_SIZE), 0)
    guaranteed = np.maximum(guaranteed, 0)
    return Bounded(np.where(acted, wanted, size), acted, guaranteed, ceiling, fired)


def _release(
    telemetry: Telemetry,
    bounded: Bounded,
    applied: Ints,
    size: Ints,
    need: Floats,
    config: CautionConfig,
) -> tuple[Bounded, Floats]:
    """Raise what guests in distress want; returns that and the need of those that can grow."""
    current = telemetry.current_bytes
    step = (bounded.ceiling * config.release_share).astype(np.int64)
    relief = np.minimum(bounded.ceiling, np.maximum(current + step, size))
    in_force = np.where(applied < 0, current, applied)
    room = (need > 0) & (size >= 0) & (current >= 0)
    helped = room & (relief > np.where(bounded.acted, bounded.wanted, in_force))
    bounded = bounded._replace(
        wanted=np.where(helped, relief, bounded.wanted),
        acted=bounded.acted | helped,
        fired=bounded.fired | np.where(helped, int(Intervention.DISTRESS), 0),
    )
    return bounded, np.where(room, need, 0.0)


def _grant(
    telemetry: Telemetry,
    bounded: Bounded,
    size: Ints,
    need: Floats,
    budget: Ints,
    restraint: Restraint | None,
    state: GuardState,
    config: GuardConfig,
) -> Grants:
    """Share the budget: guests below their guaranteed size, then distress, then the rest."""
    ask = np.where(bounded.acted, np.maximum(bounded.wanted - size, 0), 0)
    first = np.clip(bounded.floor - size, 0, ask)
    granted = growth.scaled(budget, first)
    unserved = (granted < first).any(axis=1)
    left = np.where(unserved, 0, budget - granted.sum(axis=1))
    rest = ask - first
    if restraint is None:
        none_waits, none_short = np.zeros(ask.shape, bool), np.zeros(len(ask), bool)
        return Grants(granted + growth.scaled(left, rest), none_waits, none_short)

    urgent = np.where(need > 0, rest, 0)
    helped = growth.queued(left, urgent, caution.neediest_first(need, telemetry))
    granted, left, rest = granted + helped, left - helped.sum(axis=1), rest - urgent
    shrinks = bounded.acted & (bounded.wanted < size - config.caution.reached_bytes)
    shrinking = (restraint.moving | shrinks).any(axis=1)
    short = shrinking & (rest.sum(axis=1) > left)
    waited_s = np.where(np.isnan(state.waits_since_s), 0, telemetry.time_s - state.waits_since_s)
    waiting = (short & (waited_s < config.caution.shrink_first_s))[:, None]
    put_off = waiting & (rest > 0) & (first == 0)
    rest = np.where(waiting, 0, rest)
    return Grants(granted + growth.scaled(left, rest), put_off, short)


def _high(telemetry: Telemetry, decision: Decision) -> tuple[Ints | None, Ints]:
    """Keep memory.high at or above the guaranteed size."""
    high = decision.memory_high_bytes
    if high is None:
        return None, np.zeros_like(decision.target_bytes)
    raised = (high >= 0) & (high < telemetry.min_bytes)
    return (
        np.where(raised, telemetry.min_bytes, high),
        np.where(raised, int(Intervention.HIGH), 0),
    )
