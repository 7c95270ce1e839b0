"""Every guest the same share of RAM, whatever it does: no overcommit, and no feedback.

(RAM - reserve) / n, clipped to each guest's bounds, and what clipping leaves or takes is shared
again among the others: the level at which the clipped shares add up to the budget.
"""

from dataclasses import dataclass

import numpy as np

from contract.arrays import MIB, UNKNOWN, Bools, Floats, Ints
from contract.decision import Decision
from contract.state import Nothing
from contract.telemetry import Telemetry


@dataclass(frozen=True)
class EqualConfig:
    """What the host keeps, and how often the shares are formed anew."""

    period_s: float = 5.0
    reserve_share: float = 0.02  # of RAM
    reserve_bytes: int = 64 * MIB  # at least

    def __post_init__(self) -> None:
        """Refuse settings without sense."""
        if not self.period_s > 0:
            raise ValueError(f"period_s: {self.period_s}: must be positive")
        if not 0 <= self.reserve_share < 1:
            raise ValueError(f"reserve_share: {self.reserve_share}: expected a share in [0, 1)")
        if self.reserve_bytes < 0:
            raise ValueError(f"reserve_bytes: {self.reserve_bytes}: must not be negative")


def rule(budget: Ints, smallest: Ints, largest: Ints, takes_part: Bools) -> Ints:
    """Share a budget equally within bounds.

    Args:
        budget: (H,) [bytes].
        smallest: (H, G) [bytes].
        largest: (H, G) [bytes], not below `smallest`.
        takes_part: (H, G).

    Returns:
        (H, G) [bytes] shares, 0 for those that take no part.  They add up to the budget less at
        most G - 1 bytes, unless all guests are at one of their bounds.
    """
    low, high = np.where(takes_part, smallest, 0), np.where(takes_part, largest, 0)
    levels = np.sort(np.concatenate([low, high], axis=1), axis=1)  # (H, 2 G) bends of the sum
    at_level = np.clip(levels[:, :, None], low[:, None, :], high[:, None, :]).sum(axis=2)
    last = np.maximum((at_level <= budget[:, None]).sum(axis=1) - 1, 0)[:, None]
    level = np.take_along_axis(levels, last, axis=1)
    spare = budget[:, None] - np.take_along_axis(at_level, last, axis=1)
    rising = ((low <= level) & (level < high)).sum(axis=1, keepdims=True)
    level = level + np.maximum(spare, 0) // np.maximum(rising, 1)
    shares: Ints = np.minimum(np.maximum(level, low), high)
    return shares


class Equal:
    """Shares RAM equally; guests that cannot or must not be resized keep what they have."""

    name = "equal"

    def __init__(self, config: EqualConfig | None = None) -> None:
        """Store the settings."""
        self.config = config or EqualConfig()

    def reset(self, hosts: int, guests: int) -> Nothing:
        """Nothing to remember."""
        return Nothing()

    def decide(self, telemetry: Telemetry, state: Nothing) -> tuple[Decision, Nothing, Floats]:
        """Equal shares on hosts whose RAM is known."""
        smallest, largest = telemetry.min_bytes, telemetry.max_bytes
        takes_part = telemetry.present & (telemetry.weight != 0)
        takes_part &= (smallest >= 0) & (largest >= 0)
        kept = np.where(telemetry.present & ~takes_part, np.maximum(telemetry.current_bytes, 0), 0)
        total = telemetry.total_bytes
        share = (total * self.config.reserve_share).astype(np.int64)
        budget = total - np.maximum(share, self.config.reserve_bytes) - kept.sum(axis=1)
        shares = rule(budget, np.minimum(smallest, largest), largest, takes_part)
        target = np.where(takes_part & (total >= 0)[:, None], shares, UNKNOWN)
        return Decision(target), state, telemetry.time_s + self.config.period_s
