"""Every guest a share of RAM in proportion to its largest size, whatever it does.

(RAM - reserve) * largest / sum of largest sizes, clipped to each guest's bounds, and what clipping
leaves or takes is shared again among the others: no overcommit, and no feedback.  It is what a
static overcommit factor gives (each guest its size divided by the factor), and beside `equal` what
tells how much of a policy's success is nothing but a division by size.
"""

from dataclasses import dataclass

import numpy as np

from agents.baselines import _checks
from agents.baselines._filling import fill
from agents.baselines._ranges import Range
from contract.arrays import MIB, UNKNOWN, Bools, Floats, Ints
from contract.decision import Decision
from contract.state import Nothing
from contract.telemetry import Telemetry


@dataclass(frozen=True)
class ProportionalConfig:
    """What the host keeps, and how often the shares are formed anew."""

    period_s: float = 5.0
    reserve_share: float = 0.02  # of RAM
    reserve_bytes: int = 64 * MIB  # at least

    def __post_init__(self) -> None:
        """Refuse settings without sense."""
        _checks.positive(self, "period_s")
        _checks.shares(self, "reserve_share")
        _checks.not_negative(self, "reserve_bytes")


TUNABLE = {
    "reserve_share": Range(0.0, 0.2),
    "reserve_bytes": Range(16 * MIB, 1024 * MIB, log=True),
}


def rule(budget: Ints, smallest: Ints, largest: Ints, takes_part: Bools) -> Ints:
    """Share a budget by largest size within bounds.

    Args:
        budget: (H,) [bytes].
        smallest: (H, G) [bytes].
        largest: (H, G) [bytes], not below `smallest`.
        takes_part: (H, G).

    Returns:
        (H, G) [bytes] shares, 0 for those that take no part.
    """
    sized = takes_part & (largest > 0)
    return fill(budget, smallest, largest, largest.astype(np.float64), sized)


class Proportional:
    """Shares RAM by size; guests that cannot or must not be resized keep what they have."""

    name = "proportional"

    def __init__(self, config: ProportionalConfig | None = None) -> None:
        """Store the settings."""
        self.config = config or ProportionalConfig()

    def reset(self, hosts: int, guests: int) -> Nothing:
        """Nothing to remember."""
        return Nothing()

    def decide(self, telemetry: Telemetry, state: Nothing) -> tuple[Decision, Nothing, Floats]:
        """Shares by size on hosts whose RAM is known."""
        smallest, largest = telemetry.min_bytes, telemetry.max_bytes
        takes_part = telemetry.present & (telemetry.weight != 0)
        takes_part &= (smallest >= 0) & (largest > 0)
        kept = np.where(telemetry.present & ~takes_part, np.maximum(telemetry.current_bytes, 0), 0)
        total = telemetry.total_bytes
        share = (total * self.config.reserve_share).astype(np.int64)
        budget = total - np.maximum(share, self.config.reserve_bytes) - kept.sum(axis=1)
        shares = rule(budget, np.minimum(smallest, largest), largest, takes_part)
        target = np.where(takes_part & (total >= 0)[:, None], shares, UNKNOWN)
        return Decision(target), state, telemetry.time_s + self.config.period_s
