"""The worst episodes as timelines to look at: of those that matter first, then of everyone."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from reports import figures, plotstyle
from reports.episodes import Episode, Results
from reports.standings import Standing, contenders

BYTES = 4_500_000  # of all timelines on a page together, so that it opens at once
FOLDED_GUESTS = 4  # drawn of each episode that is folded away


class Shown(NamedTuple):
    """One timeline of the page."""

    title: str
    picture: Markup


class Shelf(NamedTuple):
    """The timelines of a page."""

    first: tuple[Shown, ...]  # of the winner, of the reference, and the worst of all
    others: tuple[Shown, ...]  # everyone else's, in the order of the ranking
    left_out: tuple[str, ...]  # labels whose timelines would have made the page too large


def shelf(results: Results, table: Sequence[Standing], reference: str, most: int = BYTES) -> Shelf:
    """The worst episode of each policy or arm, as many as fit into so many bytes."""
    titles = _featured(results, table, reference)
    order = [*titles, *(row.label for row in table if row.label not in titles)]
    first: list[Shown] = []
    others: list[Shown] = []
    left_out: list[str] = []
    for label in order:
        episode = worst_episode(results, label)
        timeline = results.timeline(episode.key)
        if timeline is None:
            continue
        if most < 0:
            left_out.append(label)
            continue
        guests = figures.GUESTS if label in titles else FOLDED_GUESTS
        drawn = figures.timeline(timeline, guests)
        picture = Markup(plotstyle.inline_svg(drawn))  # labels are escaped
        most -= len(picture.encode())
        if most < 0 and first:
            left_out.append(label)
            continue
        where = f"{label} on {episode.scenario} {episode.seed}: J {episode.j:.3f}"
        if label in titles:
            first.append(Shown(f"{titles[label]}: {where}", picture))
        else:
            others.append(Shown(where, picture))
    return Shelf(tuple(first), tuple(others), tuple(left_out))


def worst_episode(results: Results, label: str) -> Episode:
    """The episode with the lowest J of one policy or arm."""
    return min(results.of(label), key=lambda episode: episode.j)


def _featured(results: Results, table: Sequence[Standing], reference: str) -> dict[str, str]:
    """Label -> why its worst episode is shown first."""
    worst = min(results.episodes, key=lambda episode: episode.j).label
    found: dict[str, list[str]] = {contenders(table)[0].label: ["best mean"]}
    if any(row.label == reference for row in table):
        found.setdefault(reference, []).append("reference")
    found.setdefault(worst, []).append("worst of all")
    return {label: ", ".join(why) for label, why in found.items()}
