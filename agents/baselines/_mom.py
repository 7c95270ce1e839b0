"""oVirt's Memory Overcommitment Manager (MOM): what its upstream rules and vdsm's share.

Source: oVirt/mom @ 3de1c8e6, oVirt/vdsm @ fd4b0df2.  The manager samples host and guests, keeps
the last ten samples, and evaluates a policy now and then; KiB throughout.  A policy sees the mean
of a field over the samples kept (0 if there is none) or its newest value.  Which, is a quirk of
each expression and is kept: host memory free and guest memory used are means, the size that steps
are taken from is the newest.

Quirks of both policies: `mem_available` of a host is its total memory; free host memory includes
the page cache, free guest memory does not; shrinking is held to 5 % a turn, growth is at least
5 % and not limited upward; with a host below 5 % free, guests are pushed below what they use; all
guests are treated alike, and nobody reserves memory that several of them grow into at once.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from agents.baselines import _checks, _mom_ksm
from agents.baselines._mom_ksm import KsmControls, KsmSettings
from agents.baselines._ranges import Range
from contract.arrays import PAGE, UNKNOWN, Bools, Floats, Ints, floats
from contract.decision import Decision
from contract.state import follow
from contract.telemetry import Telemetry

SAMPLES = 10  # S, sample-history-length
KIB = 1024  # [bytes]


@dataclass(frozen=True)
class MomSettings(KsmSettings):
    """Constants of both balloon policies, and how often they are evaluated."""

    period_s: float = 5.0  # between samples
    decision_period_s: float = 10.0  # between evaluations of the policy
    pressure_threshold: float = 0.20  # host free below this share of its memory: guests shrink
    pressure_critical: float = 0.05  # at or below: more than they have to spare
    min_guest_free_percent: float = 0.20  # of its size, what a guest may keep free (a share)
    max_balloon_change_percent: float = 0.05  # largest step down, smallest step up (a share)
    min_balloon_change_percent: float = 0.0025  # smaller changes are left out (a share)

    def __post_init__(self) -> None:
        """Refuse settings without sense."""
        super().__post_init__()
        _checks.positive(self, "period_s", "decision_period_s", "pressure_threshold")
        _checks.in_order(self, "period_s", "decision_period_s")
        _checks.shares(
            self,
            "pressure_threshold",
            "pressure_critical",
            "min_guest_free_percent",
            "max_balloon_change_percent",
            "min_balloon_change_percent",
        )


RANGES = {
    "pressure_threshold": Range(0.06, 0.5, log=True),
    "pressure_critical": Range(0.01, 0.06, log=True),
    "min_guest_free_percent": Range(0.03, 0.5, log=True),
    "max_balloon_change_percent": Range(0.01, 0.4, log=True),
    "min_balloon_change_percent": Range(0.0005, 0.01, log=True),
}


class HostSamples(NamedTuple):
    """The last S samples of hosts, newest last; NaN before the first."""

    mem_available: Floats  # (H, S) [KiB] total memory
    mem_free: Floats  # (H, S) [KiB] free, buffers and cached


class GuestSamples(NamedTuple):
    """The last S samples of guests, newest last; NaN what a sample lacks, or before the first."""

    balloon_cur: Floats  # (H, G, S) [KiB] size
    balloon_max: Floats  # (H, G, S) [KiB]
    balloon_min: Floats  # (H, G, S) [KiB]
    mem_unused: Floats  # (H, G, S) [KiB] free inside the guest


def stat_avg(samples: Floats) -> Floats:
    """(..., S) -> (...): mean of the samples that are known, 0 if none is."""
    known = ~np.isnan(samples)
    mean: Floats = np.where(known, samples, 0.0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)
    return mean


def free_share(host: HostSamples) -> Floats:
    """(H,) free host memory, a mean, over the newest total; NaN unknown."""
    newest = host.mem_available[..., -1]
    return stat_avg(host.mem_free) / np.where(newest > 0, newest, np.nan)


def scaled(free: Floats, c: MomSettings) -> Floats:
    """(H,) share of its size that a guest may keep free on a host with so much free."""
    part = c.min_guest_free_percent * (free / c.pressure_threshold)
    return np.where(free <= c.pressure_critical, free - c.pressure_critical, part)


def shrink(guests: GuestSamples, keep: Floats, c: MomSettings) -> Floats:
    """(H, G) [KiB] sizes that leave guests `keep` (H, 1) of their size free; NaN no change."""
    now = guests.balloon_cur[..., -1]
    wanted = np.maximum(guests.balloon_min[..., -1], _used(guests) + keep * now)
    target = np.maximum((1.0 - c.max_balloon_change_percent) * now, wanted)
    return np.where((target <= now) & _is_big(target, now, c), target, np.nan)


def grow(guests: GuestSamples, keep: Floats | float, c: MomSettings) -> Floats:
    """(H, G) [KiB] sizes that give guests `keep` (H, 1) of their size to spare; NaN no change."""
    now, most = guests.balloon_cur[..., -1], guests.balloon_max[..., -1]
    wanted = np.maximum(guests.balloon_min[..., -1], _used(guests) + keep * now)
    target = np.minimum(np.maximum((1.0 + c.max_balloon_change_percent) * now, wanted), most)
    return np.where((now < most) & _is_big(target, now, c), target, np.nan)


def _used(guests: GuestSamples) -> Floats:
    return stat_avg(guests.balloon_cur) - stat_avg(guests.mem_unused)


def _is_big(target: Floats, now: Floats, c: MomSettings) -> Bools:
    return np.abs(target - now) > c.min_balloon_change_percent * now


class Guests(NamedTuple):
    """What is remembered of guests."""

    guest_id: Ints  # (H, G)
    samples: GuestSamples


class MomState(NamedTuple):
    """What is remembered between wakes."""

    guests: Guests
    host: HostSamples
    evaluated_at_s: Floats  # (H,) when the policy was evaluated last, NaN before the first wake


class Manager(ABC):
    """Samples at every wake, evaluates its policy when that is due, leaves all alone in between."""

    name = ""

    def __init__(self, config: MomSettings) -> None:
        """Store the settings."""
        self.settings = config

    def reset(self, hosts: int, guests: int) -> MomState:
        """No samples."""
        host = HostSamples(*(np.full((hosts, SAMPLES), np.nan) for _ in HostSamples._fields))
        return MomState(_blank_guests(hosts, guests), host, np.full(hosts, np.nan))

    def decide(self, telemetry: Telemetry, state: MomState) -> tuple[Decision, MomState, Floats]:
        """Take a sample; evaluate the policy on the hosts where it is time."""
        known = self._known(telemetry)
        guest_id = np.where(known, telemetry.guest_id, UNKNOWN)
        guests = follow(state.guests, guest_id, _blank_guests)
        sample, told = self._sample(telemetry)
        told = told & known
        guests = Guests(guest_id, _push(guests.samples, sample, told))
        host_sample = _sample_host(telemetry)
        host_told = (host_sample.mem_available > 0) & ~np.isnan(host_sample.mem_free)
        host = _push(state.host, host_sample, host_told)

        now_s, c = telemetry.time_s, self.settings
        last_s = np.where(np.isnan(state.evaluated_at_s), now_s - c.period_s, state.evaluated_at_s)
        due = now_s - last_s >= c.decision_period_s - 0.5 * c.period_s
        ready = (due & host_told)[:, None] & told & (telemetry.weight != 0)
        wanted = np.where(ready, self._targets(host, guests.samples), np.nan)
        target = np.where(np.isnan(wanted), UNKNOWN, np.nan_to_num(wanted).astype(np.int64) * KIB)
        decision = Decision(target)
        if c.ksm:
            decision = _with_ksm(decision, self._controls(telemetry, host, due & host_told))
        state = MomState(guests, host, np.where(due, now_s, last_s))
        return decision, state, now_s + c.period_s

    @abstractmethod
    def _targets(self, host: HostSamples, guests: GuestSamples) -> Floats:
        """(H, G) [KiB] what the balloon policy sets, NaN nothing."""

    @abstractmethod
    def _control(self, seen: _mom_ksm.KsmSeen) -> KsmControls:
        """What the KSM policy sets."""

    def _known(self, telemetry: Telemetry) -> Bools:
        """(H, G) guests that the manager knows of."""
        return telemetry.present

    def _sample(self, telemetry: Telemetry) -> tuple[GuestSamples, Bools]:
        """What guests tell, and (H, G) who told all that a sample must have."""
        sample = GuestSamples(
            _kib(telemetry.current_bytes),
            _kib(telemetry.max_bytes),
            np.nan_to_num(_kib(telemetry.min_bytes)),  # no guarantee is one of 0
            _kib(telemetry.stats_free_bytes),
        )
        told: Bools = ~np.isnan(np.stack(sample).sum(axis=0))  # one that lacks, and the sum lacks
        return sample, told

    def _controls(
        self, telemetry: Telemetry, host: HostSamples, ready: Bools
    ) -> list[KsmControls | None]:
        free_kib = stat_avg(host.mem_free)
        return [
            self._control(
                _mom_ksm.KsmSeen(
                    mem_available=host.mem_available[row, -1].item(),
                    mem_free=free_kib[row].item(),
                    ksm_shareable=int(telemetry.ksm_shareable_bytes[row]) // KIB,
                    ksm_pages_to_scan=int(telemetry.ksm_pages_to_scan[row]),
                    ksm_pages_shared=int(telemetry.ksm_shared_bytes[row]) // PAGE,
                    ksm_merge_across_nodes=int(telemetry.ksm_merge_across_nodes[row]),
                )
            )
            if ready[row] and _knows_ksm(telemetry, row)
            else None
            for row in range(len(ready))
        ]


def _knows_ksm(telemetry: Telemetry, row: int) -> bool:
    columns = (
        telemetry.ksm_run,
        telemetry.ksm_shareable_bytes,
        telemetry.ksm_pages_to_scan,
        telemetry.ksm_shared_bytes,
    )
    return all(column[row] >= 0 for column in columns)


def _kib(column: Ints) -> Floats:
    return floats(np.where(column < 0, column, column // KIB))


def _sample_host(telemetry: Telemetry) -> HostSamples:
    parts = np.stack([telemetry.free_bytes, telemetry.buffers_bytes, telemetry.cached_bytes])
    free = np.where((parts < 0).any(axis=0), UNKNOWN, parts.sum(axis=0))
    return HostSamples(_kib(telemetry.total_bytes), _kib(free))


def _blank_guests(hosts: int, guests: int) -> Guests:
    nobody = np.full((hosts, guests), UNKNOWN, np.int64)
    shape = (hosts, guests, SAMPLES)
    return Guests(nobody, GuestSamples(*(np.full(shape, np.nan) for _ in GuestSamples._fields)))


Samples = TypeVar("Samples", HostSamples, GuestSamples)


def _push(kept: Samples, sample: Samples, told: Bools) -> Samples:
    """Append a sample (fields without the axis S) where there is one; the oldest falls out."""
    fields = [
        np.where(told[..., None], np.concatenate([old[..., 1:], new[..., None]], axis=-1), old)
        for old, new in zip(kept, sample, strict=True)
    ]
    return type(kept)(*fields)


def _with_ksm(decision: Decision, controls: list[KsmControls | None]) -> Decision:
    nothing = KsmControls()

    def integers(name: str) -> list[int]:
        values = [getattr(control or nothing, name) for control in controls]
        return [UNKNOWN if value is None else int(value) for value in values]

    sleep_ms = np.array(integers("ksm_sleep_millisecs"), np.int64)
    return decision._replace(
        ksm_run=np.array(integers("ksm_run"), np.int64),
        ksm_pages_to_scan=np.array(integers("ksm_pages_to_scan"), np.int64),
        ksm_sleep_s=floats(sleep_ms) / 1000.0,
        ksm_merge_across_nodes=np.array(integers("ksm_merge_across_nodes"), np.int64),
    )
