"""Fill the host by what memory is worth to each guest in the time to come.

What each guest gets done at each size is known from its life alone (`_worth`).  Every `period_s`
the oracle takes the next `ahead_s` of it and gives each guest the size at which its progress, less
the price of the memory that it touches, is best; the price is the lowest at which all that is
touched fits into the host.  That is filling by marginal value.  What is left over then goes to all
alike, up to their maximum.

It is no upper bound: sizes are tried one guest at a time and held for a whole life, what moving
memory costs is not seen, and neither is the host's swap, which is a better place for memory that
lies idle than the guest's own where it is fast.  `overcommit` gives out more than there is.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.baselines._filling import fill
from agents.bounds._worth import Worth, look
from contract.arrays import MIB, UNKNOWN, Bools, Floats, Ints
from contract.decision import Decision
from contract.guard import GuardConfig
from contract.policy import Policy
from contract.state import Nothing
from contract.telemetry import Telemetry
from scenarios.hosts import SimulatedHosts

HALVINGS = 100  # of the price, from all value for one byte: beyond the precision of a float


@dataclass(frozen=True)
class OracleConfig:
    """How finely and how far it looks."""

    sizes: int = 6  # at which each guest lives
    ahead_s: float = 120.0
    period_s: float = 10.0
    reserve_share: float = 0.02  # of RAM, as `equal` leaves
    reserve_bytes: int = 64 * MIB  # at least
    overcommit: float = 1.0  # times the rest of RAM is given out
    kill_costs: float = 1.0  # shares of a guest's progress over the time ahead, each

    def __post_init__(self) -> None:
        """Refuse settings without sense."""
        if self.sizes < 2:
            raise ValueError(f"sizes: {self.sizes}: expected 2 at least")
        if not 0 < self.period_s <= self.ahead_s:
            raise ValueError(
                f"period_s {self.period_s}, ahead_s {self.ahead_s}:"
                " expected 0 < period_s <= ahead_s"
            )
        if not self.overcommit > 0:
            raise ValueError(f"overcommit: {self.overcommit}: expected a positive factor")
        if not 0 <= self.reserve_share < 1 or self.reserve_bytes < 0:
            raise ValueError(
                f"reserve_share {self.reserve_share}, reserve_bytes {self.reserve_bytes}:"
                " expected a share in [0, 1) and bytes >= 0"
            )


def choose(value: Floats, needed: Floats, budget: Floats) -> Ints:
    """Choose a size for each guest by marginal value.

    Args:
        value: (H, G, L) what a guest is worth at each of its sizes.
        needed: (H, G, L) memory that it takes there, in the unit of `budget`; never falls in L.
        budget: (H,) of all guests of a host together.

    Returns:
        (H, G) index of the size: at the lowest price at which the memory fits, each guest's best
        value less price times memory, and of equals the least memory.  If not even the least
        sizes fit, these.
    """

    def at(price: Floats) -> Ints:
        return np.asarray(np.argmax(value - price[:, None, None] * needed, axis=2))

    def fits(chosen: Ints) -> Bools:
        taken = np.take_along_axis(needed, chosen[..., None], axis=2)[..., 0].sum(axis=1)
        return np.asarray(taken <= budget)

    free = at(np.zeros(len(budget)))
    low, high = np.zeros(len(budget)), np.ptp(value, axis=(1, 2))  # for one unit: nobody takes it
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        good = fits(at(middle))
        low, high = np.where(good, low, middle), np.where(good, middle, high)
    priced = at(high)
    priced = np.where(fits(priced)[:, None], priced, 0)
    return np.where(fits(free)[:, None], free, priced)


class Oracle:
    """The bound: sees nothing before it is bound."""

    name = "oracle"

    def __init__(self, config: OracleConfig | None = None) -> None:
        """Store the settings."""
        self.config = config or OracleConfig()

    @property
    def lives(self) -> float:
        """How often hosts live under it."""
        return 1.0 + self.config.sizes

    def bind(self, hosts: SimulatedHosts, guard: GuardConfig) -> Policy[Any]:
        """The policy that looks into these hosts.

        Raises:
            TypeError: they are not simulated.
        """
        if not isinstance(hosts, SimulatedHosts):
            raise TypeError(f"oracle: bound to {type(hosts).__name__}; expected SimulatedHosts")
        return BoundOracle(self.config, hosts)


class BoundOracle:
    """Decides for all of its hosts at once."""

    name = "oracle"

    def __init__(self, config: OracleConfig, hosts: SimulatedHosts) -> None:
        """Store the hosts; lives are lived when the first decision needs them."""
        self.config, self.hosts = config, hosts
        self._worth: Worth | None = None

    def reset(self, hosts: int, guests: int) -> Nothing:
        """Nothing to remember."""
        return Nothing()

    def decide(self, telemetry: Telemetry, state: Nothing) -> tuple[Decision, Nothing, Floats]:
        """Sizes for what comes.

        Raises:
            ValueError: not all of the hosts that it is bound to are asked for.
        """
        c, now_s = self.config, telemetry.time_s
        if len(now_s) != self.hosts.hosts:
            raise ValueError(f"oracle: asked for {len(now_s)} hosts; expected {self.hosts.hosts}")
        worth = self._known()
        ahead = _ahead(worth, now_s, c.ahead_s)
        takes_part = telemetry.present & (telemetry.max_bytes >= 0) & (telemetry.min_bytes >= 0)
        total = telemetry.total_bytes.astype(np.float64)
        reserve = np.maximum(total * c.reserve_share, c.reserve_bytes)
        weight = np.where(takes_part, np.maximum(telemetry.weight, 0), 0)
        budget = c.overcommit * (total - reserve)
        value = weight[..., None] * (ahead.progress - c.kill_costs * ahead.kills)
        taken = np.where(takes_part[..., None], ahead.resident_bytes, 0)
        size = np.minimum(worth.size_bytes, telemetry.max_bytes[..., None])
        chosen = choose(value, taken, budget)[..., None]
        least = np.take_along_axis(size, chosen, axis=2)[..., 0]
        used = np.take_along_axis(taken, chosen, axis=2)[..., 0]
        largest = np.maximum(least, telemetry.max_bytes)
        spare = (budget - used.sum(axis=1)).astype(np.int64)
        target = fill(
            least.sum(axis=1) + np.maximum(spare, 0), least, largest, largest + 1.0, takes_part
        )
        known = takes_part & (total >= 0)[:, None]
        return Decision(np.where(known, target, UNKNOWN)), state, now_s + c.period_s

    def _known(self) -> Worth:
        if self._worth is None:
            end_s = max(scenario.end_s for scenario in self.hosts.scenarios)
            self._worth = look(self.hosts, self.config.sizes, self.config.period_s, end_s)
        return self._worth


@dataclass(frozen=True)
class Ahead:
    """What each guest would do in the time to come, by size: arrays (H, G, L)."""

    progress: Floats  # useful time over useful and lost
    kills: Floats
    resident_bytes: Floats  # the most, and never less than at a smaller size


def _ahead(worth: Worth, now_s: Floats, ahead_s: float) -> Ahead:
    last = len(worth.time_s) - 1
    first = np.clip(np.searchsorted(worth.time_s, now_s + 1e-6) - 1, 0, last)
    until = np.clip(np.searchsorted(worth.time_s, now_s + ahead_s - 1e-6), 0, last)
    rows = np.arange(len(now_s))
    useful = worth.useful_s[until, rows] - worth.useful_s[first, rows]
    lost = worth.lost_s[until, rows] - worth.lost_s[first, rows]
    total = useful + lost
    progress = np.divide(useful, total, out=np.ones_like(total), where=total > 1e-9)
    resident = np.stack(
        [
            worth.resident_bytes[begin : end + 1, row].max(axis=0)
            for row, (begin, end) in enumerate(zip(first, until, strict=True))
        ]
    )
    kills = worth.kills[until, rows] - worth.kills[first, rows]
    return Ahead(
        progress, kills.astype(np.float64), np.maximum.accumulate(resident, axis=2).astype(float)
    )
