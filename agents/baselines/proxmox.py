"""Proxmox VE's automatic ballooning: keep the host at 80 % by 100 MiB a guest and round.

Source: proxmox/pve-manager @ 14a22df3, PVE/AutoBalloon.pm (every 10 s, bytes), and qemu-server
@ e6352be6 for what it reads.  The host has a goal: RAM * 80 % less what is in use (MemTotal -
MemAvailable).  Within 10 MiB of it nothing happens.  Above it (goal < 0) guests that are rich in
free memory give first, below it poor ones take first; if that moved nothing, all take part.

Kept as they are in the original:

- Shares split the memory above the minimum, so one guest's share depends on all others' sizes,
  and a round that lets guests grow also shrinks those above their share.
- Free memory is MemFree of the guest: its page cache counts as used.  A guest that tells nothing,
  however old its statistics, is poor.
- If the rich cannot give, all shrink towards their minimum, starved guests too.
- Steps are taken from the current size: a guest that lags is asked for the same size again.
- Without a minimum, with shares of 0, or while it migrates, a guest is left alone.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agents.baselines import _checks
from agents.baselines._ranges import Range
from contract.arrays import MIB, UNKNOWN, Floats, Ints
from contract.decision import Decision
from contract.descriptors import GuestState
from contract.state import Nothing
from contract.telemetry import Telemetry

NO_STEP = -1
USUAL_SHARES = 1000  # of a guest without a setting, and the sum of no guests' shares


@dataclass(frozen=True)
class ProxmoxConfig:
    """Settings as shipped; all but the target are constants of the original."""

    period_s: float = 10.0
    target_percent: float = 80.0  # of RAM in use: the node option ballooning-target
    step_bytes: int = 100 * MIB  # most a guest changes in a round
    dead_zone_bytes: int = 10 * MIB  # a goal so small is met
    rich_share: float = 0.25  # free above this share of the minimum: the guest is rich

    def __post_init__(self) -> None:
        """Refuse settings without sense."""
        _checks.positive(self, "period_s")
        _checks.not_negative(self, "target_percent", "step_bytes", "dead_zone_bytes", "rich_share")
        if self.target_percent > 100:
            raise ValueError(f"target_percent: {self.target_percent}: expected at most 100")


TUNABLE = {
    "target_percent": Range(50, 98),
    "step_bytes": Range(25 * MIB, 800 * MIB, log=True),
    "dead_zone_bytes": Range(1 * MIB, 100 * MIB, log=True),
    "rich_share": Range(0.05, 0.8, log=True),
}


class Guest(NamedTuple):
    """A guest as the original knows it [bytes]; None is undefined."""

    maxmem: int
    balloon: int | None = None  # size now
    balloon_min: int | None = None
    freemem: int | None = None  # free inside the guest
    shares: int | None = None
    lock: str | None = None  # "migrate"


def rule(guests: Mapping[int, Guest], goal: int, c: ProxmoxConfig) -> dict[int, int]:
    """Choose new sizes for the guests of one host; the order of the guests does not matter.

    Args:
        guests: by id.
        goal: [bytes] to hand out (> 0) or to take back (< 0).
        c: settings.

    Returns:
        New sizes [bytes] by id, of those that change.
    """
    managed = {number: guest for number, guest in guests.items() if _is_managed(guest)}
    rich = {number for number, guest in managed.items() if _is_rich(guest, c)}
    round_ = _Round(managed, c.step_bytes)
    poor = managed.keys() - rich
    if goal > c.dead_zone_bytes and (left := round_.change(poor, goal)) >= goal:
        round_.change(managed.keys(), left)
    if goal < -c.dead_zone_bytes and (left := round_.change(rich, goal)) <= goal:
        round_.change(managed.keys(), left)
    return {
        number: size for number, size in round_.sizes.items() if size != managed[number].balloon
    }


def _is_managed(guest: Guest) -> bool:
    return bool(
        guest.balloon and guest.balloon_min and guest.lock != "migrate" and guest.shares != 0
    )


def _is_rich(guest: Guest, c: ProxmoxConfig) -> bool:
    free, least, size = guest.freemem or 0, guest.balloon_min or 0, guest.balloon or 0
    return free > 0 and free > c.rich_share * least and size >= least


class _Round:
    """Sizes decided so far in one round of one host."""

    def __init__(self, guests: Mapping[int, Guest], step: int) -> None:
        self.guests = guests
        self.step = step
        self.sizes = {number: guest.balloon or 0 for number, guest in guests.items()}

    def change(self, taking_part: Collection[int], amount: int) -> int:
        """Hand out `amount` [bytes] or take it back; returns what is left of it."""
        left, active, moved = amount, sorted(taking_part), True
        while left != 0 and moved:
            shares = sum(self._shares(number) for number in active) or USUAL_SHARES
            spare = sum(self.sizes[number] - self._least(number) for number in active) + left
            steps = {n: self._step(n, self._wanted(n, spare / shares), amount) for n in active}
            active = [number for number in active if steps[number] != NO_STEP]
            moved = False
            for number in active:
                size = steps[number]
                if size not in (self.guests[number].balloon, self.sizes[number]):
                    left -= size - self.sizes[number]
                    self.sizes[number] = size
                    moved = True
        return left

    def _shares(self, number: int) -> int:
        shares = self.guests[number].shares
        return USUAL_SHARES if shares is None else shares

    def _least(self, number: int) -> int:
        return self.guests[number].balloon_min or 0

    def _wanted(self, number: int, per_share: float) -> int:
        """The guest's part of the memory above the minimum, on top of it, within its bounds."""
        least, most = self._least(number), self.guests[number].maxmem
        want = least + int(per_share * self._shares(number))
        return max(min(want, most), least)

    def _step(self, number: int, want: int, amount: int) -> int:
        """A step from the present size towards `want`; NO_STEP: nothing (more) to do."""
        size = self.guests[number].balloon or 0
        if amount > 0 and want > size:
            return min(want, size + self.step)
        if want < size:
            return max(want, size - self.step)
        return NO_STEP


class Proxmox:
    """Proxmox VE's rule every 10 s; a host whose memory is not known is left alone."""

    name = "proxmox"

    def __init__(self, config: ProxmoxConfig | None = None) -> None:
        """Store the settings."""
        self.config = config or ProxmoxConfig()

    def reset(self, hosts: int, guests: int) -> Nothing:
        """Nothing to remember."""
        return Nothing()

    def decide(self, telemetry: Telemetry, state: Nothing) -> tuple[Decision, Nothing, Floats]:
        """Apply the rule host by host."""
        target = np.full(telemetry.guest_id.shape, UNKNOWN, np.int64)
        known = (telemetry.total_bytes >= 0) & (telemetry.available_bytes >= 0)
        for host in np.flatnonzero(known).tolist():
            sizes = rule(_guests(telemetry, host), self._goal(telemetry, host), self.config)
            target[host, list(sizes)] = list(sizes.values())
        return Decision(target), state, telemetry.time_s + self.config.period_s

    def _goal(self, telemetry: Telemetry, host: int) -> int:
        total, available = int(telemetry.total_bytes[host]), int(telemetry.available_bytes[host])
        return int(total * self.config.target_percent / 100 - (total - available))


def _guests(telemetry: Telemetry, host: int) -> dict[int, Guest]:
    """The guests of a host as the original finds them, by slot; unknown is undefined."""

    def known(column: Ints, slot: int) -> int | None:
        value = int(column[host, slot])
        return None if value < 0 else value

    there = telemetry.present[host] & (telemetry.max_bytes[host] >= 0)
    migrating = telemetry.state[host] == GuestState.MIGRATING
    return {
        slot: Guest(
            maxmem=int(telemetry.max_bytes[host, slot]),
            balloon=known(telemetry.current_bytes, slot),
            balloon_min=known(telemetry.min_bytes, slot),
            freemem=known(telemetry.stats_free_bytes, slot),
            shares=known(telemetry.weight, slot),
            lock="migrate" if migrating[slot] else None,
        )
        for slot in np.flatnonzero(there).tolist()
    }
