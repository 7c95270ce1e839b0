"""The figure of density: service against guests per host, and what each policy bears."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports import plotstyle
from reports.density_table import Row, where
from reports.plotstyle import BLUE, GREEN, INK, ORANGE, PURPLE, QUIET, SKY, VERMILION
from reports.service import ServiceLevel

COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY)  # of the first policies; others are grey
TOP = 10.0  # slowdown at the top of the figure; what is above is drawn there


def figure(table: Sequence[Row], level: ServiceLevel) -> Figure:
    """Service against guests per host: one panel a place, densities beside it."""
    with plotstyle.style():
        places = list(dict.fromkeys(row.place for row in table))
        longest = max(sum(row.place == place for row in table) for place in places)
        drawn = plotstyle.new(9, (1.1 + max(2.6, 0.24 * longest)) * len(places))
        panels = drawn.subplots(len(places), 2, squeeze=False, gridspec_kw={"width_ratios": (3, 2)})
        for (left, right), place in zip(panels, places, strict=True):
            here = [row for row in table if row.place == place]
            _curves(left, here, level)
            _densities(right, here)
            left.set_title(f"{where(place)}: slowdown that {level.percent:g} % stay within")
            right.set_title(f"Guests per host at {level.limit:.2f}")
        return drawn


def _curves(axes: Axes, here: Sequence[Row], level: ServiceLevel) -> None:
    for order, row in reversed(list(enumerate(here))):
        counts = [point.guests for point in row.density.curve]
        fitted = np.minimum([point.fitted for point in row.density.curve], TOP)
        axes.plot(counts, fitted, color=_colour(order), linewidth=1.4, marker="o", markersize=3)
    axes.axhline(level.limit, color=INK, linewidth=0.8, linestyle=(0, (3, 2)))
    axes.set(yscale="log", ylim=(0.98, TOP * 1.05), xlabel="guests per host")
    ticks = (1, 1.1, 1.5, 2, 5, TOP)
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks[:-1]] + [f"≥ {TOP:g}"])
    axes.minorticks_off()
    plotstyle.grid(axes, "y")


def _densities(axes: Axes, here: Sequence[Row]) -> None:
    for order, row in enumerate(here):
        value, low, high = row.density.guests
        axes.plot([low, high], [order, order], color=_colour(order), linewidth=2.2)
        axes.plot(value, order, marker="o", color=_colour(order), markersize=5)
    axes.set_yticks(range(len(here)), [row.policy for row in here])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    plotstyle.grid(axes, "x")


def _colour(order: int) -> str:
    return COLOURS[order] if order < len(COLOURS) else QUIET
