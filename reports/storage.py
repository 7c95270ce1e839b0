"""Results to and from files: parquet for tables, JSON for other programs.

A folder holds `episodes.parquet`, `guests.parquet` (one row each) and two tables of samples,
`memory.parquet` (per guest) and `traffic.parquet` (per host).  Mappings become one column per
name: `host_swap_s` is account_s["host_swap"], `guard_growth` is interventions["growth"].
"""

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, fields
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from configs.loading import write_atomic
from memsim.account import CLASSES
from reports.episodes import Episode, GuestEpisode, Identity, Key, Results, Timeline

FORMAT = 1  # of the JSON and of the columns; raised when a column changes its meaning
MEMORY = ("used_bytes", "cache_bytes", "free_bytes", "ballooned_bytes", "swapped_bytes")
TRAFFIC = ("swap_in_bytes_per_s", "swap_out_bytes_per_s", "host_free_bytes")

Row = TypeVar("Row", Episode, GuestEpisode)
Record = dict[str, Any]


class ResultsError(Exception):
    """A results folder that cannot be read; the message says which file and why."""


def record(row: Identity) -> Record:
    """One row as flat columns."""
    flat: Record = {}
    for part in fields(row):
        value = getattr(row, part.name)
        if isinstance(value, Mapping):
            flat.update({_column(part, name): number for name, number in value.items()})
        else:
            flat[part.name] = value
    return flat


def from_record(kind: type[Row], flat: Record) -> Row:
    """The row that `record` flattened."""
    values: Record = {}
    for part in fields(kind):
        if "suffix" in part.metadata:
            values[part.name] = {name: flat[_column(part, name)] for name in CLASSES}
        elif "prefix" in part.metadata:
            prefix = part.metadata["prefix"]
            found = {name: value for name, value in flat.items() if name.startswith(prefix)}
            values[part.name] = {name.removeprefix(prefix): found[name] for name in found}
        else:
            values[part.name] = flat[part.name]
    return kind(**values)


def write(folder: Path, results: Results) -> None:
    """Write all tables of a folder, each file whole or not at all."""
    _write_table(folder / "episodes.parquet", _rows_table(results.episodes))
    _write_table(folder / "guests.parquet", _rows_table(results.guests))
    _write_table(folder / "memory.parquet", _joined(map(_memory_table, results.timelines)))
    _write_table(folder / "traffic.parquet", _joined(map(_traffic_table, results.timelines)))


def read(folder: Path) -> Results:
    """Read what `write` wrote.

    Raises:
        ResultsError: a file is missing, damaged or of another format.
    """
    try:
        episodes, guests, memory, traffic = (
            pq.read_table(folder / f"{name}.parquet")
            for name in ("episodes", "guests", "memory", "traffic")
        )
        return Results(
            tuple(from_record(Episode, flat) for flat in episodes.to_pylist()),
            tuple(from_record(GuestEpisode, flat) for flat in guests.to_pylist()),
            _timelines(memory, traffic),
        )
    except (OSError, KeyError, TypeError, pa.ArrowInvalid) as error:
        raise ResultsError(f"{folder}: not a complete results folder ({error})") from error


def as_json(results: Results, extra: Mapping[str, Any]) -> str:
    """Every metric per episode and per guest as JSON text; unknown numbers are null."""
    document = {
        "format": FORMAT,
        **extra,
        "episodes": [record(row) for row in results.episodes],
        "guests": [record(row) for row in results.guests],
    }
    return json.dumps(_plain(document), indent=1, allow_nan=False) + "\n"


def _column(part: "Field[Any]", name: str) -> str:
    metadata = part.metadata
    return f"{metadata.get('prefix', '')}{name}{metadata.get('suffix', '')}"


def _plain(value: object) -> object:
    """Only what JSON knows: numpy scalars become Python's, NaN and infinity null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _rows_table(rows: Sequence[Identity]) -> pa.Table:
    """All rows with the same columns; a count that a row does not have is 0."""
    records = [record(row) for row in rows]
    names = dict.fromkeys(name for flat in records for name in flat)
    return pa.table({name: [flat.get(name, 0) for flat in records] for name in names})


def _write_table(path: Path, table: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomic(path, buffer.getvalue())


def _joined(tables: Iterable[pa.Table]) -> pa.Table:
    parts = list(tables)
    return pa.concat_tables(parts) if parts else pa.table({name: [] for name in Key._fields})


def _key_columns(key: Key, rows: int) -> Record:
    columns: Record = {}
    for name, value in key._asdict().items():
        column = pa.array([value] * rows)
        columns[name] = column.dictionary_encode() if isinstance(value, str) else column
    return columns


def _memory_table(timeline: Timeline) -> pa.Table:
    """One line per sample and guest, guests running fastest."""
    samples, guests = timeline.used_bytes.shape
    columns = _key_columns(timeline.key, samples * guests)
    columns["time_s"] = np.repeat(timeline.time_s, guests)
    columns["guest_id"] = np.tile(timeline.guest_id, samples)
    columns["name"] = pa.array(list(timeline.name) * samples).dictionary_encode()
    columns["max_bytes"] = np.tile(timeline.max_bytes, samples)
    for name in MEMORY:
        columns[name] = getattr(timeline, name).reshape(-1)
    return pa.table(columns)


def _traffic_table(timeline: Timeline) -> pa.Table:
    columns = _key_columns(timeline.key, len(timeline.time_s))
    columns["time_s"] = timeline.time_s
    columns.update({name: getattr(timeline, name) for name in TRAFFIC})
    for index, name in enumerate(CLASSES):
        columns[f"{name}_share"] = timeline.time_share[:, index]
    return pa.table(columns)


def _timelines(memory: pa.Table, traffic: pa.Table) -> tuple[Timeline, ...]:
    hosts = {key: rows for key, rows in _by_key(traffic)}
    return tuple(_timeline(key, rows, hosts[key]) for key, rows in _by_key(memory))


def _by_key(table: pa.Table) -> Iterable[tuple[Key, dict[str, np.ndarray]]]:
    """Runs of lines with the same key, in the order in which they were written."""
    if not table.num_rows:
        return
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    keys = list(zip(*(columns[name].tolist() for name in Key._fields), strict=True))
    start = 0
    for key, run in groupby(keys):
        stop = start + sum(1 for _ in run)
        yield Key(*key), {name: column[start:stop] for name, column in columns.items()}
        start = stop


def _timeline(key: Key, memory: dict[str, np.ndarray], host: dict[str, np.ndarray]) -> Timeline:
    samples = len(host["time_s"])
    guests = len(memory["time_s"]) // samples
    return Timeline(
        key=key,
        guest_id=memory["guest_id"][:guests],
        name=tuple(memory["name"][:guests]),
        max_bytes=memory["max_bytes"][:guests],
        time_s=host["time_s"],
        time_share=np.stack([host[f"{name}_share"] for name in CLASSES], axis=1),
        **{name: memory[name].reshape(samples, guests) for name in MEMORY},
        **{name: host[name] for name in TRAFFIC},
    )
