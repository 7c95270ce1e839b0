"""Traces of virtual machines: one value per machine and step of how much memory it has and uses.

A trace comes from a tidy parquet file (`tidy`), from a folder of GWA-T-12 files (`gwa`), or from
the synthetic ones that ship (`synthetic`).  `granted` is memory that the host has backed, 0 while
the machine is off; `active` is a hypervisor's estimate of the memory touched lately.
"""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

STEP_S = 300.0  # [s] of GWA-T-12
DEFAULT_FOLDER = "../shared/traces"
VARIABLE = "OVERCOMMIT_TRACES"

SPLITS = {  # share of the machines, and of the time, that each split has
    "train": (0.0, 0.6),
    "validation": (0.6, 0.8),
    "test": (0.8, 1.0),
    "all": (0.0, 1.0),
}


class TraceError(Exception):
    """A trace file that cannot be used; the message names file, line and what was expected."""


class Trace(NamedTuple):
    """One machine; a step without a sample is NaN in all columns."""

    vm: str  # its name in the data set
    nominal_bytes: int  # configured size
    step_s: float
    granted: np.ndarray  # (N,) float32 [bytes] backed by the host; 0: off
    active: np.ndarray  # (N,) float32 [bytes] estimate of what was touched lately
    cpu_percent: np.ndarray  # (N,) float32 of what the machine has
    disk_read: np.ndarray  # (N,) float32 [bytes/s]
    disk_write: np.ndarray  # (N,) float32 [bytes/s]


class Dataset(Protocol):
    """Machines that were watched over the same time."""

    name: str
    steps: int
    step_s: float

    @property
    def machines(self) -> tuple[str, ...]:
        """Names of all machines, sorted."""

    def read(self, vm: str) -> Trace:
        """One machine.

        Raises:
            TraceError: there is none of that name, or its file is broken.
        """


def folder(wanted: str | Path | None) -> Path:
    """Where measured traces lie: as asked, else OVERCOMMIT_TRACES, else beside the checkout."""
    return Path(wanted or os.environ.get(VARIABLE) or DEFAULT_FOLDER)


def place(vm: str) -> float:
    """Where a machine stands in [0, 1): a hash of its name, the same in every file and month."""
    digest = hashlib.sha256(f"machine {vm}".encode()).digest()
    return int.from_bytes(digest[:8], "little") / 2**64


def machines_of(dataset: Dataset, split: str) -> tuple[str, ...]:
    """The machines of a split; those of different splits are disjoint."""
    low, high = SPLITS[split]
    return tuple(vm for vm in dataset.machines if low <= place(vm) < high)


def steps_of(dataset: Dataset, split: str) -> tuple[int, int]:
    """First step of a split and the one after its last; the times of splits are disjoint."""
    low, high = SPLITS[split]
    return round(low * dataset.steps), round(high * dataset.steps)


def hot_set(trace: Trace, smooth_s: float, settle_s: float) -> np.ndarray:
    """(N,) [bytes] memory in use: the centred mean of `active` while the machine is on.

    The estimate starts at three quarters of the size at every power-on, whatever is used, so the
    first `settle_s` after one are left out; so are values that stay while the machine is off.
    0 while off; NaN in steps that have no usable sample within the mean.
    """
    on = trace.granted > 0
    usable = np.where(on & ~_settling(trace, settle_s), trace.active, np.nan)
    width = max(1, round(smooth_s / trace.step_s)) | 1
    kernel = np.ones(width)
    known = np.isfinite(usable)
    total = np.convolve(np.where(known, usable, 0.0), kernel, mode="same")
    count = np.convolve(known.astype(float), kernel, mode="same")
    # a mean over a third of the samples or more, as the published statistics have it
    wanted = max(1.0, np.floor(width / 3))
    mean = np.divide(total, count, out=np.full(len(total), np.nan), where=count >= wanted)
    return np.where(trace.granted == 0, 0.0, np.minimum(mean, trace.nominal_bytes))


def _settling(trace: Trace, settle_s: float) -> np.ndarray:
    """(N,) bool: less than `settle_s` after a power-on; a gap is no power-on."""
    filled = hold_last(trace.granted)
    on = filled > 0
    starts = np.flatnonzero(on[1:] & (filled[:-1] == 0)) + 1
    settling = np.zeros(len(on), bool)
    for start in starts:
        settling[start : start + round(settle_s / trace.step_s)] = True
    return settling


def hold_last(values: np.ndarray) -> np.ndarray:
    """Gaps (NaN) filled with the last value before them; those at the beginning with the first."""
    known = np.isfinite(values)
    if not known.any():
        return np.zeros(len(values))
    last = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    first = int(np.argmax(known))
    return np.asarray(values[np.where(last < 0, first, last)], dtype=np.float64)
