"""Reads tidy parquet files: one row per machine and step, sorted by machine and then time."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as parquet

from scenarios.traces import STEP_S, Trace, TraceError

KEYS = ("vm_id", "time_s", "nominal_bytes")
MEASURED = (
    "granted_bytes",
    "active_bytes",
    "cpu_percent",
    "disk_read_bytes_per_s",
    "disk_write_bytes_per_s",
)


def is_tidy(path: Path) -> bool:
    """Whether a parquet file has the columns of a trace.

    Raises:
        TraceError: it is no parquet file.
    """
    return not _missing(_open(path))


class TidyFile:
    """A parquet file of machines; only the row groups that a machine is in are read."""

    step_s = STEP_S

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self._path = path
        file = _open(path)
        missing = _missing(file)
        if missing:
            raise TraceError(f"{path}: expected the columns {', '.join(missing)} too")
        _check_types(path, file)
        _check_step(path, file.schema_arrow.metadata or {})
        self._groups, self._first_s, last_s = _contents(path)
        self.steps = round((last_s - self._first_s) / STEP_S) + 1

    @property
    def machines(self) -> tuple[str, ...]:
        """Names of all machines, in the order of their numbers."""
        return tuple(str(vm) for vm in sorted(self._groups))

    def read(self, vm: str) -> Trace:
        """One machine on the file's grid of steps."""
        number = int(vm) if vm.isdecimal() else -1
        if number not in self._groups:
            raise TraceError(f"{self._path}: machine {vm!r}: expected one of {len(self._groups)}")
        parts = [_rows(self._path, group, number) for group in self._groups[number]]
        rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        size = int(rows["nominal_bytes"][0])
        if size <= 0 or (rows["nominal_bytes"] != size).any():
            raise TraceError(
                f"{self._path}: machine {vm}: nominal_bytes: {size}: expected one positive size"
            )
        step = np.rint((rows["time_s"] - self._first_s) / STEP_S).astype(np.int64)
        if (np.diff(step) <= 0).any():
            raise TraceError(
                f"{self._path}: machine {vm}: time_s: expected times that rise by {STEP_S:g} s"
            )

        def column(name: str) -> np.ndarray:
            values = np.full(self.steps, np.nan, np.float32)
            values[step] = rows[name]
            return values

        return Trace(vm, size, STEP_S, *map(column, MEASURED))


def _open(path: Path) -> Any:  # noqa: ANN401  pyarrow has no types
    try:
        return parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise TraceError(f"{path}: expected a whole parquet file: {_line(error)}") from error


def _missing(file: Any) -> list[str]:  # noqa: ANN401  pyarrow has no types
    return [name for name in (*KEYS, *MEASURED) if name not in file.schema_arrow.names]


def _check_types(path: Path, file: Any) -> None:  # noqa: ANN401  pyarrow has no types
    """Keys are whole numbers, what was measured are numbers."""
    for name in (*KEYS, *MEASURED):
        kind = file.schema_arrow.field(name).type
        whole = pyarrow.types.is_integer(kind)
        if not whole and (name in KEYS or not pyarrow.types.is_floating(kind)):
            wanted = "whole numbers" if name in KEYS else "numbers"
            raise TraceError(f"{path}: column {name} is of {kind}; expected {wanted}")


def _check_step(path: Path, metadata: dict[bytes, bytes]) -> None:
    given = metadata.get(b"step_s", b"300").decode(errors="replace")
    if given.strip() not in ("300", "300.0"):
        raise TraceError(f"{path}: step_s of the schema is {given!r}; expected {STEP_S:g}")


@lru_cache(maxsize=16)
def _contents(path: Path) -> tuple[dict[int, tuple[int, ...]], int, int]:
    """The row groups that hold rows of each machine, and the first and last time [s]."""
    found = dict[int, list[int]]()
    first_s, last_s = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    for group in range(_open(path).metadata.num_row_groups):
        rows = _read(path, group, ("vm_id", "time_s"))
        if not len(rows["vm_id"]):
            continue
        first_s = min(first_s, int(rows["time_s"].min()))
        last_s = max(last_s, int(rows["time_s"].max()))
        for vm in np.unique(rows["vm_id"]).tolist():
            found.setdefault(int(vm), []).append(group)
    if not found:
        raise TraceError(f"{path}: has no rows; expected one for each machine and step")
    return {vm: tuple(groups) for vm, groups in found.items()}, int(first_s), int(last_s)


@lru_cache(maxsize=8)
def _group(path: Path, group: int) -> dict[str, np.ndarray]:
    return _read(path, group, (*KEYS, *MEASURED))


def _read(path: Path, group: int, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Columns of a row group."""
    try:
        table = _open(path).read_row_group(group, columns=list(names))
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise TraceError(f"{path}: row group {group} cannot be read: {_line(error)}") from error
    for name in set(names) & set(KEYS):
        if table.column(name).null_count:
            raise TraceError(f"{path}: column {name} has empty cells; expected none")
    return {name: table.column(name).to_numpy() for name in names}


def _rows(path: Path, group: int, vm: int) -> dict[str, np.ndarray]:
    columns = _group(path, group)
    mine = columns["vm_id"] == vm
    return {name: values[mine] for name, values in columns.items()}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
