"""The tables of an evaluation: all metrics as CSV, units in their names; the rest as Markdown."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from configs.loading import write_atomic
from reports.episodes import Episode, Results
from reports.figures import lost_shares
from reports.plotstyle import CAUSES
from reports.standings import Standing
from reports.statistics import Interval
from reports.table import interval, slowdown

MIB = 2**20
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]  # titles and rows


def write(folder: Path, results: Results, ranked: Sequence[Standing], reference: str) -> None:
    """Write standings.csv, every metric of every policy, and the tables as Markdown."""
    write_atomic(folder / "standings.csv", _standings_csv(ranked))
    for name, (titles, rows) in {
        "ranking": ranking(ranked, reference),
        "details": details(ranked),
        "scenarios": scenarios(results, ranked),
        "causes": causes(results, ranked),
        "hosts": hosts(results, ranked),
    }.items():
        write_atomic(folder / f"{name}.md", markdown(titles, rows))


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
    """Where each policy wins and loses: its mean J in each scenario."""
    names = list(dict.fromkeys(episode.scenario for episode in results.episodes))
    rows: list[tuple[str, ...]] = []
    for row in ranked:
        found = results.of(row.label)
        means = [np.mean([part.j for part in found if part.scenario == name]) for name in names]
        rows.append((row.label, *(f"{mean:.3f}" for mean in means)))
    return ("policy", *names), rows


def causes(results: Results, ranked: Sequence[Standing]) -> Table:
    """Lost time by cause, in percent of the time in which tasks were not idle."""
    rows: list[tuple[str, ...]] = []
    for row in ranked:
        shares = lost_shares(results, row.label)
        rows.append((row.label, *(f"{share:.1f}" for share in shares)))
    return ("policy", *(f"{cause.title} %" for cause in CAUSES)), rows


def hosts(results: Results, ranked: Sequence[Standing]) -> Table:
    """J on each host, and the kills there, of policies in the order of the ranking."""
    keys = list(dict.fromkeys((part.scenario, part.seed) for part in results.episodes))
    found: dict[tuple[str, str, int], list[Episode]] = {}
    for part in results.episodes:
        found.setdefault((part.label, part.scenario, part.seed), []).append(part)
    rows = [
        (f"{scenario} {seed}", *(_host(found[row.label, scenario, seed]) for row in ranked))
        for scenario, seed in keys
    ]
    return ("host", *(row.label for row in ranked)), rows


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for pages of text."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    lines = [line(titles), "|---" + "|---:" * (len(titles) - 1) + "|", *map(line, rows)]
    return "\n".join(lines) + "\n"


def _standings_csv(ranked: Sequence[Standing]) -> str:
    flat = [_flat(row.as_dict()) for row in ranked]
    titles = list(dict.fromkeys(name for row in flat for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows([_plain(row.get(name, math.nan)) for name in titles] for row in flat)
    return text.getvalue()


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
    return str(cell)


def _host(episodes: Sequence[Episode]) -> str:
    """Mean J over training seeds, and kills in parentheses if there were any."""
    kills = sum(part.oom_kills + part.host_kills for part in episodes)
    mean = np.mean([part.j for part in episodes])
    return f"{mean:.2f}" + (f" ({kills})" if kills else "")


def _gap(found: Interval) -> str:
    return interval(found, "+") + ("" if found.shows_difference else " ≈")
