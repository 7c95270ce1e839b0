"""What the guard's full level adds: it is slow to take, quick to help, and leaves some alone.

`look` keeps the watch that the rules need, `restrain` holds asks back, `distressed` finds the
guests that need memory whatever the policy says.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from contract import rates
from contract.arrays import MIB, UNKNOWN, Bools, Floats, Ints, floats
from contract.interventions import Intervention
from contract.rates import Counters
from contract.state import follow
from contract.telemetry import Telemetry, running

USUAL_WEIGHT = 1000  # of a guest whose weight is unknown


@dataclass(frozen=True)
class CautionConfig:
    """Thresholds of the full level; shares are of the guest's largest size."""

    shrink_step_share: float = 0.10  # largest step down from the current size
    grow_step_share: float = 0.25  # largest step up from the current size
    dead_band_share: float = 0.0025  # smaller changes of a target are left out (as MOM)
    dead_band_bytes: int = MIB  # likewise, whichever is larger
    reached_bytes: int = MIB  # a size this close to its target has reached it
    stuck_s: float = 15.0  # a guest that has not moved for so long is stuck
    stale_s: float = 30.0  # statistics of this age are too old to shrink a guest on
    shrink_first_s: float = 10.0  # growth waits at most so long for shrinking guests
    release_share: float = 0.25  # a guest in distress may grow so far above its current size
    swap_in_bytes_per_s: float = 4.0 * MIB  # the guest's own swap-in that is distress
    alloc_stalls_per_s: float = 20.0  # direct reclaims in the guest that are distress

    def __post_init__(self) -> None:
        """Refuse thresholds that are not positive."""
        bad = [name for name, value in vars(self).items() if not value > 0]
        if bad:
            raise ValueError(f"guard: {', '.join(bad)}: must be positive")


class Watch(NamedTuple):
    """What the full level remembers of each guest."""

    guest_id: Ints  # (H, G)
    current_bytes: Ints  # (H, G) size at the last call
    heading: Ints  # (H, G) -1 shrinks, 1 grows, 0 has reached its target
    moved_at_s: Floats  # (H, G) when it last moved that way
    symptoms: Counters  # (H, G, 3) OOM kills, allocation stalls, bytes swapped in


class Restraint(NamedTuple):
    """What `restrain` says of each guest."""

    asked: Ints  # (H, G) what is left of the asks, -1 leave alone
    fired: Ints  # (H, G) bits of Intervention
    left_out: Bools  # (H, G) must not be sent anything
    moving: Bools  # (H, G) still gives memory back, and moves


def reset(hosts: int, guests: int) -> Watch:
    """Nobody was watched yet."""
    never = np.full((hosts, guests), UNKNOWN, np.int64)
    symptoms = rates.reset(3, hosts, guests)
    return Watch(never, never, np.zeros_like(never), np.full((hosts, guests), np.nan), symptoms)


def look(telemetry: Telemetry, applied: Ints, kept: Watch, config: CautionConfig) -> Watch:
    """Bring the watch up to date; `applied` (H, G) are the targets in force, -1 none."""
    guest_id = np.where(telemetry.present, telemetry.guest_id, UNKNOWN)
    kept = follow(kept, guest_id, reset)
    now_s, current = telemetry.time_s[:, None], telemetry.current_bytes
    gap = np.where((applied >= 0) & (current >= 0), applied - current, 0)
    heading = np.where(np.abs(gap) > config.reached_bytes, np.sign(gap), 0)
    moved = (current - kept.current_bytes) * heading > 0
    moved |= (heading == 0) | (heading != kept.heading)
    symptoms = np.stack(
        [
            floats(telemetry.stats_oom_kills),
            floats(telemetry.stats_alloc_stalls),
            floats(telemetry.stats_swap_in_bytes),
        ],
        axis=-1,
    )
    return Watch(
        guest_id,
        current,
        heading,
        np.where(moved, now_s, kept.moved_at_s),
        rates.sample(kept.symptoms, now_s - telemetry.stats_age_s, symptoms),
    )


def restrain(
    telemetry: Telemetry, asked: Ints, applied: Ints, watch: Watch, config: CautionConfig
) -> Restraint:
    """Hold asks back.

    A stuck guest is asked for nothing further in the direction in which it does not move, but the
    other way is open, or it would stay stuck for ever.  Old statistics forbid to shrink, not to
    grow: they freeze exactly when a guest thrashes.

    Args:
        telemetry: the reading.
        asked: (H, G) [bytes] what the policy asks, -1 nothing.
        applied: (H, G) [bytes] targets in force, -1 none.
        watch: as of this reading.
        config: thresholds.
    """
    current, largest = telemetry.current_bytes, telemetry.max_bytes
    in_force = np.where(applied < 0, current, applied)
    left_out = telemetry.present & (~running(telemetry) | (telemetry.weight == 0))
    fired = np.where(left_out & (asked >= 0), int(Intervention.LEFT_OUT), 0)
    asked = np.where(left_out, UNKNOWN, asked)

    stuck = (watch.heading != 0) & (telemetry.time_s[:, None] - watch.moved_at_s > config.stuck_s)
    further = stuck & (asked >= 0) & ((asked - applied) * watch.heading > 0)
    fired |= np.where(further, int(Intervention.STUCK), 0)
    asked = np.where(further, UNKNOWN, asked)

    old = ~(telemetry.stats_age_s <= config.stale_s)
    on_stale = old & (asked >= 0) & (asked < in_force)
    fired |= np.where(on_stale, int(Intervention.STALE), 0)
    asked = np.where(on_stale, UNKNOWN, asked)

    known = (asked >= 0) & (current >= 0) & (largest >= 0)
    down = (largest * config.shrink_step_share).astype(np.int64)
    up = (largest * config.grow_step_share).astype(np.int64)
    lowest, highest = np.minimum(in_force, current - down), np.maximum(in_force, current + up)
    stepped = np.where(known, np.clip(asked, lowest, highest), asked)
    fired |= np.where(stepped != asked, int(Intervention.STEP), 0)

    band = np.maximum(largest * config.dead_band_share, config.dead_band_bytes)
    change = np.abs(stepped - in_force)
    at_bound = (stepped == telemetry.min_bytes) | (stepped == largest)
    small = known & (in_force >= 0) & (change > 0) & (change < band) & ~at_bound
    fired |= np.where(small, int(Intervention.DEAD_BAND), 0)
    moving = (watch.heading < 0) & ~stuck & ~left_out
    return Restraint(np.where(small, UNKNOWN, stepped), fired, left_out, moving)


def distressed(watch: Watch, config: CautionConfig) -> Floats:
    """How badly each guest needs memory by its own signs: (H, G), 0 not at all.

    3 and above: it killed a process; 2: its allocations stall; 1: it swaps in; plus a fraction
    that grows with the sign.  What the host swaps says nothing about the guest's size.
    """
    known = np.where(np.isnan(watch.symptoms.per_s), 0.0, watch.symptoms.per_s)
    thresholds = np.array([0.0, config.alloc_stalls_per_s, config.swap_in_bytes_per_s])
    over = known > thresholds
    sign = over.argmax(axis=-1)
    strength = np.take_along_axis(known, sign[..., None], axis=-1)[..., 0]
    fraction = strength / (strength + np.maximum(thresholds[sign], 1.0))
    return np.where(over.any(axis=-1), 3.0 - sign + fraction, 0.0)


def neediest_first(need: Floats, telemetry: Telemetry) -> Ints:
    """Slots (H, G) by kind of need, then weight, then strength, then guest id."""
    weight = np.where(telemetry.weight < 0, USUAL_WEIGHT, telemetry.weight)
    kind = np.floor(need)
    return np.lexsort((telemetry.guest_id, -(need - kind), -weight, -kind), axis=-1)
