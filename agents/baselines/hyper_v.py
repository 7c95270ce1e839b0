"""Hyper-V Dynamic Memory: what each guest has committed and a buffer, shared by weight if short.

Source: Microsoft's Dynamic Memory overview and settings pages; the Linux guest driver
drivers/hv/hv_balloon.c for what guests report and how often.  Pressure is 100 * demand / assigned:
at 100 a guest has exactly what it needs.  The ideal size is demand and a buffer of 20 %, within
minimum and maximum (1000 MB committed: 1200 MB).  The buffer is not kept when the host is short;
then weight decides.

Kept as they are in the original:

- Demand is committed memory, not free memory: page cache counts for nothing, promises that nobody
  has touched count in full.  A Linux guest adds a floor for its kernel, which grows with its size.
- Guests report, and are balanced, every second.  Sizes are multiples of 2 MiB.
- Memory is added at once; what a guest no longer needs is collected late, unless somebody needs it.

Hyper-V is closed, so these are assumed: how weight decides (size is in proportion to weight times
demand, between the minimum and the ideal, so guests of equal weight are under equal pressure and
one of twice the weight under half of it); that unneeded memory is collected after 5 minutes; that
the host keeps 2 % of RAM, at least 64 MiB, free.

What differs on a host with KVM: where no agent in the guest reports Committed_AS, other numbers
stand in for it (`_committed`), without the floor.  There is no hot-add beyond the largest size, no
smart paging, and no wait of 45 s for the first report.  Free is what the host has available less
what guests may still take without asking.  A guest that tells nothing keeps its size, as one
without integration services does.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agents.baselines import _checks
from agents.baselines._committed import committed_bytes
from agents.baselines._filling import fill
from agents.baselines._hypervisor import free_bytes
from agents.baselines._ranges import Range
from contract.arrays import MIB, UNKNOWN, Bools, Floats, Ints
from contract.caution import USUAL_WEIGHT
from contract.decision import Decision
from contract.state import follow
from contract.telemetry import Telemetry, running

FLOORS_MIB = ((128, 8, 2), (512, 40, 4), (2048, 104, 8), (8192, 232, 16))  # below, base, divisor
FLOOR_REST_MIB = (488, 32)


@dataclass(frozen=True)
class HyperVConfig:
    """Settings as shipped, and those assumed."""

    period_s: float = 1.0  # guests report once a second
    buffer_percent: float = 20.0  # of demand, on top of it
    unit_bytes: int = 2 * MIB  # of the balloon
    collect_s: float = 300.0  # assumed: memory not needed for so long is taken
    reserve_share: float = 0.02  # assumed: of RAM, kept free
    reserve_bytes: int = 64 * MIB  # at least

    def __post_init__(self) -> None:
        """Refuse settings without sense."""
        _checks.positive(self, "period_s", "unit_bytes")
        _checks.shares(self, "reserve_share")
        _checks.not_negative(self, "buffer_percent", "collect_s", "reserve_bytes")


TUNABLE = {
    "buffer_percent": Range(2, 100, log=True),
    "collect_s": Range(10, 1200, log=True),
    "reserve_share": Range(0.0, 0.2),
}


def floor_bytes(ram: Ints) -> Ints:
    """Size of a Linux guest [bytes] -> what its driver adds to committed memory [bytes]."""
    size = ram // MIB
    base, divisor = FLOOR_REST_MIB
    floor = base + size // divisor
    for below, base, divisor in reversed(FLOORS_MIB):
        floor = np.where(size < below, base + size // divisor, floor)
    return floor * MIB


def pressure(demand: Ints, assigned: Ints) -> Floats:
    """100: a guest has exactly what it needs."""
    return 100.0 * demand / assigned


def ideal_bytes(demand: Ints, smallest: Ints, largest: Ints, c: HyperVConfig) -> Ints:
    """Demand and buffer within bounds [bytes]."""
    wanted = (demand * (1 + c.buffer_percent / 100)).astype(np.int64)
    return np.minimum(np.maximum(wanted, smallest), largest)


def rule(
    budget: Ints,
    demand: Ints,
    smallest: Ints,
    largest: Ints,
    weight: Ints,
    takes_part: Bools,
    c: HyperVConfig,
) -> Ints:
    """Assign ideal sizes, or if they exceed the budget, less by weight.

    Args:
        budget: (H,) [bytes] to assign.
        demand: (H, G) [bytes].
        smallest: (H, G) [bytes].
        largest: (H, G) [bytes] not below `smallest`.
        weight: (H, G) positive where a guest takes part.
        takes_part: (H, G).
        c: settings.

    Returns:
        (H, G) [bytes] sizes, 0 for those that take no part.
    """
    ideal = ideal_bytes(demand, smallest, largest, c)
    claim = weight.astype(np.float64) * np.maximum(demand, 1)
    return fill(budget, smallest, ideal, claim, takes_part)


class GuestMemory(NamedTuple):
    """Since when guests have more than they need."""

    guest_id: Ints  # (H, G)
    spare_since_s: Floats  # (H, G) NaN: they have not


class HyperVState(NamedTuple):
    """What the policy remembers between wakes."""

    guests: GuestMemory


class HyperV:
    """Dynamic Memory every second; a host whose memory is not known is left alone."""

    name = "hyper_v"

    def __init__(self, config: HyperVConfig | None = None) -> None:
        """Store the settings."""
        self.config = config or HyperVConfig()

    def reset(self, hosts: int, guests: int) -> HyperVState:
        """Nobody has more than it needs."""
        return HyperVState(_nobody(hosts, guests))

    def decide(
        self, telemetry: Telemetry, state: HyperVState
    ) -> tuple[Decision, HyperVState, Floats]:
        """Assign; while the host is not short, only what was long unneeded is taken."""
        c, unit = self.config, self.config.unit_bytes
        demand, exact = committed_bytes(telemetry)
        size, largest = telemetry.current_bytes, telemetry.max_bytes
        takes_part = running(telemetry) & (telemetry.weight != 0) & (demand >= 0)
        takes_part &= (telemetry.min_bytes >= 0) & (largest > 0) & (size >= 0)
        demand = np.where(exact, demand + floor_bytes(largest), demand)
        smallest = np.minimum(telemetry.min_bytes, largest)
        weight = np.where(telemetry.weight < 0, USUAL_WEIGHT, telemetry.weight)
        applied = telemetry.applied_target_bytes
        in_force = np.where(takes_part, np.where(applied < 0, size, applied), 0)
        total = telemetry.total_bytes
        kept = np.maximum((total * c.reserve_share).astype(np.int64), c.reserve_bytes)
        budget = np.where(takes_part, size, 0).sum(axis=1) + free_bytes(telemetry) - kept
        ideal = np.where(takes_part, ideal_bytes(demand, smallest, largest, c), 0)
        short = np.maximum(in_force, ideal).sum(axis=1) > budget

        memory = self._watch(telemetry, state.guests, in_force >= ideal + unit)
        spare_s = telemetry.time_s[:, None] - memory.spare_since_s
        calm = np.where(spare_s >= c.collect_s, ideal, np.maximum(in_force, ideal))
        assigned = rule(budget, demand, smallest, largest, weight, takes_part, c)
        target = np.where(short[:, None], assigned, calm)
        target = np.maximum(target // unit * unit, smallest)
        known = (total >= 0) & (telemetry.available_bytes >= 0)
        target = np.where(takes_part & known[:, None], target, UNKNOWN)
        return Decision(target), HyperVState(memory), telemetry.time_s + c.period_s

    def _watch(self, telemetry: Telemetry, kept: GuestMemory, spare: Bools) -> GuestMemory:
        guest_id = np.where(telemetry.present, telemetry.guest_id, UNKNOWN)
        since_s = follow(kept, guest_id, _nobody).spare_since_s
        since_s = np.where(np.isnan(since_s), telemetry.time_s[:, None], since_s)
        return GuestMemory(guest_id, np.where(spare & telemetry.present, since_s, np.nan))


def _nobody(hosts: int, guests: int) -> GuestMemory:
    return GuestMemory(
        np.full((hosts, guests), UNKNOWN, np.int64), np.full((hosts, guests), np.nan)
    )
