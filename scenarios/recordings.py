"""Recorded page numbers and request rates that drive guests, and stand-ins that ship.

Page numbers come from `page_refs/NAME.npz` (column `page`), request rates from
`intensity/NAME*.csv.xz` (`period,count`, a line a minute), below the folder of measured traces.
Each split has a time of its own in them.  The stand-ins are drawn from distributions and measure
nothing; they only have what matters: popularity, runs and loops of pages, days and crowds of
requests.
"""

import csv
import hashlib
import io
import lzma
import zipfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from configs.loading import Config
from scenarios import traces
from scenarios.curves import Drawn, Recorded
from scenarios.traces import SPLITS, TraceError
from scenarios.work import Work

MINUTE_S = 60.0  # [s] between two request rates


class Recordings(Config):
    """Where recorded page numbers and request rates come from."""

    source: Literal["synthetic", "folder"] = "synthetic"
    folder: str | None = Field(
        default=None, description="left out: OVERCOMMIT_TRACES or ../shared/traces"
    )
    split: Literal["train", "validation", "test", "all"] = "all"


class Recording(NamedTuple):
    """One that a scenario uses."""

    kind: Literal["page_refs", "intensity"]
    name: str

    def file(self, folder: Path) -> Path | None:
        """Where it lies below a folder of traces, if it does."""
        wanted = f"{self.name}.npz" if self.kind == "page_refs" else f"{self.name}*.csv.xz"
        return min((folder / self.kind).glob(wanted), default=None)


def pages(name: str, settings: Recordings, region: int, turn: float) -> np.ndarray:
    """(N,) int32 the page numbers of a recording, for a region of so many pages.

    A recording of more pages than the region has is sampled by page, the pages of the least
    hashes, with all their references: that scales reuse distances with the pages and keeps the
    curve of misses (SHARDS: Waldspurger et al., FAST 2015).  The string begins at `turn` of itself.

    Args:
        name: of the recording.
        settings: where it comes from, and which time of it.
        region: pages.
        turn: in [0, 1).

    Raises:
        TraceError: there is no such recording.
    """
    numbers = _part(_all_pages(name, settings), settings)
    known, place = np.unique(numbers, return_inverse=True)
    if len(known) > region:
        chosen = np.zeros(len(known), bool)
        chosen[np.argsort(_hash(known), kind="stable")[:region]] = True
        place = (np.cumsum(chosen) - 1)[place[chosen[place]]]
    return np.roll(place, -int(turn * len(place))).astype(np.int32)


def rates(curve: Recorded, settings: Recordings, rng: np.random.Generator, end: float) -> Drawn:
    """A window of recorded request rates as a curve from 0 to `end` [s].

    `high` stands for the busiest minute of the window, `low` for none at all.

    Raises:
        TraceError: there is no such recording, or it is too short.
    """
    found = window(curve, settings, rng, end)
    counts = _part(_all_rates(curve.trace, settings), settings)[found.start : found.stop]
    share = counts / max(1.0, float(counts.max()))
    times = np.arange(len(counts)) * (MINUTE_S / curve.compression)
    return times, curve.low + (curve.high - curve.low) * share


def window(curve: Recorded, settings: Recordings, rng: np.random.Generator, end: float) -> range:
    """The minutes of the split that a curve follows; two windows are the same or apart.

    Raises:
        TraceError: there is no such recording, or it is too short.
    """
    minutes = len(_part(_all_rates(curve.trace, settings), settings))
    needed = int(np.ceil(end * curve.compression / MINUTE_S)) + 1
    if needed > minutes:
        raise TraceError(
            f"{curve.trace}: split {settings.split} has {minutes} minutes; expected {needed}"
            f" for {end:g} s, {curve.compression:g} times as fast"
        )
    begin = int(rng.integers(minutes // needed)) * needed
    return range(begin, begin + needed)


def used(works: Iterable[Work]) -> tuple[Recording, ...]:
    """The recordings that guests with such work may follow."""
    found: dict[Recording, None] = {}
    for work in works:
        for stream in work.streams.values():
            found |= dict.fromkeys(Recording("page_refs", name) for name in stream.trace)
        for curve in work.curves.values():
            if isinstance(curve, Recorded):
                found[Recording("intensity", curve.trace)] = None
    return tuple(found)


def missing(wanted: Iterable[Recording], folder: Path) -> tuple[str, ...]:
    """Those that a folder of traces does not have, by where they would lie."""
    return tuple(f"{one.kind}/{one.name}" for one in wanted if one.file(folder) is None)


def _part(values: np.ndarray, settings: Recordings) -> np.ndarray:
    low, high = SPLITS[settings.split]
    return values[round(low * len(values)) : round(high * len(values))]


def _all_pages(name: str, settings: Recordings) -> np.ndarray:
    if settings.source == "synthetic":
        return _invented_pages(name)
    return _read_pages(_found(Recording("page_refs", name), settings))


def _all_rates(name: str, settings: Recordings) -> np.ndarray:
    if settings.source == "synthetic":
        return _invented_rates(name)
    return _read_rates(_found(Recording("intensity", name), settings))


def _found(wanted: Recording, settings: Recordings) -> Path:
    folder = traces.folder(settings.folder)
    path = wanted.file(folder)
    if path is None:
        raise TraceError(f"{folder / wanted.kind}: there is no recording {wanted.name!r}")
    return path


@lru_cache(maxsize=16)
def _read_pages(path: Path) -> np.ndarray:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            return np.asarray(file["page"], np.int64)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise TraceError(f"{path}: expected an .npz file with an array 'page': {error}") from error


@lru_cache(maxsize=16)
def _read_rates(path: Path) -> np.ndarray:
    try:
        with lzma.open(path, "rt", newline="") as file:
            return np.array([float(row["count"]) for row in csv.DictReader(file)])
    except (OSError, ValueError, KeyError, EOFError, lzma.LZMAError) as error:
        raise TraceError(f"{path}: expected lines of period,count: {error!r}") from error


def _hash(numbers: np.ndarray) -> np.ndarray:
    """(N,) uint64: the finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    x = numbers.astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def _stream(name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"recording {name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


INVENTED_PAGES = 16_384
INVENTED_RUNS = 40_000
INVENTED_DAYS = 80
DAY = 1440  # [min]


@lru_cache(maxsize=16)
def _invented_pages(name: str) -> np.ndarray:
    """(N,) page numbers: runs from places whose popularity drifts, and a loop now and then."""
    rng = _stream(name)
    rank = rng.zipf(1.0 + rng.uniform(0.1, 0.4), INVENTED_RUNS) - 1
    drift = np.arange(INVENTED_RUNS) // 100  # every 100 runs a page is popular that was not before
    place = _hash(rank % 4096 + drift) % np.uint64(INVENTED_PAGES)
    length = np.minimum(rng.geometric(rng.uniform(0.1, 0.4), INVENTED_RUNS), 64)
    loop = rng.random(INVENTED_RUNS) < 0.002
    place[loop], length[loop] = 0, INVENTED_PAGES // 32
    first = np.repeat(np.cumsum(length) - length, length)
    page = np.repeat(place.astype(np.int64), length) + np.arange(length.sum()) - first
    return np.asarray(page % INVENTED_PAGES)


@lru_cache(maxsize=16)
def _invented_rates(name: str) -> np.ndarray:
    """(N,) requests a minute: a wave a day, slow noise, and two crowds a day of some two hours."""
    rng = _stream(name)
    minute = np.arange(INVENTED_DAYS * DAY)
    noise = np.repeat(rng.lognormal(0, 0.2, len(minute) // 10), 10)
    counts = 4000 * (1 - 0.6 * np.cos(2 * np.pi * minute / DAY)) * noise
    for start in rng.integers(0, len(minute), 2 * INVENTED_DAYS):
        since, length = minute[start:] - start, rng.uniform(60, 150)
        shape = np.clip(np.minimum(since / 10, (length - since) / 20), 0, 1)
        counts[start:] += shape * 4000 * rng.lognormal(2.0, 0.5)
    return np.rint(counts)
