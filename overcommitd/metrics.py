"""What Prometheus reads: the last turn's state, and counts since the daemon began.

Every name is documented in `docs/operating.md`; a test holds the two together.
"""

import threading
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from contract import interventions
from overcommitd.config import Mode
from overcommitd.core import By

PREFIX = "overcommit_"
GUEST_GAUGES = {  # metric <- field of a guest's record (overcommitd.explain)
    "guest_size_bytes": ("current_bytes", "size now"),
    "guest_min_bytes": ("min_bytes", "guaranteed size"),
    "guest_max_bytes": ("max_bytes", "largest size"),
    "guest_used_bytes": ("used_bytes", "memory that the guest cannot easily give up"),
    "guest_available_bytes": ("stats_available_bytes", "available in the guest, by its statistics"),
    "guest_resident_bytes": ("resident_bytes", "of its emulator in host memory"),
    "guest_swapped_bytes": ("swapped_bytes", "of its emulator in host swap"),
    "guest_target_bytes": ("applied_target_bytes", "last target sent"),
    "guest_asked_bytes": ("asked_bytes", "what the policy asked in the last turn, if anything"),
    "guest_statistics_age_seconds": ("stats_age_s", "since the guest last answered"),
}
HOST_GAUGES = {  # metric <- column of the telemetry
    "host_memory_bytes": ("total_bytes", "RAM"),
    "host_available_bytes": ("available_bytes", "available on the host"),
    "host_swap_used_bytes": ("swap_used_bytes", "swap in use"),
    "host_pressure_some_avg10": ("psi_some_avg10", "memory pressure, some, over 10 s, 0 to 1"),
    "host_pressure_full_avg10": ("psi_full_avg10", "memory pressure, full, over 10 s, 0 to 1"),
}
COUNTERS = {
    "turns": "readings taken",
    "decisions": "turns in which a policy was asked",
    "policy_failures": "decisions that the policy failed at",
    "targets_sent": "targets sent to guests",
    "apply_failures": "turns in which something could not be sent",
    "backend_failures": "readings that failed",
    "record_failures": "turns that could not be recorded",
    "state_failures": "turns whose state could not be written",
}


class Totals:
    """Counts since the daemon began."""

    def __init__(self) -> None:
        """Begin at 0."""
        self._lock = threading.Lock()
        self.counts = dict.fromkeys(COUNTERS, 0)
        self.interventions = dict.fromkeys(interventions.NAMES, 0)
        self.decision_s = 0.0

    def add(self, name: str, by: int = 1) -> None:
        """Count."""
        with self._lock:
            self.counts[name] += by


class Page(Collector):
    """The metrics of one daemon."""

    def __init__(self, totals: Totals) -> None:
        """Nothing was read yet."""
        self._totals = totals
        self._status: dict[str, Any] | None = None

    def show(self, status: dict[str, Any] | None) -> None:
        """Show this from now on; None: the backend is out of reach."""
        self._status = status

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """All metrics."""
        status = self._status
        up = GaugeMetricFamily(PREFIX + "up", "1: the last reading succeeded")
        up.add_metric([], float(status is not None))
        yield up
        for name, meaning in COUNTERS.items():
            yield CounterMetricFamily(PREFIX + name, meaning, value=self._totals.counts[name])
        yield CounterMetricFamily(
            PREFIX + "decision_seconds", "spent deciding", value=self._totals.decision_s
        )
        fired = CounterMetricFamily(
            PREFIX + "interventions", "of the guard, guests by kind", labels=["kind"]
        )
        for kind, count in self._totals.interventions.items():
            fired.add_metric([kind], count)
        yield fired
        if status is not None:
            yield from _of(status)


def _of(status: dict[str, Any]) -> Iterator[GaugeMetricFamily]:
    for label, kinds, now in (
        ("mode", [mode.value for mode in Mode], status["mode"]),
        ("decided_by", [by.value for by in By], status["by"]),
    ):
        family = GaugeMetricFamily(PREFIX + label, "1 for the one in force", labels=[label])
        for kind in kinds:
            family.add_metric([kind], float(kind == now))
        yield family
    paused = GaugeMetricFamily(PREFIX + "paused", "1: nothing is applied until resume")
    paused.add_metric([], float(bool(status["paused"])))
    yield paused
    guests = GaugeMetricFamily(PREFIX + "guests", "on the host")
    guests.add_metric([], len(status["guests"]))
    yield guests
    for name, (column, meaning) in HOST_GAUGES.items():
        if status["host"].get(column) is not None:
            yield GaugeMetricFamily(PREFIX + name, meaning, value=status["host"][column])
    for name, (key, meaning) in GUEST_GAUGES.items():
        family = GaugeMetricFamily(PREFIX + name, meaning, labels=["guest"])
        for guest in status["guests"]:
            if guest[key] is not None:
                family.add_metric([guest["name"]], guest[key])
        yield family


class Server:
    """Serves a page until closed."""

    def __init__(self, page: Page, address: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: the address is taken.
        """
        registry = CollectorRegistry()
        registry.register(page)
        self._server, self._thread = start_http_server(port, address, registry)
        self.port = int(self._server.server_port)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
