"""Running guests as the contract's host: read over QMP and /proc, commanded over QMP."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from contract.arrays import PAGE, UNKNOWN
from contract.decision import TARGETS_ONLY, Decision
from contract.descriptors import AsyncMode, GuestState, Hinting, ResizeMechanism
from contract.telemetry import Telemetry, unknown
from overcommitd.qmp import QmpError
from tools.realguests import procfs
from tools.realguests.plan import PlannedGuest
from tools.realguests.qemu import BALLOON, Emulator

UNSET = 2**63  # statistics that the guest never gave read 2^64 - 1
STATISTICS = {  # QMP's name -> the contract's
    "stat-swap-in": "stats_swap_in_bytes",
    "stat-swap-out": "stats_swap_out_bytes",
    "stat-major-faults": "stats_major_faults",
    "stat-minor-faults": "stats_minor_faults",
    "stat-free-memory": "stats_free_bytes",
    "stat-total-memory": "stats_total_bytes",
    "stat-available-memory": "stats_available_bytes",
    "stat-disk-caches": "stats_caches_bytes",
}


@dataclass
class Slot:
    """A guest of the plan: its emulator while it runs, and what it was asked."""

    planned: PlannedGuest
    reporting: bool
    emulator: Emulator | None = None
    target: int = UNKNOWN  # [bytes] last one sent
    target_at_s: float = np.nan

    def poll_statistics(self, period_s: float) -> None:
        """Ask the guest for statistics that often, in whole seconds."""
        if self.emulator is not None:
            seconds = max(1, round(period_s))
            self.emulator.qmp.execute(
                "qom-set", path=BALLOON, property="guest-stats-polling-interval", value=seconds
            )

    def actual(self) -> int:
        """[bytes] Its size less what the balloon holds."""
        assert self.emulator is not None
        answer = self.emulator.qmp.execute("query-balloon")
        return whole(answer, "actual")

    def resize(self, target: int, now_s: float) -> None:
        """Ask it for a size [bytes]; returns at once, and it may never get there."""
        assert self.emulator is not None
        self.emulator.qmp.execute("balloon", value=target)
        if target != self.target:
            self.target, self.target_at_s = target, now_s


class RealHost:
    """A batch of one host; implements `contract.host.Host`."""

    supports = TARGETS_ONLY

    def __init__(self, slots: Sequence[Slot], now_s: Callable[[], float]) -> None:
        """Store the guests' slots, which others fill and empty, and the clock."""
        self._slots, self._now_s = slots, now_s

    def read(self) -> Telemetry:
        """Take a reading.

        Raises:
            QmpError: an emulator does not answer.
            Failed: an emulator has ended.
        """
        blank = unknown(1, len(self._slots))
        rows = [_guest(number, slot, self._now_s()) for number, slot in enumerate(self._slots)]
        columns = {
            name: np.array([[row.get(name, getattr(blank, name)[0, 0]) for row in rows]])
            for name in sorted({name for row in rows for name in row})
        }
        columns |= {name: np.array([value]) for name, value in _host().items()}
        columns["time_s"] = np.array([self._now_s()])
        typed = {
            name: values.astype(getattr(blank, name).dtype) for name, values in columns.items()
        }
        return blank._replace(**typed)

    def apply(self, decision: Decision) -> None:
        """Send targets to guests that run."""
        for slot, target in zip(self._slots, decision.target_bytes[0], strict=True):
            if slot.emulator is not None and target >= 0:
                slot.resize(int(target), self._now_s())


def statistics(answer: object) -> dict[str, int]:
    """The columns of the contract in QMP's guest-stats; what was never given is left out.

    Raises:
        QmpError: the answer is no such object.
    """
    stats = answer.get("stats") if isinstance(answer, Mapping) else None
    if not isinstance(stats, Mapping):
        raise QmpError(f"guest-stats: {str(answer)[:80]}; expected an object with stats")
    found = {ours: whole(stats, theirs, UNSET) for theirs, ours in STATISTICS.items()}
    return {name: value for name, value in found.items() if value < UNSET}


def whole(answer: object, name: str, default: int | None = None) -> int:
    """A non-negative integer of an answer.

    Raises:
        QmpError: it is not there, or something else.
    """
    value: Any = answer.get(name, default) if isinstance(answer, Mapping) else None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise QmpError(f"{name}: {value!r}: expected a whole number")
    return value


def _host() -> dict[str, int]:
    memory, events = procfs.host_memory(), procfs.host_events()
    return {
        "total_bytes": memory["MemTotal"],
        "free_bytes": memory["MemFree"],
        "buffers_bytes": memory["Buffers"],
        "cached_bytes": memory["Cached"],
        "available_bytes": memory["MemAvailable"],
        "swap_total_bytes": memory["SwapTotal"],
        "swap_used_bytes": memory["SwapTotal"] - memory["SwapFree"],
        "swap_in_bytes": events["pswpin"] * PAGE,
        "swap_out_bytes": events["pswpout"] * PAGE,
    }


def _guest(number: int, slot: Slot, now_s: float) -> dict[str, float]:
    if slot.emulator is None:
        return {"present": False}
    spec, memory = slot.planned.spec, slot.emulator.memory()
    return {
        "guest_id": number,
        "present": True,
        "state": GuestState.RUNNING,
        "min_bytes": spec.min.of(spec.size),
        "max_bytes": spec.size,
        "weight": spec.weight,
        "current_bytes": slot.actual(),
        "resident_bytes": memory["resident"],
        "swapped_bytes": memory["swapped"],
        "host_major_faults": memory["major"],
        "applied_target_bytes": slot.target,
        "applied_age_s": now_s - slot.target_at_s,
        "resize_mechanism": ResizeMechanism.BALLOON,
        "hinting": Hinting.REPORTING if slot.reporting else Hinting.NONE,
        "async_mode": AsyncMode.OFF,
        "deflate_on_oom": spec.mechanisms.deflate_on_oom,
        **_answered(slot.emulator),
    }


def _answered(emulator: Emulator) -> dict[str, float]:
    answer = emulator.qmp.execute("qom-get", path=BALLOON, property="guest-stats")
    updated = whole(answer, "last-update")
    if not updated:
        return {}
    return {"stats_age_s": max(0.0, time.time() - updated), **statistics(answer)}
