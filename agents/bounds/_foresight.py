"""Try each rule on a copy of the host to the end of its life, then do as the best one does.

At the beginning and then every `search_s` the host is copied, each rule runs on the copy through
the host's own future to the end of the episode, and what the episode would come to is judged as the
evaluation judges it.  A host goes over to another rule only if that brings more than going on by
`margin`.  Copies are exact, so what going on brings is known, and no host ends below the best of
the rules followed from its beginning.  Nothing is done that no rule would do at that moment, so it
is no upper bound on what is possible.

All rules see all readings from the start, so that one that is chosen late knows what it would have
known.
"""

from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from contract import loop
from contract.arrays import UNKNOWN, Bools, Floats, Ints
from contract.decision import Decision, only
from contract.guard import GuardConfig, GuardState, guard
from contract.guard import reset as fresh_guard
from contract.loop import EARLY_S, Loop, LoopState
from contract.policy import Policy
from contract.telemetry import Telemetry
from scenarios.hosts import SimulatedHosts


class Future(Protocol):
    """An evaluation that goes on from now on copies of its hosts."""

    @property
    def end_s(self) -> float:
        """[s] When the episode ends."""

    def wait_until(self, until_s: Floats) -> None:
        """Let the hosts live until their times (H,)."""

    def scores(self) -> Floats:
        """(H,) what the whole episode came to, 1 is best; at its end."""


Foresee = Callable[[], Future]  # from the hosts as they are at that moment


def simulated(name: str, hosts: object) -> SimulatedHosts:
    """The hosts, which a bound must be able to look into.

    Raises:
        TypeError: they are not simulated.
    """
    if not isinstance(hosts, SimulatedHosts):
        raise TypeError(f"{name}: bound to {type(hosts).__name__}; expected SimulatedHosts")
    return hosts


def check(search_s: float, margin: float) -> None:
    """Refuse settings without sense.

    Raises:
        ValueError: it would search without end, or go over to what is worse.
    """
    if not search_s > 0:
        raise ValueError(f"search_s: {search_s}: expected a positive time, inf for never again")
    if not margin >= 0:
        raise ValueError(f"margin: {margin}: expected 0 or more")


def lives(rules: int, search_s: float, end_s: float) -> float:
    """How often hosts live where so many rules are tried: once, and each time to the end."""
    starts_s = np.arange(0.0, end_s, min(search_s, end_s))
    return 1.0 + rules * float((end_s - starts_s).sum()) / end_s


class ForesightState(NamedTuple):
    """Of H hosts."""

    rules: Any  # NamedTuple of one `LoopState` for each rule
    guard: GuardState  # of what was decided, as whoever runs the loop has it
    chosen: Ints  # (H,) which rule is followed, -1 none yet
    search_at_s: Floats  # (H,) when the next search is due
    asked_bytes: Ints  # (H, R, G) what each rule last asked for, -1 nothing


class Step(NamedTuple):
    """What R rules say to one reading of H hosts."""

    asked: list[Decision]  # (R,)
    states: list[LoopState[Any]]  # (R,) after it
    last_bytes: Ints  # (H, R, G) what each has last asked for, this time included


class Foresight:
    """Decides for all of its hosts at once, as they are all due together."""

    def __init__(
        self,
        name: str,
        rules: Sequence[Policy[Any]],
        hosts: SimulatedHosts,
        config: GuardConfig,
        foresee: Foresee,
        search_s: float,
        margin: float,
    ) -> None:
        """Store the parts."""
        self.name, self.rules, self.hosts = name, list(rules), hosts
        self.guard, self.foresee = config, foresee
        self.search_s, self.margin = search_s, margin
        # Fields that are known only now; what is carried must be a NamedTuple (contract.state).
        fields = [f"rule_{number}" for number in range(len(self.rules))]
        self._states = namedtuple("Rules", fields)  # type: ignore[misc]

    def reset(self, hosts: int, guests: int) -> ForesightState:
        """Every rule at its start; the first search is due at once."""
        states = (loop.start(rule, hosts, guests) for rule in self.rules)
        return ForesightState(
            self._states(*states),
            fresh_guard(hosts, guests),
            np.full(hosts, -1, np.int64),
            np.full(hosts, -np.inf),
            np.full((hosts, len(self.rules), guests), UNKNOWN, np.int64),
        )

    def decide(
        self, telemetry: Telemetry, state: ForesightState
    ) -> tuple[Decision, ForesightState, Floats]:
        """What the best rule asks for.

        Raises:
            ValueError: not all of the hosts that it is bound to are due.
        """
        now_s = telemetry.time_s
        if not np.array_equal(now_s, self.hosts.time_s):
            raise ValueError(
                f"{self.name}: asked for {len(now_s)} hosts at {now_s} s; expected all"
                f" {self.hosts.hosts} that it is bound to, at {self.hosts.time_s} s"
            )
        step = self._step(telemetry, state)
        chosen, search_at_s = state.chosen, state.search_at_s
        searching = now_s >= search_at_s - EARLY_S
        if searching.any():
            best = self._better(self._search(telemetry, state, step), chosen)
            chosen = np.where(searching, best, chosen)
            search_at_s = np.where(searching, now_s + self.search_s, search_at_s)
        decision = _followed(step, chosen, chosen != state.chosen)
        after = ForesightState(
            self._states(*step.states),
            guard(telemetry, decision, state.guard, self.guard)[1],
            chosen,
            search_at_s,
            step.last_bytes,
        )
        wakes_s = [known.wake_at_s.min() for known in step.states]
        return decision, after, np.full(len(now_s), min(*wakes_s, search_at_s.min()))

    def _step(self, telemetry: Telemetry, state: ForesightState) -> Step:
        turns = [
            loop.step(rule, self.guard, telemetry, known)
            for rule, known in zip(self.rules, state.rules, strict=True)
        ]
        asked = [turn.asked for turn, _ in turns]
        new = np.stack([each.target_bytes for each in asked], axis=1)
        last = np.where(new == UNKNOWN, state.asked_bytes, new)
        last = np.where(telemetry.present[:, None], last, UNKNOWN)
        return Step(asked, [known for _, known in turns], last)

    def _search(self, telemetry: Telemetry, state: ForesightState, step: Step) -> Floats:
        """(R, H) what following each rule from now on comes to; the hosts stay as they are."""
        hosts, rows = self.hosts, range(self.hosts.hosts)
        present = hosts.snapshot(rows)
        found = []
        for number, rule in enumerate(self.rules):
            hosts.restore(rows, present)
            future = self.foresee()
            chosen = np.full(hosts.hosts, number)
            decision = _followed(step, chosen, chosen != state.chosen)
            applied, guarded, _ = guard(telemetry, decision, state.guard, self.guard)
            hosts.apply(only(applied, hosts.supports))
            ahead = Loop(hosts, rule, self.guard, future.wait_until)
            ahead.state = step.states[number]._replace(guard=guarded)
            ahead.run(future.end_s)
            found.append(future.scores())
        hosts.restore(rows, present)
        return np.stack(found)

    def _better(self, score: Floats, chosen: Ints) -> Ints:
        """(H,) the best rule where it is better than the chosen one by more than the margin."""
        rows = np.arange(len(chosen))
        going_on = np.where(chosen < 0, -np.inf, score[chosen, rows])
        return np.where(score.max(axis=0) > going_on + self.margin, score.argmax(axis=0), chosen)


def _followed(step: Step, chosen: Ints, switched: Bools) -> Decision:
    """What the chosen rule of each host asks for.

    One that is switched to and leaves a guest alone meant what it asked for before.
    """
    rows, columns = np.arange(len(chosen)), {}
    for name in Decision._fields:
        given = [getattr(asked, name) for asked in step.asked]
        some = next((values for values in given if values is not None), None)
        if some is None:
            continue
        nothing = np.full_like(some, np.nan if some.dtype.kind == "f" else UNKNOWN)
        columns[name] = np.stack([nothing if each is None else each for each in given])[
            chosen, rows
        ]
    columns["target_bytes"] = np.where(
        switched[:, None], step.last_bytes[rows, chosen], columns["target_bytes"]
    )
    return Decision(**columns)
