"""A future for bounds that no evaluation runs: hosts live on, judged by their guests' progress."""

from dataclasses import dataclass

import numpy as np

from agents.bounds._foresight import Foresee
from memsim.account import FIRST_LOST, NOMINAL
from scenarios.hosts import SimulatedHosts


@dataclass(frozen=True)
class Plain:
    """Progress since the hosts began."""

    hosts: SimulatedHosts
    end_s: float

    def wait_until(self, until_s: np.ndarray) -> None:
        self.hosts.advance(until_s)

    def scores(self) -> np.ndarray:
        account = self.hosts.truth().account.sum(axis=(1, 2))
        useful, lost = account[:, NOMINAL], account[:, FIRST_LOST:].sum(axis=1)
        return np.asarray(useful / np.maximum(useful + lost, 1e-9))


def progress(hosts: SimulatedHosts, end_s: float = 60.0) -> Foresee:
    """Judge by progress until `end_s`."""
    return lambda: Plain(hosts, end_s)
