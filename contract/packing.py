"""One host's reading and decision as plain data, and back: for files that outlive the program.

Only guests that are present are kept, unknown is left out or None, and a column of which nothing is
known is not written at all.  What was packed comes back exactly.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from contract.arrays import UNKNOWN, Ints
from contract.decision import ALL_COLUMNS, Decision
from contract.telemetry import COLUMNS, Column, Scope, Telemetry, check, shape, unknown

Packed = dict[str, Any]

_HOST_ORDERS = {"ksm_run", "ksm_pages_to_scan", "ksm_sleep_s", "ksm_merge_across_nodes"}


def pack(telemetry: Telemetry) -> Packed:
    """The reading of a batch of one: {"slots": [...], column: value or list by guest}."""
    slots = np.flatnonzero(telemetry.present[0])
    packed: Packed = {"slots": slots.tolist()}
    for name, column in COLUMNS.items():
        values = getattr(telemetry, name)
        if values is None or name == "present":
            continue
        kept = values[0] if column.scope == "host" else values[0, slots]
        if name == "time_s" or _known(kept).any():
            packed[name] = _plain(kept)
    return packed


def unpack(packed: Mapping[str, Any], guests: int) -> Telemetry:
    """The reading that was packed, with `guests` slots.

    Raises:
        ValueError: it is no packed reading, or has a guest beyond the slots.
    """
    slots = _slots(packed.get("slots"), guests)
    strange = sorted(set(packed) - set(COLUMNS) - {"slots"})
    if strange:
        raise ValueError(f"telemetry: {strange[0]!r}: expected a column")
    optional = tuple(name for name in packed if name in COLUMNS and COLUMNS[name].optional)
    blank = unknown(1, guests, optional)
    present = blank.present.copy()
    present[0, slots] = True
    columns: dict[str, Any] = {"present": present}
    for name in set(packed) - {"slots"}:
        columns[name] = _column(COLUMNS[name], name, packed[name], slots, guests)
    telemetry = blank._replace(**columns)
    check(telemetry)
    return telemetry


def pack_decision(decision: Decision, slots: Ints) -> Packed:
    """What a decision asks of a batch of one, by column; guests in the order of `slots` (S,)."""
    packed: Packed = {}
    for name, values in decision._asdict().items():
        if values is None:
            continue
        kept = values[0] if name in _HOST_ORDERS else values[0, slots]
        if _known(np.asarray(kept)).any():
            packed[name] = _plain(np.asarray(kept))
    return packed


def unpack_decision(packed: Mapping[str, Any], slots: Ints, guests: int) -> Decision:
    """The decision that was packed.

    Raises:
        ValueError: it is none.
    """
    strange = sorted(set(packed) - ALL_COLUMNS)
    if strange:
        raise ValueError(f"decision: {strange[0]!r}: expected one of {sorted(ALL_COLUMNS)}")
    columns: dict[str, Any] = {"target_bytes": np.full((1, guests), UNKNOWN, np.int64)}
    for name, values in packed.items():
        scope: Scope = "host" if name in _HOST_ORDERS else "guest"
        column = Column(scope, "s" if name == "ksm_sleep_s" else "bytes", "")
        columns[name] = _column(column, name, values, slots, guests)
    return Decision(**columns)


def _known(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.bool_:
        return np.ones_like(values)
    known: np.ndarray = values >= 0  # of NaN, too
    return known


def _plain(values: np.ndarray) -> Any:  # noqa: ANN401  a number, None, or lists of them
    if values.dtype != np.float64:
        return values.tolist()
    return np.where(np.isnan(values), None, values).tolist()  # type: ignore[call-overload]  # objects


def _slots(found: object, guests: int) -> Ints:
    whole = isinstance(found, list) and all(type(slot) is int for slot in found)
    if not whole or not isinstance(found, list) or len(set(found)) < len(found):
        raise ValueError(f"slots: {str(found)[:80]}: expected a list of different whole numbers")
    slots = np.array(found, np.int64)
    if len(slots) and not (slots.min() >= 0 and slots.max() < guests):
        raise ValueError(f"slots: {found}: expected numbers from 0 to {guests - 1}")
    return slots


def _column(column: Column, name: str, found: object, slots: Ints, guests: int) -> np.ndarray:
    wanted = shape(column, 1, len(slots))[1 if column.scope == "host" else 0 :]
    try:
        values = np.array(found, np.float64 if column.dtype == np.float64 else None)
        if values.dtype.kind not in "bif" or (
            column.dtype == np.int64 and values.dtype.kind == "f"
        ):
            raise ValueError(f"numbers of kind {values.dtype}")
        values = values.astype(column.dtype)
        if column.scope == "host":
            return values.reshape(1)
        values = values.reshape(wanted)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {str(found)[:80]}: expected {wanted} numbers") from error
    blank = np.nan if column.dtype == np.float64 else UNKNOWN if column.dtype == np.int64 else False
    filled = np.full(shape(column, 1, guests), blank, column.dtype)
    filled[0, slots] = values[0]
    return filled
