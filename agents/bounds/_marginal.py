"""Fill the host by what memory is worth to each guest in the time to come.

What each guest gets done at each size is known from its life alone (`_worth`).  Every `period_s`
the next `ahead_s` of it are taken, and each guest is given the size at which its progress, less the
price of the memory that it touches, is best; the price is the lowest at which all that is touched
fits into `overcommit` times what the host has.  That is filling by marginal value.  What is left
over then goes to all alike, up to their maximum.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from agents.baselines._filling import fill
from agents.bounds._worth import Worth, look
from contract.arrays import MIB, UNKNOWN, Bools, Floats, Ints
from contract.decision import Decision
from contract.state import Nothing
from contract.telemetry import Telemetry
from scenarios.hosts import SimulatedHosts

HALVINGS = 100  # of the price, from all value for one byte: beyond the precision of a float


@dataclass(frozen=True)
class FillingConfig:
    """How far it looks and how much it gives out."""

    overcommit: float = 1.0  # times RAM less the reserve is given out
    ahead_s: float = 120.0
    period_s: float = 10.0
    reserve_share: float = 0.02  # of RAM, as `equal` leaves
    reserve_bytes: int = 64 * MIB  # at least
    kill_costs: float = 1.0  # shares of a guest's progress over the time ahead, each


class Lives:
    """The guests' lives alone, lived when they are first asked for."""

    def __init__(self, hosts: SimulatedHosts, sizes: int, every_s: float, end_s: float) -> None:
        """Store what `look` needs."""
        self._asked = (hosts, sizes, every_s, end_s)

    @cached_property
    def worth(self) -> Worth:
        """What memory is worth."""
        return look(*self._asked)


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


class Filling:
    """Decides for all hosts whose lives it knows, at once."""

    name = "filling"

    def __init__(self, config: FillingConfig, lives: Lives) -> None:
        """Store the lives; they are lived when the first decision needs them."""
        self.config, self.lives = config, lives

    def reset(self, hosts: int, guests: int) -> Nothing:
        """Nothing to remember."""
        return Nothing()

    def decide(self, telemetry: Telemetry, state: Nothing) -> tuple[Decision, Nothing, Floats]:
        """Sizes for what comes.

        Raises:
            ValueError: not all of the hosts whose lives it knows are asked for.
        """
        c, now_s, worth = self.config, telemetry.time_s, self.lives.worth
        if len(now_s) != len(worth.size_bytes):
            raise ValueError(
                f"filling: asked for {len(now_s)} hosts; expected {len(worth.size_bytes)}"
            )
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
