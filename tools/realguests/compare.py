"""Real beside simulated: one row a measure, for each mode that both have."""

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import NamedTuple

from tools.realguests.problems import Problem
from tools.realguests.record import Record

MIB = 1 << 20
ALIKE = 0.1  # figures within so much of the greater one have no order
CLEAR = 0.25  # ... and so far apart they have one, which the other side must show too
LITTLE = 32.0  # [MiB] swap traffic below it is noise: any two such figures agree


class Measure(NamedTuple):
    """One figure of a run."""

    name: str
    unit: str
    of: Callable[[Record], float]
    digits: int = 0


class Row(NamedTuple):
    """One measure of one mode: means over the runs of each side; NaN: not seen."""

    mode: str
    measure: Measure
    real: float
    simulated: float

    @property
    def ratio(self) -> float:
        """Simulated over real, NaN where that says nothing."""
        return self.simulated / self.real if self.real > 0 else math.nan


class NotComparable(Problem):
    """Two files that have no run of the same scenario and mode, or not one side each."""


def swap_in_mib(record: Record) -> float:
    """[MiB] read back from swap between the marks."""
    first, last = record.span()
    return (last.host_swap_in_bytes - first.host_swap_in_bytes) / MIB


def swap_out_mib(record: Record) -> float:
    """[MiB] written to swap between the marks."""
    first, last = record.span()
    return (last.host_swap_out_bytes - first.host_swap_out_bytes) / MIB


def allocation_s(record: Record) -> float:
    """[s] Mean time of an allocation."""
    return _mean([one.seconds for one in record.done("allocate")])


def touches_per_s(record: Record) -> float:
    """[M/s] Mean rate of touching."""
    done = [one for one in record.done("touch") if one.seconds > 0]
    return _mean([one.accesses / one.seconds / 1e6 for one in done])


def reads_mib_per_s(record: Record) -> float:
    """[MiB/s] Mean rate of reading files."""
    done = [one for one in record.done("read") if one.seconds > 0]
    return _mean([one.accesses * 4096 / MIB / one.seconds for one in done])


def resident_mib(record: Record) -> float:
    """[MiB] Mean over time of all guests' resident memory."""
    first, last = record.span()
    sums: dict[float, int] = {}
    for sample in record.samples:
        if first.time_s <= sample.time_s <= last.time_s:
            sums[sample.time_s] = sums.get(sample.time_s, 0) + sample.resident_bytes
    return _mean([total / MIB for total in sums.values()])


MEASURES = (
    Measure("swapped in", "MiB", swap_in_mib),
    Measure("swapped out", "MiB", swap_out_mib),
    Measure("resident, all guests", "MiB", resident_mib),
    Measure("time to allocate", "s", allocation_s, 2),
    Measure("work", "M touches/s", touches_per_s, 2),
    Measure("reading", "MiB/s", reads_mib_per_s),
)


def rows(real: Sequence[Record], simulated: Sequence[Record]) -> list[Row]:
    """All measures of all modes that both sides have; several runs of a mode become their mean.

    Raises:
        NotComparable: they share none.
    """
    found = list(_rows(real, simulated))
    if not found:
        raise NotComparable(
            f"no run in common: {_names(real)} on the one side, {_names(simulated)} on the other"
        )
    return found


def _rows(real: Sequence[Record], simulated: Sequence[Record]) -> Iterator[Row]:
    for key in dict.fromkeys(map(_key, real)):
        ours = [one for one in real if _key(one) == key]
        theirs = [one for one in simulated if _key(one) == key]
        if not theirs:
            continue
        for measure in MEASURES:
            means = [_mean([measure.of(one) for one in side]) for side in (ours, theirs)]
            if not all(map(math.isnan, means)):
                yield Row(ours[0].mode, measure, *means)


def check_sides(real: Sequence[Record], simulated: Sequence[Record]) -> None:
    """See that each side is what it is taken for.

    Raises:
        NotComparable: it is not.
    """
    for side, records in (("real", real), ("simulated", simulated)):
        strangers = sorted({one.mode for one in records if one.side != side})
        if strangers:
            raise NotComparable(
                f"the {side} side: {', '.join(strangers)} is not {side}; expected the file of real"
                " guests first, then that of the simulator"
            )


def left_out(real: Sequence[Record], simulated: Sequence[Record]) -> list[str]:
    """What only one side has, so that nothing can be said of it."""
    keys = [{_key(one) for one in side} for side in (real, simulated)]
    return [
        f"{name} only: {_names([one for one in side if _key(one) not in other])}"
        for name, side, other in (("real", real, keys[1]), ("simulated", simulated, keys[0]))
        if any(_key(one) not in other for one in side)
    ]


def _key(record: Record) -> tuple[str, str, tuple[str, ...]]:
    return record.scenario, record.mode, tuple(sorted(record.settings))


def _names(records: Sequence[Record]) -> str:
    names = {" ".join((one.scenario, one.mode, *one.settings)) for one in records}
    return ", ".join(sorted(names)) or "nothing"


def orders_that_differ(found: Sequence[Row]) -> list[str]:
    """Pairs of modes that a measure ranks one way for real and another way simulated.

    Swap traffic of less than LITTLE counts as none.  What is alike on one side must not be clearly
    apart on the other, or a simulator in which nothing matters would have every order right.
    """
    problems = []
    for measure in MEASURES:
        mine = [row for row in found if row.measure is measure]
        for number, row in enumerate(mine):
            for other in mine[number + 1 :]:
                real = _apart(row.real, other.real, measure)
                simulated = _apart(row.simulated, other.simulated, measure)
                least, most = sorted(map(abs, (real, simulated)))
                opposite = real * simulated < 0 and least > ALIKE
                if opposite or (least <= ALIKE and most >= CLEAR):
                    problems.append(f"{measure.name}: {row.mode} against {other.mode}")
    return problems


def _apart(one: float, other: float, measure: Measure) -> float:
    # How far one is above (or below) the other, as a share of the greater; NaN: not seen.
    if measure.of in (swap_in_mib, swap_out_mib):
        one, other = (max(value, LITTLE) for value in (one, other))
    return (one - other) / max(one, other) if max(one, other) > 0 else one - other


def beyond(found: Sequence[Row], factor: float = 2.0) -> list[str]:
    """Swap traffic that differs by more than a factor, what is below LITTLE counted as LITTLE."""
    problems = []
    for row in found:
        if row.measure.of in (swap_in_mib, swap_out_mib):
            ratio = max(row.simulated, LITTLE) / max(row.real, LITTLE)
            if not 1 / factor <= ratio <= factor:
                problems.append(f"{row.measure.name}, {row.mode}: {ratio:.2g} times the real one")
    return problems


def text(found: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| mode | measure | real | simulated | ratio |", "|---|---|---|---|---|"]
    for row in found:
        real, simulated = (_number(value, row.measure.digits) for value in row[2:4])
        ratio = "–" if math.isnan(row.ratio) else f"{row.ratio:.2f}"
        name = f"{row.measure.name}, {row.measure.unit}"
        lines.append(f"| {row.mode} | {name} | {real} | {simulated} | {ratio} |")
    return "\n".join(lines)


def _number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan
