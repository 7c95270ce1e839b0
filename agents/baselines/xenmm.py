"""xenmm: equal parts, moved towards those who use more than the mean by a tax that sets itself.

Source: wzzhang-HIT/xenmm, src/mmserver.c (every 2 s).  Of n guests that share N, guest i, which
uses A_i, is to have N / n + tau * (A_i - mean(A)); the parts add up to N.  With tau = 0 all have
the same, with tau = 1 all have the same free.  As shipped (TAX_RATE=AUTO) tau is what gives the
greediest guest its use and a reserve, at most 1; it rises at once and falls by a tenth of the gap.

Kept as they are in the original:

- N is a number that the operator gives (-N), so is the reserve (-f); no weights, no minima, and
  what a guest's largest size cuts off is not handed on.
- Use is the size asked for last, reached or not, less MemFree and Cached: page cache is free.
- Nothing is read of the host.

Assumed: N is RAM less 2 %, at least 64 MiB, as for `equal`, and less what guests have that take no
part; the reserve is 100 MiB, as in the original's own example; a change of less than 1 MiB is not
sent (the original has such a constant, and no copy of its value was found).  If all use the same,
tau does not matter; the original divides by zero there.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agents.baselines import _checks
from agents.baselines._ranges import Range
from contract.arrays import MIB, UNKNOWN, Bools, Floats, Ints
from contract.decision import Decision
from contract.telemetry import Telemetry, running

FALL = 10  # tau falls by this part of the gap


@dataclass(frozen=True)
class XenmmConfig:
    """What an operator gives on the command line, as in the original's example."""

    period_s: float = 2.0
    headroom_bytes: int = 100 * MIB  # -f: what the greediest guest is to have free
    tax: float = -1.0  # a fixed tau in [0, 1]; below 0: automatic, as shipped
    accuracy_bytes: int = 1 * MIB  # smaller changes are not sent
    reserve_share: float = 0.02  # of RAM: what -N leaves to the host
    reserve_bytes: int = 64 * MIB  # at least

    def __post_init__(self) -> None:
        """Refuse settings without sense."""
        _checks.positive(self, "period_s")
        _checks.shares(self, "reserve_share")
        _checks.not_negative(self, "headroom_bytes", "accuracy_bytes", "reserve_bytes")
        if not self.tax <= 1:
            raise ValueError(f"tax: {self.tax}: expected at most 1")


TUNABLE = {
    "headroom_bytes": Range(16 * MIB, 800 * MIB, log=True),
    "accuracy_bytes": Range(1 * MIB, 64 * MIB, log=True),
    "reserve_share": Range(0.0, 0.2),
}


def rule(
    budget: Ints, used: Ints, takes_part: Bools, tau: Floats, c: XenmmConfig
) -> tuple[Ints, Floats]:
    """Share a budget.

    Args:
        budget: (H,) [bytes] N.
        used: (H, G) [bytes] A.
        takes_part: (H, G).
        tau: (H,) of the last round, 0 at first.
        c: settings.

    Returns:
        (H, G) [bytes] sizes, which may be negative, 0 for those that take no part, and tau (H,).
    """
    count = np.maximum(takes_part.sum(axis=1), 1)
    counted = np.where(takes_part, used, 0)
    mean = counted.sum(axis=1) / count
    most = np.where(takes_part, used, np.iinfo(np.int64).min).max(axis=1, initial=0)
    tau = np.full(len(tau), c.tax) if c.tax >= 0 else _tax(budget, count, mean, most, tau, c)
    sizes = (budget / count - tau * mean)[:, None] + tau[:, None] * used
    return np.where(takes_part, np.trunc(sizes), 0).astype(np.int64), tau


def _tax(
    budget: Ints, count: Ints, mean: Floats, most: Ints, last: Floats, c: XenmmConfig
) -> Floats:
    lacks = c.headroom_bytes + most - budget / count  # beyond an equal part
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = np.where(most > mean, lacks / (most - mean), np.where(lacks > 0, 1.0, 0.0))
    wanted = np.clip(wanted, 0.0, 1.0)
    return np.where(wanted > last, wanted, last - (last - wanted) / FALL)


class XenmmState(NamedTuple):
    """What the policy remembers between wakes."""

    tau: Floats  # (H,)


class Xenmm:
    """The automatic tax every 2 s; guests that tell nothing keep what they have."""

    name = "xenmm"

    def __init__(self, config: XenmmConfig | None = None) -> None:
        """Store the settings."""
        self.config = config or XenmmConfig()

    def reset(self, hosts: int, guests: int) -> XenmmState:
        """No tax."""
        return XenmmState(np.zeros(hosts))

    def decide(
        self, telemetry: Telemetry, state: XenmmState
    ) -> tuple[Decision, XenmmState, Floats]:
        """Share what each host has."""
        c, size = self.config, telemetry.current_bytes
        free, caches = telemetry.stats_free_bytes, telemetry.stats_caches_bytes
        takes_part = running(telemetry) & (telemetry.weight != 0) & (size >= 0)
        takes_part &= (free >= 0) & (caches >= 0)
        applied = telemetry.applied_target_bytes
        in_force = np.where(applied < 0, size, applied)
        kept = np.where(telemetry.present & ~takes_part, np.maximum(size, 0), 0).sum(axis=1)
        total = telemetry.total_bytes
        reserve = np.maximum((total * c.reserve_share).astype(np.int64), c.reserve_bytes)
        budget = total - reserve - kept
        sizes, tau = rule(budget, in_force - free - caches, takes_part, state.tau, c)
        sizes = np.maximum(sizes, 0)
        sizes = np.where(telemetry.max_bytes < 0, sizes, np.minimum(sizes, telemetry.max_bytes))
        known = (total >= 0) & takes_part.any(axis=1)
        sent = takes_part & known[:, None] & (np.abs(sizes - in_force) >= c.accuracy_bytes)
        target = np.where(sent, sizes, UNKNOWN)
        tau = np.where(known, tau, state.tau)
        return Decision(target), XenmmState(tau), telemetry.time_s + c.period_s
