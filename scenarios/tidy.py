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

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self._path = path
        file = _open(path)
        missing = _missing(file)
        if missing:
            raise TraceError(f"{path}: expected the columns {', '.join(missing)} too")
        metadata = file.schema_arrow.metadata or {}
        self._step_s = float(metadata.get(b"step_s", STEP_S))
        self._groups = _groups_of_machines(path)
        last_s = max(
            file.metadata.row_group(group).column(_index(file, "time_s")).statistics.max
            for group in range(file.metadata.num_row_groups)
        )
        self.steps = round(last_s / self._step_s) + 1

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
        step = np.rint(rows["time_s"] / self._step_s).astype(np.int64)
        if (step < 0).any() or (np.diff(step) <= 0).any():
            raise TraceError(f"{self._path}: machine {vm}: expected times that rise by steps")

        def column(name: str) -> np.ndarray:
            values = np.full(self.steps, np.nan, np.float32)
            values[step] = rows[name]
            return values

        return Trace(vm, int(rows["nominal_bytes"][0]), self._step_s, *map(column, MEASURED))


def _open(path: Path) -> Any:  # noqa: ANN401  pyarrow has no types
    try:
        return parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise TraceError(f"{path}: expected a whole parquet file: {error}") from error


def _missing(file: Any) -> list[str]:  # noqa: ANN401  pyarrow has no types
    return [name for name in (*KEYS, *MEASURED) if name not in file.schema_arrow.names]


def _index(file: Any, name: str) -> int:  # noqa: ANN401  pyarrow has no types
    return int(file.schema_arrow.get_field_index(name))


@lru_cache(maxsize=16)
def _groups_of_machines(path: Path) -> dict[int, tuple[int, ...]]:
    """The row groups that hold rows of each machine."""
    file, found = _open(path), dict[int, list[int]]()
    for group in range(file.metadata.num_row_groups):
        column = file.read_row_group(group, columns=["vm_id"]).column("vm_id")
        for vm in column.unique().to_pylist():
            found.setdefault(int(vm), []).append(group)
    return {vm: tuple(groups) for vm, groups in found.items()}


@lru_cache(maxsize=8)
def _group(path: Path, group: int) -> dict[str, np.ndarray]:
    try:
        table = _open(path).read_row_group(group, columns=[*KEYS, *MEASURED])
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise TraceError(f"{path}: row group {group} cannot be read: {error}") from error
    return {name: table.column(name).to_numpy() for name in table.column_names}


def _rows(path: Path, group: int, vm: int) -> dict[str, np.ndarray]:
    columns = _group(path, group)
    mine = columns["vm_id"] == vm
    return {name: values[mine] for name, values in columns.items()}
