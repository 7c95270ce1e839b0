"""Every guest at its largest size: overcommit by host swap alone, and what resizing is up against.

Also the state that every evaluation starts from.
"""

from dataclasses import dataclass

import numpy as np

from contract.arrays import UNKNOWN, Floats, Ints
from contract.decision import Decision
from contract.state import Nothing
from contract.telemetry import Telemetry


@dataclass(frozen=True)
class StaticConfig:
    """How often to look for newcomers."""

    period_s: float = 5.0

    def __post_init__(self) -> None:
        """Refuse a period that never comes."""
        if not self.period_s > 0:
            raise ValueError(f"period_s: {self.period_s}: must be positive")


def rule(largest_bytes: Ints) -> Ints:
    """(H, G) largest sizes -> targets, -1 where the largest size is not known."""
    return np.maximum(largest_bytes, UNKNOWN)


class Static:
    """Asks for the largest size, always; leaves guests of weight 0 alone."""

    name = "static"

    def __init__(self, config: StaticConfig | None = None) -> None:
        """Store the period."""
        self.config = config or StaticConfig()

    def reset(self, hosts: int, guests: int) -> Nothing:
        """Nothing to remember."""
        return Nothing()

    def decide(self, telemetry: Telemetry, state: Nothing) -> tuple[Decision, Nothing, Floats]:
        """All guests to their largest size."""
        takes_part = telemetry.present & (telemetry.weight != 0)
        target = np.where(takes_part, rule(telemetry.max_bytes), UNKNOWN)
        return Decision(target), state, telemetry.time_s + self.config.period_s
