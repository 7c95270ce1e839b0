"""A million decisions of policies that want the worst, under the level that production uses.

The plant is a host whose guests follow their targets late, in part or not at all, and use what
they are given; the laws are counted anew here, from readings and targets alone.
"""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from contract import guard
from contract.arrays import MIB, Ints
from contract.decision import Decision
from contract.guard import GuardConfig
from tests.contract.readings import reading

HOSTS, GUESTS, TURNS, EXAMPLES = 500, 6, 30, 16
DECISIONS = HOSTS * GUESTS * TURNS * EXAMPLES
FULL = GuardConfig("full")


def test_the_number_of_decisions() -> None:
    assert DECISIONS >= 1_000_000


def asks(rng: np.random.Generator, kind: int, smallest: Ints, largest: Ints) -> Ints:
    """What an adversary asks: nothing, all, beyond all, nonsense, or now this and now that."""
    wild = rng.integers(-(2**62), 2**62, smallest.shape)
    options = (
        np.full_like(smallest, 1),
        largest * 4,
        wild,
        np.where(rng.random(smallest.shape) < 0.5, smallest, largest),
        rng.integers(0, 2 * largest),
    )
    return options[kind]


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_adversary_gets_past_the_guard(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = (HOSTS, GUESTS)
    ram = rng.integers(2, 64, HOSTS) * 1024 * MIB
    largest = (ram[:, None] * rng.uniform(0.1, 0.6, size)).astype(np.int64) // 4096 * 4096
    smallest = (largest * rng.uniform(0, 1, size)).astype(np.int64)
    current = largest.copy()
    resident = (largest * rng.uniform(0, 0.5, size)).astype(np.int64)
    applied = np.full(size, -1, np.int64)
    state = guard.reset(*size)
    follows = rng.random(size) < 0.7
    for turn in range(TURNS):
        other = (ram * rng.uniform(0, 0.3, HOSTS)).astype(np.int64)
        available = np.maximum(0, ram - resident.sum(axis=1) - other)
        telemetry = reading(
            *size,
            time_s=5.0 * turn,
            total_bytes=ram,
            available_bytes=available,
            min_bytes=smallest,
            max_bytes=largest,
            current_bytes=current,
            resident_bytes=resident,
            applied_target_bytes=applied,
            stats_age_s=np.where(rng.random(size) < 0.2, 100.0, 1.0),
            stats_oom_kills=np.where(rng.random(size) < 0.05, turn, 0),
            state=np.where(rng.random(size) < 0.05, 3, 2),
        )
        wanted = asks(rng, int(rng.integers(5)), smallest, largest)
        decision, state, _ = guard.guard(telemetry, Decision(wanted), state, FULL)
        target = decision.target_bytes
        sent = target >= 0
        in_force = np.maximum(current, applied)

        assert (target[sent] <= largest[sent]).all(), "above its largest size"
        lowered = sent & (target < in_force)
        assert (target[lowered] >= smallest[lowered]).all(), "below its guaranteed size"
        grown = np.where(sent, np.maximum(target - in_force, 0), 0).sum(axis=1)
        reserve = np.maximum(64 * MIB, (ram * 0.02).astype(np.int64))
        assert (grown <= np.maximum(available - reserve, 0)).all(), "more than the host has"
        assert not (sent & (telemetry.state == 3)).any(), "a migrating guest was touched"

        applied = np.where(sent, target, applied)
        goal = np.where(applied >= 0, applied, current)
        step = (goal - current) * rng.uniform(0, 1, size) * follows
        current = current + step.astype(np.int64)
        use = (current * rng.uniform(0, 1, size)).astype(np.int64)
        resident = np.clip(np.maximum(resident, use), 0, current)
