"""The comparison as a table for the terminal, at most 100 columns wide."""

import math
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from reports.arms import ArmRow
from reports.standings import Standing, contenders
from reports.statistics import Interval

WIDTH = 100
NARROW = 96  # below this many columns the less important measures are left to the report
MIB = 2**20
GIB = 2**30
MEASURES = {  # title -> whether a narrow terminal shows it
    "worst\n5 %": True,
    "p95\nslow": False,
    "kills\n/g·h": True,
    "lost\ntime": False,
    "swap\nMiB/s": False,
}


GAP = "gap\nclosed"  # shown where a bound is clearly above the reference


def comparison(table: Sequence[Standing], reference: str, width: int = WIDTH) -> Table:
    """Best J first; the difference column compares with `reference`, paired by key."""
    shown = [name for name, narrow in MEASURES.items() if narrow or width >= NARROW]
    if any(standing.gap_closed is not None for standing in table):  # in the place of the last
        shown = [GAP, *(name for name in shown if name != "swap\nMiB/s")]
    compared = any(standing.difference is not None for standing in table)
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    grid.add_column("", overflow="fold", min_width=6)
    grid.add_column("J (95 % interval)", justify="right", no_wrap=True)
    if compared:
        grid.add_column(f"against {reference}", justify="right", no_wrap=True)
    for title in shown:
        grid.add_column(title, justify="right", no_wrap=True)
    best = contenders(table)[0]
    for standing in table:
        cells = [standing.label, interval(standing.j)]
        if compared:
            cells.append(_gap(standing.difference))
        grid.add_row(*cells, *_measures(standing, shown), style="bold" if standing is best else "")
    return grid


def arms(table: Sequence[ArmRow]) -> Table:
    """The measures of the talk's figure, in the order of the configuration."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    grid.add_column("", overflow="fold", min_width=12)
    for title in (
        "progress %",
        "swap in\nGiB",
        "out\nGiB",
        "lost\ntime",
        "hyper-\ncalls",
        "resize\nCPU s",
    ):
        grid.add_column(title, justify="right", no_wrap=True)
    for row in table:
        grid.add_row(
            row.label,
            _percent(row.progress),
            f"{row.swap_in_bytes / GIB:.2f}",
            f"{row.swap_out_bytes / GIB:.2f}",
            f"{row.lost_share:.1%}",
            f"{row.hypercalls:.0f}",
            f"{row.resize_s:.2f}",
        )
    return grid


def show_arms(table: Sequence[ArmRow], said: Sequence[str], console: Console) -> None:
    """Print the arms, what the columns mean, and what each arm changed."""
    console.print(arms(table))
    console.print(
        "progress: useful time over useful and lost time (95 % interval over hosts). Per run: swap"
        " I/O of the host, calls to the hypervisor and guest CPU for resizing. lost time: share of"
        " the time that tasks were not idle.",
        style="dim",
        highlight=False,
    )
    console.print()
    for sentence in said:
        console.print(sentence, style="bold", highlight=False)


def show(
    table: Sequence[Standing], verdict: Sequence[str], reference: str, console: Console
) -> None:
    """Print the table, what its columns mean, and who won."""
    console.print(comparison(table, reference, console.width))
    wide = (
        " p95 slow: slowdown of guests, 100 if killed. lost time: share of the time that tasks were"
        " not idle."
    )
    gap = " gap closed: to the bound, of what it has ahead of the reference."
    closed = any(standing.gap_closed is not None for standing in table)
    console.print(
        "J: mean score of the guests, min(1, 1/slowdown), 0 after a kill; 1 is best. worst 5 %:"
        f" mean of the worst guest scores. g·h: guest-hour.{wide * (console.width >= NARROW)}"
        f"{gap * closed}"
        " ≈: the interval includes 0; each interval is for its own row alone.",
        style="dim",
        highlight=False,
    )
    console.print()
    for sentence in verdict:
        console.print(sentence, style="bold", highlight=False)


def interval(found: Interval, sign: str = "") -> str:
    """`0.812 [0.790, 0.834]`, or the value alone where there is no interval."""
    value = f"{found.value:{sign}.3f}"
    if math.isnan(found.low):
        return value
    return f"{value} [{found.low:{sign}.2f}, {found.high:{sign}.2f}]"


def slowdown(value: float) -> str:
    """Three digits, and no more than the cap deserves."""
    if math.isnan(value):
        return "–"
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _percent(found: Interval) -> str:
    value = f"{100 * found.value:.0f}"
    return (
        value
        if math.isnan(found.low)
        else (f"{value} [{100 * found.low:.0f}, {100 * found.high:.0f}]")
    )


def _gap(found: Interval | None) -> str:
    if found is None:
        return "–"
    return interval(found, "+") + ("" if found.shows_difference else " ≈")


def _measures(standing: Standing, shown: Sequence[str]) -> list[str]:
    closed = standing.gap_closed
    cells = {
        GAP: "–" if closed is None else f"{closed.value:.0%}",
        "worst\n5 %": f"{standing.tail_score:.2f}",
        "p95\nslow": slowdown(standing.slowdown_p95),
        "kills\n/g·h": f"{standing.kills_per_guest_hour:.2f}",
        "lost\ntime": f"{standing.lost_share:.1%}",
        "swap\nMiB/s": f"{standing.swap_bytes_per_s / MIB:.2f}",
    }
    return [cells[name] for name in shown]


def terminal() -> Console:
    """The console that tables are printed on: never wider than the table is made for."""
    console = Console(highlight=False)
    return Console(highlight=False, width=min(console.width, WIDTH))
