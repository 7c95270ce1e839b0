"""The traces that a replay draws its machines from."""

from functools import lru_cache
from pathlib import Path

from contract.recording import PATTERN
from scenarios import gwa, synthetic, tidy, traces
from scenarios.recorded import Recorded
from scenarios.traces import Dataset, TraceError


def available(folder: str | Path | None = None) -> bool:
    """Whether measured traces are there: as asked, else by OVERCOMMIT_TRACES or beside us."""
    try:
        return bool(measured(traces.folder(folder)))
    except TraceError:
        return False


def chosen(source: str, folder: str | None, names: tuple[str, ...]) -> tuple[Dataset, ...]:
    """The data sets of a replay, in order of their names.

    Raises:
        TraceError: there are none, or none of a wanted name.
    """
    if source == "synthetic":
        found: tuple[Dataset, ...] = (synthetic.shipped(),)
    else:
        found = measured(traces.folder(folder))
    unknown = sorted(set(names) - {dataset.name for dataset in found})
    if unknown:
        known = ", ".join(dataset.name for dataset in found)
        raise TraceError(f"datasets: {unknown[0]!r}: expected one of {known}")
    return tuple(dataset for dataset in found if not names or dataset.name in names)


@lru_cache(maxsize=16)
def measured(folder: Path) -> tuple[Dataset, ...]:
    """All data sets in a folder and below: tidy parquet files, else folders of GWA-T-12 files.

    A folder of recordings of the daemon is one data set.

    One file of either kind serves too.

    Raises:
        TraceError: there is no such folder or file, or nothing in it is a trace.
    """
    if folder.suffix == ".jsonl" or (folder.is_dir() and any(folder.glob(PATTERN))):
        return (Recorded(folder),)
    if folder.is_file():
        return (gwa.GwaFolder(folder) if gwa.is_table(folder) else tidy.TidyFile(folder),)
    if not folder.is_dir():
        raise TraceError(f"{folder}: there is no such folder or file of traces")
    tables = sorted(folder.rglob("*.parquet"))
    files = [path for path in tables if tidy.is_tidy(path)]
    if files:
        return tuple(tidy.TidyFile(path) for path in files)
    folders = [path for path in sorted([folder, *folder.rglob("*")]) if path.is_dir()]
    sets = tuple(gwa.GwaFolder(path) for path in folders if gwa.files_in(path))
    if not sets and tables:
        tidy.TidyFile(tables[0])  # says what it lacks
    if not sets:
        raise TraceError(
            f"{folder}: expected tidy .parquet files, or GWA-T-12 files named by a number, such as"
            " 1.csv"
        )
    return sets
