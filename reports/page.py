"""The report: one HTML file that shows who won, on what, and how to do it again."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from reports import density_figure, density_table, figures, plotstyle, tables, talk, worst
from reports.density_kept import Kept
from reports.episodes import LOST, GuestEpisode, Results
from reports.standings import Standing, contenders
from reports.table import MIB, interval, slowdown
from reports.wins import Found
from reports.wins import Row as Wins

WORST_GUESTS = 10  # lines of the table of guests that suffered most


@dataclass(frozen=True)
class Provenance:
    """Where the numbers come from."""

    title: str
    description: str
    command: str
    config: str  # resolved YAML
    versions: Mapping[str, str]
    traces: tuple[str, ...]  # sentences: which traces were replayed, real or synthetic
    policies: Mapping[str, str]  # label -> what it is
    reference: str  # label that the others are compared with
    arms: bool
    guard: str


class DensityPart(NamedTuple):
    """How many guests a host bears, for the page."""

    picture: Markup
    table: tables.Table
    said: tuple[str, ...]


def density_part(kept: Kept, code: str) -> DensityPart:
    """What a run of `--density` left; `code` is the digest of today's."""
    other = () if kept.code == code else ("Found by another version of the code than the rest.",)
    picture = _picture(density_figure.figure(kept.rows, kept.level))
    table = density_table.cells(kept.rows, kept.reference)
    return DensityPart(picture, table, (*kept.said, kept.about, *other))


def render(
    results: Results,
    table: Sequence[Standing],
    verdict: Sequence[str],
    found: Found,
    provenance: Provenance,
    density: DensityPart | None = None,
) -> str:
    """The whole page as text; nothing on it is fetched from elsewhere."""
    environment = Environment(
        loader=PackageLoader("reports", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html.j2")
    return template.render(
        provenance=provenance,
        verdict=verdict,
        standings=[_row(standing) for standing in table],
        conditions=_conditions(results),
        talk=_picture(talk.talk(results)) if provenance.arms else None,
        comparison=_picture(figures.comparison(results, table, provenance.reference)),
        lost=_picture(figures.lost_time(results, table)),
        best=contenders(table)[0].label,
        limit=f"{table[0].limit:.2f}",
        closed=any(row.gap_closed is not None for row in table),
        places=[cell.scenario for row in found.reference[:1] for cell in row.cells],
        wins=_wins(found.reference),
        tuned=_wins(found.tuned),
        density=density,
        details=tables.details(table),
        training=tables.training(table),
        causes=tables.causes(results, table),
        scenarios=tables.scenarios(results, table),
        guard=tables.guard(table),
        hosts=tables.hosts(results, table),
        worst=[_guest_row(guest) for guest in worst_guests(results)],
        shelf=worst.shelf(results, table, provenance.reference),
    )


def worst_guests(results: Results) -> list[GuestEpisode]:
    """The guests with the lowest scores over all policies and arms, worst first."""
    return sorted(results.guests, key=lambda guest: (guest.score, -guest.lost_s))[:WORST_GUESTS]


def _picture(figure: Figure) -> Markup:
    # Our own drawing; labels inside were escaped by matplotlib's SVG writer.
    return Markup(plotstyle.inline_svg(figure))


def _conditions(results: Results) -> str:
    first = results.episodes[0]
    hosts = len({(episode.scenario, episode.seed) for episode in results.episodes})
    scenarios = sorted({episode.scenario for episode in results.episodes})
    guests = sum(episode.guests for episode in results.episodes) / len(results.episodes)
    return (
        f"{hosts} host{'s' * (hosts > 1)} ({', '.join(scenarios)}; {guests:.1f} guests on average),"
        f" the same work for everyone; {first.warm_up_s:g} s of warm-up under the policy itself,"
        f" then {first.scored_s:g} s that count.{shared_machines(results)}"
    )


def shared_machines(results: Results) -> str:
    """A sentence where hosts that intervals take as independent replay the same machines."""
    clusters = {episode.key: episode.cluster for episode in results.episodes}
    seen: dict[str, set[str]] = {}
    for guest in results.guests:
        if guest.machine:
            seen.setdefault(guest.machine, set()).add(clusters[guest.key])
    shared = sum(len(found) > 1 for found in seen.values())
    if not shared:
        return ""
    return (
        f" {shared} of {len(seen)} replayed machines live in more than one window of their trace;"
        " intervals take windows as independent, and may be too narrow for other machines."
    )


def _row(standing: Standing) -> dict[str, str]:
    gap = standing.difference
    return {
        "label": standing.label,
        "kind": "learned" if standing.learned else "",
        "j": interval(standing.j),
        "gap": "–" if gap is None else interval(gap, "+"),
        "gap_kind": _gap_kind(standing),
        "closed": tables.percent(standing.gap_closed),
        "tail": f"{standing.tail_score:.3f}",
        "slowdown": slowdown(standing.slowdown_p95),
        "violations": f"{standing.violations:.1%}",
        "kills": f"{standing.kills_per_guest_hour:.3f}",
        "lost": f"{standing.lost_share:.2%}",
    }


def _wins(found: Sequence[Wins]) -> list[dict[str, object]]:
    """Cells of the table of wins: how deep their colour is goes by the size of the difference."""
    sizes = [abs(cell.difference.value) for row in found for cell in row.cells]
    largest = max(sizes, default=0.0) or 1.0
    return [
        {
            "label": row.label,
            "cells": [
                {
                    "kind": cell.outcome,
                    "value": f"{cell.difference.value:+.3f}",
                    "range": tables.limits(cell.difference),
                    "depth": f"{0.12 + 0.5 * abs(cell.difference.value) / largest:.2f}",
                }
                for cell in row.cells
            ],
            "ahead": f"{row.ahead:.0%}",
            "behind": f"{row.behind:.0%}",
        }
        for row in found
    ]


def _gap_kind(standing: Standing) -> str:
    gap = standing.difference
    if gap is None:
        return ""
    if not gap.shows_difference:
        return "even"
    return "better" if gap.value > 0 else "worse"


def _guest_row(guest: GuestEpisode) -> dict[str, str]:
    cause = max(LOST, key=lambda name: guest.account_s[name])
    total = guest.lost_s
    share = guest.account_s[cause] / total if total else 0.0
    return {
        "label": guest.label,
        "host": f"{guest.scenario} {guest.seed}",
        "guest": f"{guest.name} #{guest.guest_id}",
        "score": f"{guest.score:.3f}",
        "slowdown": slowdown(guest.slowdown),
        "killed": "" if math.isnan(guest.killed_s) else f"after {guest.killed_s:.0f} s",
        "cause": f"{cause.replace('_', ' ')} ({share:.0%} of {total:.0f} s lost)" if total else "–",
        "size": f"{guest.mean_size_bytes / guest.max_bytes:.0%} of {guest.max_bytes / MIB:.0f} MiB",
    }
