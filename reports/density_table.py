"""Densities as a table for the terminal, as rows for files, and in words."""

import csv
import io
import math
from collections.abc import Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from reports import density
from reports.density import Crowds, Density, Place
from reports.service import ServiceLevel
from reports.statistics import Interval
from reports.tables import Table as Cells
from reports.tables import markdown

LEGEND = (
    "guests per host: the most of which so many percent are slowed down no more than the limit.\n"
    "< and >=: beyond what was run. ≈: the interval includes 0.\n"
)


COLUMNS = (
    *("scenario", "mechanisms", "policy", "density", "density_low", "density_high"),
    *("guests", "slowdown", "slowdown_low", "slowdown_high", "fitted"),
)


class Row(NamedTuple):
    """One policy at one place."""

    place: Place
    policy: str
    density: Density
    difference: Interval | None  # to the reference at the same place; None for itself


def rows(
    crowds: Crowds,
    level: ServiceLevel,
    reference: str,
    resamples: int = density.RESAMPLES,
    seed: int = 0,
) -> tuple[Row, ...]:
    """All densities, by place and then the highest first."""
    found = []
    for place, policies in crowds.items():
        drawn = density.draws([one for own in policies.values() for one in own], resamples, seed)
        measured = {name: density.density(own, level, drawn) for name, own in policies.items()}
        ordered = sorted(measured.items(), key=lambda item: -item[1].crossing)
        found += [
            Row(
                place,
                name,
                own,
                None if name == reference else density.difference(own, measured[reference], drawn),
            )
            for name, own in ordered
        ]
    return tuple(found)


def verdict(table: Sequence[Row], level: ServiceLevel, reference: str) -> tuple[str, ...]:
    """One sentence for each place: who bears most, and whether the difference is one."""
    said = []
    for place in dict.fromkeys(row.place for row in table):
        here = [row for row in table if row.place == place]
        base = next(row for row in here if row.policy == reference)
        better = [row for row in here if row.difference is not None and row.difference.low > 0]
        worse = [row for row in here if row.difference is not None and row.difference.high < 0]
        text = f"{where(place)}: {reference} bears {base.density} guests at {level}"
        if better:
            names = ", ".join(f"{row.policy} {_gap(row.difference)}" for row in better)
            text += f"; more: {names}"
        if worse:
            text += f"; fewer: {', '.join(row.policy for row in worse)}"
        if not better and not worse:
            text += "; no evidence that any other differs"
        said.append(text + ".")
    return tuple(said)


def grid(table: Sequence[Row], reference: str) -> Table:
    """Guests per host with their intervals, at most 100 columns wide."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    shown.add_column("", overflow="fold", min_width=10)
    shown.add_column("guests per host (95 %)", justify="right", no_wrap=True)
    shown.add_column(f"against {reference}", justify="right", no_wrap=True)
    shown.add_column("runs up to", justify="right", no_wrap=True)
    places = list(dict.fromkeys(row.place for row in table))
    for row in table:
        if places and row.place == places[0]:
            shown.add_row(f"[bold]{where(places.pop(0))}[/bold]")
        shown.add_row(row.policy, _guests(row.density), _gap(row.difference), str(row.density.most))
    return shown


def show(table: Sequence[Row], said: Sequence[str], reference: str, console: Console) -> None:
    """Print the table and what it says."""
    console.print(grid(table, reference))
    console.print(LEGEND)
    for sentence in said:
        console.print(f"\n{sentence}", highlight=False)


def as_csv(table: Sequence[Row]) -> str:
    """One line for each policy, place and count that was run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in table:
        for point in row.density.curve:
            density = map(_number, row.density.guests)
            slowdown = map(_number, (*point.value, point.fitted))
            writer.writerow((*row.place, row.policy, *density, point.guests, *slowdown))
    return text.getvalue()


def as_markdown(table: Sequence[Row], reference: str) -> str:
    """A table for pages of text."""
    return markdown(*cells(table, reference))


def cells(table: Sequence[Row], reference: str) -> Cells:
    """Titles and rows, for the page and for Markdown."""
    titles = ("scenario", "policy", "guests per host (95 %)", f"against {reference}")
    return titles, [
        (where(row.place), row.policy, _guests(row.density), _gap(row.difference)) for row in table
    ]


def where(place: Place) -> str:
    """A place in words."""
    return place.scenario + (f", {place.mechanisms}" if place.mechanisms else "")


def _guests(found: Density) -> str:
    _, low, high = found.guests
    return str(found) if math.isnan(low) else f"{found} [{low:.0f}, {high:.0f}]"


def _gap(found: Interval | None) -> str:
    if found is None:
        return "–"
    if math.isnan(found.low):
        return f"{round(found.value):+d}"
    even = "" if found.shows_difference else " ≈"
    return f"{round(found.value):+d} [{found.low:+.1f}, {found.high:+.1f}]{even}"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
