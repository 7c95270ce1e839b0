"""Guests that follow the traces of real or synthetic machines.

The configured size becomes the guest's size, the hot set (a mean of active memory) what it touches
all the time, what was granted beyond it memory that is resident but cold, and a machine that is
off is a guest that is stopped.  All guests of a host come from one data set and from one window of
it (`fitting`), so that what rose together rises together; each is shifted by a part of a row of its
own, and `rows` says what happens between rows, so that the trace's clock cannot be learnt.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import chain, pairwise

import numpy as np

from memsim import spec
from memsim.build import watermarks
from scenarios import datasets, fitting, rows, traces
from scenarios.build import ACCESS_BYTES, Built
from scenarios.fitting import Fit, Span
from scenarios.quantities import GIB
from scenarios.randomness import Key, stream
from scenarios.schema import Replay
from scenarios.traces import Dataset, Trace, TraceError

TRIES = 200  # machines drawn for one guest before all are looked at
KERNEL_SHARE = 0.05  # of the guest's size: in no trace
LEAST_PAGES = 16
TOUCH_S = 4e-6  # [s] CPU time of an access of 4 KiB
LONGEST_HOLD = 0.25  # of a row between changes: longer, and a row could not keep its mean
BUSY_LIMIT = 10.0  # disk reads above so many times their mean count as that

Segment = tuple[float, float]  # on from, until [s]


@dataclass(frozen=True)
class Replayed:
    """A machine as a guest."""

    dataset: str
    vm: str
    size: int  # [bytes] of the guest
    on: tuple[Segment, ...]  # in order; the last may end at infinity
    built: Built
    begin: int  # first step of the window of the trace that it lives through


@dataclass(frozen=True)
class _Window:
    """The rows of one machine that a guest lives through; shares of the size."""

    hot: np.ndarray  # (N,)
    granted: np.ndarray  # (N,) 0: off
    reads: np.ndarray  # (N,) disk reads over their mean


def machines_of_host(
    replay: Replay, key: Key, end_s: float, page: int, first_id: int, begin_s: float = 0.0
) -> list[Replayed]:
    """The machines of one host; fewer than wanted where there are no more.

    Args:
        replay: which traces, and how they are scaled.
        key: of the host.
        end_s: guests are laid out from 0 up to here.
        page: [bytes] of the host.
        first_id: number of the first of them among the host's guests.
        begin_s: what comes before is not scored.

    Raises:
        TraceError: no traces, too short, or no machine that fits.
    """
    sets = datasets.chosen(replay.source, replay.folder, replay.datasets)
    rng = stream(key, "trace")
    dataset = sets[int(rng.integers(len(sets)))]
    row_s = dataset.step_s / replay.compression
    where = fitting.span(replay, dataset, begin_s, end_s)
    if not where.windows:
        raise TraceError(
            f"{dataset.name}: split {replay.split} has {where.high - where.low} steps; expected"
            f" {where.rows} for {end_s:g} s, {replay.compression:g} times as fast"
        )
    number = int(rng.integers(where.windows))
    count = int(stream(key, "trace guests").integers(replay.guests[0], replay.guests[1] + 1))
    draw = _Draw(replay, dataset, key, where)
    ids = range(first_id, first_id + count)
    chosen = draw.machines(ids, number, fitting.mostly_on)
    if ids and not chosen:
        number, fit = draw.window()
        chosen = draw.machines(ids, number, fit)
    begin = where.begin(number)
    found = []
    for guest_id, trace in zip(ids, chosen, strict=False):
        window = _window(replay, trace, begin, where.rows)
        rng = stream(key, "trace guest", guest_id)
        made = _guest(replay, dataset.name, trace, window, rng, page=page, row_s=row_s)
        found.append(replace(made, begin=begin))
    return found


@dataclass(frozen=True)
class _Draw:
    """Draws the machines of a host."""

    replay: Replay
    dataset: Dataset
    key: Key
    where: Span

    def machines(self, ids: range, window: int, fit: Fit) -> list[Trace]:
        """A machine for each guest, none twice, until there are no more that fit."""
        found: dict[str, Trace] = {}
        for guest_id in ids:
            trace = self._machine(guest_id, window, fit, found)
            if trace is None:
                break
            found[trace.vm] = trace
        return list(found.values())

    def _machine(
        self, guest_id: int, window: int, fit: Fit, taken: Collection[str]
    ) -> Trace | None:
        """A machine of the split that fits; of few, whichever is left."""
        names = traces.machines_of(self.dataset, self.replay.split)
        rng = stream(self.key, "trace machine", guest_id)
        drawn = (names[int(rng.integers(len(names)))] for _ in range(TRIES if names else 0))
        refused = set(taken)
        for vm in chain(drawn, names):
            if vm in refused:
                continue
            trace = self.dataset.read(vm)
            if fitting.windows(self.replay, trace, self.where, fit)[window]:
                return trace
            refused.add(vm)
        return None

    def window(self) -> tuple[int, Fit]:
        """A window that some machine fits, where one drawn blindly has none."""
        rng = stream(self.key, "trace window")
        for fit in (fitting.mostly_on, fitting.seldom_on):
            free = np.zeros(self.where.windows, bool)
            for own in fitting.fitting(self.replay, self.dataset, self.where, fit):
                free |= own
            if free.any():
                return int(rng.choice(np.flatnonzero(free))), fit
        names = traces.machines_of(self.dataset, self.replay.split)
        low, high = (size / GIB for size in self.replay.nominal)
        raise TraceError(
            f"{self.dataset.name}: split {self.replay.split}: none of {len(names)} machines is ever"
            f" on and of {low:g} to {high:g} GiB; replay.split and replay.nominal choose others"
        )


def _window(replay: Replay, trace: Trace, begin: int, needed: int) -> _Window:
    """The rows of a machine, gaps filled, hot at most granted."""
    here = slice(begin, begin + needed)
    granted = traces.hold_last(trace.granted)[here] / trace.nominal_bytes
    hot = traces.hold_last(traces.hot_set(trace, replay.smooth, replay.settle))[here]
    reads = traces.hold_last(trace.disk_read)[here]
    usual = max(float(reads.mean()), 1.0)
    return _Window(
        hot=np.minimum(hot / trace.nominal_bytes, granted),
        granted=np.minimum(granted, 1.0),
        reads=np.minimum(reads / usual, BUSY_LIMIT),
    )


def _guest(
    replay: Replay,
    dataset: str,
    trace: Trace,
    window: _Window,
    rng: np.random.Generator,
    *,
    page: int,
    row_s: float,
) -> Replayed:
    pages = max(LEAST_PAGES, round(trace.nominal_bytes / replay.scale / page))
    phase = rng.random()
    levels = rows.burst(window.hot, min(replay.hold / row_s, LONGEST_HOLD), replay.bursts, rng)
    granted = rows.at_changes(window.granted, levels.start)
    reads = rows.at_changes(window.reads, levels.start)
    hot = np.minimum(levels.value, granted)
    anon_share = replay.anon[0] + (replay.anon[1] - replay.anon[0]) * rng.random()
    kernel = max(1, round(KERNEL_SHARE * pages))
    room = pages - kernel
    cold = np.maximum(granted - hot - KERNEL_SHARE, 0.0)
    # The machine ran: its own kernel kept its watermarks free, and a page of cache.
    most = max(1, room - watermarks(pages, page / ACCESS_BYTES)[2] - 1)
    anonymous = np.clip((hot + cold * anon_share) * pages, 1, most)
    hot_pages = np.clip(hot * pages, 1, anonymous)
    cached = np.clip(cold * (1 - anon_share) * pages, 1, room)
    start_s = (levels.start - phase) * row_s

    def curve(values: np.ndarray) -> spec.Curve:
        return steps(start_s, values)

    curves = (
        curve(anonymous),
        curve(hot_pages),
        curve(cached),
        curve(hot_pages / replay.hot_every),
        curve(anonymous / replay.cold_every),
        curve(cached / replay.cold_every * reads),
    )
    built = Built(
        regions=(
            spec.Region(spec.RegionKind.ANON, room),
            spec.Region(spec.RegionKind.FILE, room),
        ),
        curves=curves,
        tasks=_tasks(page, fill=max(1, round(float(curves[2].value[0])))),
        task_names=("hold", "hot", "cold", "fill", "files"),
        kernel_pages=kernel,
    )
    on = _on(granted > 0, start_s)
    return Replayed(dataset, trace.vm, pages * page, on, built, begin=0)


def _tasks(page: int, fill: int) -> tuple[spec.Task, ...]:
    """What a replayed guest runs; curves and regions by their place in `_guest`.

    Files are read once at boot, `fill` pages from the first on, and then now and then.
    """
    cost_s = TOUCH_S * page / ACCESS_BYTES
    touch = spec.Phase(spec.Op.TOUCH, region=0, write=0.3, cost_s=cost_s, rate=1.0)
    read = spec.Phase(spec.Op.READ, region=1, cost_s=cost_s, kernel=True)
    lines = (
        spec.Phase(spec.Op.FOLLOW, region=0, size=0),
        replace(touch, size=1, rate_curve=3),
        replace(touch, size=0, rate_curve=4),
    )
    boot = replace(read, pattern=spec.Pattern.SEQUENTIAL, count=fill)
    again = replace(read, size=2, rate=1.0, rate_curve=5)
    return tuple(spec.Task((line,)) for line in (*lines, boot, again))


def steps(start_s: np.ndarray, values: np.ndarray) -> spec.Curve:
    """A step function as a curve from 0 on; starts before 0 count as there already."""
    first = int(np.searchsorted(start_s, 0.0, side="right")) - 1
    times = np.maximum(start_s[max(first, 0) :], 0.0)
    kept = values[max(first, 0) :]
    return spec.Curve(np.repeat(times, 2)[1:], np.repeat(kept, 2)[:-1])


def _on(running: np.ndarray, start_s: np.ndarray) -> tuple[Segment, ...]:
    """When the machine is on; the last time may have no end."""
    changes = np.flatnonzero(running[1:] != running[:-1]) + 1
    edges = [0, *changes.tolist(), len(running)]
    found = []
    for begin, end in pairwise(edges):
        until = float(start_s[end]) if end < len(running) else math.inf
        if running[begin] and until > 0:
            found.append((max(0.0, float(start_s[begin])), until))
    return tuple(found)
