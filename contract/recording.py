"""The telemetry file: one JSON object a line, one line a turn of one host.

Written by the daemon, read again by `overcommitd replay` and, as a demand trace, by the simulator.
A file that a crash cut off in a line is good up to there.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from contract.arrays import Ints
from contract.decision import Decision
from contract.packing import pack, pack_decision, unpack, unpack_decision
from contract.telemetry import Telemetry

VERSION = 1
PATTERN = "telemetry-*.jsonl"


class RecordingError(Exception):
    """A file that is no recording; the message names file, line and what was expected."""


@dataclass(frozen=True)
class Moment:
    """One turn."""

    telemetry: Telemetry  # (1, G)
    wall_s: float = 0.0  # Unix time
    asked: Decision | None = None
    applied: Decision | None = None
    names: dict[int, str] = field(default_factory=dict)  # of guests, by guest_id
    by: str = ""  # who decided


def line(moment: Moment) -> str:
    """A moment as one line, its end included."""
    slots = np.flatnonzero(moment.telemetry.present[0])
    content: dict[str, Any] = {
        "v": VERSION,
        "wall_s": round(moment.wall_s, 3),
        "by": moment.by,
        "names": {str(number): name for number, name in moment.names.items()},
        "telemetry": pack(moment.telemetry),
    }
    for name, decision in (("asked", moment.asked), ("applied", moment.applied)):
        if decision is not None:
            content[name] = pack_decision(decision, slots)
    return json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n"


def parse(text: str, guests: int | None = None) -> Moment:
    """The moment of a line, with `guests` slots, or as few as hold it.

    Raises:
        ValueError: it is none.
    """
    found = json.loads(text)
    if not isinstance(found, dict) or found.get("v") != VERSION:
        raise ValueError(f"expected an object of version {VERSION}")
    packed = found.get("telemetry")
    if not isinstance(packed, dict):
        raise ValueError("telemetry: expected an object")
    slots = packed.get("slots")
    needed = max(slots, default=0) + 1 if isinstance(slots, list) else 1
    telemetry = unpack(packed, guests or needed)
    order: Ints = np.array(slots, np.int64)
    decisions = {
        name: unpack_decision(found[name], order, guests or needed)
        for name in ("asked", "applied")
        if isinstance(found.get(name), dict)
    }
    names = {int(number): str(name) for number, name in dict(found.get("names", {})).items()}
    return Moment(
        telemetry, float(found.get("wall_s", 0.0)), names=names, by=str(found["by"]), **decisions
    )


def files(place: Path) -> list[Path]:
    """The recordings in a folder, oldest first; or the one file.

    Raises:
        RecordingError: there are none.
    """
    found = [place] if place.is_file() else sorted(place.glob(PATTERN))
    if not found:
        raise RecordingError(f"{place}: expected a file, or a folder with files {PATTERN}")
    return found


def read(place: Path) -> Iterator[Moment]:
    """All moments of a recording, in order of time.

    Raises:
        RecordingError: there is none, or a line before the last is broken.
    """
    for path in files(place):
        yield from _read(path)


def _read(path: Path) -> Iterator[Moment]:
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            broken = ""
            for number, text in enumerate(lines, 1):
                if broken:
                    raise RecordingError(broken)
                try:
                    moment = parse(text)
                except (KeyError, TypeError, ValueError, RecursionError) as error:
                    broken = f"{path}, line {number}: {error}"  # the last one may be cut off
                    continue
                yield moment
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from error
