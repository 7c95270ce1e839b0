"""A simulated host as a backend of the daemon: everything can be tried without a hypervisor."""

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from pydantic import Field

import scenarios
from configs.loading import Config, build
from contract.decision import Decision
from contract.telemetry import Telemetry
from scenarios.hosts import SimulatedHosts


class Terms(Protocol):
    """What the daemon's configuration says of guests; simulated ones have their own terms."""

    def selected(self, name: str) -> bool:
        """Whether a guest is the daemon's business."""


class SimulatedOptions(Config):
    """Options of the backend `simulated`."""

    scenario: str = Field(default="small", description="one that ships, or a path")
    set: tuple[str, ...] = Field(default=(), description="changes to it, FIELD=VALUE each")
    seed: int = Field(default=0, description="of the host")
    episode: int = Field(default=0, description="another host of the same seed")
    pace: float = Field(
        default=1.0, ge=0, description="simulated seconds a second; 0: as fast as it can"
    )


class SimulatedBackend:
    """One simulated host; implements `overcommitd.backend.Backend`."""

    simulated = True

    def __init__(self, options: SimulatedOptions, guests: Terms) -> None:
        """Give the host its life."""
        scenario = scenarios.load(options.scenario, options.set)
        self.hosts = SimulatedHosts(scenario, 1, threads=1)
        self.hosts.reset([0], [(options.seed, options.episode)])
        self.supports, self._options, self._terms = self.hosts.supports, options, guests
        self._names: dict[int, str] = {}
        self.incarnation = f"simulated-{time.time_ns()}"  # a life that ends with the program

    def read(self) -> Telemetry:
        """Take a reading; guests that are not selected are left out of all decisions."""
        telemetry = self.hosts.read()
        self._names = {int(g): f"guest-{g}" for g in telemetry.guest_id[telemetry.present]}
        chosen = [guest for guest, name in self._names.items() if self._terms.selected(name)]
        if len(chosen) == len(self._names):
            return telemetry
        left_out = telemetry.present & ~np.isin(telemetry.guest_id, chosen)
        return telemetry._replace(weight=np.where(left_out, 0, telemetry.weight))

    def apply(self, decision: Decision) -> None:
        """Send a decision."""
        self.hosts.apply(decision)

    def now_s(self) -> float:
        """The simulated clock."""
        return float(self.hosts.time_s[0])

    def wait_until(self, time_s: float, interrupt: threading.Event) -> None:
        """Sleep as long as the pace asks, then let simulated time pass, unless interrupted."""
        left_s = time_s - self.now_s()
        if left_s <= 0:
            return
        if self._options.pace and interrupt.wait(left_s / self._options.pace):
            return
        self.hosts.advance(time_s)

    def names(self) -> dict[int, str]:
        """Guests by number."""
        return dict(self._names)

    def as_dict(self) -> dict[str, Any]:
        """Nothing outlives a simulation."""
        return {}

    def load(self, data: Mapping[str, Any]) -> None:
        """There is nothing to take over."""

    def examine(self) -> Iterator[Any]:
        """There is nothing to install."""
        return iter(())

    def close(self) -> None:
        """There is nothing to end."""


def open_backend(options: Mapping[str, Any], guests: Terms) -> SimulatedBackend:
    """The backend `simulated`.

    Raises:
        configs.loading.ConfigError: its options, or the scenario, are wrong.
    """
    return SimulatedBackend(build(SimulatedOptions, options, "backend.options"), guests)
