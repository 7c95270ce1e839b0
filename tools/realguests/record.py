"""The record of one run, real or simulated: counters at marks, what tasks did, memory over time.

Sizes are in bytes, times in seconds of the scenario's clock.  Names are those of the evaluation's
results (`reports.episodes`) and of `scenarios.ledger` where they mean the same.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from configs.loading import write_atomic
from tools.realguests.problems import Problem

FORMAT = 1
Side = Literal["real", "simulated"]
T = TypeVar("T")


class RecordError(Problem):
    """A file that holds no records; the message says which and why."""


@dataclass(frozen=True)
class Mark:
    """All counters of the host at one moment; totals."""

    name: str
    time_s: float
    host_swap_in_bytes: int
    host_swap_out_bytes: int
    host_major_faults: int  # of the emulators


@dataclass(frozen=True)
class Operation:
    """One phase that a task did."""

    guest: str
    task: str
    op: str
    region: str
    begin_s: float
    seconds: float
    accesses: int  # of 4 KiB


@dataclass(frozen=True)
class Sample:
    """Memory of one guest at one moment; -1 unknown."""

    guest: str
    time_s: float
    resident_bytes: int  # of its emulator, on the host
    host_swapped_bytes: int  # likewise, in the host's swap
    taken_bytes: int  # by its balloon


@dataclass(frozen=True)
class Record:
    """One run."""

    side: Side
    scenario: str
    mode: str
    settings: tuple[str, ...]  # --set options
    note: str  # kernel and emulator, or the simulator's key
    guests: tuple[str, ...]
    marks: tuple[Mark, ...]
    operations: tuple[Operation, ...]
    samples: tuple[Sample, ...]

    def span(self) -> tuple[Mark, Mark]:
        """The first and the last mark: what is compared lies between them.

        Raises:
            RecordError: there are less than two.
        """
        if len(self.marks) < 2:
            raise RecordError(f"{self.scenario}: {len(self.marks)} marks; expected at least two")
        return self.marks[0], self.marks[-1]

    def done(self, op: str) -> list[Operation]:
        """The operations of a kind that began between the marks."""
        first, last = self.span()
        return [
            o for o in self.operations if o.op == op and first.time_s <= o.begin_s < last.time_s
        ]


def write(path: Path, records: Sequence[Record]) -> None:
    """Write a file of records, whole or not at all."""
    document = {"format": FORMAT, "runs": [asdict(record) for record in records]}
    write_atomic(path, json.dumps(document, indent=1, allow_nan=False) + "\n")


def read(path: Path) -> list[Record]:
    """Read what `write` wrote.

    Raises:
        RecordError: no such file, or not of this format.
    """
    try:
        document = json.loads(path.read_bytes())
        if not isinstance(document, dict) or "format" not in document:
            raise RecordError(
                f"{path}: expected records, as `run` and `simulate` write with --json"
            )
        if document["format"] != FORMAT:
            raise RecordError(f"{path}: format {document['format']}; expected {FORMAT}")
        return [_record(found) for found in document["runs"]]
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}") from error
    except KeyError as error:
        raise RecordError(f"{path}: holds no records: no field {error}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise RecordError(f"{path}: holds no records: {error}") from error


def _record(found: Mapping[str, Any]) -> Record:
    parts: dict[str, type[Any]] = {"marks": Mark, "operations": Operation, "samples": Sample}
    lists = {name: tuple(_made(kind, row) for row in found[name]) for name, kind in parts.items()}
    texts = {name: tuple(map(str, found[name])) for name in ("settings", "guests")}
    if found["side"] not in ("real", "simulated"):
        raise ValueError(f"side {found['side']!r}")
    return _made(Record, {**found, **lists, **texts})


def _made(kind: type[T], row: Mapping[str, Any]) -> T:
    """A dataclass from its fields, numbers checked to be numbers."""
    made = kind(**row)
    for part in fields(made):  # type: ignore[arg-type]
        value = getattr(made, part.name)
        number = part.type in (int, float)
        if number and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TypeError(f"{part.name}: {value!r}: expected a number")
        if number and not math.isfinite(value):
            raise ValueError(f"{part.name}: {value!r}: expected a finite number")
    return made
