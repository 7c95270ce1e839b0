"""The tables of an evaluation as CSV, every column with its unit in its name, and as Markdown."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from configs.loading import write_atomic
from reports.episodes import Results
from reports.standings import Standing
from reports.statistics import Interval
from reports.table import interval, slowdown

MIB = 2**20
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]  # titles and rows


def write(folder: Path, results: Results, ranked: Sequence[Standing], reference: str) -> None:
    """Write ranking, details and scenarios, each as .csv and .md."""
    write_atomic(folder / "standings.csv", _standings_csv(ranked))
    for name, (titles, rows) in {
        "ranking": ranking(ranked, reference),
        "details": details(ranked),
        "scenarios": scenarios(results, ranked),
    }.items():
        write_atomic(folder / f"{name}.md", markdown(titles, rows))
    write_atomic(folder / "scenarios.csv", as_csv(*scenarios(results, ranked)))


def ranking(ranked: Sequence[Standing], reference: str) -> Table:
    """Who won: J, paired differences, and what guests got."""
    titles = ("policy", "J (95 %)", f"against {reference}", "worst 5 %", "p95 slowdown")
    rows: list[tuple[str, ...]] = [
        (
            row.label,
            interval(row.j),
            "–" if row.difference is None else _gap(row.difference),
            f"{row.tail_score:.3f}",
            slowdown(row.slowdown_p95),
            f"{row.kills_per_guest_hour:.2f}",
            f"{row.violations:.1%}",
        )
        for row in ranked
    ]
    return (*titles, "kills /guest-h", "slowed > 1.10"), rows


def details(ranked: Sequence[Standing]) -> Table:
    """What it cost, and how evenly it was spread."""
    titles = ("policy", "progress", "lost time", "swap MiB/s", "refaults MiB/s", "fairness")
    rows: list[tuple[str, ...]] = [
        (
            row.label,
            f"{row.progress:.3f}",
            f"{row.lost_share:.2%}",
            f"{row.swap_bytes_per_s / MIB:.2f}",
            f"{row.refault_bytes_per_s / MIB:.3f}",
            f"{row.fairness:.3f}",
            f"{row.free_share:.1%}",
            f"{row.hypercalls_per_s:.1f}",
            f"{1000 * row.resize_share:.2f}",
            f"{row.interventions_per_hour:.0f}",
        )
        for row in ranked
    ]
    last = ("host free, of sizes", "hypercalls/s", "resizing ms/s", "guard fires/h")
    return (*titles, *last), rows


def scenarios(results: Results, ranked: Sequence[Standing]) -> Table:
    """Where each policy wins and loses: its mean J in each scenario, the best in bold."""
    names = list(dict.fromkeys(episode.scenario for episode in results.episodes))
    means = {
        row.label: [
            float(np.mean([part.j for part in results.of(row.label) if part.scenario == name]))
            for name in names
        ]
        for row in ranked
    }
    best = np.max(list(means.values()), axis=0)
    rows = [
        (
            label,
            *(
                f"**{value:.3f}**" if value >= most else f"{value:.3f}"
                for value, most in zip(values, best, strict=True)
            ),
        )
        for label, values in means.items()
    ]
    return ("policy", *names), rows


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for pages of text."""
    lines = ["| " + " | ".join(titles) + " |", "|---" + "|---:" * (len(titles) - 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def as_csv(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The same for other programs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows([_plain(cell) for cell in row] for row in rows)
    return text.getvalue()


def _standings_csv(ranked: Sequence[Standing]) -> str:
    flat = [_flat(row.as_dict()) for row in ranked]
    titles = list(dict.fromkeys(name for row in flat for name in row))
    return as_csv(titles, [[row.get(name, math.nan) for name in titles] for row in flat])


def _flat(row: Mapping[str, object]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            flat |= {
                name: value["value"],
                f"{name}_low": value["low"],
                f"{name}_high": value["high"],
            }
        elif value is not None:
            flat[name] = value
    return flat


def _plain(cell: object) -> str:
    if isinstance(cell, float):
        return "" if math.isnan(cell) else repr(cell)
    return str(cell).strip("*")


def _gap(found: Interval) -> str:
    return interval(found, "+") + ("" if found.shows_difference else " ≈")
