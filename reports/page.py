"""The report: one HTML file that shows who won, on what, and how to do it again."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from reports import figures, plotstyle, talk
from reports.episodes import LOST, Episode, GuestEpisode, Results
from reports.standings import Standing
from reports.table import MIB, interval, slowdown

WORST_GUESTS = 10  # lines of the table of guests that suffered most
TIMELINES = 6  # at most so many episodes are drawn


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


def render(
    results: Results, table: Sequence[Standing], verdict: Sequence[str], provenance: Provenance
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
        worst=[_guest_row(guest) for guest in worst_guests(results)],
        timelines=_timelines(results, table),
    )


def worst_guests(results: Results) -> list[GuestEpisode]:
    """The guests with the lowest scores over all policies and arms, worst first."""
    return sorted(results.guests, key=lambda guest: (guest.score, -guest.lost_s))[:WORST_GUESTS]


def worst_episode(results: Results, label: str) -> Episode:
    """The episode with the lowest J of one policy or arm."""
    return min(results.of(label), key=lambda episode: episode.j)


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
        "iqm": _or_dash(standing.interquartile_j, ".3f"),
        "tail": f"{standing.tail_score:.3f}",
        "slowdown": slowdown(standing.slowdown_p95),
        "kills": f"{standing.kills_per_guest_hour:.3f}",
        "warm_up_kills": str(standing.warm_up_kills),
        "progress": f"{standing.progress:.3f}",
        "lost": f"{standing.lost_share:.2%}",
        "swap": f"{standing.swap_bytes_per_s / MIB:.2f}",
        "hypercalls": f"{standing.hypercalls_per_s:.1f}",
        "resize": f"{1000 * standing.resize_share:.2f}",
        "interventions": f"{standing.interventions_per_hour:.0f}",
        "episodes": str(standing.episodes),
    }


def _gap_kind(standing: Standing) -> str:
    gap = standing.difference
    if gap is None:
        return ""
    if not gap.shows_difference:
        return "even"
    return "better" if gap.value > 0 else "worse"


def _or_dash(value: float, form: str) -> str:
    return "–" if math.isnan(value) else f"{value:{form}}"


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


def _timelines(results: Results, table: Sequence[Standing]) -> list[dict[str, object]]:
    """The worst episode of each policy or arm, in the order of the standings."""
    shown: list[dict[str, object]] = []
    for standing in table:
        episode = worst_episode(results, standing.label)
        found = results.timeline(episode.key)
        if found is not None and len(shown) < TIMELINES:
            title = f"{standing.label} on {episode.scenario} {episode.seed}: J {episode.j:.3f}"
            shown.append({"title": title, "picture": _picture(figures.timeline(found))})
    return shown
