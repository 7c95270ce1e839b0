"""Try each rule on a copy of the host for the next minutes, then do as the best one does.

Every `search_s` the host is copied, each candidate runs on the copy for `ahead_s` of the host's own
future, and until the next search the rule is followed under whose targets the guests lost least.
All rules see all readings from the start, so that one that is chosen late knows what it would have
known.  It is greedy within its horizon and limited to what its candidates do, so it is no upper
bound on what is possible; it is what choosing among today's rules with foresight brings.  Searching
costs candidates x ahead / search times what the episode itself costs.
"""

from collections import namedtuple
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from agents.baselines import load_policy
from contract import loop
from contract.arrays import UNKNOWN, Floats, Ints
from contract.decision import Decision
from contract.guard import GuardConfig
from contract.guard import reset as fresh_guard
from contract.loop import EARLY_S, Loop, LoopState
from contract.policy import Policy
from contract.telemetry import Telemetry
from memsim.account import FIRST_LOST, NOMINAL
from scenarios.hosts import SimulatedHosts


@dataclass(frozen=True)
class PlannerConfig:
    """What is tried, how far ahead, and how often."""

    candidates: tuple[str, ...] = ("static", "equal", "slides", "proxmox", "esx")
    ahead_s: float = 120.0
    search_s: float = 60.0
    period_s: float = 5.0  # readings are taken and targets renewed
    kill_costs: float = 1.0  # shares of a guest's progress over the time ahead

    def __post_init__(self) -> None:
        """Refuse settings without sense."""
        if not self.candidates or len(set(self.candidates)) < len(self.candidates):
            raise ValueError(f"candidates: {self.candidates}: expected different rules")
        if not 0 < self.period_s <= self.search_s or self.ahead_s <= 0:
            raise ValueError(
                f"period_s {self.period_s}, search_s {self.search_s}, ahead_s {self.ahead_s}:"
                " expected 0 < period_s <= search_s and 0 < ahead_s"
            )


class Planner:
    """The bound: sees nothing before it is bound."""

    name = "planner"

    def __init__(self, config: PlannerConfig | None = None) -> None:
        """Store the settings."""
        self.config = config or PlannerConfig()

    @property
    def lives(self) -> float:
        """How often hosts live under it."""
        return 1.0 + len(self.config.candidates) * self.config.ahead_s / self.config.search_s

    def bind(self, hosts: SimulatedHosts, guard: GuardConfig) -> Policy[Any]:
        """The policy that looks into these hosts.

        Raises:
            TypeError: they are not simulated.
        """
        if not isinstance(hosts, SimulatedHosts):
            raise TypeError(f"planner: bound to {type(hosts).__name__}; expected SimulatedHosts")
        return BoundPlanner(self.config, hosts, guard)


class PlannerState(NamedTuple):
    """Of H hosts."""

    candidates: Any  # NamedTuple of one `LoopState` for each candidate
    chosen: Ints  # (H,) which one is followed
    search_at_s: Floats  # (H,) when the next search is due
    asked_bytes: Ints  # (H, C, G) what each candidate last asked for, -1 nothing


class BoundPlanner:
    """Decides for all of its hosts at once, as they are all due together."""

    name = "planner"

    def __init__(self, config: PlannerConfig, hosts: SimulatedHosts, guard: GuardConfig) -> None:
        """Store the hosts and make the candidates."""
        self.config, self.hosts, self.guard = config, hosts, guard
        self.policies = [load_policy(name) for name in config.candidates]
        # Fields that are known only now; what is carried must be a NamedTuple (contract.state).
        self._states = namedtuple("Candidates", config.candidates)  # type: ignore[misc]

    def reset(self, hosts: int, guests: int) -> PlannerState:
        """Every candidate at its start; the first search is due at once."""
        states = (loop.start(policy, hosts, guests) for policy in self.policies)
        return PlannerState(
            self._states(*states),
            np.zeros(hosts, np.int64),
            np.full(hosts, -np.inf),
            np.full((hosts, len(self.policies), guests), UNKNOWN, np.int64),
        )

    def decide(
        self, telemetry: Telemetry, state: PlannerState
    ) -> tuple[Decision, PlannerState, Floats]:
        """What the best candidate asks for.

        Raises:
            ValueError: not all of the hosts that it is bound to are due.
        """
        now_s = telemetry.time_s
        if not np.array_equal(now_s, self.hosts.time_s):
            raise ValueError(
                f"planner: asked for {len(now_s)} hosts at {now_s} s; expected all"
                f" {self.hosts.hosts} that it is bound to, at {self.hosts.time_s} s"
            )
        chosen, search_at_s = state.chosen, state.search_at_s
        searching = now_s >= search_at_s - EARLY_S
        if searching.any():
            best = self._search(state.candidates)
            chosen = np.where(searching, best, chosen)
            search_at_s = np.where(searching, now_s + self.config.search_s, search_at_s)
        asked, states = [], []
        for policy, known in zip(self.policies, state.candidates, strict=True):
            turn, next_state = loop.step(policy, self.guard, telemetry, known)
            asked.append(turn.asked.target_bytes)
            states.append(next_state)
        new = np.stack(asked, axis=1)  # (H, C, G)
        last = np.where(new == UNKNOWN, state.asked_bytes, new)
        last = np.where(telemetry.present[:, None], last, UNKNOWN)
        # One that is switched to and leaves a guest alone meant what it asked for before.
        switched = (chosen != state.chosen)[:, None]
        rows = np.arange(len(now_s))
        target = np.where(switched, last[rows, chosen], new[rows, chosen])
        after = PlannerState(self._states(*states), chosen, search_at_s, last)
        return Decision(target), after, now_s + self.config.period_s

    def _search(self, states: tuple[LoopState[Any], ...]) -> Ints:
        """(H,) the candidate that does best on a copy of each host; the hosts stay as they are."""
        hosts, rows = self.hosts, range(self.hosts.hosts)
        present = hosts.snapshot(rows)
        until_s = hosts.time_s + self.config.ahead_s
        value = []
        for policy, known in zip(self.policies, states, strict=True):
            hosts.restore(rows, present)
            before = _standing(hosts)
            ahead = Loop(hosts, policy, self.guard, hosts.advance)
            shape = hosts.read().guest_id.shape
            ahead.state = known._replace(guard=fresh_guard(*shape))
            ahead.run(until_s)
            value.append(self._value(before, _standing(hosts)))
        hosts.restore(rows, present)
        return np.asarray(np.argmax(np.stack(value), axis=0))

    def _value(self, before: "Standing", after: "Standing") -> Floats:
        """(H,) weighted mean of the guests' progress, less what kills cost."""
        useful = after.useful_s - before.useful_s
        lost = after.lost_s - before.lost_s
        total = useful + lost
        progress = np.divide(useful, total, out=np.ones_like(total), where=total > 1e-9)
        progress -= self.config.kill_costs * (after.kills > before.kills)
        weight = np.maximum(before.weight, 0.0)
        return np.asarray((weight * progress).sum(axis=1) / np.maximum(weight.sum(axis=1), 1e-9))


class Standing(NamedTuple):
    """What the guests of H hosts have had so far."""

    useful_s: Floats  # (H, G)
    lost_s: Floats  # (H, G)
    kills: Ints  # (H, G)
    weight: Floats  # (H, G)


def _standing(hosts: SimulatedHosts) -> Standing:
    truth = hosts.truth()
    account = truth.account.sum(axis=2)
    guests = account.shape[1]
    return Standing(
        account[..., NOMINAL].copy(),
        account[..., FIRST_LOST:].sum(axis=-1),
        (truth.guest["oom_kills"] + truth.guest["host_kills"]).astype(np.int64),
        hosts.read().weight[:, :guests].astype(np.float64),
    )
