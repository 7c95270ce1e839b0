"""Xen self-ballooning: each guest makes itself as large as what it has committed.

Source: drivers/xen/xen-selfballoon.c, Linux 3.1 to 5.2 (every 5 s, pages), run inside each guest.
The goal is committed memory (vm_committed_as), the kernel's reserve (totalreserve_pages) and a
setting that is 0.  Above the goal a guest gives an eighth of the difference, below it takes all of
it at once.  It never goes below a floor that grows with its size.

Kept as they are in the original:

- Nothing is read of the host: guests shrink though there is plenty, and grow though there is none.
- Committed memory counts no page cache: a guest without programs loses its cache.
- A guest of which less than 16 MiB is usable does not balloon.
- Its authors: without frontswap, or from user space, "bad things happen (e.g. OOMs)"; give guests a
  large swap.

What differs on a host with KVM: the rule runs on the host, for every guest.  Where no agent reports
Committed_AS, other numbers stand in for it (`_committed`); a reserve that nobody reports is 0.
There is no transcendent memory, so no frontswap pages are added and none are shrunk.  The kernel's
size of the guest is its largest size less the balloon, its last page the largest size.
"""

from dataclasses import dataclass

import numpy as np

from agents.baselines import _checks
from agents.baselines._committed import committed_bytes
from agents.baselines._ranges import Range
from contract.arrays import MIB, PAGE, UNKNOWN, Floats, Ints
from contract.decision import Decision
from contract.state import Nothing
from contract.telemetry import Telemetry, column, running

MIB_PAGES = MIB // PAGE
USABLE_LEAST_MIB = 16  # below, ballooning is not worth it
FLOORS_MIB = ((64, 16, 2), (512, 40, 8))  # usable below: base, and what is above it divided by
FLOOR_REST_MIB = (99, 32)


@dataclass(frozen=True)
class SelfballoonConfig:
    """The original's parameters as shipped, under /sys/devices/system/xen_memory."""

    period_s: float = 5.0  # selfballoon_interval
    down_hysteresis: int = 8  # a guest gives the difference divided by this
    up_hysteresis: int = 1  # and takes it divided by this
    reserved_mib: int = 0  # selfballoon_reserved_mb: on top of the goal
    min_usable_mib: int = 0  # selfballoon_min_usable_mb: floor above the reserve; 0: by size

    def __post_init__(self) -> None:
        """Refuse settings without sense."""
        _checks.positive(self, "period_s", "down_hysteresis", "up_hysteresis")
        _checks.not_negative(self, "reserved_mib", "min_usable_mib")


TUNABLE = {
    "down_hysteresis": Range(1, 64, log=True),
    "up_hysteresis": Range(1, 8, log=True),
    "reserved_mib": Range(0, 512),
}


def rule(size: Ints, committed: Ints, reserve: Ints, largest: Ints, c: SelfballoonConfig) -> Ints:
    """Choose sizes, all in pages of 4 KiB, any shape.

    Args:
        size: now.
        committed: by the guest's kernel to its programs.
        reserve: totalreserve_pages.
        largest: the guest's last page.
        c: settings.
    """
    goal = committed + reserve + c.reserved_mib * MIB_PAGES
    down = size - np.maximum(size - goal, 0) // c.down_hysteresis
    up = size + np.maximum(goal - size, 0) // c.up_hysteresis
    sizes: Ints = np.maximum(np.where(size > goal, down, up), floor(reserve, largest, c))
    return sizes


def floor(reserve: Ints, largest: Ints, c: SelfballoonConfig) -> Ints:
    """The least size in pages."""
    if c.min_usable_mib:
        return reserve + c.min_usable_mib * MIB_PAGES
    usable = largest - reserve
    base, divisor = FLOOR_REST_MIB
    least = base * MIB_PAGES + (usable - base * MIB_PAGES) // divisor
    for below, base, divisor in reversed(FLOORS_MIB):
        part = base * MIB_PAGES + (usable - base * MIB_PAGES) // divisor
        least = np.where(usable < below * MIB_PAGES, part, least)
    return np.where(usable < USABLE_LEAST_MIB * MIB_PAGES, largest, reserve + least)


class Selfballoon:
    """Every guest for itself, every 5 s; one that does not tell what it needs is left alone."""

    name = "selfballoon"

    def __init__(self, config: SelfballoonConfig | None = None) -> None:
        """Store the settings."""
        self.config = config or SelfballoonConfig()

    def reset(self, hosts: int, guests: int) -> Nothing:
        """Nothing to remember."""
        return Nothing()

    def decide(self, telemetry: Telemetry, state: Nothing) -> tuple[Decision, Nothing, Floats]:
        """Apply the rule guest by guest."""
        committed, _ = committed_bytes(telemetry)
        reserve = np.maximum(column(telemetry, "agent_reserve_bytes"), 0)
        size, largest = telemetry.current_bytes, telemetry.max_bytes
        pages = rule(size // PAGE, committed // PAGE, reserve // PAGE, largest // PAGE, self.config)
        acts = running(telemetry) & (telemetry.weight != 0)
        acts &= (committed >= 0) & (size >= 0) & (largest >= 0)
        target = np.where(acts, np.minimum(pages * PAGE, largest), UNKNOWN)
        return Decision(target), state, telemetry.time_s + self.config.period_s
