"""The arms of an experiment side by side in one wide figure."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports import measures, plotstyle
from reports.episodes import Episode, Results
from reports.figures import cause_handles, lost_shares, stacked_causes
from reports.plotstyle import BLUE, GREEN, INK, ORANGE, PURPLE, VERMILION

GIB = 2**30


class Panel(NamedTuple):
    """One measure of an episode, drawn as bars with intervals."""

    title: str
    unit: str
    measure: Callable[[Episode], float]
    colour: str


SWAP_IN = Panel(
    "Swap I/O", "GiB per run", lambda episode: episode.host_swap_in_bytes / GIB, VERMILION
)
SWAP_OUT = Panel("", "", lambda episode: episode.host_swap_out_bytes / GIB, BLUE)
PROGRESS = Panel("Progress", "% of undisturbed", lambda episode: 100 * episode.progress, GREEN)
HYPERCALLS = Panel(
    "Hypercalls", "thousands per run", lambda episode: episode.hypercalls / 1000, PURPLE
)
RESIZING = Panel("Resizing CPU", "guest s per run", lambda episode: episode.resize_s, ORANGE)


def talk(results: Results, resamples: int = 2000) -> Figure:
    """Swap I/O, progress, stall time by cause, hypercalls and guest CPU spent on resizing.

    One row an arm, in the order of the config; thin lines are 95 % intervals over hosts.
    """
    labels = results.labels()
    rows = np.arange(len(labels))
    with plotstyle.style():
        figure = plotstyle.new(9, 1.35 + 0.33 * len(labels))
        panels = figure.subplots(1, 5, sharey=True, gridspec_kw={"width_ratios": (5, 4, 6, 4, 4)})
        swap, progress, stalls, hypercalls, resizing = panels
        _swap(swap, results, labels, resamples)
        for axes, panel in ((progress, PROGRESS), (hypercalls, HYPERCALLS), (resizing, RESIZING)):
            _bars(axes, panel, results, labels, resamples)
        shares = [lost_shares(results, label) for label in labels]
        stacked_causes(stalls, shares)
        stalls.set(title="Stall time by cause", xlabel="% of busy task time")
        handles = cause_handles(shares)
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 5))
        swap.set_yticks(rows, labels)
        swap.invert_yaxis()
        for axes in panels:
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="x", nbins=4)
            axes.set_xlim(left=0)
        return figure


def _swap(axes: Axes, results: Results, labels: Sequence[str], resamples: int) -> None:
    """Swapped in and out as two thin bars an arm."""
    for panel, shift, title in ((SWAP_IN, -0.17, "in"), (SWAP_OUT, 0.17, "out")):
        _bars(axes, panel, results, labels, resamples, shift, 0.31, title)
    axes.set(title=SWAP_IN.title, xlabel=SWAP_IN.unit)
    axes.legend(loc="lower right", fontsize=7.5, handlelength=1, borderaxespad=0.1)


def _bars(
    axes: Axes,
    panel: Panel,
    results: Results,
    labels: Sequence[str],
    resamples: int,
    shift: float = 0.0,
    height: float = 0.62,
    title: str | None = None,
) -> None:
    found = [measures.mean(results.of(label), panel.measure, resamples) for label in labels]
    rows = np.arange(len(labels)) + shift
    values = [interval.value for interval in found]
    axes.barh(rows, values, height, color=panel.colour, linewidth=0, label=title)
    for row, interval in zip(rows, found, strict=True):
        axes.plot([interval.low, interval.high], [row, row], color=INK, linewidth=1)
    axes.set(title=panel.title, xlabel=panel.unit)
    plotstyle.grid(axes, "x")
