"""Telemetry for tests: one plain reading to vary, and arbitrary ones."""

import numpy as np
import numpy.typing as npt

from contract.arrays import GIB, MIB
from contract.telemetry import COLUMNS, Telemetry, shape, unknown

PLAIN = {
    "total_bytes": 16 * GIB,
    "free_bytes": 6 * GIB,
    "buffers_bytes": GIB // 4,
    "cached_bytes": 2 * GIB,
    "available_bytes": 8 * GIB,
    "swap_total_bytes": 8 * GIB,
    "swap_used_bytes": GIB,
    "swap_in_bytes": 0,
    "swap_out_bytes": 0,
    "state": 2,
    "min_bytes": GIB // 2,
    "max_bytes": 4 * GIB,
    "weight": 1000,
    "current_bytes": 2 * GIB,
    "resident_bytes": GIB,
    "applied_target_bytes": 2 * GIB,
    "applied_age_s": 60.0,
    "stats_age_s": 1.0,
    "stats_free_bytes": GIB // 2,
    "stats_total_bytes": 2 * GIB,
    "stats_available_bytes": GIB,
    "stats_swap_in_bytes": 0,
    "stats_major_faults": 0,
    "stats_oom_kills": 0,
    "stats_alloc_stalls": 0,
    "deflate_on_oom": 0,
}


def reading(hosts: int = 1, guests: int = 1, **columns: npt.ArrayLike) -> Telemetry:
    """The plain reading with some columns (of any broadcastable value) changed."""
    ids = np.tile(np.arange(guests), (hosts, 1))
    base: dict[str, object] = {"present": True, "guest_id": ids, **PLAIN, **columns}
    filled = {}
    for name, value in base.items():
        column = COLUMNS[name]
        array = np.asarray(value, column.dtype)
        filled[name] = np.broadcast_to(array, shape(column, hosts, guests)).copy()
    return unknown(hosts, guests)._replace(**filled)


def arbitrary(rng: np.random.Generator, hosts: int, guests: int, time_s: float = 0.0) -> Telemetry:
    """A reading of anything that the types allow, unknowns everywhere; ids unique on a host."""
    filled: dict[str, npt.NDArray[np.generic]] = {}
    for name, column in COLUMNS.items():
        size = shape(column, hosts, guests)
        hidden = rng.random(size) < 0.2
        if column.unit == "code":
            filled[name] = rng.integers(-1, 5, size)
        elif column.dtype is np.int64:
            values = np.exp2(rng.uniform(0, 42, size)).astype(np.int64)
            filled[name] = np.where(hidden, -1, values * (rng.random(size) < 0.9))
        elif column.dtype is np.float64:
            values = np.exp2(rng.uniform(-10, 12, size))
            filled[name] = np.where(hidden, np.nan, values * (rng.random(size) < 0.9))
        else:
            filled[name] = rng.random(size) < 0.9
        if column.optional and rng.random() < 0.5:
            del filled[name]
    ids = np.array([rng.permutation(2 * guests)[:guests] for _ in range(hosts)]).reshape(
        hosts, guests
    )
    filled["guest_id"] = np.where(filled["present"], ids, -1)
    filled["time_s"] = np.full(hosts, time_s)
    return Telemetry(**filled)  # type: ignore[arg-type] # columns are filled by their own dtype


def permuted(telemetry: Telemetry, order: npt.NDArray[np.int64]) -> Telemetry:
    """The same reading with the guests in other slots: slot g holds what was in order[g]."""
    moved = {
        name: values[:, order] if COLUMNS[name].scope != "host" else values
        for name, values in telemetry._asdict().items()
        if values is not None
    }
    return telemetry._replace(**moved)


def mib(values: object) -> npt.NDArray[np.int64]:
    """MiB to bytes."""
    return np.asarray(values, np.int64) * MIB
