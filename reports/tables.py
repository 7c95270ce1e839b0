"""The tables of an evaluation, once for the page, Markdown and CSV, so that they agree."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from configs.loading import write_atomic
from reports.episodes import Episode, Results
from reports.figures import lost_shares
from reports.plotstyle import CAUSES
from reports.standings import Standing
from reports.statistics import Interval
from reports.table import interval, slowdown
from reports.wins import Cell, Found, as_csv
from reports.wins import Row as Wins

MIB = 2**20
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]  # titles and rows


def write(
    folder: Path,
    results: Results,
    ranked: Sequence[Standing],
    reference: str,
    found: Found,
) -> None:
    """Write every table as Markdown, and as CSV; numbers in full are in the latter where they fit.

    Args:
        folder: `tables/` of the evaluation's.
        results: of the evaluation.
        ranked: the standings.
        reference: label that the others are paired with.
        found: where each wins and loses.
    """
    write_atomic(folder / "standings.csv", _standings_csv(ranked))
    write_atomic(folder / "wins.csv", as_csv(found.reference))
    for name, (titles, rows) in {
        "ranking": ranking(ranked, reference),
        "details": details(ranked),
        "wins": against(found.reference),
    }.items():
        write_atomic(folder / f"{name}.md", markdown(titles, rows))
    if found.tuned:
        write_atomic(folder / "tuned.csv", as_csv(found.tuned))
        write_atomic(folder / "tuned.md", markdown(*against(found.tuned)))
    for name, (titles, rows) in {
        "scenarios": scenarios(results, ranked),
        "causes": causes(results, ranked),
        "hosts": hosts(results, ranked),
        "guard": guard(ranked),
    }.items():
        write_atomic(folder / f"{name}.md", markdown(titles, rows))
        write_atomic(folder / f"{name}.csv", commas([titles, *rows]))


def ranking(ranked: Sequence[Standing], reference: str) -> Table:
    """Who won: J, paired differences, and what guests got."""
    closed = any(row.gap_closed is not None for row in ranked)
    titles = (
        *("policy", "J (95 %)", f"against {reference}"),
        *(("gap closed (95 %)",) if closed else ()),
        *("worst 5 %", "p95 slowdown", "kills /guest-h", f"slowed > {ranked[0].limit:.2f}"),
    )
    rows: list[tuple[str, ...]] = [
        (
            row.label,
            interval(row.j),
            "–" if row.difference is None else _gap(row.difference),
            *((percent(row.gap_closed),) if closed else ()),
            f"{row.tail_score:.3f}",
            slowdown(row.slowdown_p95),
            f"{row.kills_per_guest_hour:.2f}",
            f"{row.violations:.1%}",
        )
        for row in ranked
    ]
    return titles, rows


def against(found: Sequence[Wins]) -> Table:
    """Where each policy wins and loses, by scenario and by host."""
    if not found:
        return ("policy",), []
    names = [cell.scenario for cell in found[0].cells]
    rows: list[tuple[str, ...]] = [
        (
            row.label,
            *(_cell(cell) for cell in row.cells),
            f"{row.ahead:.0%}",
            f"{row.behind:.0%}",
        )
        for row in found
    ]
    return ("policy", *names, "ahead on hosts", "behind on"), rows


def training(ranked: Sequence[Standing]) -> Table:
    """What the numbers rest on: hosts, training seeds, and kills before anything counts."""
    rows: list[tuple[str, ...]] = [
        (
            row.label,
            str(row.episodes),
            str(row.training_seeds or "–"),
            "–" if math.isnan(row.interquartile_j) else f"{row.interquartile_j:.3f}",
            str(row.warm_up_kills),
        )
        for row in ranked
    ]
    last = ("training seeds", "IQM of J over them", "kills in warm-up")
    return ("policy", "hosts run", *last), rows


def guard(ranked: Sequence[Standing]) -> Table:
    """Interventions of the guard per host and hour, those that happened to anyone, by name."""
    names = list(dict.fromkeys(name for row in ranked for name in row.interventions))
    names = [name for name in names if any(row.interventions.get(name, 0) for row in ranked)]
    rows: list[tuple[str, ...]] = [
        (row.label, *(f"{row.interventions.get(name, 0):.1f}" for name in names)) for row in ranked
    ]
    return ("policy", *(name.replace("_", " ") for name in names)), rows


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


def commas(lines: Iterable[Sequence[str]]) -> str:
    """Lines of cells as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def percent(found: Interval | None) -> str:
    """A share with its interval, `62 % [41, 90]`."""
    if found is None:
        return "–"
    value = f"{100 * found.value:.0f} %"
    if math.isnan(found.low):
        return value
    return f"{value} [{100 * found.low:.0f}, {100 * found.high:.0f}]"


def limits(found: Interval) -> str:
    """The interval alone, `[-0.021, +0.104]`; empty where there is none."""
    return "" if math.isnan(found.low) else f"[{found.low:+.3f}, {found.high:+.3f}]"


def _standings_csv(ranked: Sequence[Standing]) -> str:
    flat = [_flat(row.as_dict()) for row in ranked]
    titles = list(dict.fromkeys(name for row in flat for name in row))
    return commas([titles, *([_plain(row.get(name, math.nan)) for name in titles] for row in flat)])


def _flat(row: Mapping[str, object]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in row.items():
        if name == "interventions" and isinstance(value, Mapping):
            flat |= {f"guard_{kind}_per_hour": count for kind, count in value.items()}
        elif isinstance(value, Mapping):
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


def _cell(cell: Cell) -> str:
    even = " ≈" * (cell.outcome == "even")
    return f"{cell.difference.value:+.3f} {limits(cell.difference)}".rstrip() + even


def _gap(found: Interval) -> str:
    return interval(found, "+") + ("" if found.shows_difference else " ≈")
