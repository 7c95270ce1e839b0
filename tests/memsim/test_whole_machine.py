"""Any host, any commands, any order: the laws hold after each, and a copy lives the same life.

Each step is a command or a stretch of time in which a host does thousands of operations: faults,
reclaim, I/O, resizing, kills.  Hypothesis shortens what breaks a law to the commands that do it.
"""

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from memsim.fleet import Fleet, Snapshot
from memsim.spec import HostSpec

from .builders import random_host

STRETCHES_S = (1e-4, 3e-3, 0.02, 0.1, 0.5, 2.0)


class WholeMachine(RuleBasedStateMachine):
    """One random host under commands."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet(1)
        self.spec: HostSpec | None = None
        self.kept: Snapshot | None = None
        self.now_s = 0.0

    @initialize(seed=st.integers(0, 2**32), fast=st.booleans())
    def begin(self, seed: int, fast: bool) -> None:
        self.spec = replace(random_host(random.Random(seed)), fast=fast)
        self.fleet.reset([self.spec])

    @rule(length_s=st.sampled_from(STRETCHES_S))
    def live(self, length_s: float) -> None:
        self.now_s += length_s
        self.fleet.advance(np.array([self.now_s]))

    @rule(shares=st.lists(st.floats(0.02, 1.2), min_size=5, max_size=5))
    def resize(self, shares: list[float]) -> None:
        assert self.spec is not None
        pages = [int(share * guest.pages) for share, guest in zip(shares, self.spec.guests)]  # noqa: B905  five are enough
        self.fleet.set_targets(np.array([pages]))

    @rule(
        run=st.sampled_from([-1, 0, 1, 2]),
        pages=st.sampled_from([-1, 0, 50, 20000]),
        sleep_s=st.sampled_from([-1.0, 0.0, 0.02]),
    )
    def set_ksm(self, run: int, pages: int, sleep_s: float) -> None:
        self.fleet.set_ksm(np.array([run]), np.array([pages]), np.array([sleep_s]))

    @rule()
    def keep(self) -> None:
        self.kept = self.fleet.snapshot()

    @precondition(lambda self: self.kept is not None)
    @rule(length_s=st.sampled_from(STRETCHES_S))
    def go_back(self, length_s: float) -> None:
        """Two lives from one snapshot are the same, to the last bit."""
        assert self.kept is not None
        twin = Fleet(1)
        for fleet in (self.fleet, twin):
            fleet.restore([0], self.kept)
        self.now_s = float(self.fleet.time_s[0]) + length_s
        for fleet in (self.fleet, twin):
            fleet.advance(np.array([self.now_s]))
        assert self.fleet.guest.tobytes() == twin.guest.tobytes()
        assert self.fleet.account.tobytes() == twin.account.tobytes()

    @invariant()
    def laws_hold(self) -> None:
        if self.spec is not None:
            self.fleet.check()


def _settings(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


class AtLength(WholeMachine):
    """The same, more of it."""


TestWholeMachine = WholeMachine.TestCase
TestWholeMachine.settings = _settings(60, 25)
TestAtLength = pytest.mark.slow(AtLength.TestCase)
TestAtLength.settings = _settings(300, 50)
