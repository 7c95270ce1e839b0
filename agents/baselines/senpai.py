"""Senpai: shrink each guest until it feels a little pressure, and let go when it feels more.

Source: facebookincubator/senpai @ c51e8e21, senpai.py (every second, bytes and us of stall).  A
guest is a cgroup, with its memory pressure (PSI some).  Stall is summed up.  More than 10 ms of it
since the last change lets the guest grow at once, by the square of how much more, at most to twice
its size; 6 s with less shrink it by the square of how much less, at most by 1 %.

Kept as they are in the original:

- It never asks how much the host has: guests shrink on an empty host.
- An idle guest loses 1 % every 6 s until it is at its smallest.
- If somebody else has set the limit (here: the guard allowed another), it goes on from what the
  guest has.
- Sizes are cut to whole pages of 4 KiB.

- What would give a guest memory back is its own stall alone: one that cannot page loses its memory
  down to the smallest size without a sign.

By `knob` it holds guests by what Senpai holds them by, `high`, the `memory.high` of each one's
cgroup on the host, from which the host's kernel then swaps; or by `size`, their balloons.  Each has
its own pressure: the cgroup's, or the one that an agent reports from inside.  A cgroup does not
feel what a balloon does to its guest, so a guest without that agent is left alone by `size`, and so
is one on a host without cgroup v2 by `high`.  Guests that show the same memory and the same
pressure are taken to share a cgroup, for which one of them stands.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agents.baselines import _checks
from agents.baselines._ranges import Range
from contract.arrays import GIB, MIB, PAGE, UNKNOWN, Bools, Floats, Ints
from contract.decision import Decision
from contract.state import follow
from contract.telemetry import Telemetry, column, running

SIZE, HIGH = "size", "high"
COARSE_BYTES = 4 * MIB  # a host tells memory.high in whole pages of its own, up to that size


@dataclass(frozen=True)
class SenpaiConfig:
    """Settings as shipped."""

    period_s: float = 1.0  # a tick
    min_size_bytes: int = 100 * MIB
    max_size_bytes: int = 100 * GIB
    interval: int = 6  # ticks without pressure before a guest is made smaller
    pressure_us: int = 10_000  # of stall that is aimed at in an interval
    max_probe: float = 0.01  # share of its size that it gives at most
    max_backoff: float = 1.0  # and gets
    coeff_probe: float = 10.0
    coeff_backoff: float = 20.0
    knob: str = HIGH

    def __post_init__(self) -> None:
        """Refuse settings without sense."""
        _checks.positive(self, "period_s", "interval", "pressure_us", "coeff_probe")
        _checks.positive(self, "coeff_backoff")
        _checks.not_negative(self, "min_size_bytes", "max_backoff")
        _checks.shares(self, "max_probe")
        _checks.in_order(self, "min_size_bytes", "max_size_bytes")
        if self.knob not in (SIZE, HIGH):
            raise ValueError(f"knob: {self.knob!r}: expected {SIZE!r} or {HIGH!r}")


TUNABLE = {
    "interval": Range(2, 60, log=True),
    "pressure_us": Range(500, 200_000, log=True),
    "max_probe": Range(0.001, 0.1, log=True),
    "max_backoff": Range(0.1, 4.0, log=True),
    "coeff_probe": Range(1.0, 100.0, log=True),
    "coeff_backoff": Range(2.0, 200.0, log=True),
}


class Probe(NamedTuple):
    """What is known of how a guest takes it; any shape."""

    limit: Ints  # [bytes] the size it is held to
    integral_us: Floats  # stall since that was changed
    grace: Ints  # ticks until it may be made smaller


def begin(current: Ints, largest: Ints, c: SenpaiConfig) -> Probe:
    """Start with what guests have [bytes]."""
    limit = _within(current, largest, c)
    return Probe(limit, np.zeros(limit.shape), np.full(limit.shape, c.interval, np.int64))


def rule(probe: Probe, stall_us: Floats, largest: Ints, c: SenpaiConfig) -> tuple[Probe, Bools]:
    """One tick; also tells whose limit was set anew.

    Args:
        probe: after the last tick.
        stall_us: since the last tick.
        largest: size that a guest may have [bytes].
        c: settings.
    """
    integral = probe.integral_us + stall_us
    presses = integral > c.pressure_us
    waits = ~presses & (probe.grace > 0)
    more = (integral / c.pressure_us / c.coeff_backoff) ** 2 * c.max_backoff
    less = (c.pressure_us / np.maximum(integral, 1.0) / c.coeff_probe) ** 2 * c.max_probe
    change = np.where(presses, np.minimum(more, c.max_backoff), -np.minimum(less, c.max_probe))
    limit = _within((probe.limit + probe.limit * change).astype(np.int64), largest, c)
    after = Probe(
        np.where(waits, probe.limit, limit),
        np.where(waits, integral, 0.0),
        np.where(waits, probe.grace - 1, c.interval - 1),
    )
    return after, ~waits


def _within(size: Ints, largest: Ints, c: SenpaiConfig) -> Ints:
    most = np.minimum(largest, c.max_size_bytes)
    limit: Ints = np.minimum(np.maximum(size, c.min_size_bytes), most) // PAGE * PAGE
    return limit


class Guests(NamedTuple):
    """What is remembered of guests."""

    guest_id: Ints  # (H, G)
    stalled_s: Floats  # (H, G) total when last looked at, NaN never
    probe: Probe  # (H, G)


class SenpaiState(NamedTuple):
    """What is remembered between wakes."""

    guests: Guests


class Senpai:
    """Every guest for itself, every second; one whose pressure is not known is left alone."""

    name = "senpai"

    def __init__(self, config: SenpaiConfig | None = None) -> None:
        """Store the settings."""
        self.config = config or SenpaiConfig()

    def reset(self, hosts: int, guests: int) -> SenpaiState:
        """No guest was looked at."""
        return SenpaiState(_blank(hosts, guests))

    def decide(
        self, telemetry: Telemetry, state: SenpaiState
    ) -> tuple[Decision, SenpaiState, Floats]:
        """Let all guests take a tick; those who are new get the size that they have."""
        c = self.config
        guest_id = np.where(telemetry.present, telemetry.guest_id, UNKNOWN)
        kept = follow(state.guests, guest_id, _blank)
        stalled_s, current, largest, found = self._look(telemetry)
        acts = running(telemetry) & (telemetry.weight != 0) & ~np.isnan(stalled_s)
        acts &= (current > 0) & (largest > 0)
        if c.knob == HIGH:
            acts &= _stands_for_its_cgroup(telemetry)

        stall_us = np.maximum(stalled_s - kept.stalled_s, 0.0) * 1e6
        begins = np.isnan(stall_us)
        slack = COARSE_BYTES if c.knob == HIGH else 0
        others = (found >= 0) & (np.abs(found - kept.probe.limit) > slack)
        limit = np.where(others, current, kept.probe.limit)
        ticked, changed = rule(
            kept.probe._replace(limit=limit), np.nan_to_num(stall_us), largest, c
        )
        fresh = begin(current, largest, c)
        probe = Probe(*(np.where(begins, new, old) for new, old in zip(fresh, ticked, strict=True)))
        limits = np.where(acts & (begins | changed), probe.limit, UNKNOWN)
        probe = Probe(
            *(np.where(acts, new, old) for new, old in zip(probe, kept.probe, strict=True))
        )
        guests = Guests(guest_id, np.where(acts, stalled_s, kept.stalled_s), probe)
        decision = Decision(limits)
        if c.knob == HIGH:
            decision = Decision(np.full_like(limits, UNKNOWN), memory_high_bytes=limits)
        return decision, SenpaiState(guests), telemetry.time_s + c.period_s

    def _look(self, telemetry: Telemetry) -> tuple[Floats, Ints, Ints, Ints]:
        """(H, G) stall in all [s]; memory held, the most of it, and limit in force [bytes]."""
        if self.config.knob == HIGH:
            held = telemetry.cgroup_current_bytes
            most = np.full_like(held, self.config.max_size_bytes)
            return telemetry.cgroup_psi_some_s, held, most, telemetry.cgroup_high_bytes
        stalled_s = column(telemetry, "agent_psi_some_s")
        applied = telemetry.applied_target_bytes
        return stalled_s, telemetry.current_bytes, telemetry.max_bytes, applied


def _stands_for_its_cgroup(telemetry: Telemetry) -> Bools:
    """(H, G) the first by its id of those who show the same memory and the same pressure."""

    def same(values: Ints | Floats) -> Bools:
        equal: Bools = values[:, :, None] == values[:, None, :]
        return equal

    order = np.where(telemetry.present, telemetry.guest_id, np.iinfo(np.int64).max)
    earlier = order[:, None, :] < order[:, :, None]
    shared = same(telemetry.cgroup_current_bytes) & same(telemetry.cgroup_psi_some_s) & earlier
    first: Bools = shared.sum(axis=2) == 0
    return first


def _blank(hosts: int, guests: int) -> Guests:
    nobody = np.full((hosts, guests), UNKNOWN, np.int64)
    none = np.zeros((hosts, guests), np.int64)
    probe = Probe(nobody.copy(), np.zeros((hosts, guests)), none)
    return Guests(nobody, np.full((hosts, guests), np.nan), probe)
