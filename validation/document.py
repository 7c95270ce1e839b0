"""What a validation found, as plain data: written to JSON, read back, shown as table and page."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from configs.loading import write_atomic
from scenarios.outcome import NoSuchMark
from validation.experiment import Curves, Line, Outcomes, Quantity
from validation.running import Measured

FORMAT = 1
_PLAIN = ConfigDict(extra="forbid")
# A reason is one for misses up to so many times as far out, and for those by less than the share.
EXPLAINS, EXPLAINS_SHARE = 1.5, 0.1
Values = Annotated[tuple[float | None, ...], Field(min_length=1)]


class DocumentError(Exception):
    """A file that holds no validation; the message says why."""


@dataclass(frozen=True, config=_PLAIN)
class QuantityFound:
    """A published number beside what was measured here."""

    name: str
    unit: str
    kind: str
    published: str
    low: float | None  # None: no bound
    high: float | None
    values: Values  # one a seed; None: the run did not come so far
    missed: str  # why, if it is
    missed_at: float | None = None  # the mean that this explains; None: any

    @property
    def mean(self) -> float:
        """Over the seeds; NaN if one of them has none."""
        known = [value for value in self.values if value is not None]
        return math.fsum(known) / len(known) if len(known) == len(self.values) else math.nan

    @property
    def spread(self) -> tuple[float, float]:
        """Least and most over the seeds that have one; NaN if none has."""
        known = [value for value in self.values if value is not None]
        return (min(known), max(known)) if known else (math.nan, math.nan)

    @property
    def passed(self) -> bool:
        """Whether the mean lies in the range."""
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        return low <= self.mean <= high

    @property
    def by(self) -> str:
        """How far it is outside, in words; empty if it passed."""
        if self.passed:
            return ""
        if math.isnan(self.mean):
            return "there is no value"
        bound = self._bound(self.mean)
        side = "below" if self.mean < bound else "above"
        if bound == 0:
            return f"{abs(self.mean):.3g} {self.unit} {side}".replace("  ", " ")
        return f"{abs(self.mean - bound) / abs(bound):.0%} {side}"

    @property
    def unexplained(self) -> bool:
        """Whether it is missed and nobody has said why, or only why it is missed by much less."""
        return not self.passed and (not self.missed or self._outruns)

    @property
    def why(self) -> str:
        """The reason for a miss, in words."""
        if not self.missed:
            return "Not explained yet."
        if self._outruns:
            return f"Not explained yet; for {self.missed_at:.3g} the reason was: {self.missed}"
        return self.missed

    @property
    def _outruns(self) -> bool:
        """Whether the miss is on another side, or farther out, than what its reason was for."""
        if self.missed_at is None:
            return False
        bound = self._bound(self.missed_at)
        if math.isnan(self.mean) or bound != self._bound(self.mean):
            return True
        known = abs(self.missed_at - bound)
        return abs(self.mean - bound) > max(EXPLAINS * known, EXPLAINS_SHARE * abs(bound))

    def _bound(self, mean: float) -> float:
        """The bound that a mean out of range lies beyond."""
        bound = self.low if self.low is not None and mean < self.low else self.high
        assert bound is not None
        return bound


@dataclass(frozen=True, config=_PLAIN)
class LineFound:
    """One curve."""

    label: str
    x: tuple[float, ...]
    published: tuple[float, ...] | None
    values: tuple[tuple[float | None, ...], ...]  # one a seed


@dataclass(frozen=True, config=_PLAIN)
class CurvesFound:
    """One figure."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[LineFound, ...]


@dataclass(frozen=True, config=_PLAIN)
class ExperimentFound:
    """One experiment."""

    name: str
    title: str
    source: str
    set_up: str
    grain: str
    seconds: float  # of one core
    quantities: tuple[QuantityFound, ...]
    curves: tuple[CurvesFound, ...] = ()


@dataclass(frozen=True, config=_PLAIN)
class Document:
    """A whole validation."""

    quick: bool
    seeds: int
    complete: bool  # every experiment, nothing shortened
    experiments: tuple[ExperimentFound, ...]
    format: int = Field(default=FORMAT, ge=FORMAT, le=FORMAT)

    @property
    def quantities(self) -> list[QuantityFound]:
        """Of all experiments."""
        return [quantity for one in self.experiments for quantity in one.quantities]


_READER = TypeAdapter(Document)


def document(measured: Sequence[Measured], quick: bool, everything: bool) -> Document:
    """Evaluate all quantities and curves."""
    return Document(
        quick=quick,
        seeds=len(measured[0].outcomes) if measured else 0,
        complete=everything and not quick,
        experiments=tuple(_experiment(one, quick) for one in measured),
    )


def write(found: Document, path: str | Path) -> None:
    """Write JSON, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    write_atomic(path, _READER.dump_json(found, indent=1) + b"\n")


def read(path: str | Path) -> Document:
    """Read what `write` wrote.

    Raises:
        DocumentError: there is no such file, or it holds something else.
    """
    try:
        return _READER.validate_json(Path(path).read_bytes())
    except OSError as error:
        raise DocumentError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or "the file"
        raise DocumentError(f"{path}: {place}: {first['msg']}; expected a --json file") from error


def _experiment(one: Measured, quick: bool) -> ExperimentFound:
    about = one.experiment
    return ExperimentFound(
        name=about.name,
        title=about.title,
        source=about.source,
        set_up=about.set_up,
        grain=about.grain,
        seconds=round(one.seconds, 1),
        quantities=tuple(
            _quantity(quantity, one) for quantity in about.quantities if quantity.quick or not quick
        ),
        curves=tuple(_curves(curves, one) for curves in about.curves),
    )


def _quantity(quantity: Quantity, one: Measured) -> QuantityFound:
    return QuantityFound(
        name=quantity.name,
        unit=quantity.unit,
        kind=quantity.kind,
        published=quantity.published,
        low=_bound(quantity.low),
        high=_bound(quantity.high),
        values=tuple(_value(quantity, outcomes) for outcomes in one.outcomes),
        missed=quantity.missed,
        missed_at=quantity.missed_at if quantity.missed else None,
    )


def _curves(curves: Curves, one: Measured) -> CurvesFound:
    return CurvesFound(
        title=curves.title,
        x_label=curves.x_label,
        y_label=curves.y_label,
        lines=tuple(
            LineFound(
                label=line.label,
                x=tuple(line.x),
                published=line.published,
                values=tuple(_line(line, outcomes) for outcomes in one.outcomes),
            )
            for line in curves.lines
        ),
    )


def _value(quantity: Quantity, outcomes: Outcomes) -> float | None:
    # One run that ended before a mark, or did nothing, must not take the others' results with it.
    try:
        return _known(quantity.of(outcomes))
    except (NoSuchMark, ZeroDivisionError):
        return None


def _line(line: Line, outcomes: Outcomes) -> tuple[float | None, ...]:
    try:
        return tuple(_known(value) for value in line.of(outcomes))
    except NoSuchMark:
        return (None,) * len(line.x)


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _bound(value: float) -> float | None:
    return None if math.isinf(value) else value
