"""The figures of the report: comparison, lost time, and the timeline of an episode."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from memsim.account import CLASSES
from reports import plotstyle
from reports.episodes import Results, Timeline
from reports.plotstyle import BLUE, CAUSES, INK, MEMORY, QUIET, SKY, SWAPPED, VERMILION
from reports.standings import Standing
from reports.statistics import Interval

GIB = 2**30
MIB = 2**20
POINTS = 180  # samples drawn of a timeline; more would be finer than a pixel
PANEL_POINTS = 75  # and of a guest, whose panel is a quarter as wide
FEW_ROWS = 12  # of a figure with a row for each policy; with more they are lower
GUESTS = 8  # panels of one timeline: the guests that suffered most come first


def comparison(results: Results, table: Sequence[Standing], reference: str) -> Figure:
    """J of every policy with its interval over its episodes, and paired against `reference`."""
    with plotstyle.style():
        figure = plotstyle.new(9, 0.9 + _row_inches(0.42, len(table)) * len(table))
        left, right = figure.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": (3, 2)})
        rows = np.arange(len(table))
        for row, standing in enumerate(table):
            own = [episode.j for episode in results.of(standing.label)]
            scatter = row + np.linspace(-0.2, 0.2, len(own)) if len(own) > 1 else [row]
            left.scatter(own, scatter, s=9, color=SKY, alpha=0.7, linewidths=0)
            _interval(left, standing.j, row, BLUE)
            if standing.difference is not None:
                _interval(right, standing.difference, row, _verdict_colour(standing.difference))
        left.set_yticks(rows, [standing.label for standing in table])
        left.set_ylim(len(table) - 0.4, -0.6)
        left.set(xlabel="1 is best; small dots are hosts", title="J with its 95 % interval")
        right.axvline(0, color=INK, linewidth=0.8)
        right.set_title(f"Paired difference to {reference}")
        right.set_xlabel("right of the line is better; grey: no evidence")
        for axes in (left, right):
            plotstyle.grid(axes, "x")
            axes.tick_params(axis="y", length=0)
        return figure


def lost_time(results: Results, table: Sequence[Standing]) -> Figure:
    """Lost time by cause: share of the time in which tasks were not idle, one bar a policy."""
    with plotstyle.style():
        figure = plotstyle.new(9, 1.2 + _row_inches(0.36, len(table)) * len(table))
        axes = figure.subplots()
        labels = [standing.label for standing in table]
        shares = {label: lost_shares(results, label) for label in labels}
        stacked_causes(axes, [shares[label] for label in labels])
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set(xlabel="% of the time that tasks were not idle", title="Lost time by cause")
        figure.legend(
            handles=cause_handles(list(shares.values())), loc="outside lower center", ncols=4
        )
        return figure


def lost_shares(results: Results, label: str) -> np.ndarray:
    """(len(CAUSES),) percent of a label's busy task time that was lost to each cause."""
    total = dict.fromkeys(CLASSES, 0.0)
    for episode in results.of(label):
        for name in CLASSES:
            total[name] += episode.account_s[name]
    busy = sum(total.values()) - total["idle"]
    lost = [sum(total[name] for name in cause.classes) for cause in CAUSES]
    return 100 * np.array(lost) / busy if busy else np.zeros(len(CAUSES))


def stacked_causes(axes: Axes, shares: Sequence[np.ndarray], height: float = 0.62) -> None:
    """Horizontal bars, one per entry of `shares`, first on row 0."""
    start = np.zeros(len(shares))
    for index, cause in enumerate(CAUSES):
        width = np.array([share[index] for share in shares])
        axes.barh(range(len(shares)), width, height, left=start, color=cause.colour, linewidth=0)
        start += width
    plotstyle.grid(axes, "x")


def cause_handles(shares: Sequence[np.ndarray]) -> list[Patch]:
    """Legend entries for the causes that took any visible time."""
    most = np.max(shares, axis=0)
    visible = most > 0.005 * max(float(np.max(np.sum(shares, axis=1))), 1e-12)
    return [
        Patch(color=cause.colour, label=cause.title)
        for cause, shown in zip(CAUSES, visible, strict=True)
        if shown
    ]


def timeline(found: Timeline, guests: int = GUESTS) -> Figure:
    """One episode over time: memory of so many guests, swap of the host, lost time by cause."""
    with plotstyle.style():
        shown = np.argsort(-found.swapped_bytes.sum(axis=0), kind="stable")[:guests]
        columns = min(4, len(shown))
        rows = -(-len(shown) // columns)
        figure = plotstyle.new(9, 1.55 * rows + 2.7)
        heights = (1.55 * rows + 0.35, 2.35)
        upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=heights).flat
        memory_panels(upper.subplots(rows, columns, sharex=True, squeeze=False), found, shown)
        upper.legend(handles=_memory_handles(), loc="outside upper center", ncols=5)
        swap, lost = lower.subplots(1, 2)
        swap_traffic(swap, found)
        shares = lost_over_time(lost, found)
        lower.legend(handles=cause_handles([shares]), loc="outside lower right", ncols=4)
        return figure


def memory_panels(panels: np.ndarray, found: Timeline, guests: np.ndarray) -> None:
    """Stacked memory of each guest; what the host swapped out of it hangs below the axis.

    Args:
        panels: (rows, columns) axes; those without a guest are hidden.
        found: the episode.
        guests: (S,) which guest columns to draw.
    """
    minutes = thinned(found.time_s, PANEL_POINTS) / 60
    for axes in panels.flat[len(guests) :]:
        axes.set_visible(False)
    for axes, guest in zip(panels.flat, guests, strict=False):
        layers = [(getattr(found, name)[:, guest], colour) for name, colour in MEMORY.values()]
        drawn = [(values, colour) for values, colour in layers if values.any()]
        sizes = [thinned(values, PANEL_POINTS) / GIB for values, _ in drawn]
        if sizes:
            axes.stackplot(minutes, *sizes, colors=[colour for _, colour in drawn], linewidth=0)
        below = -thinned(found.swapped_bytes[:, guest], PANEL_POINTS) / GIB
        if below.any():
            axes.fill_between(minutes, below, color=SWAPPED[1], linewidth=0)
        axes.set_xlim(minutes[0], minutes[-1])
        axes.axhline(0, color=INK, linewidth=0.7)
        axes.set_title(f"{found.name[guest]}  #{found.guest_id[guest]}", fontweight="normal")
        axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
        axes.locator_params(axis="y", nbins=4)
        _scored_from(axes)
    for axes in panels[:, 0]:
        axes.set_ylabel("GiB")


def swap_traffic(axes: Axes, found: Timeline) -> None:
    """Swap I/O of the host: in above the axis, out below."""
    minutes = thinned(found.time_s) / 60
    read = thinned(found.swap_in_bytes_per_s) / MIB
    written = -thinned(found.swap_out_bytes_per_s) / MIB
    axes.fill_between(minutes, read, color=VERMILION, linewidth=0)
    axes.fill_between(minutes, written, color=BLUE, linewidth=0)
    axes.axhline(0, color=INK, linewidth=0.7)
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.set(title="Host swap I/O: in above, out below", ylabel="MiB/s", xlabel="minutes")
    axes.margins(x=0)
    _scored_from(axes)


def lost_over_time(axes: Axes, found: Timeline) -> np.ndarray:
    """Lost task seconds per second, stacked by cause; returns (len(CAUSES),) their sums."""
    minutes = thinned(found.time_s) / 60
    layers = np.array(
        [
            thinned(
                found.time_share[:, [CLASSES.index(name) for name in cause.classes]].sum(axis=1)
            )
            for cause in CAUSES
        ]
    )
    drawn = [index for index, layer in enumerate(layers) if layer.any()]
    if drawn:
        colours = [CAUSES[index].colour for index in drawn]
        axes.stackplot(minutes, *layers[drawn], colors=colours, linewidth=0)
    axes.set(title="Lost time by cause", ylabel="tasks waiting", xlabel="minutes")
    axes.set_xlim(minutes[0], minutes[-1])
    axes.set_ylim(bottom=0)
    _scored_from(axes)
    return np.asarray(layers.sum(axis=1))


def thinned(values: np.ndarray, points: int = POINTS) -> np.ndarray:
    """At most so many means of equal runs of samples; a last short run is averaged as well."""
    run = -(-len(values) // points)
    starts = np.arange(0, len(values), run)
    counts = np.diff(np.append(starts, len(values)))
    return np.add.reduceat(values.astype(np.float64), starts) / counts


def _row_inches(usual: float, rows: int) -> float:
    """Height of a row: where they are many, so that all are on one screen."""
    return usual if rows <= FEW_ROWS else 0.22


def _interval(axes: Axes, found: Interval, row: int, colour: str) -> None:
    axes.plot(
        [found.low, found.high], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt"
    )
    axes.plot(found.value, row, marker="o", color=colour, markersize=5.5)


def _verdict_colour(found: Interval) -> str:
    if not found.shows_difference:
        return QUIET
    return BLUE if found.value > 0 else VERMILION


def _scored_from(axes: Axes) -> None:
    axes.axvline(0, color=INK, linewidth=0.8, linestyle=(0, (3, 2)))


def _memory_handles() -> list[Patch | Line2D]:
    parts: list[Patch | Line2D] = [
        Patch(color=colour, label=title) for title, (_, colour) in MEMORY.items()
    ]
    parts.append(Patch(color=SWAPPED[1], label=SWAPPED[0]))
    return parts
