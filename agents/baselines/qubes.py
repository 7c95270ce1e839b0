"""Qubes' qmemman: all spare memory is handed out, in proportion to what guests prefer to have.

Source: QubesOS/qubes-core-admin @ 1ad5f9b8, qubes/qmemman (bytes; a balance after every report of a
guest).  A guest prefers 1.3 times what it uses, at least 200 MiB, at most its largest size.  If all
can have that, what is left is shared out in proportion to it; else donors, who have more, are asked
for the difference, and acceptors share what is free already.  Sizes change only if that is worth it
(`_is_worth`), one by one: a guest grows when the hypervisor has the memory.

Kept as they are in the original:

- What donors will give is taken off what acceptors get: memory that is not there yet is not shared.
- A donor of less than 10 MiB is not asked when memory is short.
- All is rounded to 0.999, so that a little stays free, beside 50 MiB.
- Used memory counts the guest's swap in use but not its page cache.  A guest reports it again when
  it has changed by 30 MB, or risen by half of that to more than 10/13 of its memory (meminfo-writer
  of qubes-linux-utils).
- A donor that does not move is left out (`no_progress`) until it has given what it was asked for,
  or prefers more than it has.

What differs on a host with KVM: free memory is what is available less what guests may still take
without asking.  Hosts are balanced every second, where the original waits for a report and polls
ten times a second while memory moves.  There is no administrative domain with a preference of
its own, and nobody asks for memory to start a guest (`balloon` is what would be asked).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agents.baselines import _checks
from agents.baselines._hypervisor import free_bytes
from agents.baselines._ranges import Range
from contract.arrays import MIB, UNKNOWN, Bools, Floats, Ints
from contract.decision import Decision
from contract.state import follow
from contract.telemetry import Telemetry, column, running

ADMINISTRATOR = "0"  # the domain that prefers more than the others
ALMOST = 0.999  # of what is handed out


@dataclass(frozen=True)
class QubesConfig:
    """Constants of the original, and how often it looks."""

    period_s: float = 1.0
    margin: float = 1.3  # preferred: times used memory
    least_bytes: int = 200 * MIB  # preferred at least
    administrator_bytes: int = 350 * MIB  # preferred on top by the administrative domain
    reserve_bytes: int = 50 * MIB  # the hypervisor keeps
    worth_bytes: int = 10 * MIB  # a donor of less is not asked when memory is short
    overdue_bytes: int = 15 * MIB  # act if the reserve lacks so much, or a guest gains so much
    movement_bytes: int = 150 * MIB  # or if so much moves in all
    floor_bytes: int = 45 * MIB  # stays free when a guest grows
    slow_bytes: int = int(12.5 * MIB)  # a donor is behind by more than that
    report_bytes: int = 30_000 * 1024  # a guest reports a change of use by more than that
    done_bytes: int = 25 * MIB  # and has come along when behind by no more than that

    def __post_init__(self) -> None:
        """Refuse settings without sense."""
        _checks.positive(self, "period_s", "margin")
        names = [name for name in self.__dataclass_fields__ if name.endswith("_bytes")]
        _checks.not_negative(self, *names)


TUNABLE = {
    "margin": Range(1.0, 2.5),
    "least_bytes": Range(50 * MIB, 800 * MIB, log=True),
    "administrator_bytes": Range(50 * MIB, 1400 * MIB, log=True),
    "reserve_bytes": Range(10 * MIB, 400 * MIB, log=True),
    "overdue_bytes": Range(4 * MIB, 120 * MIB, log=True),
    "movement_bytes": Range(20 * MIB, 600 * MIB, log=True),
    "report_bytes": Range(4 * MIB, 120 * MIB, log=True),
}


class Domain(NamedTuple):
    """A guest as the original knows it [bytes]."""

    domid: str
    mem_max: int
    mem_used: int | None  # None: it never reported
    mem_actual: int  # present size, or the last target if that is more
    no_progress: bool = False

    @property
    def takes_part(self) -> bool:
        """Whether it is balanced at all."""
        return self.mem_used is not None and not self.no_progress


Sizes = list[tuple[str, int]]


def preferred(domain: Domain, c: QubesConfig) -> int:
    """Size that a domain prefers [bytes]."""
    wanted = c.margin * (domain.mem_used or 0)
    if domain.domid == ADMINISTRATOR:
        return int(min(wanted + c.administrator_bytes, domain.mem_max))
    return int(max(min(wanted, domain.mem_max), c.least_bytes))


def rule(domains: Sequence[Domain], free: int, c: QubesConfig) -> Sizes:
    """Balance: new sizes [bytes] in the order in which they are to be carried out.

    Args:
        domains: of one host; their order matters.
        free: [bytes] that the hypervisor has free beyond its reserve; may be negative.
        c: settings.
    """
    taking_part = [domain for domain in domains if domain.takes_part]
    prefers = {domain.domid: preferred(domain, c) for domain in taking_part}
    needs = {domain.domid: prefers[domain.domid] - domain.mem_actual for domain in taking_part}
    left = free - sum(needs.values())
    if left > 0:
        return _share_out(taking_part, prefers, left)
    return _collect(taking_part, prefers, needs, free, c)


def balloon(domains: Sequence[Domain], wanted: int, c: QubesConfig) -> Sizes:
    """Sizes [bytes] that free so much memory; none if donors have not got that."""
    gives = {
        domain.domid: domain.mem_actual - preferred(domain, c)
        for domain in domains
        if domain.takes_part and preferred(domain, c) < domain.mem_actual
    }
    in_all = sum(gives.values())
    if in_all < wanted:
        return []
    return [
        (domain.domid, int(domain.mem_actual - gives[domain.domid] * (wanted / in_all) * 1.05))
        for domain in domains
        if domain.domid in gives
    ]


def _share_out(domains: Sequence[Domain], prefers: dict[str, int], left: int) -> Sizes:
    # All have what they prefer: what is left in proportion to that, what is above a largest size
    # to the others alike.
    in_all = sum(prefers.values())
    sizes: dict[str, int] = {}
    beyond: float = 0
    open_ = 0
    for domain in domains:
        wish = prefers[domain.domid]
        size = int(ALMOST * (wish + wish / in_all * left))
        if size > domain.mem_max:
            beyond += size - domain.mem_max
            size = domain.mem_max
        else:
            open_ += 1
        sizes[domain.domid] = size
    while beyond > 0 and open_ > 0:
        bonus = int(ALMOST * (beyond / open_))
        beyond = 0
        for domain in domains:
            size = sizes[domain.domid]
            if size >= domain.mem_max:
                continue
            sizes[domain.domid] = min(size + bonus, domain.mem_max)
            if size + bonus >= domain.mem_max:
                beyond += size + bonus - domain.mem_max
                open_ -= 1
    found = [(domain.domid, sizes[domain.domid], domain.mem_actual) for domain in domains]
    shrink = [(domid, size) for domid, size, actual in found if size < actual]
    return shrink + [(domid, size) for domid, size, actual in found if size >= actual]


def _collect(
    domains: Sequence[Domain],
    prefers: dict[str, int],
    needs: dict[str, int],
    free: int,
    c: QubesConfig,
) -> Sizes:
    # Memory is short: donors are asked, acceptors share what is free less what those will give.
    def gives(domain: Domain) -> bool:
        return needs[domain.domid] < 0 or domain.mem_actual >= domain.mem_max

    asked = [d for d in domains if gives(d) and -needs[d.domid] >= c.worth_bytes]
    requests = [(domain.domid, prefers[domain.domid]) for domain in asked]
    spare = free + sum(needs[domain.domid] for domain in asked)
    if spare < 0:
        return requests
    acceptors = [domain for domain in domains if not gives(domain)]
    in_all = sum(prefers[domain.domid] for domain in acceptors)
    for domain in acceptors:
        part = prefers[domain.domid] / in_all * spare
        requests.append(
            (domain.domid, min(int(ALMOST * (domain.mem_actual + part)), domain.mem_max))
        )
    return requests


class Guests(NamedTuple):
    """What is remembered of guests."""

    guest_id: Ints  # (H, G)
    reported: Ints  # (H, G) [bytes] used, -1 never
    seen: Ints  # (H, G) [bytes] size at the last look
    no_progress: Bools  # (H, G)


class QubesState(NamedTuple):
    """What is remembered between wakes."""

    guests: Guests


class Qubes:
    """qmemman on every host, every second."""

    name = "qubes"

    def __init__(self, config: QubesConfig | None = None) -> None:
        """Store the settings."""
        self.config = config or QubesConfig()

    def reset(self, hosts: int, guests: int) -> QubesState:
        """Nobody was asked for anything."""
        return QubesState(_blank(hosts, guests))

    def decide(
        self, telemetry: Telemetry, state: QubesState
    ) -> tuple[Decision, QubesState, Floats]:
        """Balance host by host, and carry out what there is memory for."""
        guest_id = np.where(telemetry.present, telemetry.guest_id, UNKNOWN)
        kept = follow(state.guests, guest_id, _blank)
        used = self._reported(telemetry, kept.reported)
        kept = kept._replace(no_progress=kept.no_progress.copy(), reported=used)
        free = free_bytes(telemetry)
        acts = running(telemetry) & (telemetry.weight != 0)
        acts &= (telemetry.current_bytes > 0) & (telemetry.max_bytes > 0)
        target = np.full(guest_id.shape, UNKNOWN, np.int64)
        for host in np.flatnonzero(telemetry.available_bytes >= 0).tolist():
            sizes = self._host(telemetry, host, kept, used[host], int(free[host]), acts[host])
            for slot, size in sizes.items():
                target[host, slot] = size
        guests = kept._replace(guest_id=guest_id, seen=telemetry.current_bytes.copy())
        return Decision(target), QubesState(guests), telemetry.time_s + self.config.period_s

    def _reported(self, telemetry: Telemetry, last: Ints) -> Ints:
        """(H, G) [bytes] used by the last report of each guest, -1 never."""
        used, total = _used(telemetry)
        least = self.config.report_bytes
        high = (used > last) & (used > total * 10 // 13)
        change = np.abs(used - last)
        reports = (last < 0) | (change > least) | (high & (change > least // 2))
        return np.where((used >= 0) & reports, used, last)

    def _host(
        self, telemetry: Telemetry, host: int, kept: Guests, used: Ints, free: int, acts: Bools
    ) -> dict[int, int]:
        c = self.config
        slots = np.flatnonzero(acts)
        slots = slots[np.argsort(telemetry.guest_id[host, slots])].tolist()  # the order matters
        domains = {}
        for slot in slots:
            size = int(telemetry.current_bytes[host, slot])
            last = int(telemetry.applied_target_bytes[host, slot])
            largest = int(telemetry.max_bytes[host, slot])
            known = int(used[slot]) if used[slot] >= 0 else None
            domain = Domain(f"guest {slot}", largest, known, max(size, last))
            came = size <= last + c.done_bytes or domain.mem_actual < preferred(domain, c)
            if came:
                kept.no_progress[host, slot] = False
            domains[slot] = domain._replace(no_progress=bool(kept.no_progress[host, slot]))
            free -= max(0, last - size)  # it was promised that
        slot_of = {domain.domid: slot for slot, domain in domains.items()}
        found = rule(list(domains.values()), free - c.reserve_bytes, c)
        plan = {slot_of[domid]: size for domid, size in found}
        targets = {slot: int(telemetry.applied_target_bytes[host, slot]) for slot in plan}
        if not _is_worth(domains, plan, targets, free, c):
            return {}
        done: dict[int, int] = {}
        for slot in plan:
            grows = plan[slot] - domains[slot].mem_actual
            if grows > 0 and free - grows < c.floor_bytes:
                self._mark_stuck(telemetry, host, kept, slots)
                size = free + domains[slot].mem_actual - c.reserve_bytes
                if size > domains[slot].mem_actual:
                    done[slot] = size
                return done
            free -= max(0, grows)
            done[slot] = plan[slot]
        return done

    def _mark_stuck(self, telemetry: Telemetry, host: int, kept: Guests, slots: list[int]) -> None:
        # Who was asked and has not moved since the last look is left out from now on.
        for slot in slots:
            size = int(telemetry.current_bytes[host, slot])
            last = int(telemetry.applied_target_bytes[host, slot])
            behind = last >= 0 and size > last + self.config.slow_bytes
            if behind and size == int(kept.seen[host, slot]):
                kept.no_progress[host, slot] = True


def _is_worth(
    domains: dict[int, Domain],
    plan: dict[int, int],
    last: dict[int, int],
    free: int,
    c: QubesConfig,
) -> bool:
    # Whether to act: too little is free, somebody lacks a lot, or much moves.
    if c.reserve_bytes - free > c.overdue_bytes:
        return True
    moved = abs(free - c.reserve_bytes)
    for slot, size in plan.items():
        before = last[slot] if last[slot] >= 0 else domains[slot].mem_actual
        moved += abs(size - before)
        if 0 < before < preferred(domains[slot], c) and size - before > c.overdue_bytes:
            return True
    return moved > c.movement_bytes


def _used(telemetry: Telemetry) -> tuple[Ints, Ints]:
    """(H, G) [bytes] used without page cache, and the guest's swap, -1 unknown; its MemTotal."""
    total, free = telemetry.stats_total_bytes, telemetry.stats_free_bytes
    caches = telemetry.stats_caches_bytes
    known = (total >= 0) & (free >= 0) & (caches >= 0)
    then = np.where(
        telemetry.stats_current_bytes < 0, telemetry.current_bytes, telemetry.stats_current_bytes
    )
    held = np.where(telemetry.deflate_on_oom == 1, np.maximum(telemetry.max_bytes - then, 0), 0)
    swap = np.maximum(column(telemetry, "agent_swap_used_bytes"), 0)
    used = np.maximum(total - held - free - caches, 0) + swap
    return np.where(known, used, UNKNOWN), total - held


def _blank(hosts: int, guests: int) -> Guests:
    nobody = np.full((hosts, guests), UNKNOWN, np.int64)
    return Guests(nobody, nobody.copy(), nobody.copy(), np.zeros((hosts, guests), bool))
