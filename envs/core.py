"""One step of a batch of hosts: decode, guard, advance, read, reward, encode.

The steps are the contract's own (`contract.loop`), with a policy that does what it is told; so a
policy that runs in an environment does what it would do in an evaluation or on a real host.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from agents.baselines import load_policy
from contract import features, loop
from contract.arrays import Bools, Floats, Floats32, Ints
from contract.caution import USUAL_WEIGHT
from contract.decision import only
from contract.decode import in_force_bytes
from contract.features import Observation
from contract.loop import LoopState, Turn
from contract.state import put_rows, take_rows
from contract.telemetry import Telemetry, select
from envs import meter, mourning, pack, privileged, reward
from envs.meter import Change, Meter
from envs.puppet import Puppet, PuppetState
from envs.reward import Terms
from envs.settings import Settings
from envs.warmup import Starts, Wanted
from scenarios import fingerprint
from scenarios.facts import ends
from scenarios.hosts import SimulatedHosts
from scenarios.randomness import Key


class Seen(NamedTuple):
    """What is observed of H hosts with G slots, in the spaces of the environment."""

    guests: Floats32  # (H, G * F)
    host: Floats32  # (H, F)
    present: np.ndarray  # (H, G) int8
    privileged: Floats32 | None  # (H, P)


class Outcome(NamedTuple):
    """What a step brought; rows of hosts that did not take part mean nothing."""

    terms: Terms
    progress: Floats  # (H,) weighted mean over guests
    kills_per_guest_hour: Floats  # (H,)
    mourned: Floats  # (H,) what guests that were killed lately cost beside the terms
    guarded: Floats  # (H,) share of guests for which the guard changed what was asked
    interventions: Ints  # (H, G) bits of contract.interventions
    finished: Bools  # (H,) all work there ever was is done


class Core:
    """H hosts, their sensors, encoder, guard and clocks."""

    def __init__(self, settings: Settings, hosts: int, threads: int | None = None) -> None:
        """Store the parts; hosts live from their first `begin` on."""
        self.settings = settings
        several = settings.scenarios
        self.scenarios = [several[row % len(several)] for row in range(hosts)]
        slots = max(one.most_guests for one in several)
        self.hosts = SimulatedHosts(self.scenarios, hosts, threads, slots)
        self.guests = slots
        decoding = settings.decoding
        rule = load_policy(decoding.rule) if decoding.rule else None
        self._puppet = Puppet(decoding, settings.period_s, rule)
        self._starts = Starts(slots, settings.period_s, threads)
        self._state: LoopState[PuppetState] = loop.start(self._puppet, hosts, slots)
        self._mourning = mourning.reset(hosts, slots)
        self._endless = np.zeros(hosts, bool)
        self._telemetry: Telemetry | None = None
        self._meter: Meter | None = None
        self._seen: Seen | None = None

    @property
    def telemetry(self) -> Telemetry:
        """The reading that the last observation was made of.

        Raises:
            RuntimeError: nothing was observed yet.
        """
        if self._telemetry is None:
            raise RuntimeError("environment: reset() comes first")
        return self._telemetry

    def begin(self, rows: Ints, keys: Sequence[Key]) -> None:
        """Put warmed-up hosts in `rows` (R,); `observe` or the next `step` looks at them."""
        wanted = [Wanted(self.scenarios[row], key) for row, key in zip(rows, keys, strict=True)]
        starts = self._starts.get(wanted)
        self.hosts.restore(rows, pack.join([start.hosts for start in starts]))
        fresh = loop.start(self._puppet, len(rows), self.guests)
        told = fresh.policy._replace(encoder=pack.joined([start.encoder for start in starts]))
        fresh = fresh._replace(policy=told, guard=pack.joined([start.guard for start in starts]))
        self._state = put_rows(self._state, rows, fresh)
        self._mourning = put_rows(self._mourning, rows, mourning.reset(len(rows), self.guests))
        self._tell_endless(rows)

    def _tell_endless(self, rows: Ints) -> None:
        drawn = self.hosts.drawn
        for row in rows:
            tasks = [task for guest in drawn[row].spec.guests for task in guest.tasks]
            self._endless[row] = not all(ends(task) for task in tasks)

    def observe(self, rows: Ints) -> Seen:
        """Look at hosts that began, without a step; the others are as they were last seen."""
        self._telemetry, now = self.hosts.read(), self._read_meter()
        nothing = meter.between(now, now)
        if len(rows) == self.hosts.hosts or self._seen is None:
            return self._see(self._telemetry, nothing)
        before = self._seen
        kept = self._state
        part, encoder = features.encode(
            select(self._telemetry, rows), take_rows(kept.policy.encoder, rows)
        )
        encoder = put_rows(kept.policy.encoder, rows, encoder)
        self._state = kept._replace(policy=kept.policy._replace(encoder=encoder))
        fresh = self._in_spaces(part, nothing, rows)
        self._seen = put_rows(before, rows, fresh)
        return self._seen

    def step(self, action: Floats32, going: Bools) -> tuple[Seen, Outcome]:
        """Let one period pass for the hosts in `going` (H,); the others must just have begun.

        Args:
            action: (H, G) in [-1, 1]; NaN leaves a guest alone.
            going: (H,).
        """
        before, was = self.telemetry, self._meter
        assert was is not None  # it is read whenever telemetry is
        told = self._state.policy._replace(action=action)
        until_s = np.where(going, np.inf, -np.inf)
        turn, self._state = loop.step(
            self._puppet,
            self.settings.guard,
            before,
            self._state._replace(policy=told),
            until_s,
        )
        self.hosts.apply(only(turn.applied, self.hosts.supports))
        self.hosts.advance(np.where(going, before.time_s + self.settings.period_s, -np.inf))
        self._telemetry, now = self.hosts.read(), self._read_meter()
        change = meter.between(_where(going, was, now), now)
        return self._see(self._telemetry, change), self._outcome(turn, change, going)

    def _read_meter(self) -> Meter:
        self._meter = meter.read(self.hosts.truth(), self.guests)
        return self._meter

    def _see(self, telemetry: Telemetry, change: Change) -> Seen:
        kept = self._state
        observation, encoder = features.encode(telemetry, kept.policy.encoder)
        self._state = kept._replace(policy=kept.policy._replace(encoder=encoder))
        self._seen = self._in_spaces(observation, change, None)
        return self._seen

    def _in_spaces(self, seen: Observation, change: Change, rows: Ints | None) -> Seen:
        truth = None
        if self.settings.privileged:
            period_s = self.settings.period_s
            truth = privileged.describe(self.hosts.truth(), change, self.guests, period_s)
            truth = truth if rows is None else truth[rows]
        guests = seen.guests.reshape(len(seen.guests), -1)
        return Seen(guests, seen.host, seen.present.astype(np.int8), truth)

    def _outcome(self, turn: Turn, change: Change, going: Bools) -> Outcome:
        settings, before = self.settings, turn.telemetry
        after = self.telemetry
        importance = np.maximum(before.weight, after.weight)  # -1: unknown, or not there yet
        importance = np.where(importance < 0, USUAL_WEIGHT, importance)
        weight = np.where(change.counted, importance, 0).astype(np.float64)
        share = reward.progress(change.nominal_s, change.lost_s)
        old, new = in_force_bytes(before), after.applied_target_bytes
        both = turn.due[:, None] & (turn.applied.target_bytes >= 0) & (old >= 0) & (new >= 0)
        terms = reward.terms(
            share,
            change.killed,
            np.where(both, new - old, 0),
            np.maximum(np.maximum(before.max_bytes, after.max_bytes), 0),
            weight,
            settings.weights,
            settings.episode_steps,
        )
        self._mourning, dead = mourning.after_step(
            self._mourning, after.guest_id, change.killed, going
        )
        counted = (weight > 0).sum(axis=1)
        killed = (change.killed & (weight > 0)).sum(axis=1)
        touched = ((turn.interventions != 0) & (weight > 0)).sum(axis=1)
        each = np.maximum(counted, 1)
        jobs, over = self.hosts.jobs()
        return Outcome(
            terms,
            1.0 - reward.mean(1.0 - share, weight),
            killed / each * (3600.0 / settings.period_s),
            mourning.more_loss(share, dead, weight, settings.weights),
            touched / each,
            turn.interventions,
            ~self._endless & (jobs > 0) & (over == jobs),
        )

    def snapshot(self) -> dict[str, np.ndarray]:
        """Copies of everything that the future depends on."""
        hosts = pack.pack(self.hosts.snapshot(range(self.hosts.hosts)))
        arrays = {f"hosts/{name}": part for name, part in hosts.items()}
        arrays |= pack.flatten(self._state, "loop") | pack.flatten(self._seen, "seen")
        arrays |= pack.flatten(self._mourning, "mourning")
        arrays["settings"] = np.array(self._fingerprint())
        return {name: part.copy() for name, part in arrays.items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Become what `snapshot` saw.

        Raises:
            ValueError: it is of other hosts or settings.
            KeyError: an array is missing.
        """
        if str(arrays["settings"]) != self._fingerprint():
            raise ValueError("restore: the copy was made with other settings than these")
        count = self.hosts.hosts
        self.hosts.restore(range(count), pack.unpack(pack.under(arrays, "hosts")))
        fresh = loop.start(self._puppet, count, self.guests)
        self._state = pack.unflatten(fresh, arrays, "loop")
        blank = np.empty(0, np.float32)
        shown = Seen(blank, blank, blank, blank if self.settings.privileged else None)
        self._seen = pack.unflatten(shown, arrays, "seen")
        self._mourning = pack.unflatten(self._mourning, arrays, "mourning")
        self._telemetry = self.hosts.read()
        self._read_meter()
        self._tell_endless(np.arange(count))

    def _fingerprint(self) -> str:
        """What a copy must agree in beside the scenarios, which the hosts compare."""
        kept = self.settings
        return fingerprint.of(
            kept.episode_steps,
            kept.period_s,
            kept.decoding,
            kept.guard,
            kept.weights,
            kept.pool,
            kept.privileged,
        )


def _where(chosen: Bools, these: Meter, those: Meter) -> Meter:
    """The totals of `these` for the hosts chosen (H,), of `those` for the others."""
    if chosen.all():
        return these
    rows = np.flatnonzero(chosen)
    return put_rows(those, rows, take_rows(these, rows))
