"""XenServer's squeezed: every guest stands equally high between its minimum and its maximum.

Source: xapi-project/squeezed @ 1c23bfe2, lib/squeeze.ml (the "proportional" policy and its loop)
and src/squeeze_xen.ml (constants), in KiB.  With gamma from 0 to 1 the size of a guest is dynamic
minimum + gamma * (dynamic maximum - dynamic minimum), the same gamma for all, so that the host
keeps 9 MiB free.  Every 10 s it looks whether that is so; if not, it acts every second until all
guests are where they were asked to be.

Kept as they are in the original:

- Nothing is read inside the guests: an idle one and a starving one are squeezed alike.  Weights do
  not count.
- Two phases: as long as anyone has to shrink, nobody is asked to grow.
- A guest that was asked and has not moved for more than 5 s is stuck.  The others are squeezed
  harder for it; it may go on freeing memory, but is allowed no more than it has.  The memory of who
  is stuck lasts for one round of balancing.
- It is satisfied when less than 512 KiB too many are free; having too little free does not fail a
  round, it only leaves nothing to give.

What differs on a host with KVM, where a guest is not given its memory before it touches it: free is
MemAvailable less what the guests may still take without asking (size less resident), since under
Xen that memory would be theirs already.  The dynamic bounds are the guaranteed and the largest
size; guests that boot, migrate or are paused, that have no resizing or a weight of 0 do not
balloon.  The flag "uncooperative" (20 s away from the target) is for people and is left out, so are
reservations for guests that are being built.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agents.baselines import _checks
from agents.baselines._hypervisor import free_bytes
from agents.baselines._ranges import Range
from contract.arrays import UNKNOWN, Bools, Floats, Ints
from contract.decision import Decision
from contract.descriptors import ResizeMechanism
from contract.state import follow
from contract.telemetry import Telemetry, running

KIB = 1024  # [bytes]


@dataclass(frozen=True)
class SqueezedConfig:
    """Settings as shipped, all of them constants of the original."""

    period_s: float = 1.0  # of the loop while memory is being moved
    check_s: float = 10.0  # of the look for imbalance while none is
    keep_kib: int = 9 * 1024  # free on the host: 1 MiB for emergencies, 8 MiB for building guests
    tolerance_kib: int = 512  # so much more is free at most when a host is balanced
    inaccuracy_kib: int = 4  # a guest so close to its target has hit it
    stuck_s: float = 5.0  # without a move for longer, a guest is stuck

    def __post_init__(self) -> None:
        """Refuse settings without sense."""
        _checks.positive(self, "period_s", "check_s")
        _checks.not_negative(self, "keep_kib", "tolerance_kib", "inaccuracy_kib", "stuck_s")


TUNABLE = {
    "keep_kib": Range(1024, 1024 * 1024, log=True),
    "stuck_s": Range(1, 60, log=True),
}


class Domain(NamedTuple):
    """A guest as the original knows it [KiB]."""

    dynamic_min: int
    target: int
    dynamic_max: int
    actual: int  # size now
    inaccuracy: int
    can_balloon: bool = True


class Progress(NamedTuple):
    """What is remembered of a guest while memory is being moved."""

    actual: int  # [KiB] when last seen
    moved_at_s: float  # last move towards the target
    stuck: bool


class Round(NamedTuple):
    """What one pass of the loop does."""

    targets: dict[int, int]  # [KiB] to set, by guest; may be those in force
    progress: dict[int, Progress]
    settled: bool  # all are where they were asked to be, and nothing else would be asked
    stuck: list[int]  # guests that should balloon and do not


def rule(
    domains: Mapping[int, Domain],
    free_kib: int,
    wanted_kib: int,
    progress: Mapping[int, Progress],
    now_s: float,
    c: SqueezedConfig,
) -> Round:
    """One pass: judge who is stuck, share out what can be had, shrinking before growing.

    Args:
        domains: by id.
        free_kib: what the host has free.
        wanted_kib: what it is to have free.
        progress: as of the last pass; none of a guest: it is new and moves.
        now_s: clock.
        c: settings.
    """
    after = {
        number: _watched(domain, progress.get(number), now_s, c.stuck_s)
        for number, domain in domains.items()
    }
    given_up = {
        number: _kept(domain)
        for number, domain in domains.items()
        if domain.can_balloon
        and after[number].stuck
        and not (number in progress and progress[number].stuck)
    }
    active = {
        number: domain
        for number, domain in domains.items()
        if domain.can_balloon and not after[number].stuck
    }
    sizes = _shared(active, free_kib, wanted_kib)
    freeing = {
        number: size
        for number, size in sizes.items()
        if size < domains[number].actual and not _hits(domains[number], size)
    }
    asked = freeing or sizes
    reached = all(_hits(domain, domain.target) for domain in active.values())
    settled = reached and all(domains[number].target == size for number, size in asked.items())
    return Round(
        targets=given_up if settled else given_up | asked,
        progress=after,
        settled=settled,
        stuck=[n for n, domain in domains.items() if domain.can_balloon and after[n].stuck],
    )


def _hits(domain: Domain, target: int) -> bool:
    return abs(domain.actual - target) <= domain.inaccuracy


def _watched(domain: Domain, last: Progress | None, now_s: float, stuck_s: float) -> Progress:
    last = last or Progress(domain.actual, now_s, False)
    asked = not _hits(domain, domain.target)
    moved = domain.actual - last.actual
    towards = asked and (moved > 0 if domain.target > domain.actual else moved < 0)
    moved_at_s = now_s if towards else last.moved_at_s
    stuck = (last.stuck and not towards) or (asked and now_s - moved_at_s > stuck_s)
    return Progress(domain.actual, moved_at_s, stuck)


def _kept(domain: Domain) -> int:
    """What a guest that has just got stuck may have: to free is allowed, to grow is not."""
    least = max(domain.dynamic_min, min(domain.target, domain.actual))
    return min(domain.dynamic_max, least)


def _shared(domains: Mapping[int, Domain], free_kib: int, wanted_kib: int) -> dict[int, int]:
    freeable = sum(max(0, d.actual - d.dynamic_min - 2 * d.inaccuracy) for d in domains.values())
    ranges = {number: max(0, d.dynamic_max - d.dynamic_min) for number, d in domains.items()}
    surplus, whole = max(0, free_kib + freeable - wanted_kib), sum(ranges.values())
    gamma = min(1.0, surplus / whole) if whole else 0.0
    return {number: d.dynamic_min + int(gamma * ranges[number]) for number, d in domains.items()}


class GuestMemory(NamedTuple):
    """Progress of each guest."""

    guest_id: Ints  # (H, G)
    actual_kib: Ints  # (H, G) -1 not watched
    moved_at_s: Floats  # (H, G)
    stuck: Bools  # (H, G)


class SqueezedState(NamedTuple):
    """What the policy remembers between wakes."""

    guests: GuestMemory
    balancing: Bools  # (H,) memory is being moved


class Squeezed:
    """squeezed on its two clocks; a host whose free memory is not known is left alone."""

    name = "squeezed"

    def __init__(self, config: SqueezedConfig | None = None) -> None:
        """Store the settings."""
        self.config = config or SqueezedConfig()

    def reset(self, hosts: int, guests: int) -> SqueezedState:
        """Nothing is being moved."""
        return SqueezedState(_nobody(hosts, guests), np.zeros(hosts, np.bool_))

    def decide(
        self, telemetry: Telemetry, state: SqueezedState
    ) -> tuple[Decision, SqueezedState, Floats]:
        """One pass of the loop on every host that is due."""
        c = self.config
        shape = telemetry.guest_id.shape
        target = np.full(shape, UNKNOWN, np.int64)
        guest_id = np.where(telemetry.present, telemetry.guest_id, UNKNOWN)
        old = follow(state.guests, guest_id, _nobody)
        new = _nobody(*shape)._replace(guest_id=guest_id)
        free_kib, balancing = free_bytes(telemetry) // KIB, np.zeros(shape[0], np.bool_)
        for host in np.flatnonzero(telemetry.available_bytes >= 0).tolist():
            domains = _domains(telemetry, host, c.inaccuracy_kib)
            free, now_s = int(free_kib[host]), float(telemetry.time_s[host])
            found = rule(domains, free, c.keep_kib, _progress(old, host), now_s, c)
            moves = any(domains[slot].target != size for slot, size in found.targets.items())
            going_on = bool(state.balancing[host]) and not found.settled
            balancing[host] = going_on or moves
            if not balancing[host]:
                continue
            for slot, size in found.targets.items():
                target[host, slot] = size * KIB
            for slot, seen in found.progress.items():
                new.actual_kib[host, slot], new.moved_at_s[host, slot], new.stuck[host, slot] = seen
        wake_at_s = telemetry.time_s + np.where(balancing, c.period_s, c.check_s)
        return Decision(target), SqueezedState(new, balancing), wake_at_s


def _domains(telemetry: Telemetry, host: int, inaccuracy_kib: int) -> dict[int, Domain]:
    balloons = running(telemetry)[host] & (telemetry.weight[host] != 0)
    balloons &= telemetry.resize_mechanism[host] != ResizeMechanism.NONE
    there = telemetry.present[host] & (telemetry.current_bytes[host] >= 0)

    def kib(column: Ints, slot: int) -> int | None:
        value = int(column[host, slot])
        return None if value < 0 else value // KIB

    def domain(slot: int) -> Domain:
        actual = int(telemetry.current_bytes[host, slot]) // KIB
        applied = kib(telemetry.applied_target_bytes, slot)
        target = actual if applied is None else applied
        least, most = kib(telemetry.min_bytes, slot), kib(telemetry.max_bytes, slot)
        if least is None or most is None:  # the original then holds both at the target
            least = most = target
        return Domain(least, target, most, actual, inaccuracy_kib, bool(balloons[slot]))

    return {slot: domain(slot) for slot in np.flatnonzero(there).tolist()}


def _progress(memory: GuestMemory, host: int) -> dict[int, Progress]:
    return {
        slot: Progress(
            int(memory.actual_kib[host, slot]),
            float(memory.moved_at_s[host, slot]),
            bool(memory.stuck[host, slot]),
        )
        for slot in np.flatnonzero(memory.actual_kib[host] >= 0).tolist()
    }


def _nobody(hosts: int, guests: int) -> GuestMemory:
    unknown = np.full((hosts, guests), UNKNOWN, np.int64)
    return GuestMemory(
        unknown,
        unknown.copy(),
        np.full((hosts, guests), np.nan),
        np.zeros((hosts, guests), np.bool_),
    )
