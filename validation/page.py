"""`docs/validation.md` with its figures, from a document alone: the same file for the same data."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from configs.loading import write_atomic
from reports import plotstyle
from reports.plotstyle import BLUE, GREEN, ORANGE, PURPLE, VERMILION
from validation import table
from validation.document import CurvesFound, Document, ExperimentFound, QuantityFound

PAGE = Path("docs/validation.md")
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE)
MARKERS = ("o", "s", "^", "D", "v")
FLAT = 25  # largest over smallest value from which on an axis is logarithmic

HEAD = """\
# Validation: published experiments

Made by `python -m validation`; do not edit.  Each experiment sets up what was published as a
scenario (`configs/scenarios/validation`) and measures what was measured there.  No constant is
tuned to a target: costs are those of `memsim/params.py`, hardware is the publication's, and where
it names no swap device, a 7200 rpm disk (8 ms, 150 MB/s).

*Predicted* quantities follow from mechanisms; *calibrated* ones are themselves the source of a cost
and show only that the cost does what it should.  Measured: mean and range over seeds.  The mean
has to lie in the range.  A mean without a range beside it is the same with every seed: the set-up
leaves next to nothing to chance there, so that seeds tell nothing of how certain it is.
"""


class IncompleteDocument(Exception):
    """The page shows full runs of everything, or nothing."""


def write(found: Document, path: Path = PAGE) -> None:
    """Write the page and the figures beside it.

    Raises:
        IncompleteDocument: the document is of a quick run or lacks experiments.
        OSError: it cannot be written.
    """
    if not found.complete:
        raise IncompleteDocument("the page needs a full run of all experiments")
    for one in found.experiments:
        for number, curves in enumerate(one.curves):
            write_atomic(path.parent / _figure_name(one, number), figure(curves))
    write_atomic(path, text(found))


def text(found: Document) -> str:
    """The page as Markdown."""
    parts = [HEAD, f"{table.summary(found.quantities)}, {found.seeds} seeds.\n"]
    for kind, title in (("predicted", "Predicted"), ("calibrated", "Calibrated")):
        rows = [(one, q) for one in found.experiments for q in one.quantities if q.kind == kind]
        if rows:
            parts += [f"## {title}\n", _table(rows)]
    missed = [(one, q) for one in found.experiments for q in one.quantities if not q.passed]
    if missed:
        parts += ["## Missed, and why\n"]
        parts += _reasons(missed)
    parts.append("## The experiments\n")
    parts += [_about(one) for one in found.experiments]
    return "\n".join(parts)


def figure(curves: CurvesFound) -> bytes:
    """A PNG with published curves dashed and the simulator's solid, with the range over seeds.

    Markers of earlier curves are larger and hollow, so that they can be seen around later ones.
    """
    with plotstyle.style():
        drawn = Figure(figsize=(5.2, 3.0), layout="constrained")
        axes = drawn.subplots()
        shared = _published_once(curves)
        for number, line in enumerate(curves.lines):
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
            later = len(curves.lines) - 1 - number
            values = np.array(line.values, np.float64)  # None: NaN
            mean = values.mean(0)
            axes.plot(
                line.x,
                mean,
                color=colour,
                marker=marker,
                markersize=3 + 3 * later,
                markerfacecolor="none" if later else colour,
                label=line.label,
            )
            axes.fill_between(line.x, values.min(0), values.max(0), color=colour, alpha=0.2)
            if line.published is not None and shared is None:
                axes.plot(line.x, line.published, color=colour, linestyle="--", linewidth=1)
        if shared is not None:
            axes.plot(curves.lines[0].x, shared, color="0.2", linestyle="--", label="published")
        axes.set(title=curves.title, xlabel=curves.x_label, ylabel=curves.y_label)
        if _far_apart(curves):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_locator(NullLocator())
        else:
            axes.set_ylim(bottom=0)
        places = sorted({x for line in curves.lines for x in line.x})
        axes.set_xticks(places, [f"{x:g}" for x in places])
        plotstyle.grid(axes, "y")
        axes.legend(title="dashed: published" if shared is None else None, title_fontsize=8)
        picture = io.BytesIO()
        drawn.savefig(picture, format="png", dpi=120, metadata={"Software": None})
        return picture.getvalue()


def _published_once(curves: CurvesFound) -> tuple[float, ...] | None:
    """The published curve that several are held against, if it is one and the same."""
    published = {line.published for line in curves.lines}
    return published.pop() if len(curves.lines) > 1 and len(published) == 1 else None


def _far_apart(curves: CurvesFound) -> bool:
    """Whether the lowest of it would lie flat on a linear axis."""
    parts = [np.array(line.values, np.float64).ravel() for line in curves.lines]
    parts += [np.array(line.published, np.float64) for line in curves.lines if line.published]
    low, high = np.nanmin(np.concatenate(parts)), np.nanmax(np.concatenate(parts))
    return bool(low > 0 and high > FLAT * low)


def _table(rows: Sequence[tuple[ExperimentFound, QuantityFound]]) -> str:
    lines = [
        "| | quantity | measured | published | range | |",
        "|---|---|---|---|---|---|",
    ]
    for one, q in rows:
        unit = f" [{q.unit}]" if q.unit else ""
        verdict = "pass" if q.passed else f"**missed**, {q.by}"
        cells = (one.name, f"{q.name}{unit}", table.measured(q), q.published, table.bounds(q))
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in (*cells, verdict)) + " |")
    return "\n".join(lines) + "\n"


def _reasons(missed: Sequence[tuple[ExperimentFound, QuantityFound]]) -> list[str]:
    """Each reason once, below all that it is the reason for."""
    shared: dict[tuple[str, str], list[QuantityFound]] = {}
    for one, q in missed:
        shared.setdefault((one.name, q.why), []).append(q)
    return [
        "".join(
            f"- **{name}, {q.name}**: {table.measured(q)} instead of {table.bounds(q)}, {q.by}.\n"
            for q in quantities
        )
        + f"\n  {why}\n"
        for (name, why), quantities in shared.items()
    ]


def _about(one: ExperimentFound) -> str:
    parts = [f"### {one.name} {one.title}\n", f"{one.set_up}\n", f"Source: {one.source}\n"]
    if one.grain:
        parts.append(f"{one.grain}\n")
    for number, curves in enumerate(one.curves):
        parts.append(f"![{one.name}: {curves.title}]({_figure_name(one, number)})\n")
    return "\n".join(parts)


def _figure_name(one: ExperimentFound, number: int) -> str:
    suffix = f"_{number + 1}" if len(one.curves) > 1 else ""
    return f"figures/validation_{one.name.lower()}{suffix}.png"
