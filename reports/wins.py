"""Where each policy wins and loses: paired differences, scenario by scenario."""

import csv
import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reports import measures
from reports.episodes import Episode, Results
from reports.statistics import RESAMPLES, Interval
from reports.tuned import SUFFIX

ALL = "all"  # scenarios together
EVEN = 5e-4  # differences of J that three digits do not show: neither ahead nor behind
COLUMNS = (
    *("policy", "scenario", "difference", "difference_low", "difference_high"),
    *("evidence", "hosts", "ahead", "behind"),
)


class Cell(NamedTuple):
    """One policy against the reference on the hosts of one scenario, or of all."""

    scenario: str
    difference: Interval  # of J, paired by host
    hosts: int
    ahead: int  # hosts on which its J, a mean over training seeds, is higher
    behind: int

    @property
    def outcome(self) -> str:
        """`better`, `worse`, or `even` where there is no evidence of a difference."""
        if not self.difference.shows_difference:
            return "even"
        return "better" if self.difference.value > 0 else "worse"


class Row(NamedTuple):
    """One policy: a cell for each scenario, the last one for all if there are several."""

    label: str
    cells: tuple[Cell, ...]

    @property
    def ahead(self) -> float:
        """Share of the hosts on which it is ahead of the reference."""
        return self.cells[-1].ahead / self.cells[-1].hosts

    @property
    def behind(self) -> float:
        """Share of the hosts on which it is behind."""
        return self.cells[-1].behind / self.cells[-1].hosts


class Found(NamedTuple):
    """All such comparisons of an evaluation."""

    reference: tuple[Row, ...]  # everyone with the reference
    tuned: tuple[Row, ...]  # tuned policies with the same as shipped, where both take part


def compare(
    results: Results,
    labels: Sequence[str],
    reference: str,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Found:
    """Everyone with the reference, and what tuning brought; in the order of `labels`."""
    pairs = {label: label.removesuffix(SUFFIX) for label in labels if label.endswith(SUFFIX)}
    shipped = {label: base for label, base in pairs.items() if base in labels}
    tuned = [
        row
        for label, base in shipped.items()
        for row in wins(results, (base, label), base, resamples, seed)
    ]
    return Found(wins(results, labels, reference, resamples, seed), tuple(tuned))


def wins(
    results: Results,
    labels: Sequence[str],
    reference: str,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Row, ...]:
    """All but the reference, in the order of `labels`; none where it does not take part."""
    if reference not in labels:
        return ()
    base = results.of(reference)
    names = list(dict.fromkeys(part.scenario for part in base))
    found = []
    for label in labels:
        if label != reference:
            own = results.of(label)
            cells = [
                _cell(name, _within(own, name), _within(base, name), resamples, seed)
                for name in names
            ]
            if len(names) > 1:
                cells.append(_cell(ALL, own, base, resamples, seed))
            found.append(Row(label, tuple(cells)))
    return tuple(found)


def as_csv(rows: Sequence[Row]) -> str:
    """One line for each policy and scenario."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        for cell in row.cells:
            numbers = ("" if math.isnan(part) else repr(part) for part in cell.difference)
            counts = (cell.hosts, cell.ahead, cell.behind)
            writer.writerow((row.label, cell.scenario, *numbers, cell.outcome, *counts))
    return text.getvalue()


def _cell(
    scenario: str,
    own: Sequence[Episode],
    base: Sequence[Episode],
    resamples: int,
    seed: int,
) -> Cell:
    difference = measures.difference(own, base, measures.score, resamples, seed)
    mine, its = measures.by_work(own), measures.by_work(base)
    gaps = np.array([value - its[key] for key, value in mine.items()])
    ahead, behind = int((gaps > EVEN).sum()), int((gaps < -EVEN).sum())
    return Cell(scenario, difference, len(gaps), ahead, behind)


def _within(episodes: Sequence[Episode], scenario: str) -> tuple[Episode, ...]:
    return tuple(part for part in episodes if part.scenario == scenario)
