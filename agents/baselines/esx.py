"""VMware ESX: shares with a tax on idle memory, collected only when the host runs short.

Source: C. Waldspurger, "Memory Resource Management in VMware ESX Server", OSDI 2002, sections 4, 5
and 6; vSphere's resource management guides and engineers' posts for minFree and advanced settings.
A guest with S shares that holds P bytes, of which a fraction f is active, pays
rho = S / (P * (f + k * (1 - f))) shares a byte, k = 1 / (1 - tax): an idle byte costs four times as
much as an active one at the shipped tax of 75 %.  Memory is taken from whoever pays least and given
to whoever pays most, so in the end all between their bounds pay the same.

Kept as they are in the original:

- Nothing is taken while the host is in the state "high".  Below 64 % of minFree it is "soft", below
  32 % "hard", below 16 % "low"; a state is left only above the threshold of the next better one.
- The aim is always minFree, not the threshold that was crossed.
- Shares come with size: 10 a MiB at normal weight.  The reservation is always kept, and the balloon
  takes at most 65 % of a guest.
- Activity is the highest of a slow average, a fast one, and the fast one with the sample that is
  not complete yet: quick to believe in demand, slow to believe in idleness.

ESX is closed, so these are assumed: the gains of the averages (a half and an eighth a sample); that
activity is a number of bytes that stays while idle ones are taken (f rises as P falls); no
progressive tax, which vSphere has and does not state.  The guides print the sampling period as 30 s
or 60 s; it is 30 s here.

What differs on a host with KVM: ESX samples 100 random pages of each guest.  Where the host samples
accessed memory (`active_bytes`), that is read.  Where it does not, what balloon statistics call
used (total less available) stands in for it: it counts what the guest's programs hold though they
may not touch it, and misses page cache in use.  A guest that tells neither is taken to be active
throughout.
What ESX does beyond ballooning in "hard" and "low", paging guests and blocking those above their
target, is left to the host's kernel; and it looks every 15 s, not at large changes of free memory
too.  P is what a guest has in host frames, free what the host has available.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agents.baselines import _checks
from agents.baselines._filling import fill_to
from agents.baselines._ranges import Range
from contract.arrays import GIB, MIB, PAGE, UNKNOWN, Bools, Floats, Ints, floats
from contract.caution import USUAL_WEIGHT
from contract.decision import Decision
from contract.state import follow
from contract.telemetry import Telemetry, column, running, used_bytes

HIGH = 0  # then soft, hard, low
MIN_FREE_PARTS = ((4 * GIB, 0.06), (8 * GIB, 0.04), (16 * GIB, 0.02))  # of RAM, the rest 1 %
MIN_FREE_REST = 0.01


@dataclass(frozen=True)
class EsxConfig:
    """Advanced settings as shipped, by what they are about."""

    period_s: float = 15.0  # Mem.BalancePeriod
    sample_s: float = 30.0  # Mem.SamplePeriod
    idle_tax: float = 0.75  # Mem.IdleTax: the most of its idle memory that a guest can lose
    balloon_most_share: float = 0.65  # Mem.CtlMaxPercent, of the largest size
    soft_share: float = 0.64  # of minFree
    hard_share: float = 0.32
    low_share: float = 0.16
    shares_per_mib: float = 10.0  # of a guest of normal weight
    fast_gain: float = 0.5  # assumed
    slow_gain: float = 0.125  # assumed

    def __post_init__(self) -> None:
        """Refuse settings without sense."""
        _checks.positive(self, "period_s", "sample_s", "shares_per_mib")
        _checks.shares(self, "balloon_most_share", "fast_gain", "slow_gain")
        if not 0 <= self.idle_tax < 1:
            raise ValueError(f"idle_tax: {self.idle_tax}: expected a share in [0, 1)")
        _checks.not_negative(self, "low_share")
        _checks.in_order(self, "low_share", "hard_share", "soft_share")


TUNABLE = {
    "idle_tax": Range(0.0, 0.95),
    "balloon_most_share": Range(0.2, 0.95),
    "soft_share": Range(0.5, 1.0),
    "fast_gain": Range(0.1, 1.0, log=True),
    "slow_gain": Range(0.02, 0.5, log=True),
}


def min_free_bytes(total: Ints) -> Ints:
    """(H,) RAM [bytes] -> (H,) [bytes] what ESX wants free: a falling share of it."""
    least, left = np.zeros(total.shape), np.maximum(total, 0)
    for part, share in MIN_FREE_PARTS:
        least += np.minimum(left, part) * share
        left = np.maximum(left - part, 0)
    return (least + left * MIN_FREE_REST).astype(np.int64)


def free_state(free: Ints, min_free: Ints, state: Ints, c: EsxConfig) -> Ints:
    """(H,) 0 high, 1 soft, 2 hard, 3 low, from the state before; worse at once, better late."""
    enter = np.array([c.soft_share, c.hard_share, c.low_share])
    leave = np.array([1.0, c.soft_share, c.hard_share])
    least = (free[:, None] < enter * min_free[:, None]).sum(axis=1)
    most = (free[:, None] <= leave * min_free[:, None]).sum(axis=1)
    after: Ints = np.maximum(least, np.minimum(state, most))
    return after


def price(shares: Floats, size: Floats, active: Floats, c: EsxConfig) -> Floats:
    """Shares paid a byte: the adjusted shares-per-page ratio, lowest gives first."""
    return shares / _charged(size, active, c)


def _charged(size: Floats, active: Floats, c: EsxConfig) -> Floats:
    """Bytes charged for: idle ones count 1 / (1 - tax) times."""
    return np.minimum(size, active) + np.maximum(size - active, 0.0) / (1 - c.idle_tax)


def rule(
    budget: Ints,
    shares: Floats,
    active: Floats,
    smallest: Ints,
    largest: Ints,
    takes_part: Bools,
    c: EsxConfig,
) -> Ints:
    """Allocate so that all between their bounds pay the same price.

    Args:
        budget: (H,) [bytes] to allocate.
        shares: (H, G) positive where a guest takes part.
        active: (H, G) [bytes] in use of late.
        smallest: (H, G) [bytes] reservations.
        largest: (H, G) [bytes] not below them.
        takes_part: (H, G).
        c: settings.

    Returns:
        (H, G) [bytes] targets, 0 for those that take no part.
    """
    low, high = np.where(takes_part, smallest, 0), np.where(takes_part, largest, 0)
    funds = np.where(takes_part, shares, 1.0)
    in_use = np.where(takes_part, active, 0.0)

    def at(level: Floats) -> Floats:
        """What each can pay for at 1 / price: first its active bytes, then idle ones."""
        charged = funds * level
        idle = np.maximum(charged - in_use, 0.0) * (1 - c.idle_tax)
        return np.minimum(charged, in_use) + idle

    most = (_charged(high.astype(np.float64), in_use, c) / funds).max(axis=1, initial=0.0)
    return fill_to(budget, low, high, at, most * (1 + 1e-9))


class GuestMemory(NamedTuple):
    """Averages of active memory [bytes]."""

    guest_id: Ints  # (H, G)
    slow: Floats  # (H, G) NaN never sampled
    fast: Floats  # (H, G)
    sampled_at_s: Floats  # (H, G) when the last complete sample was taken in


class EsxState(NamedTuple):
    """What the policy remembers between wakes."""

    guests: GuestMemory
    free_state: Ints  # (H,)


class Esx:
    """Targets every 15 s; a host whose memory is not known is left alone."""

    name = "esx"

    def __init__(self, config: EsxConfig | None = None) -> None:
        """Store the settings."""
        self.config = config or EsxConfig()

    def reset(self, hosts: int, guests: int) -> EsxState:
        """Nothing was sampled, no host is short."""
        return EsxState(_nobody(hosts, guests), np.full(hosts, HIGH, np.int64))

    def decide(self, telemetry: Telemetry, state: EsxState) -> tuple[Decision, EsxState, Floats]:
        """Sample, judge how short each host is, allocate; in "high" nobody shrinks."""
        c, largest = self.config, telemetry.max_bytes
        memory, active = self._sample(telemetry, state.guests)
        takes_part = running(telemetry) & (telemetry.weight != 0) & (largest > 0)
        weight = np.where(telemetry.weight < 0, USUAL_WEIGHT, telemetry.weight)
        shares = weight / USUAL_WEIGHT * c.shares_per_mib * largest / MIB
        kept = np.ceil(largest * (1 - c.balloon_most_share)).astype(np.int64)
        smallest = np.clip(np.maximum(telemetry.min_bytes, kept), 0, np.maximum(largest, 0))
        size = telemetry.current_bytes
        held = np.where(telemetry.resident_bytes < 0, size, telemetry.resident_bytes)
        held = np.where(takes_part, np.maximum(held, 0), 0)
        min_free, free = min_free_bytes(telemetry.total_bytes), telemetry.available_bytes
        budget = held.sum(axis=1) + free - min_free
        active = np.minimum(active, floats(largest))
        active = np.where(np.isnan(active), largest, active)
        target = rule(budget, shares, active, smallest, largest, takes_part, c)
        target = target // PAGE * PAGE
        short = free_state(free, min_free, state.free_state, c)
        in_force = np.where(
            telemetry.applied_target_bytes < 0, size, telemetry.applied_target_bytes
        )
        spared = np.minimum(np.maximum(target, in_force), largest)
        target = np.where((short == HIGH)[:, None], spared, target)
        known = (telemetry.total_bytes >= 0) & (free >= 0)
        target = np.where(takes_part & known[:, None], target, UNKNOWN)
        short = np.where(known, short, state.free_state)
        return Decision(target), EsxState(memory, short), telemetry.time_s + c.period_s

    def _sample(self, telemetry: Telemetry, kept: GuestMemory) -> tuple[GuestMemory, Floats]:
        """Averages with what is active now, and the highest of the three (H, G), NaN unknown."""
        c, now_s = self.config, telemetry.time_s[:, None]
        guest_id = np.where(telemetry.present, telemetry.guest_id, UNKNOWN)
        memory = follow(kept, guest_id, _nobody)
        sampled, told = column(telemetry, "active_bytes"), used_bytes(telemetry)
        reading = np.where(telemetry.present, np.where(sampled < 0, told, sampled), UNKNOWN)
        now = floats(reading)
        slow = np.where(np.isnan(memory.slow), now, memory.slow)
        fast = np.where(np.isnan(memory.fast), now, memory.fast)
        running_ = fast + c.fast_gain * (now - fast)
        highest = np.fmax(np.fmax(slow, fast), running_)
        since_s = np.where(np.isnan(memory.sampled_at_s), now_s, memory.sampled_at_s)
        complete = (now_s - since_s >= c.sample_s) & ~np.isnan(now)
        return (
            GuestMemory(
                guest_id,
                np.where(complete, slow + c.slow_gain * (now - slow), slow),
                np.where(complete, running_, fast),
                np.where(np.isnan(slow), np.nan, np.where(complete, now_s, since_s)),
            ),
            highest,
        )


def _nobody(hosts: int, guests: int) -> GuestMemory:
    never = np.full((hosts, guests), np.nan)
    return GuestMemory(
        np.full((hosts, guests), UNKNOWN, np.int64), never, never.copy(), never.copy()
    )
