"""Quantities of a scenario that may depend on the guest they are meant for.

An amount of memory is a size (`300MiB`) or a share of something larger (`30%`); a rate is so many
per second (`200`) or per second and GiB of guest memory (`150/GiB`), so that one profile fits
guests of any size; a span of time is fixed (`30s`) or drawn anew for every guest (`[5s, 30s]`).
"""

import math
import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, PlainValidator

from configs.loading import format_bytes, parse_bytes, parse_seconds

GIB = 2**30  # [bytes]

_AMOUNT = "a size such as 300MiB or a share such as 30%"
_RATE = "a rate of 0 or more per second such as 200, or per GiB of the guest such as 150/GiB"
_SPAN = "a duration such as 30s, or two that it is drawn between such as [5s, 30s]"
_SHARE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?%", re.ASCII)
_PER_GIB = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?) ?/ ?GiB", re.ASCII)


@dataclass(frozen=True)
class Amount:
    """A size, or a share of another size."""

    size: int = 0  # [bytes] used where `share` is NaN
    share: float = math.nan

    def of(self, whole: int) -> int:
        """The amount in bytes when the whole has `whole` bytes."""
        return self.size if math.isnan(self.share) else round(self.share * whole)

    @property
    def relative(self) -> bool:
        """Whether it is a share."""
        return not math.isnan(self.share)

    def __eq__(self, other: object) -> bool:
        """Equal as written: the size, or the share."""
        if not isinstance(other, Amount):
            return NotImplemented
        return written_amount(self) == written_amount(other)

    def __hash__(self) -> int:
        """As `__eq__`."""
        return hash(written_amount(self))


@dataclass(frozen=True)
class Rate:
    """Events per second, fixed or in proportion to the guest."""

    per_second: float  # [1/s], or [1/s per GiB of the guest's size]
    per_gib: bool = False

    def of(self, guest_bytes: int) -> float:
        """[1/s] for a guest of this size."""
        return self.per_second * (guest_bytes / GIB if self.per_gib else 1.0)


@dataclass(frozen=True)
class Span:
    """A time, or the two ends between which it is drawn."""

    low: float  # [s]
    high: float  # [s]

    def at(self, quantile: float) -> float:
        """[s] for a uniform draw in [0, 1)."""
        return self.low + quantile * (self.high - self.low)


def parse_amount(value: object) -> Amount:
    """Read a size or a share.

    Raises:
        ValueError: neither of the two.
    """
    if isinstance(value, Amount):
        return value
    if isinstance(value, str) and (match := _SHARE.fullmatch(value.strip())):
        return Amount(share=float(match[1]) / 100)
    try:
        return Amount(size=parse_bytes(value))
    except ValueError as error:
        raise ValueError(f"expected {_AMOUNT}") from error


def parse_rate(value: object) -> Rate:
    """Read a rate.

    Raises:
        ValueError: not a rate, negative or not finite.
    """
    if isinstance(value, Rate):
        return value
    per_gib = False
    if isinstance(value, str) and (match := _PER_GIB.fullmatch(value.strip())):
        value, per_gib = float(match[1]), True
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected {_RATE}")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"expected {_RATE}")
    return Rate(float(value), per_gib)


def parse_span(value: object) -> Span:
    """Read a duration or a pair of them.

    Raises:
        ValueError: neither, or the ends in the wrong order.
    """
    if isinstance(value, Span):
        return value
    try:
        if isinstance(value, list | tuple) and len(value) == 2:
            low, high = parse_seconds(value[0]), parse_seconds(value[1])
        else:
            low = high = parse_seconds(value)
    except ValueError as error:
        raise ValueError(f"expected {_SPAN}") from error
    if low > high:
        raise ValueError(f"expected {_SPAN}, the shorter one first")
    return Span(low, high)


def written_amount(amount: Amount) -> int | str:
    """The amount as a configuration has it."""
    return f"{amount.share * 100:.12g}%" if amount.relative else format_bytes(amount.size)


def written_rate(rate: Rate) -> float | str:
    """The rate as a configuration has it."""
    return f"{rate.per_second:.12g}/GiB" if rate.per_gib else rate.per_second


def written_span(span: Span) -> float | list[float]:
    """The span as a configuration has it."""
    return span.low if span.low == span.high else [span.low, span.high]


NONE = BeforeValidator(lambda limit: None if limit == "none" else limit)  # in words, as in a file

AmountField = Annotated[
    Amount, PlainValidator(parse_amount), PlainSerializer(written_amount, when_used="json")
]
RateField = Annotated[
    Rate, PlainValidator(parse_rate), PlainSerializer(written_rate, when_used="json")
]
SpanField = Annotated[
    Span, PlainValidator(parse_span), PlainSerializer(written_span, when_used="json")
]
