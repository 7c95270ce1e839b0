"""What was found as a table for the terminal, a line a quantity."""

import math
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from validation.document import Document, QuantityFound

WIDTH = 110


def terminal() -> Console:
    """The console that the table is printed on: never wider than the table is made for."""
    console = Console(highlight=False)
    return Console(highlight=False, width=min(console.width, WIDTH))


def show(found: Document, console: Console) -> None:
    """Print all quantities, the misses with their reasons, and the sum of it."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    grid.add_column("", no_wrap=True)
    grid.add_column("quantity", overflow="fold", ratio=1)
    for title in ("measured", "published"):
        grid.add_column(title, justify="right", overflow="fold")
    grid.add_column("range", justify="right", no_wrap=True)
    grid.add_column("", no_wrap=True)
    for one in found.experiments:
        for number, quantity in enumerate(one.quantities):
            grid.add_row(
                "" if number else one.name,
                _titled(quantity),
                measured(quantity),
                quantity.published,
                bounds(quantity),
                "[green]pass[/]" if quantity.passed else "[bold red]MISS[/]",
            )
    console.print(grid)
    for one in found.experiments:
        for quantity in one.quantities:
            if not quantity.passed:
                text = f"{one.name} {quantity.name}: {quantity.by}. {quantity.why}"
                console.print(text, markup=False)
    console.print(summary(found.quantities), style="bold")
    console.print(
        "Mean and range over seeds. *: calibrated, the published number is the source of a cost."
        if found.seeds > 1
        else "One seed. *: calibrated, the published number is the source of a cost.",
        style="dim",
        markup=False,
    )


def summary(quantities: Sequence[QuantityFound]) -> str:
    """How many of each kind agree."""
    parts = []
    for kind in ("predicted", "calibrated"):
        own = [quantity for quantity in quantities if quantity.kind == kind]
        if own:
            parts.append(f"{sum(q.passed for q in own)} of {len(own)} {kind} quantities")
    return f"{', '.join(parts) or 'nothing'} within their range"


def measured(quantity: QuantityFound) -> str:
    """`1.91 [1.88, 1.95]`, or the mean alone when all seeds agree."""
    mean, low, high = (number(value) for value in (quantity.mean, *quantity.spread))
    return mean if low == high else f"{mean} [{low}, {high}]"


def bounds(quantity: QuantityFound) -> str:
    """`1.7-2.05`, `>= 6` or `<= 8`."""
    low, high = quantity.low, quantity.high
    if low is None:
        return f"≤ {number(high)}"
    if high is None:
        return f"≥ {number(low)}"
    return f"{number(low)}–{number(high)}"


def number(value: float | None) -> str:
    """Three digits that count."""
    if value is None or math.isnan(value):
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 4)}f}"


def _titled(quantity: QuantityFound) -> str:
    star = "* " if quantity.kind == "calibrated" else ""
    return f"{star}{quantity.name}" + (f" ({quantity.unit})" if quantity.unit else "")
