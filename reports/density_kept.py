"""Densities as `--density` left them in a file, for the page of an evaluation."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs.loading import write_atomic
from reports import service
from reports.density import Density, Place, Point
from reports.density_table import Row
from reports.service import ServiceLevel
from reports.statistics import Interval

FILE = "density.json"


class Kept(NamedTuple):
    """What a run of `--density` found."""

    rows: tuple[Row, ...]  # their densities have no draws: differences are taken already
    said: tuple[str, ...]
    level: ServiceLevel
    reference: str
    about: str  # how hosts were filled, in words
    code: str  # digest of the code that found it


def write(folder: Path, kept: Kept) -> None:
    """Write density.json."""
    rows = [
        {
            "place": list(row.place),
            "policy": row.policy,
            "difference": _numbers(row.difference),
            "guests": _numbers(row.density.guests),
            "crossing": _number(row.density.crossing),
            "within": bool(row.density.within),
            "fewest": int(row.density.fewest),
            "most": int(row.density.most),
            "curve": [
                [int(point.guests), _numbers(point.value), _number(point.fitted)]
                for point in row.density.curve
            ],
        }
        for row in kept.rows
    ]
    found = kept._asdict() | {"rows": rows, "level": str(kept.level)}
    write_atomic(folder / FILE, json.dumps(found, allow_nan=False, indent=1) + "\n")


def read(folder: Path) -> Kept | None:
    """What is kept in a folder; None if there is nothing, or nothing that can be read."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return Kept(
            tuple(_row(row) for row in found["rows"]),
            tuple(str(sentence) for sentence in found["said"]),
            service.parse(found["level"]),
            str(found["reference"]),
            str(found["about"]),
            str(found["code"]),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _row(found: Mapping[str, Any]) -> Row:
    curve = tuple(
        Point(int(guests), _interval(value), float(fitted))
        for guests, value, fitted in found["curve"]
    )
    density = Density(
        guests=_interval(found["guests"]),
        crossing=float(found["crossing"]),
        within=bool(found["within"]),
        fewest=int(found["fewest"]),
        most=int(found["most"]),
        curve=curve,
        draws=np.empty(0),
    )
    difference = found["difference"]
    return Row(
        Place(*map(str, found["place"])),
        str(found["policy"]),
        density,
        None if difference is None else _interval(difference),
    )


def _interval(found: Sequence[float | str]) -> Interval:
    return Interval(*map(float, found))


def _numbers(found: Interval | None) -> list[float | str] | None:
    return None if found is None else [_number(value) for value in found]


def _number(value: float) -> float | str:
    """JSON knows neither infinity nor NaN."""
    return float(value) if math.isfinite(value) else str(float(value))
