"""Resident memory over time, real beside simulated."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports import plotstyle
from tools.realguests.record import Record

MIB = 1 << 20


def figure(real: Sequence[Record], simulated: Sequence[Record]) -> Figure:
    """One row a mode that both sides have, a line a guest; the first run of each mode."""
    modes = [
        mode
        for mode in dict.fromkeys(one.mode for one in real)
        if any(one.mode == mode for one in simulated)
    ]
    with plotstyle.style():
        made = plotstyle.new(9, 0.6 + 1.7 * len(modes))
        grid = made.subplots(len(modes), 2, sharex=True, sharey=True, squeeze=False)
        for axes, mode in zip(grid, modes, strict=True):
            for place, side in zip(axes, (real, simulated), strict=True):
                record = next(one for one in side if one.mode == mode)
                _draw(place, record)
                place.set_title(f"{record.mode}, {record.side}")
            axes[0].set_ylabel("resident, MiB")
        for place in grid[-1]:
            place.set_xlabel("s")
        grid[0][0].set_ylim(bottom=0)
        grid[0][0].legend(loc="upper left", fontsize=7)
        return made


def _draw(axes: Axes, record: Record) -> None:
    for guest in record.guests:
        mine = [sample for sample in record.samples if sample.guest == guest]
        times = [sample.time_s for sample in mine]
        axes.plot(times, [sample.resident_bytes / MIB for sample in mine], label=guest)
    for mark in record.marks:
        axes.axvline(mark.time_s, color=plotstyle.INK, linewidth=0.5, linestyle=":")
