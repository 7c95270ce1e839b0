"""What a daemon recorded, as a trace: hot is what a guest used, cold its page cache.

A recording shows what guests were seen to use, not what they wanted.  A guest below its largest
size that had next to nothing available, or swapped, stalled or killed by its own account, may have
wanted more: such samples are censored.  A row of mostly censored samples tells only a lower bound,
the larger of what was seen and of the last row that was not censored; `censored` says how many rows
are of that kind, and whoever uses the trace should look at it first.

Guests are told apart by their names, as operators do.  Time is the host's clock; where that falls,
because the host was started anew, it goes on after a gap as long as the wall clock says.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from contract import recording
from contract.arrays import MIB
from contract.recording import Moment, RecordingError
from contract.telemetry import used_bytes
from scenarios.traces import Trace, TraceError

STEP_S = 60.0  # [s] of a row: some ten samples of a daemon that looks every 5 s
SAME_S = 0.05  # [s] a sample of the same moment is the same sample
FULL_SHARE = 0.98  # of its largest size: who has so much is not squeezed
TIGHT_SHARE, TIGHT_BYTES = 0.10, 64 * MIB  # available below both: about to reclaim, as `slides`
SIGNS = ("stats_swap_in_bytes", "stats_alloc_stalls", "stats_oom_kills")


class Sample(NamedTuple):
    """What a guest's statistics said at one moment: bytes."""

    at_s: float
    used: int
    cached: int
    size: int  # largest
    censored: bool


@dataclass
class _Guest:
    """All samples of one name."""

    samples: list[Sample] = field(default_factory=list)
    seen_at_s: list[float] = field(default_factory=list)  # present, whether it answered or not
    signs: tuple[int, ...] | None = None  # counters of the last sample


class Recorded:
    """A folder of recordings, or one file; implements `scenarios.traces.Dataset`."""

    step_s = STEP_S

    def __init__(self, place: Path) -> None:
        """Read it.

        Raises:
            TraceError: there is none, it is broken, or nobody in it ever answered.
        """
        self.name = place.stem if place.is_file() else place.resolve().name
        self._guests: dict[str, _Guest] = defaultdict(_Guest)
        self._watched_s: list[float] = []
        try:
            for now_s, moment in _on_one_clock(recording.read(place)):
                self._watched_s.append(now_s)
                self._add(moment, now_s)
        except RecordingError as error:
            raise TraceError(str(error)) from error
        self._guests = {name: one for name, one in self._guests.items() if one.samples}
        if not self._guests:
            raise TraceError(f"{place}: expected guests that answered; there are none")
        self._first_s = min(self._watched_s)
        self.steps = int((max(self._watched_s) - self._first_s) // STEP_S) + 1

    @property
    def machines(self) -> tuple[str, ...]:
        """Names of all guests, sorted."""
        return tuple(sorted(self._guests))

    @cached_property
    def censored(self) -> float:
        """Share of the rows with samples that are a lower bound only."""
        rows = [self._rows(one) for one in self._guests.values()]
        known = sum(np.isfinite(used).sum() for used, _, _ in rows)
        return float(sum(hidden.sum() for _, _, hidden in rows) / max(known, 1))

    def read(self, vm: str) -> Trace:
        """One guest.

        Raises:
            TraceError: there is none of that name.
        """
        if vm not in self._guests:
            raise TraceError(
                f"{self.name}: guest {vm!r}: expected one of {', '.join(self.machines)}"
            )
        guest = self._guests[vm]
        used, cached, hidden = self._rows(guest)
        size = max(sample.size for sample in guest.samples)
        active = _lower_bounds(used, hidden)
        granted = np.minimum(active + cached, size)
        away = self._watched & ~self._present(guest)
        unknown = np.full(self.steps, np.nan, np.float32)
        return Trace(
            vm,
            size,
            STEP_S,
            np.where(away, 0.0, granted).astype(np.float32),
            np.where(away, np.nan, active).astype(np.float32),
            unknown,
            np.where(self._watched, 0.0, np.nan).astype(np.float32),  # disks are not recorded
            unknown,
        )

    @cached_property
    def _watched(self) -> np.ndarray:
        return self._any(self._watched_s)

    def _present(self, guest: _Guest) -> np.ndarray:
        return self._any(guest.seen_at_s)

    def _any(self, times: list[float]) -> np.ndarray:
        """(N,) bool rows with any of these moments."""
        rows = np.zeros(self.steps, bool)
        rows[self._row(np.array(times))] = True
        return rows

    def _row(self, at_s: np.ndarray) -> np.ndarray:
        row = ((at_s - self._first_s) // STEP_S).astype(np.int64)
        return np.clip(row, 0, self.steps - 1)

    def _rows(self, guest: _Guest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(N,) means of used and cached [bytes], NaN without samples; (N,) bool censored."""
        table = np.array([(s.used, s.cached, s.censored) for s in guest.samples], np.float64)
        row = self._row(np.array([sample.at_s for sample in guest.samples]))
        count = np.bincount(row, minlength=self.steps)
        sums = [np.bincount(row, column, minlength=self.steps) for column in table.T]
        nothing = np.full(self.steps, np.nan)
        used, cached = (
            np.divide(one, count, out=nothing.copy(), where=count > 0) for one in sums[:2]
        )
        return used, cached, (count > 0) & (2 * sums[2] >= count)

    def _add(self, moment: Moment, now_s: float) -> None:
        telemetry = moment.telemetry
        used = used_bytes(telemetry)[0]
        for slot in np.flatnonzero(telemetry.present[0]).tolist():
            number = int(telemetry.guest_id[0, slot])
            guest = self._guests[moment.names.get(number, str(number))]
            guest.seen_at_s.append(now_s)
            at_s = now_s - float(telemetry.stats_age_s[0, slot])
            size = int(telemetry.max_bytes[0, slot])
            old = guest.samples and at_s <= guest.samples[-1].at_s + SAME_S
            if np.isnan(at_s) or old or used[slot] < 0 or size <= 0:
                continue
            signs = tuple(int(getattr(telemetry, name)[0, slot]) for name in SIGNS)
            before, guest.signs = guest.signs, signs
            risen = before is not None and any(
                0 <= was < now for was, now in zip(before, signs, strict=True)
            )
            censored = _squeezed(moment, slot, risen)
            cached = max(0, int(telemetry.stats_caches_bytes[0, slot]))
            guest.samples.append(Sample(at_s, int(used[slot]), cached, size, censored))


def _on_one_clock(moments: Iterable[Moment]) -> Iterator[tuple[float, Moment]]:
    """Moments with their time [s] on a clock that never falls."""
    base_s, before = 0.0, None
    for moment in moments:
        host_s = float(moment.telemetry.time_s[0])
        if before is not None and host_s < float(before.telemetry.time_s[0]):
            gap_s = max(0.0, moment.wall_s - before.wall_s)
            base_s += float(before.telemetry.time_s[0]) + gap_s - host_s
        before = moment
        yield base_s + host_s, moment


def _squeezed(moment: Moment, slot: int, risen: bool) -> bool:
    """Whether a guest may have wanted more than it was seen to use."""
    telemetry = moment.telemetry
    answered = int(telemetry.stats_current_bytes[0, slot])
    current = answered if answered >= 0 else int(telemetry.current_bytes[0, slot])
    if current < 0 or current >= FULL_SHARE * telemetry.max_bytes[0, slot]:
        return False
    available = int(telemetry.stats_available_bytes[0, slot])
    return risen or available < max(TIGHT_BYTES, TIGHT_SHARE * current)


def _lower_bounds(used: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """(N,) [bytes] use, where it is hidden at least the last one that was not."""
    found, last = used.copy(), 0.0
    for row in np.flatnonzero(np.isfinite(used)):
        if hidden[row]:
            found[row] = max(used[row], last)
        else:
            last = used[row]
    return found
