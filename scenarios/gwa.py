"""Reads folders of the original GWA-T-12 files: one CSV per machine, plain or xz-compressed.

The column names of the format mislead: time is in seconds although it says ms, "capacity
provisioned" is the memory granted by the host and "usage" the hypervisor's estimate of active
memory.  The configured size is in no column; `nominal` infers it.
"""

import lzma
from functools import lru_cache
from pathlib import Path

import numpy as np

from scenarios.quantities import GIB
from scenarios.traces import STEP_S, Trace, TraceError

COLUMNS = 11
TIME, CPU, GRANTED, ACTIVE, READ, WRITTEN = 0, 4, 5, 6, 7, 8
NEAR_S = STEP_S / 2  # a step's samples are those from so long before it to so long after
STEPS_PER_DAY = 288
KIB = 1024.0  # the format's KB

SAMPLES_OF_ACTIVE = 1500  # active is a mean of 15 samples of 100 pages: whole 1500ths of the size
ENOUGH_SAMPLES = 50  # positive values needed to see that
ENOUGH_DIFFERENT = 10
WHOLE = 0.01  # of a 1500th: sums are cut to KiB on the way
MOSTLY = 0.85  # of the samples: the rest are means over fewer than 15
MOSTLY_DIFFERENT = 0.5  # of the different values: few of them fit many sizes by chance

# [GiB] sizes that machines are sold in; the larger of two that fit is the right one
USUAL_GIB = (
    *(0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 10, 12, 14, 16, 18, 20, 24, 28, 32),
    *(36, 40, 48, 56, 64, 72, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 768, 1024),
)
COMMON_GIB = (0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40, 64, 96, 128, 192, 256, 512, 1024)


class GwaFolder:
    """A folder of files `<machine>.csv` or `<machine>.csv.xz` of one trace and month."""

    step_s = STEP_S

    def __init__(self, folder: Path) -> None:
        """Read when the trace begins and ends.

        Args:
            folder: with the files, or one of them.

        Raises:
            TraceError: there is no such file, or one cannot be read.
        """
        self.name = "/".join(folder.resolve().parts[-2:])
        self._files = {_machine(path): path for path in files_in(folder)}
        if not self._files:
            raise TraceError(f"{folder}: expected files such as 1.csv or 1.csv.xz")
        ends = [_ends(path) for path in self._files.values()]
        self._start_s = min(first for first, _ in ends)
        last_s = max(last for _, last in ends)
        steps = int((last_s - self._start_s + NEAR_S) // STEP_S) + 1
        # whole days, so that a folder with some of the machines has the grid of the whole
        days = round(steps / STEPS_PER_DAY)
        self.steps = days * STEPS_PER_DAY if days else steps

    @property
    def machines(self) -> tuple[str, ...]:
        """Names of all machines, in the order of their numbers."""
        return tuple(sorted(self._files, key=int))

    def read(self, vm: str) -> Trace:
        """One machine on the folder's grid of steps."""
        if vm not in self._files:
            raise TraceError(f"{self.name}: machine {vm!r}: expected one of {len(self._files)}")
        return _on_grid(self._files[vm], vm, self._start_s, self.steps)


def files_in(folder: Path) -> list[Path]:
    """The files of machines in a folder, or the one given: those that are named by a number."""
    found = [folder] if is_table(folder) else [*folder.glob("*.csv"), *folder.glob("*.csv.xz")]
    return sorted(path for path in found if _machine(path).isdecimal())


def is_table(path: Path) -> bool:
    """Whether it is a file of the format, by its name."""
    return path.is_file() and path.name.endswith((".csv", ".csv.xz"))


def _machine(path: Path) -> str:
    return path.name.split(".")[0]


@lru_cache(maxsize=256)
def _on_grid(path: Path, vm: str, start_s: float, steps: int) -> Trace:
    """The machine's nearest sample to each step, if there is one within half a step."""
    rows = read_rows(path)
    step = np.floor((rows[:, TIME] - start_s + NEAR_S) / STEP_S).astype(np.int64)
    off_by = np.abs(rows[:, TIME] - start_s - step * STEP_S)
    usable = np.flatnonzero((step >= 0) & (step < steps))
    # of several samples for a step the nearest; of equally near ones the first in the file
    order = usable[np.lexsort((usable, off_by[usable], step[usable]))]
    _, first = np.unique(step[order], return_index=True)
    chosen = order[first]

    def column(number: int, scale: float) -> np.ndarray:
        values = np.full(steps, np.nan, np.float32)
        values[step[chosen]] = rows[chosen, number] * scale
        return values

    size = nominal(rows[:, GRANTED] * KIB, rows[:, ACTIVE] * KIB)
    return Trace(
        vm=vm,
        nominal_bytes=size,
        step_s=STEP_S,
        granted=column(GRANTED, KIB),
        active=np.minimum(column(ACTIVE, KIB), np.float32(size)),
        cpu_percent=column(CPU, 1.0),
        disk_read=column(READ, KIB),
        disk_write=column(WRITTEN, KIB),
    )


def nominal(granted: np.ndarray, active: np.ndarray) -> int:
    """The configured size [bytes] of a machine, from its samples [bytes].

    Active memory is a whole multiple of size / 1,500, which gives the size away where there are
    samples enough; else the size is the next usual one that holds all that was granted and active.
    """
    # what a machine reports while it is off stays the same, and tells nothing
    positive = active[(active > 0) & (granted > 0)]
    largest = max(np.nan_to_num(granted).max(initial=0.0), 0.0)
    usual = np.array([size for size in USUAL_GIB if size * GIB >= largest * (1 - 1e-6)]) * GIB
    values = np.unique(positive)
    if len(positive) >= ENOUGH_SAMPLES and len(values) >= ENOUGH_DIFFERENT:
        for size in usual[::-1]:
            if _whole(positive, size) > MOSTLY and _whole(values, size) > MOSTLY_DIFFERENT:
                return int(size)
    needed = max(largest, positive.max(initial=0.0))
    above = np.array([size for size in COMMON_GIB if size * GIB >= needed * (1 - 1e-6)]) * GIB
    for size in above:
        if len(positive) < ENOUGH_SAMPLES and _whole(positive, size) > MOSTLY_DIFFERENT:
            return int(size)
    return int(above[0]) if len(above) else int(np.ceil(needed / GIB)) * GIB


def _whole(values: np.ndarray, size: float) -> float:
    """Share of the values that are whole 1,500ths of a size; 0 of none."""
    if not len(values):
        return 0.0
    multiple = values / (size / SAMPLES_OF_ACTIVE)
    near = np.abs(multiple - np.rint(multiple)) < WHOLE
    return float(np.mean(near & (multiple > 0.5)))


def read_rows(path: Path) -> np.ndarray:
    """All rows of a file: (N, 11) float64, in the order of the file.

    Raises:
        TraceError: not readable, no header, or a line that is not eleven numbers.
    """
    lines = _lines(path)
    if not lines or "timestamp" not in lines[0].lower():
        found = lines[0][:60] if lines else ""
        raise TraceError(f"{path}: line 1: {found!r}: expected the header `Timestamp [ms]; ...`")
    if len(lines) == 1:
        raise TraceError(f"{path}: line 2: expected at least one row after the header")
    try:
        rows = np.loadtxt(lines[1:], delimiter=";", ndmin=2)
    except ValueError as error:
        raise TraceError(_first_bad_line(path, lines)) from error
    if rows.shape[1] != COLUMNS or len(rows) != len(lines) - 1:
        raise TraceError(_first_bad_line(path, lines))
    rows[rows < 0] = np.nan
    return rows


def _first_bad_line(path: Path, lines: list[str]) -> str:
    for number, line in enumerate(lines[1:], start=2):
        fields = line.split(";")
        try:
            good = len(fields) == COLUMNS and len([float(field) for field in fields]) == COLUMNS
        except ValueError:
            good = False
        if not good:
            return (
                f"{path}: line {number}: {line[:60]!r}: expected {COLUMNS} numbers with ; between"
            )
    return f"{path}: expected rows of {COLUMNS} numbers with ; between"


def _lines(path: Path) -> list[str]:
    try:
        if path.suffix == ".xz":
            with lzma.open(path, "rt", encoding="ascii") as file:
                return file.read().splitlines()
        return path.read_text(encoding="ascii").splitlines()
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: cannot be read: {error}") from error


@lru_cache(maxsize=4096)
def _ends(path: Path) -> tuple[float, float]:
    """First and last time [s] in a file."""
    times = read_rows(path)[:, TIME]
    if not np.isfinite(times).all():
        raise TraceError(f"{path}: a time stamp is negative; expected seconds since 1970")
    return float(times.min()), float(times.max())
