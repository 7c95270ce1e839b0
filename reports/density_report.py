"""The files of `--density`: curves, tables and the figure."""

from collections.abc import Sequence
from pathlib import Path

from configs.loading import dump, write_atomic
from reports import density_figure, density_kept, density_table, plotstyle
from reports import folder as run_folder
from reports.density_kept import Kept
from reports.density_table import Row
from reports.service import ServiceLevel
from reports.settings import Evaluation
from scenarios.quantities import GIB

NAME = "density"


def write(
    folder: Path,
    config: Evaluation,
    rows: Sequence[Row],
    said: Sequence[str],
    level: ServiceLevel,
    reference: str,
) -> Path:
    """Write density.csv, .json, .md, .png and .svg; returns the figure's path."""
    picture = density_figure.figure(rows, level)
    sentences = "\n".join(f"- {sentence}" for sentence in said)
    text = f"{density_table.as_markdown(rows, reference)}\n{sentences}\n"
    write_atomic(folder / "config.yaml", dump(config))
    write_atomic(folder / f"{NAME}.csv", density_table.as_csv(rows))
    write_atomic(folder / f"{NAME}.md", text)
    kept = Kept(tuple(rows), tuple(said), level, reference, about(config), run_folder.code())
    density_kept.write(folder, kept)
    write_atomic(folder / f"{NAME}.svg", plotstyle.svg(picture))
    write_atomic(folder / f"{NAME}.png", plotstyle.png(picture))
    return folder / f"{NAME}.png"


def about(config: Evaluation) -> str:
    """How hosts were filled, in words."""
    density = config.density
    return (
        f"{density.guests[0]} to {density.guests[-1]} guests on hosts of {density.ram / GIB:g} GiB,"
        f" {density.seeds} hosts of each count (split {config.split}, guard level {config.guard});"
        f" {density.warm_up / 60:g} minutes of warm-up, {density.scored / 60:g} that count."
    )
