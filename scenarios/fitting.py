"""Which machines of a trace can be a host's guests, and from which moment on.

The time of a split is cut into windows of as many rows as a host lives through; no two overlap, so
that hosts of different windows are independent in time.  A machine fits a window if its size is
wanted and it is mostly on and known there.  Traces with few machines may have none; then one that
is on at all serves.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from scenarios import traces
from scenarios.schema import Replay
from scenarios.traces import Dataset, Trace

ON_SHARE = 0.5  # of its time on a host that a machine must be on
KNOWN_SHARE = 0.5  # and of its steps that must have a sample
NEAR_MOST = 0.5  # a machine that is seldom on: rows on, of the most in any window


class Span(NamedTuple):
    """The steps that a split has, and the windows that fit in."""

    low: int  # first step of the split
    high: int  # the one after its last
    rows: int  # of a window: steps that a host lives through
    first: int  # first row of a window that lies wholly in what is scored
    last: int  # the one after the last of these

    @property
    def windows(self) -> int:
        """How many windows there are; none overlaps another."""
        return max(0, self.high - self.low) // self.rows

    def begin(self, window: int) -> int:
        """The first step of a window."""
        return self.low + window * self.rows


Fit = Callable[[Trace, Span], np.ndarray]  # (W,) bool by window


def span(replay: Replay, dataset: Dataset, begin_s: float, end_s: float) -> Span:
    """The windows of a data set.

    Args:
        replay: with its split and compression.
        dataset: the trace.
        begin_s: start of what is scored [s of the host].
        end_s: end of the host's life [s of the host].
    """
    row_s = dataset.step_s / replay.compression
    # phases shift a guest by up to a row, so a window has two more than its time takes
    rows = math.ceil(end_s / row_s) + 2
    last = max(1, math.floor(end_s / row_s))
    first = min(math.ceil(begin_s / row_s) + 1, last - 1)
    return Span(*traces.steps_of(dataset, replay.split), rows, first, last)


def mostly_on(trace: Trace, where: Span) -> np.ndarray:
    """(W,) windows in which a machine has samples, and is on in at least half of them."""
    known, on = _known_and_on(trace, where)
    samples = _sums(known, where, 0, where.rows)
    share = np.divide(_sums(on, where, 0, where.rows), np.maximum(samples, 1))
    return np.asarray((samples >= KNOWN_SHARE * where.rows) & (share >= ON_SHARE))


def seldom_on(trace: Trace, where: Span) -> np.ndarray:
    """(W,) windows in which a machine is on while it counts, about as long as it ever is."""
    _, on = _known_and_on(trace, where)
    rows = _sums(on, where, where.first, where.last)
    return np.asarray(rows >= max(1.0, NEAR_MOST * rows.max(initial=0)))


def windows(replay: Replay, trace: Trace, where: Span, fit: Fit) -> np.ndarray:
    """(W,) bool: windows that a machine of a wanted size fits."""
    if not replay.nominal[0] <= trace.nominal_bytes <= replay.nominal[1]:
        return np.zeros(where.windows, bool)
    return fit(trace, where)


def fitting(replay: Replay, dataset: Dataset, where: Span, fit: Fit) -> Iterator[np.ndarray]:
    """The windows (W,) of each machine of the split that fits one."""
    for vm in traces.machines_of(dataset, replay.split) if where.windows else ():
        found = windows(replay, dataset.read(vm), where, fit)
        if found.any():
            yield found


def _known_and_on(trace: Trace, where: Span) -> tuple[np.ndarray, np.ndarray]:
    granted = trace.granted[where.low : where.high]
    return np.isfinite(granted), granted > 0


def _sums(values: np.ndarray, where: Span, begin: int, end: int) -> np.ndarray:
    """(W,) how many of the rows from `begin` to `end` of each window are true."""
    total = np.concatenate([[0], np.cumsum(values)])
    first = np.arange(where.windows) * where.rows
    return np.asarray(total[first + end] - total[first + begin])
