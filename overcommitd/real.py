"""A real machine as a host of the contract: a hypervisor's guests on a Linux host."""

import threading
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from contract.arrays import UNKNOWN
from contract.decision import Decision
from contract.descriptors import GuestState
from contract.host import GuestGone, HostError, Refused
from contract.telemetry import COLUMNS, Telemetry, unknown
from overcommitd.config import Guests
from overcommitd.hypervisor import Finding, Hypervisor, Seen
from overcommitd.machine import Machine
from overcommitd.options import RealOptions
from overcommitd.roster import Roster

BOOT_S = 60.0  # [s] an emulator so young whose guest never answered is booting
TARGETS = frozenset({"target_bytes"})
KSM = {
    "ksm_run": "run",
    "ksm_pages_to_scan": "pages_to_scan",
    "ksm_merge_across_nodes": "merge_across_nodes",
}


class RealHost:
    """Reads and commands one real host; implements `contract.host.Host` for a batch of one."""

    simulated = False

    def __init__(
        self, hypervisor: Hypervisor, guests: Guests, machine: Machine, options: RealOptions
    ) -> None:
        """Store the parts."""
        self.hypervisor, self.roster = hypervisor, Roster()
        self._guests, self._machine, self._options = guests, machine, options
        self._seen: dict[str, Seen] = {}
        self._terms = lru_cache(4096)(guests.terms)
        supports = set(TARGETS)
        if options.ksm and machine.ksm_writable():
            supports |= {*KSM, "ksm_sleep_s"}
        if options.memory_low:
            supports |= {"memory_low_bytes", "memory_high_bytes"}
        self.supports = frozenset(supports)

    @property
    def incarnation(self) -> str:
        """What is remembered of this host holds as long as this does: until it is started anew."""
        return self._machine.boot_id()

    def now_s(self) -> float:
        """The host's clock."""
        return self._machine.now_s()

    def wait_until(self, time_s: float, interrupt: threading.Event) -> None:
        """Let time pass until the host's clock shows `time_s`, or until interrupted."""
        interrupt.wait(max(0.0, min(time_s - self.now_s(), threading.TIMEOUT_MAX)))

    def names(self) -> dict[int, str]:
        """Guests by number."""
        return self.roster.names()

    def as_dict(self) -> dict[str, Any]:
        """What has to survive a restart of the daemon."""
        return self.roster.as_dict()

    def load(self, data: Mapping[str, Any]) -> None:
        """Take over what `as_dict` told.

        Raises:
            ValueError: it is something else.
        """
        self.roster.load(data)

    def read(self) -> Telemetry:
        """Take a reading.

        Raises:
            contract.host.BackendUnavailable: nothing can be read.
        """
        now_s, wall_s = self.now_s(), time.time()
        seen = [one for one in self.hypervisor.guests() if self._guests.selected(one.name)]
        self._seen = {one.key: one for one in seen}
        self.roster.update({one.key: one.name for one in seen})
        blank = unknown(1, self.roster.slots)
        columns = {
            name: values.copy() for name, values in blank._asdict().items() if values is not None
        }
        columns["time_s"][0] = now_s
        for name, value in self._machine.host().items():
            columns[name][0] = value
        for one in seen:
            self._fill(columns, one, now_s, wall_s)
        sizes = columns["max_bytes"][0]
        columns["ksm_shareable_bytes"][0] = sizes[sizes > 0].sum()
        return Telemetry(**columns)

    def apply(self, decision: Decision) -> None:
        """Send targets to all, then say who did not get one.

        Raises:
            contract.host.GuestGone, contract.host.Refused: after all others were served.
        """
        failures: list[HostError] = []
        for slot in np.flatnonzero(decision.target_bytes[0] >= 0):
            key = self.roster.key_at(int(slot))
            if key is not None:
                self._resize(key, int(decision.target_bytes[0, slot]), failures)
        self._set_ksm(decision, failures)
        for name in ("memory_low_bytes", "memory_high_bytes"):
            values = getattr(decision, name)
            if values is not None:
                self._limit(name.removesuffix("_bytes").replace("_", "."), values[0], failures)
        if failures:
            kinds = {type(failure) for failure in failures}
            kind = kinds.pop() if len(kinds) == 1 else HostError
            raise kind("; ".join(str(failure) for failure in failures))

    def examine(self) -> Iterator[Finding]:
        """Test host and guests."""
        known = self._machine.host()
        for name in ("total_bytes", "available_bytes", "swap_total_bytes"):
            yield Finding("host", f"/proc/meminfo: {COLUMNS[name].meaning}", name in known)
        yield Finding(
            "host",
            "/proc/pressure/memory",
            "psi_some_s" in known,
            "boot the host with psi=1; policies that watch pressure are blind without",
        )
        if self._options.ksm:
            yield Finding(
                "host", "KSM may be set", self._machine.ksm_writable(), "run as root, or ksm: false"
            )
        yield from self.hypervisor.examine()

    def close(self) -> None:
        """End all connections."""
        self.hypervisor.close()

    def _fill(self, columns: dict[str, np.ndarray], one: Seen, now_s: float, wall_s: float) -> None:
        entry = self.roster.entries[one.key]
        values: dict[str, float] = {
            "guest_id": entry.guest_id,
            "present": True,
            "state": self._state(one, now_s),
            "current_bytes": one.current_bytes,
            "applied_target_bytes": entry.target_bytes,
            "applied_age_s": now_s - entry.sent_at_s if entry.target_bytes >= 0 else np.nan,
            "resize_mechanism": one.mechanism,
            "hinting": one.hinting,
            "async_mode": one.async_mode,
            "deflate_on_oom": one.deflate_on_oom,
        }
        if one.size_bytes >= 0:
            terms = self._terms(one.name, one.size_bytes, one.own)
            values |= {"min_bytes": terms.min_bytes, "max_bytes": terms.max_bytes}
            values["weight"] = terms.weight
        if one.pid is not None:
            process = self._machine.process(one.pid)
            values |= {
                "resident_bytes": process.resident_bytes,
                "swapped_bytes": process.swapped_bytes,
                "host_major_faults": process.major_faults,
                "cgroup_current_bytes": process.cgroup_current_bytes,
                "cgroup_high_bytes": process.cgroup_high_bytes,
                "cgroup_psi_some_s": process.psi_some_s,
                "cgroup_psi_full_s": process.psi_full_s,
            }
        if one.answered_at > 0:
            values["stats_age_s"] = max(0.0, wall_s - one.answered_at)
            values |= one.statistics
        for name, value in values.items():
            columns[name][0, entry.slot] = value

    def _state(self, one: Seen, now_s: float) -> GuestState:
        """A guest that never answered and whose emulator is young is taken to be booting."""
        silent = one.state is GuestState.RUNNING and one.answered_at <= 0 and one.pid is not None
        young = silent and now_s - self._machine.started_at_s(one.pid or 0) < BOOT_S
        return GuestState.BOOTING if young else one.state

    def _resize(self, key: str, target_bytes: int, failures: list[HostError]) -> None:
        name, size_bytes = self.roster.entries[key].name, self._seen[key].size_bytes
        if size_bytes >= 0:
            target_bytes = min(target_bytes, size_bytes)  # more than it booted with it cannot have
        if target_bytes == 0:
            failures.append(Refused(f"{name}: a target of 0; expected a size above it"))
            return
        try:
            self.hypervisor.resize(key, target_bytes)
        except GuestGone as error:
            failures.append(GuestGone(f"{name}: {error}"))
        except HostError as error:
            failures.append(Refused(f"{name}: {error}"))
        else:
            self.roster.sent(key, target_bytes, self.now_s())

    def _set_ksm(self, decision: Decision, failures: list[HostError]) -> None:
        settings = {}
        for column, file in KSM.items():
            values = getattr(decision, column)
            if values is not None and values[0] >= 0:
                settings[file] = int(values[0])
        if decision.ksm_sleep_s is not None and decision.ksm_sleep_s[0] >= 0:
            settings["sleep_millisecs"] = round(float(decision.ksm_sleep_s[0]) * 1000)
        try:
            self._machine.set_ksm(settings)
        except OSError as error:
            failures.append(Refused(f"{error.filename}: {error.strerror}"))

    def _limit(self, file: str, values: np.ndarray, failures: list[HostError]) -> None:
        for slot in np.flatnonzero(values >= 0):
            key = self.roster.key_at(int(slot))
            seen = self._seen.get(key or "")
            if seen is None or seen.pid is None or values[slot] == UNKNOWN:
                continue
            path = self._machine.cgroup_file(seen.pid, file)
            if path is None:
                failures.append(Refused(f"{seen.name}: its cgroup has no {file}"))
                continue
            try:
                path.write_text(f"{int(values[slot])}\n")
            except OSError as error:
                failures.append(Refused(f"{seen.name}: {path}: {error.strerror}"))
