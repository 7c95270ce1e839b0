"""The talk's rule for resizing (van Riel, KVM Forum 2011, "Dynamic Memory Resizing").

When the host is near swap-out, every guest that is not near it gives some memory, the light ones
more.  A guest that is near swap-out gives nothing and asks for some back.  When the host has been
clearly free for a while, all grow again.  The talk gives no numbers; those here are this
project's, each a threshold in the config.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agents.baselines._ranges import Range
from contract import rates
from contract.arrays import MIB, PAGE, UNKNOWN, Bools, Floats, Ints, floats
from contract.caution import USUAL_WEIGHT
from contract.decision import Decision
from contract.rates import Counters
from contract.state import follow
from contract.telemetry import Telemetry


@dataclass(frozen=True)
class SlidesConfig:
    """Thresholds; shares of a guest are of its current size, shares of a host of its RAM."""

    period_s: float = 5.0
    guest_near_share: float = 0.10  # available below it: near swap-out
    guest_near_bytes: int = 64 * MIB  # or below this
    guest_swap_in_bytes_per_s: float = 256.0 * 1024  # or its own swap-in above it
    guest_major_faults_per_s: float = 50.0  # or its major faults above it
    host_near_share: float = 0.10  # available below it: near swap-out
    host_swap_out_bytes_per_s: float = 0.0  # or its swap-out above it
    give_share: float = 0.05  # what a guest of mean weight gives
    give_most_share: float = 0.10  # what a light guest gives at most
    ask_share: float = 0.10  # what a guest near swap-out asks for
    clear_share: float = 0.15  # available above it: the host is clearly free
    clear_s: float = 30.0  # for so long
    clear_step_share: float = 0.05  # then guests grow by this

    def __post_init__(self) -> None:
        """Refuse settings without sense, all at once."""
        wrong = [
            f"{name}: {value}: must not be negative"
            for name, value in vars(self).items()
            if not value >= 0
        ]
        if not self.period_s > 0:
            wrong.append(f"period_s: {self.period_s}: must be positive")
        shares = [name for name in vars(self) if name.endswith("_share")]
        wrong += [
            f"{name}: {getattr(self, name)}: expected a share of at most 1"
            for name in shares
            if getattr(self, name) > 1
        ]
        if wrong:
            raise ValueError("; ".join(wrong))


TUNABLE = {
    "guest_near_share": Range(0.03, 0.3, log=True),
    "guest_swap_in_bytes_per_s": Range(16 * 1024, 4 * MIB, log=True),
    "guest_major_faults_per_s": Range(5, 500, log=True),
    "host_near_share": Range(0.02, 0.3, log=True),
    "host_swap_out_bytes_per_s": Range(0, 16 * MIB),
    "give_share": Range(0.01, 0.2, log=True),
    "give_most_share": Range(0.02, 0.4, log=True),
    "ask_share": Range(0.02, 0.4, log=True),
    "clear_share": Range(0.05, 0.4, log=True),
    "clear_s": Range(5, 120, log=True),
    "clear_step_share": Range(0.01, 0.3, log=True),
}


class Seen(NamedTuple):
    """What the rule looks at."""

    size: Ints  # (H, G) [bytes] current size
    in_force: Ints  # (H, G) [bytes] target in force, or the size before there is one
    smallest: Ints  # (H, G) [bytes] -1 unknown: it gives nothing
    largest: Ints  # (H, G) [bytes] -1 unknown: it does not grow
    weight: Ints  # (H, G) positive
    takes_part: Bools  # (H, G)
    near: Bools  # (H, G) near swap-out
    gives: Bools  # (H, G) known not to be near
    host_near: Bools  # (H,) near swap-out
    host_clear: Bools  # (H,) clearly free for long enough


def guests_near(
    available: Floats, size: Floats, swap_in_per_s: Floats, faults_per_s: Floats, c: SlidesConfig
) -> Bools:
    """(H, G) which guests are near swap-out, as far as is known; all NaN if not, in bytes."""
    least = np.maximum(c.guest_near_share * size, c.guest_near_bytes)
    short: Bools = available < least
    swaps: Bools = swap_in_per_s > c.guest_swap_in_bytes_per_s
    return short | swaps | (faults_per_s > c.guest_major_faults_per_s)


def hosts_near(available: Floats, ram: Floats, swap_out_per_s: Floats, c: SlidesConfig) -> Bools:
    """(H,) which hosts are near swap-out, as far as is known."""
    short: Bools = available < c.host_near_share * ram
    return short | (swap_out_per_s > c.host_swap_out_bytes_per_s)


def rule(seen: Seen, c: SlidesConfig) -> Ints:
    """Choose targets: (H, G) [bytes], -1 leave alone.

    Steps are taken from the current size, in whole 4 KiB, and never against the way on which the
    guest already is: who still grows or gives by more than a step goes on.
    """
    counted = np.where(seen.takes_part, seen.weight, 0)
    mean_weight = counted.sum(axis=1) / np.maximum(seen.takes_part.sum(axis=1), 1)
    share = c.give_share * mean_weight[:, None] / np.maximum(seen.weight, 1)
    give = seen.size - _step(seen.size, np.minimum(share, c.give_most_share))
    give = np.maximum(np.minimum(give, seen.in_force), seen.smallest)
    ask = np.maximum(seen.size + _step(seen.size, c.ask_share), seen.in_force)
    grow = np.maximum(seen.size + _step(seen.size, c.clear_step_share), seen.in_force)

    can_grow = seen.largest >= 0
    asks = seen.near & can_grow
    gives = seen.host_near[:, None] & seen.gives & ~seen.near & (seen.smallest >= 0)
    gives &= give < seen.in_force
    grows = (seen.host_clear & ~seen.host_near)[:, None] & can_grow
    target = np.where(grows, np.minimum(grow, seen.largest), UNKNOWN)
    target = np.where(gives, give, target)
    target = np.where(asks, np.minimum(ask, seen.largest), target)
    return np.where(seen.takes_part, target, UNKNOWN)


def _step(size: Ints, share: Floats | float) -> Ints:
    return (size * share).astype(np.int64) // PAGE * PAGE


class GuestMemory(NamedTuple):
    """Counters of guests' own swap-in [bytes] and major faults."""

    guest_id: Ints  # (H, G)
    counters: Counters  # (H, G, 2)


class SlidesState(NamedTuple):
    """What the policy remembers between wakes."""

    guests: GuestMemory
    host: Counters  # (H, 1) bytes swapped out
    clear_since_s: Floats  # (H,) since when the host is clearly free, NaN if it is not


class Slides:
    """The talk's rule, every 5 s; guests of weight 0 or unknown size are left alone.

    Unknown is never zero: a guest without statistics neither gives nor asks, a host whose memory
    is not known is neither short nor free.
    """

    name = "slides"

    def __init__(self, config: SlidesConfig | None = None) -> None:
        """Store the thresholds."""
        self.config = config or SlidesConfig()

    def reset(self, hosts: int, guests: int) -> SlidesState:
        """No counter was seen, no host was clearly free."""
        return SlidesState(
            _blank_memory(hosts, guests), rates.reset(1, hosts), np.full(hosts, np.nan)
        )

    def decide(
        self, telemetry: Telemetry, state: SlidesState
    ) -> tuple[Decision, SlidesState, Floats]:
        """Form rates, judge who is near swap-out, apply the rule."""
        c, now_s = self.config, telemetry.time_s
        guest_id = np.where(telemetry.present, telemetry.guest_id, UNKNOWN)
        memory = follow(state.guests, guest_id, _blank_memory)
        counts = np.stack(
            [floats(telemetry.stats_swap_in_bytes), floats(telemetry.stats_major_faults)], axis=-1
        )
        sampled_at_s = now_s[:, None] - telemetry.stats_age_s
        memory = GuestMemory(guest_id, rates.sample(memory.counters, sampled_at_s, counts))
        host = rates.sample(state.host, now_s, floats(telemetry.swap_out_bytes)[:, None])
        available, ram = floats(telemetry.available_bytes), floats(telemetry.total_bytes)
        near = hosts_near(available, ram, host.per_s[:, 0], c)
        clear = available > c.clear_share * ram
        since_s = np.where(np.isnan(state.clear_since_s), now_s, state.clear_since_s)
        since_s = np.where(clear, since_s, np.nan)
        seen = self._see(telemetry, memory.counters, near, now_s - since_s >= c.clear_s)
        target = rule(seen, c)
        return Decision(target), SlidesState(memory, host, since_s), now_s + c.period_s

    def _see(
        self, telemetry: Telemetry, counters: Counters, host_near: Bools, host_clear: Bools
    ) -> Seen:
        available, size = telemetry.stats_available_bytes, telemetry.current_bytes
        swap_in_per_s, faults_per_s = np.moveaxis(counters.per_s, -1, 0)
        near = guests_near(
            floats(available), floats(size), swap_in_per_s, faults_per_s, self.config
        )
        applied = telemetry.applied_target_bytes
        return Seen(
            size=size,
            in_force=np.where(applied < 0, size, applied),
            smallest=telemetry.min_bytes,
            largest=telemetry.max_bytes,
            weight=np.where(telemetry.weight < 0, USUAL_WEIGHT, telemetry.weight),
            takes_part=telemetry.present & (telemetry.weight != 0) & (size >= 0),
            near=near,
            gives=available >= 0,
            host_near=host_near,
            host_clear=host_clear,
        )


def _blank_memory(hosts: int, guests: int) -> GuestMemory:
    nobody = np.full((hosts, guests), UNKNOWN, np.int64)
    return GuestMemory(nobody, rates.reset(2, hosts, guests))
