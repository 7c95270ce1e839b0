"""The one loop: who is asked when, and that a batch does what its hosts would do alone."""

from typing import NamedTuple

import numpy as np
import pytest

from contract.arrays import GIB, MIB, Floats, Ints
from contract.decision import TARGETS_ONLY, Decision, hold
from contract.guard import GuardConfig
from contract.loop import Loop, Turn, restart, start, step
from contract.telemetry import Telemetry
from tests.contract.readings import mib, reading

LIMITS = GuardConfig("limits")


class Clockwork:
    """Hosts whose guests have always just reached their targets, with a clock each."""

    supports = TARGETS_ONLY

    def __init__(self, periods_s: list[float], guests: int = 2) -> None:
        hosts = len(periods_s)
        self.time_s = np.zeros(hosts)
        self.periods_s = np.array(periods_s)
        self.size = np.full((hosts, guests), 2 * GIB)
        self.waits: list[list[float]] = []
        self.applied: list[Decision] = []

    def read(self) -> Telemetry:
        hosts, guests = self.size.shape
        return reading(
            hosts,
            guests,
            time_s=self.time_s,
            swap_used_bytes=(self.periods_s * MIB).astype(np.int64),
            current_bytes=self.size,
            resident_bytes=self.size,
            applied_target_bytes=self.size,
            available_bytes=8 * GIB - self.size.sum(axis=1),
        )

    def apply(self, decision: Decision) -> None:
        self.applied.append(decision)
        target = decision.target_bytes
        self.size = np.where(target < 0, self.size, target)

    def wait_until(self, time_s: Floats) -> None:
        self.waits.append(time_s.tolist())
        self.time_s = np.maximum(self.time_s, time_s)


class WakeCount(NamedTuple):
    wakes: Ints  # (H,)


class Sampler:
    """Samples each period (which this host tells through its swap), asks every second time."""

    name = "sampler"

    def __init__(self) -> None:
        self.batches: list[list[float]] = []

    def reset(self, hosts: int, guests: int) -> WakeCount:
        return WakeCount(np.zeros(hosts, np.int64))

    def decide(self, telemetry: Telemetry, state: WakeCount) -> tuple[Decision, WakeCount, Floats]:
        self.batches.append(telemetry.time_s.tolist())
        acts = (state.wakes % 2 == 1)[:, None]
        target = np.where(acts, telemetry.current_bytes - mib(16), -1)
        period_s = telemetry.swap_used_bytes / MIB
        return Decision(target), WakeCount(state.wakes + 1), telemetry.time_s + period_s


def test_the_first_wake_is_at_the_start_and_targets_are_held_meanwhile() -> None:
    host, policy = Clockwork([5.0]), Sampler()
    Loop(host, policy, LIMITS, host.wait_until).run(21.0)
    assert policy.batches == [[0.0], [5.0], [10.0], [15.0], [20.0]]
    asked = [decision.target_bytes[0, 0] for decision in host.applied]
    assert asked == [-1, 2032 * MIB, -1, 2016 * MIB, -1]


def test_nobody_is_decided_for_at_the_end() -> None:
    host, policy = Clockwork([5.0]), Sampler()
    loop = Loop(host, policy, LIMITS, host.wait_until)
    last = loop.run(10.0)
    assert policy.batches == [[0.0], [5.0]]
    assert last.telemetry.time_s.tolist() == [10.0]
    loop.run(12.0)
    assert policy.batches == [[0.0], [5.0], [10.0]]


def test_only_hosts_that_are_due_are_asked() -> None:
    """Both wait for 4 s at most; the second is due every 6."""
    host, policy = Clockwork([4.0, 6.0]), Sampler()
    loop = Loop(host, policy, LIMITS, host.wait_until)
    turns = [loop.turn(until_s) for until_s in (0.5, 4.5, 8.5, 12.5)]
    assert [turn.due.tolist() for turn in turns] == [
        [True, True],
        [True, False],
        [True, True],
        [True, True],
    ]
    assert policy.batches == [[0.0, 0.0], [4.0], [8.0, 6.0], [12.0, 12.0]]
    assert turns[1].applied.target_bytes[1].tolist() == [-1, -1]


@pytest.mark.parametrize("level", ["limits", "full"])
def test_a_batch_does_what_its_hosts_do_alone(level: str) -> None:
    config = GuardConfig("full" if level == "full" else "limits")
    periods_s = [5.0, 2.5, 7.0]

    def run(periods: list[float]) -> list[list[tuple[float, list[int]]]]:
        host = Clockwork(periods)
        story: list[list[tuple[float, list[int]]]] = [[] for _ in periods]

        def watch(turn: Turn) -> None:
            for row in np.flatnonzero(turn.due):
                target = turn.applied.target_bytes[row].tolist()
                story[row].append((float(turn.telemetry.time_s[row]), target))

        Loop(host, Sampler(), config, host.wait_until).run(40.0, watch)
        return story

    together = run(periods_s)
    assert together == [run([period_s])[0] for period_s in periods_s]
    assert [len(story) for story in together] == [8, 16, 6]


def test_a_host_that_begins_anew_is_due_at_once_and_remembers_nothing() -> None:
    policy = Sampler()
    state = start(policy, 2, 2)
    _, state = step(policy, LIMITS, reading(2, 2), state)
    state = restart(state, policy, np.array([1]))
    turn, state = step(policy, LIMITS, reading(2, 2, time_s=1.0, swap_used_bytes=4 * MIB), state)
    assert turn.due.tolist() == [False, True]
    assert state.policy.wakes.tolist() == [1, 1]
    assert state.guard.promises.guest_id.tolist() == [[0, 1], [0, 1]]


def test_a_host_gets_only_what_it_supports() -> None:
    class High(Sampler):
        def decide(
            self, telemetry: Telemetry, state: WakeCount
        ) -> tuple[Decision, WakeCount, Floats]:
            decision, state, wake_at_s = super().decide(telemetry, state)
            high = telemetry.max_bytes
            return decision._replace(memory_high_bytes=high), state, wake_at_s

    host = Clockwork([5.0])
    turn = Loop(host, High(), LIMITS, host.wait_until).turn()
    assert turn.applied.memory_high_bytes is not None
    assert host.applied[0].memory_high_bytes is None


class Broken(Sampler):
    """Answers with whatever it was given."""

    def __init__(self, target: np.ndarray, wake_at_s: np.ndarray) -> None:
        super().__init__()
        self.answer = Decision(target), wake_at_s

    def decide(self, telemetry: Telemetry, state: WakeCount) -> tuple[Decision, WakeCount, Floats]:
        return self.answer[0], state, self.answer[1]


@pytest.mark.parametrize(
    ("target", "wake_at_s", "complaint"),
    [
        (np.zeros((1, 3), np.int64), np.array([5.0]), r"target_bytes: int64 \(1, 3\)"),
        (np.zeros((1, 2)), np.array([5.0]), "target_bytes: float64"),
        (hold(1, 2).target_bytes, np.array([0.0]), "wake_at_s"),
        (hold(1, 2).target_bytes, np.array([np.nan]), "wake_at_s"),
        (hold(1, 2).target_bytes, np.array([5.0, 5.0]), "wake_at_s"),
    ],
)
def test_a_policy_that_breaks_its_protocol_is_named(
    target: np.ndarray, wake_at_s: np.ndarray, complaint: str
) -> None:
    host = Clockwork([5.0])
    loop = Loop(host, Broken(target, wake_at_s), LIMITS, host.wait_until)
    with pytest.raises(ValueError, match=f"policy sampler: {complaint}"):
        loop.turn()


def test_a_policy_that_never_wakes_again_is_left_asleep() -> None:
    host = Clockwork([np.inf])
    host.read = lambda: reading(1, 2, time_s=host.time_s)  # type: ignore[method-assign] # no swap

    class Once(Sampler):
        def decide(
            self, telemetry: Telemetry, state: WakeCount
        ) -> tuple[Decision, WakeCount, Floats]:
            decision, state, _ = super().decide(telemetry, state)
            return decision, state, np.full(1, np.inf)

    policy = Once()
    Loop(host, policy, LIMITS, host.wait_until).run(100.0)
    assert policy.batches == [[0.0]]
