"""ChromeOS (concierge, BalanceAvailable): guest and host have equally much above their critical.

Source: vm_tools/concierge/balloon_policy.cc, about once a second, bytes.  A guest's available
memory is what is free and its disk caches; above critical, 400 MiB at first, and above a bias that
grows to 48 MiB with the balloon, it is to equal what the host has above its own critical amount.
The balloon moves by half of the difference, because what one side gives the other gets.

Kept as they are in the original:

- The full balloon is the largest ever seen, or 3/4 of the guest's total when first seen.
- The critical amount falls, and never rises: to what the guest had at the last reading, if it was
  below critical then and is now, both with a balloon less than 95 % full.
- Changes are sent if they are at least 2 % of what is above critical on either side (the comment
  says 1 %, the division is one of integers), or if either side is within 1 MiB of critical.
- No growth leaves the host more than 10 MiB short of its critical amount.  The like cap for the
  guest never binds: a host so short that it would takes all it lacks but 10 MiB, from any guest.
- The rule knows one guest.  With several, each moves by half of its own difference to the same
  host, all at once, and together they go too far.

Assumed: the host is critical at 5.2 % of RAM, ChromeOS's margin for killing background pages; the
bias is ARCVM's; the first reading has none before it.  A guest is read through virtio statistics,
as by crosvm; one that tells nothing is left alone.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agents.baselines import _checks
from agents.baselines._ranges import Range
from contract.arrays import MIB, UNKNOWN, Bools, Floats, Ints
from contract.decision import Decision
from contract.state import follow
from contract.telemetry import Telemetry, running

NEARLY_FULL_PERCENT = 95


@dataclass(frozen=True)
class ChromeosConfig:
    """Constants as shipped."""

    period_s: float = 1.0
    guest_critical_bytes: int = 400 * MIB  # available, at first
    bias_bytes: int = 48 * MIB  # a full balloon leaves the guest so much more
    host_critical_share: float = 0.052  # of RAM available
    overshoot_bytes: int = 10 * MIB  # below critical at most
    near_bytes: int = 1 * MIB  # of critical: every change is sent
    least_percent: int = 1  # of what is above critical: smaller or equal changes are not sent
    parts: int = 2  # the difference is divided by it

    def __post_init__(self) -> None:
        """Refuse settings without sense."""
        _checks.positive(self, "period_s", "near_bytes", "parts")
        _checks.not_negative(
            self, "guest_critical_bytes", "bias_bytes", "overshoot_bytes", "least_percent"
        )
        _checks.shares(self, "host_critical_share")


TUNABLE = {
    "guest_critical_bytes": Range(50 * MIB, 1200 * MIB, log=True),
    "bias_bytes": Range(4 * MIB, 400 * MIB, log=True),
    "host_critical_share": Range(0.01, 0.25, log=True),
    "overshoot_bytes": Range(1 * MIB, 100 * MIB, log=True),
    "least_percent": Range(0, 10),
    "parts": Range(1, 8, log=True),
}


class Seen(NamedTuple):
    """What the rule looks at; any one shape."""

    balloon: Ints  # [bytes]
    available: Ints  # [bytes] free and caches of the guest
    total: Ints  # [bytes] of the guest
    host_above: Ints  # [bytes] available on the host beyond its critical amount


class Balance(NamedTuple):
    """What is remembered of a guest; any one shape."""

    largest_balloon: Ints  # [bytes] 0: never read
    critical: Ints  # [bytes]
    available: Ints  # [bytes] at the last reading, -1 there was none
    full_percent: Ints  # at the last reading


def rule(seen: Seen, kept: Balance, c: ChromeosConfig) -> tuple[Ints, Balance]:
    """How much each balloon is to grow [bytes], and what to remember."""
    largest = np.where(kept.largest_balloon == 0, seen.total * 3 // 4, kept.largest_balloon)
    largest = np.maximum(largest, seen.balloon)
    full = np.where(largest > 0, seen.balloon * 100 // np.maximum(largest, 1), 0)
    strained = _strained(seen.available, full, kept.critical)
    strained &= _strained(kept.available, kept.full_percent, kept.critical) & (kept.available >= 0)
    critical = np.where(strained, kept.available, kept.critical)

    above = seen.available - critical - c.bias_bytes * full // 100
    delta = _divided(above - seen.host_above, c.parts)
    least = -(seen.host_above + c.overshoot_bytes)
    most = seen.available - critical + c.overshoot_bytes
    capped = np.where(delta < least, least, np.minimum(delta, most))
    change = np.maximum(capped, -seen.balloon)
    near = (above < c.near_bytes) | (seen.host_above < c.near_bytes)
    percent = np.abs(delta) * 100
    moves = percent // np.maximum(above, 1) > c.least_percent
    moves |= percent // np.maximum(seen.host_above, 1) > c.least_percent
    return np.where(near | moves, change, 0), Balance(largest, critical, seen.available, full)


def _strained(available: Ints, full_percent: Ints, critical: Ints) -> Bools:
    strained: Bools = (available < critical) & (full_percent < NEARLY_FULL_PERCENT)
    return strained


def _divided(values: Ints, parts: int) -> Ints:
    """Integer division towards zero."""
    quotient: Ints = np.sign(values) * (np.abs(values) // parts)
    return quotient


class GuestMemory(NamedTuple):
    """Balances of the guests."""

    guest_id: Ints  # (H, G)
    largest_balloon: Ints  # (H, G)
    critical: Ints  # (H, G) -1: the one at first
    available: Ints  # (H, G)
    full_percent: Ints  # (H, G)


class ChromeosState(NamedTuple):
    """What the policy remembers between wakes."""

    guests: GuestMemory


class Chromeos:
    """BalanceAvailable for every guest, once a second."""

    name = "chromeos"

    def __init__(self, config: ChromeosConfig | None = None) -> None:
        """Store the settings."""
        self.config = config or ChromeosConfig()

    def reset(self, hosts: int, guests: int) -> ChromeosState:
        """Nothing was read."""
        return ChromeosState(_nobody(hosts, guests))

    def decide(
        self, telemetry: Telemetry, state: ChromeosState
    ) -> tuple[Decision, ChromeosState, Floats]:
        """Balance each guest with its host."""
        c, size, largest = self.config, telemetry.current_bytes, telemetry.max_bytes
        free, caches = telemetry.stats_free_bytes, telemetry.stats_caches_bytes
        guest_id = np.where(telemetry.present, telemetry.guest_id, UNKNOWN)
        memory = follow(state.guests, guest_id, _nobody)
        kept = Balance(*memory[1:])
        at_first = kept.critical < 0
        kept = kept._replace(critical=np.where(at_first, c.guest_critical_bytes, kept.critical))
        ram, host = telemetry.total_bytes, telemetry.available_bytes
        host_above = host - (ram * c.host_critical_share).astype(np.int64)
        seen = Seen(
            balloon=np.maximum(largest - size, 0),
            available=free + caches,
            total=telemetry.stats_total_bytes,
            host_above=np.broadcast_to(host_above[:, None], size.shape),
        )
        change, after = rule(seen, kept, c)
        acts = running(telemetry) & (telemetry.weight != 0) & ((ram >= 0) & (host >= 0))[:, None]
        acts &= (size >= 0) & (largest >= 0) & (free >= 0) & (caches >= 0) & (seen.total >= 0)
        wanted = np.maximum(np.minimum(size, largest) - change, 0)
        target = np.where(acts & (change != 0), wanted, UNKNOWN)
        held = [np.where(acts, new, old) for new, old in zip(after, memory[1:], strict=True)]
        return (
            Decision(target),
            ChromeosState(GuestMemory(guest_id, *held)),
            telemetry.time_s + c.period_s,
        )


def _nobody(hosts: int, guests: int) -> GuestMemory:
    shape = (hosts, guests)
    unknown = np.full(shape, UNKNOWN, np.int64)
    nothing = np.zeros(shape, np.int64)
    return GuestMemory(unknown, nothing, unknown.copy(), unknown.copy(), nothing.copy())
