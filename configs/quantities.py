"""Sizes and durations as people write them: `4GiB`, `64 MiB`, `10min`, `200ms`.

Sizes are whole bytes and durations are float seconds as soon as they are read; both are never
negative.  A size is written back with its unit wherever that loses nothing.
"""

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

BYTE_UNITS = {
    "B": Decimal(1),
    "kB": Decimal(10**3),
    "KB": Decimal(10**3),
    "MB": Decimal(10**6),
    "GB": Decimal(10**9),
    "TB": Decimal(10**12),
    "KiB": Decimal(2**10),
    "MiB": Decimal(2**20),
    "GiB": Decimal(2**30),
    "TiB": Decimal(2**40),
}
SECOND_UNITS = {
    "ns": Decimal("0.000000001"),
    "us": Decimal("0.000001"),
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "min": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
LARGEST_BYTES = 2**63 - 1  # [bytes] sizes are int64 everywhere else

_SIZE = "a size of 0 or more whole bytes such as 4096, 64MiB or 1.5GiB"
_DURATION = "a duration of 0 or more seconds such as 5, 200ms, 10min or 1.5h"
_NUMBER_AND_UNIT = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+) ?([A-Za-z]+)", re.ASCII)


def parse_bytes(value: object) -> int:
    """Read a size: whole bytes, or text with a unit, rounded to a whole byte.

    Raises:
        ValueError: not a size, negative, or beyond int64.
    """
    if isinstance(value, str):
        size = _scaled(value, BYTE_UNITS)
        if size is None or (size < 1 and size != 0):
            raise ValueError(f"expected {_SIZE}")
        value = round(size)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_BYTES:
        raise ValueError(f"expected {_SIZE}")
    return value


def parse_seconds(value: object) -> float:
    """Read a duration: a number of seconds, or text with a unit.

    Raises:
        ValueError: not a duration, negative, or not finite.
    """
    if isinstance(value, str):
        seconds = _scaled(value, SECOND_UNITS)
        if seconds is None:
            raise ValueError(f"expected {_DURATION}")
        value = float(seconds)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected {_DURATION}")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"expected {_DURATION}")
    return float(value)


def format_bytes(size: int) -> int | str:
    """Write a size with the largest binary unit that divides it, else as plain bytes."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        whole, rest = divmod(size, int(BYTE_UNITS[unit]))
        if whole and not rest:
            return f"{whole}{unit}"
    return size


def _scaled(text: str, units: Mapping[str, Decimal]) -> Decimal | None:
    """The value of `12.5unit`, or None when the text is not of that form."""
    match = _NUMBER_AND_UNIT.fullmatch(text.strip())
    if match is None or match[2] not in units:
        return None
    return Decimal(match[1]) * units[match[2]]


Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    PlainSerializer(format_bytes, return_type=int | str, when_used="json"),
]
Seconds = Annotated[float, BeforeValidator(parse_seconds)]
