"""One look for all figures: colours that colour-blind readers tell apart, no decoration.

Colours are those of M. Okabe and K. Ito, "Color Universal Design" (2008).
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#24292f"  # text and axes; becomes the page's own text colour inside the report
QUIET = "#8c959f"
BLUE, SKY, GREEN, YELLOW = "#0072b2", "#56b4e9", "#009e73", "#f0e442"
ORANGE, VERMILION, PURPLE, GREY = "#e69f00", "#d55e00", "#cc79a7", "#bdc3c9"

MEMORY = {  # what a guest's memory is, in the order in which it is stacked
    "used": ("used_bytes", BLUE),
    "cache": ("cache_bytes", SKY),
    "free": ("free_bytes", GREY),
    "given up (balloon, free target)": ("ballooned_bytes", ORANGE),
}
SWAPPED = ("swapped out by the host", VERMILION)


_PATH = re.compile(r' d="[^"]*"')
_DIGITS = re.compile(r"(\.\d)\d+")  # a tenth of a point is finer than any screen


class Cause(NamedTuple):
    """Kinds of lost time that one colour stands for."""

    title: str
    classes: tuple[str, ...]  # names in memsim.account.CLASSES
    colour: str


CAUSES = (
    Cause("host swap-in", ("host_swap",), VERMILION),
    Cause("host reclaim", ("host_reclaim",), PURPLE),
    Cause("guest swap-in", ("guest_swap",), BLUE),
    Cause("refaults of cache", ("refault",), SKY),
    Cause("guest reclaim", ("guest_reclaim", "kswapd"), GREEN),
    Cause("balloon", ("balloon",), ORANGE),
    Cause("fresh faults", ("fresh_fault",), YELLOW),
    Cause("restarts and the rest", ("restart", "tlb", "ksmd", "compaction", "throttle"), "#6e7781"),
)


@contextmanager
def style() -> Iterator[None]:
    """All figures are drawn inside this."""
    settings = mpl.rc_context(
        {
            "font.family": "sans-serif",
            "font.size": 9,
            "axes.titlesize": 9.5,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.labelsize": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": QUIET,
            "axes.labelcolor": INK,
            "axes.titlecolor": INK,
            "axes.axisbelow": True,
            "axes.facecolor": "none",
            "text.color": INK,
            "xtick.color": QUIET,
            "ytick.color": QUIET,
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
            "xtick.labelsize": 8.5,
            "ytick.labelsize": 8.5,
            "legend.frameon": False,
            "legend.fontsize": 8.5,
            "grid.color": QUIET,
            "grid.alpha": 0.25,
            "grid.linewidth": 0.6,
            "hatch.linewidth": 0.6,
            "svg.hashsalt": "overcommit",  # equal figures are equal files
            "svg.fonttype": "none",
        }
    )
    with settings:
        yield


def new(width: float, height: float) -> Figure:
    """An empty figure [inches] that needs no display; axes are laid out to fit."""
    return Figure(figsize=(width, height), layout="constrained")


def grid(axes: Axes, along: str) -> None:
    """Faint lines at the ticks of one axis, `x` or `y`."""
    axes.grid(visible=True, axis="x" if along == "x" else "y")


def png(figure: Figure, dpi: int = 200) -> bytes:
    """The figure on white."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": ""})
    return buffer.getvalue()


def svg(figure: Figure) -> str:
    """The figure on white as a file of its own."""
    return _svg(figure, "white")


def inline_svg(figure: Figure) -> str:
    """The figure for an HTML page: transparent, its text in the colour of the page's text."""
    text = _svg(figure, "none")
    text = text[text.index("<svg") :].replace(INK, "currentColor").strip()
    return _PATH.sub(lambda path: _short(path.group()), text)


def _short(path: str) -> str:
    """A path in fewer bytes: lines need no letter of their own, and no tenths of nothing."""
    rounded = _DIGITS.sub(r"\1", path).replace(".0 ", " ").replace("\nL ", " ")
    return rounded.replace("\n", " ").replace("  ", " ")


def _svg(figure: Figure, face: str) -> str:
    buffer = io.StringIO()
    with style():
        figure.savefig(buffer, format="svg", facecolor=face, metadata={"Date": None})
    return buffer.getvalue()
