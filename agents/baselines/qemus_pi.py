"""qemus' dynamic balloon: a PI controller that keeps a fifth of the host's memory available.

Source: qemus/qemu @ 5eb8878e, src/balloon.py (every 5 s, bytes), one controller beside each guest.
The error is what lacks to 20 % available; its integral is held within [-1, 1] and, at a bound that
the size has run into, set to what would give that bound (anti-windup).  Pressure of the host (PSI
some, 10 s) from 10 % to 50 % lowers the largest size in proportion, down to the smallest.

Kept as they are in the original:

- Each guest answers for the whole host: how far all of them move together grows with their number.
- The smallest size is 33 % of the largest, or what the guest uses if that is more; with less than
  10 % available it is 33 %, whatever the guest uses.
- A size that differs from the one sent last by less than 128 MiB is sent only if it is a bound.
- Statistics may be old: their age is not looked at.
- What a guest uses is total less available; if the total is the first one seen, the balloon does
  not change it (deflate on OOM), and what the balloon holds is taken off.  A guest that tells
  nothing uses its resident memory.

There is no container here, so no limit of one lowers the largest size or starts the integral anew.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agents.baselines import _checks
from agents.baselines._ranges import Range
from contract.arrays import MIB, UNKNOWN, Floats, Ints, floats
from contract.decision import Decision
from contract.state import follow
from contract.telemetry import Telemetry, running


@dataclass(frozen=True)
class QemusPiConfig:
    """Settings as shipped."""

    period_s: float = 5.0
    soft_share: float = 0.80  # of host memory in use, what is aimed at
    hard_share: float = 0.90  # above it guests may fall below what they use
    pressure_low_percent: float = 10.0
    pressure_high_percent: float = 50.0
    kp: float = 0.5
    ki: float = 0.05
    least_share: float = 0.33  # of the largest size
    hysteresis_bytes: int = 128 * MIB

    def __post_init__(self) -> None:
        """Refuse settings without sense."""
        _checks.positive(self, "period_s", "ki", "pressure_high_percent")
        _checks.not_negative(self, "kp", "hysteresis_bytes", "pressure_low_percent")
        _checks.shares(self, "soft_share", "hard_share", "least_share")
        _checks.in_order(self, "soft_share", "hard_share")
        if not self.pressure_low_percent < self.pressure_high_percent:
            raise ValueError(
                f"pressure_low_percent: {self.pressure_low_percent}: expected less than"
                f" pressure_high_percent, {self.pressure_high_percent}"
            )


TUNABLE = {
    "soft_share": Range(0.6, 0.86),
    "hard_share": Range(0.86, 0.99),
    "pressure_low_percent": Range(1, 25, log=True),
    "pressure_high_percent": Range(26, 100, log=True),
    "kp": Range(0.05, 3.0, log=True),
    "ki": Range(0.005, 0.5, log=True),
    "least_share": Range(0.1, 0.8),
    "hysteresis_bytes": Range(8 * MIB, 512 * MIB, log=True),
}


class Seen(NamedTuple):
    """What the rule looks at; any shape, the same for all."""

    free: Floats  # share of host memory available
    pressure: Floats  # [%] PSI some of the host over 10 s
    largest: Floats  # [bytes] of a guest
    smallest: Floats  # [bytes]
    size: Floats  # [bytes] now
    used: Floats  # [bytes] in the guest; NaN unknown


class Memory(NamedTuple):
    """What the controller remembers of a guest."""

    integral: Floats
    sent: Floats  # [bytes] last, at first the largest size


class Found(NamedTuple):
    """What the rule decides."""

    cap: Floats  # [bytes] the largest size that pressure allows
    send: Floats  # [bytes] NaN nothing
    memory: Memory


def rule(seen: Seen, memory: Memory, c: QemusPiConfig) -> Found:
    """One step of the controller."""
    error = (1.0 - c.soft_share) - seen.free
    span = seen.largest - seen.smallest
    width = c.pressure_high_percent - c.pressure_low_percent
    part = np.minimum(1.0, (seen.pressure - c.pressure_low_percent) / width)
    capped = np.trunc(seen.largest - part * span)
    cap = np.where(seen.pressure >= c.pressure_low_percent, capped, seen.largest)
    used = np.where(np.isnan(seen.used), seen.smallest, seen.used)
    least = np.where(seen.free < 1.0 - c.hard_share, seen.smallest, np.maximum(seen.smallest, used))

    integral = np.clip(memory.integral + error * c.period_s, -1.0, 1.0)
    asked = np.trunc(seen.size - (c.kp * error + c.ki * integral) * seen.largest)
    target = np.minimum(cap, np.maximum(least, asked))
    stuck = ((target == least) & (error > 0)) | ((target == cap) & (error < 0))
    matching = (seen.size - target) / (c.ki * seen.largest) - c.kp * error / c.ki
    integral = np.where(stuck, np.clip(matching, -1.0, 1.0), integral)

    far = np.abs(target - memory.sent) >= c.hysteresis_bytes
    send = (target != memory.sent) & (far | (target == cap) | (target == least))
    sent = np.where(send, target, memory.sent)
    return Found(cap, np.where(send, target, np.nan), Memory(integral, sent))


class Guests(NamedTuple):
    """What is remembered of guests."""

    guest_id: Ints  # (H, G)
    integral: Floats  # (H, G)
    sent: Floats  # (H, G) [bytes] NaN nothing yet
    first_total: Floats  # (H, G) [bytes] MemTotal when it first told; NaN never


class QemusPiState(NamedTuple):
    """What is remembered between wakes."""

    guests: Guests


class QemusPi:
    """A controller for every guest, every 5 s."""

    name = "qemus_pi"

    def __init__(self, config: QemusPiConfig | None = None) -> None:
        """Store the settings."""
        self.config = config or QemusPiConfig()

    def reset(self, hosts: int, guests: int) -> QemusPiState:
        """Nothing sent, no error yet."""
        return QemusPiState(_blank(hosts, guests))

    def decide(
        self, telemetry: Telemetry, state: QemusPiState
    ) -> tuple[Decision, QemusPiState, Floats]:
        """Let the controllers of all guests take a step."""
        guest_id = np.where(telemetry.present, telemetry.guest_id, UNKNOWN)
        kept = follow(state.guests, guest_id, _blank)
        total = floats(telemetry.stats_total_bytes)
        first = np.where(np.isnan(kept.first_total), total, kept.first_total)
        size, largest = _positive(telemetry.current_bytes), _positive(telemetry.max_bytes)
        free = floats(telemetry.available_bytes) / _positive(telemetry.total_bytes)
        pressure = np.nan_to_num(telemetry.psi_some_avg10 * 100.0)
        seen = Seen(
            free[:, None],
            pressure[:, None],
            largest,
            np.trunc(self.config.least_share * largest),
            size,
            _used(telemetry, total, first),
        )
        memory = Memory(kept.integral, np.where(np.isnan(kept.sent), largest, kept.sent))
        found = rule(seen, memory, self.config)
        acts = running(telemetry) & (telemetry.weight != 0)
        acts &= ~np.isnan(seen.free + size + largest)
        sends = acts & ~np.isnan(found.send)
        target = np.where(sends, np.nan_to_num(found.send).astype(np.int64), UNKNOWN)
        guests = Guests(
            guest_id,
            np.where(acts, found.memory.integral, kept.integral),
            np.where(acts, found.memory.sent, kept.sent),
            first,
        )
        return Decision(target), QemusPiState(guests), telemetry.time_s + self.config.period_s


def _positive(column: Ints) -> Floats:
    """NaN what is unknown or 0."""
    return np.where(column > 0, column, np.nan)


def _used(telemetry: Telemetry, total: Floats, first: Floats) -> Floats:
    """(H, G) [bytes] what guests use, NaN unknown."""
    free, caches = floats(telemetry.stats_free_bytes), floats(telemetry.stats_caches_bytes)
    available = floats(telemetry.stats_available_bytes)
    used = total - np.where(np.isnan(available), free + caches, available)
    then = floats(telemetry.stats_current_bytes)
    size = np.where(np.isnan(then), floats(telemetry.current_bytes), then)
    balloon = floats(telemetry.max_bytes) - size
    used = np.where(total == first, used - balloon, used)
    return np.where(np.isnan(used), floats(telemetry.resident_bytes), used)


def _blank(hosts: int, guests: int) -> Guests:
    nobody = np.full((hosts, guests), UNKNOWN, np.int64)
    unknown = np.full((hosts, guests), np.nan)
    return Guests(nobody, np.zeros((hosts, guests)), unknown, unknown.copy())
