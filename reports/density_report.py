"""The files of `--density`: curves, tables and the figure."""

from collections.abc import Sequence
from pathlib import Path

from configs.loading import dump, write_atomic
from reports import density_figure, density_table, plotstyle
from reports.density_table import Row
from reports.service import ServiceLevel
from reports.settings import Evaluation

NAME = "density"


def write(
    folder: Path,
    config: Evaluation,
    rows: Sequence[Row],
    said: Sequence[str],
    level: ServiceLevel,
    reference: str,
) -> Path:
    """Write density.csv, density.md, density.png and density.svg; returns the figure's path."""
    picture = density_figure.figure(rows, level)
    sentences = "\n".join(f"- {sentence}" for sentence in said)
    text = f"{density_table.as_markdown(rows, reference)}\n{sentences}\n"
    write_atomic(folder / "config.yaml", dump(config))
    write_atomic(folder / f"{NAME}.csv", density_table.as_csv(rows))
    write_atomic(folder / f"{NAME}.md", text)
    write_atomic(folder / f"{NAME}.svg", plotstyle.svg(picture))
    write_atomic(folder / f"{NAME}.png", plotstyle.png(picture))
    return folder / f"{NAME}.png"
