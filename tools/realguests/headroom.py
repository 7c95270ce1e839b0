"""The policy of experiment A: each guest has what it uses and a fixed headroom."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from contract.arrays import MIB, PAGE, UNKNOWN, Floats
from contract.decision import Decision
from contract.telemetry import Telemetry, running, used_bytes


@dataclass(frozen=True)
class HeadroomConfig:
    """As measured with in experiment A."""

    period_s: float = 0.5
    headroom_bytes: int = 139 * MIB  # above what the guest uses
    dead_bytes: int = 16 * MIB  # a target that differs by less is not sent


class Nothing(NamedTuple):
    """The policy remembers nothing."""


class Headroom:
    """Every period: target = used + headroom, unless that is about what it is already."""

    name = "headroom"

    def __init__(self, config: HeadroomConfig | None = None) -> None:
        """Store the numbers."""
        self.config = config or HeadroomConfig()

    def reset(self, hosts: int, guests: int) -> Nothing:
        """There is nothing to remember."""
        return Nothing()

    def decide(self, telemetry: Telemetry, state: Nothing) -> tuple[Decision, Nothing, Floats]:
        """Choose targets; a guest that has not answered yet is left alone."""
        c, used = self.config, used_bytes(telemetry)
        applied, size = telemetry.applied_target_bytes, telemetry.max_bytes
        wanted = np.clip(used + c.headroom_bytes, telemetry.min_bytes, size) // PAGE * PAGE
        in_force = np.where(applied < 0, size, applied)
        moves = running(telemetry) & (used >= 0) & (np.abs(wanted - in_force) >= c.dead_bytes)
        target = np.where(moves, wanted, UNKNOWN)
        return Decision(target), state, telemetry.time_s + c.period_s
