"""Recorded decisions of original programs: where they lie, how they are read and compared.

The format is that of the folder's own README.  Names of files begin with the program's; what
follows (`pve_autoballoon_more.jsonl.gz`) is free.
"""

import gzip
import json
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOLERANCE = 1e-6  # of floats: absolute below 1, else relative
VARIABLE = "OVERCOMMIT_GOLDEN"

Row = dict[str, Any]


class BadRecording(ValueError):
    """A file is not what the format says; the message names file and line."""


def folder() -> Path:
    """Where the recordings lie: OVERCOMMIT_GOLDEN, else beside the checkout."""
    return Path(os.environ.get(VARIABLE, Path(__file__).parents[3] / "shared" / "golden"))


def files(where: Path) -> list[Path]:
    """All recordings of a folder; text about them is none."""
    if not where.is_dir():
        return []
    return sorted(path for path in where.iterdir() if path.suffix != ".md" and path.is_file())


def rows(path: Path) -> Iterator[Row]:
    """The rows of a file of JSON lines, compressed or not; of a `.json` file, its scenarios.

    Raises:
        BadRecording: it is cut off, a line is no JSON object, or there are no scenarios.
    """
    if path.suffix == ".json":
        whole = _row(path.read_text(), path.name)
        if "scenarios" not in whole:
            raise BadRecording(f"{path.name}: no scenarios")
        yield from whole["scenarios"]
        return
    number = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt") as lines:
            for number, line in enumerate(lines, 1):
                yield _row(line, f"{path.name}, line {number}")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadRecording(f"{path.name}, after line {number}: cut off: {error}") from error


def _row(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadRecording(f"{where}: cut off or no JSON: {error}") from error
    if not isinstance(row, dict):
        raise BadRecording(f"{where}: {type(row).__name__}, expected an object")
    return row


def differences(expected: object, found: object, where: str = "") -> list[str]:
    """Everything that is not the same; floats may be off by the tolerance, integers not at all."""
    if isinstance(expected, dict) and isinstance(found, dict):
        lacking = [f"{where}.{key}: not set" for key in expected.keys() - found.keys()]
        extra = [f"{where}.{key}: set to {found[key]}" for key in found.keys() - expected.keys()]
        both = sorted(expected.keys() & found.keys())
        deeper = [differences(expected[key], found[key], f"{where}.{key}") for key in both]
        return sorted(lacking) + sorted(extra) + [entry for part in deeper for entry in part]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        deeper = [
            differences(old, new, f"{where}[{number}]")
            for number, (old, new) in enumerate(zip(expected, found, strict=True))
        ]
        return [entry for part in deeper for entry in part]
    return [] if _same(expected, found) else [f"{where}: expected {expected}, found {found}"]


def _same(expected: object, found: object) -> bool:
    if isinstance(expected, float) and isinstance(found, int | float):
        close = TOLERANCE * max(1.0, abs(expected))
        return math.isclose(expected, found, rel_tol=0.0, abs_tol=close)
    return type(expected) is type(found) and expected == found
