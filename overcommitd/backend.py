"""What the daemon runs on, and the way to it by name.

A backend is an entry point of the group `overcommit.backends`: a callable `open(options, guests)`
that returns a `Backend`.  The simulated one is brought by `scenarios`, so that nothing of the
simulator is loaded where it is not used.
"""

import threading
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

from contract.decision import Decision
from contract.telemetry import Telemetry
from overcommitd.config import DaemonConfig
from overcommitd.hypervisor import Finding

GROUP = "overcommit.backends"


class BackendMissing(Exception):
    """There is no backend of that name, or what it needs is not installed."""


class Backend(Protocol):
    """One host of the contract, and what only a daemon asks for."""

    simulated: bool  # time passes on demand

    @property
    def supports(self) -> frozenset[str]:
        """Names of the columns of a Decision that can be carried out."""

    @property
    def incarnation(self) -> str:
        """What is remembered of this host holds as long as this does."""

    def read(self) -> Telemetry:
        """As `contract.host.Host.read`."""

    def apply(self, decision: Decision) -> None:
        """As `contract.host.Host.apply`; all others are served before an error is raised."""

    def now_s(self) -> float:
        """The host's clock."""

    def wait_until(self, time_s: float, interrupt: threading.Event) -> None:
        """Let time pass until the host's clock shows `time_s`, or until interrupted."""

    def names(self) -> dict[int, str]:
        """Guests' names by guest_id, as of the last reading."""

    def as_dict(self) -> dict[str, Any]:
        """What has to survive a restart of the daemon, as plain data."""

    def load(self, data: Mapping[str, Any]) -> None:
        """Take over what `as_dict` told.

        Raises:
            ValueError: it is something else.
        """

    def examine(self) -> Iterator[Finding]:
        """Test the installation."""

    def close(self) -> None:
        """End all connections; guests go on."""


def open_backend(config: DaemonConfig) -> Backend:
    """Open the configured backend.

    Raises:
        BackendMissing: it does not exist, or lacks a package.
        configs.loading.ConfigError: its options are wrong.
        contract.host.BackendUnavailable: it cannot be reached.
    """
    kind = config.backend.kind
    found: dict[str, EntryPoint] = {one.name: one for one in entry_points(group=GROUP)}
    if kind not in found:
        raise BackendMissing(f"backend.kind: {kind!r}: expected one of {', '.join(sorted(found))}")
    try:
        opener = found[kind].load()
    except ImportError as error:
        raise BackendMissing(f"backend {kind}: {error}; {ADVICE.get(kind, '')}") from error
    backend: Backend = opener(config.backend.options, config.guests)
    return backend


ADVICE = {
    "libvirt": "install libvirt-python (pip install 'overcommit[libvirt]', or python3-libvirt)",
    "simulated": "install the simulator (pip install 'overcommit[sim]')",
}
