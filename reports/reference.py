"""Each guest alone on an ample host: what its slowdown is measured against.

The runs depend on the guest's spec and the simulator's code alone, so they are kept on disk under
the digest of both and serve all policies.
"""

import io
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

import memsim
from configs.loading import write_atomic
from memsim.fleet import Fleet
from memsim.spec import HostSpec
from reports import sampling, slowdown
from reports.sampling import Sampler
from reports.slowdown import Work
from scenarios import fingerprint

BATCH = 64  # hosts simulated at once


class Grid(NamedTuple):
    """When samples are taken."""

    period_s: float
    end_s: float


def references(
    hosts: Sequence[HostSpec],
    grid: Grid,
    folder: Path,
    progress: Callable[[float], object],
    threads: int | None = None,
) -> dict[str, Work]:
    """Run, or read back, every host given; each has one guest.

    Args:
        hosts: from `scenarios.solo`.
        grid: the samples to take.
        folder: where finished runs are kept.
        progress: told of simulated seconds of hosts as they pass.
        threads: of the simulator.

    Returns:
        By `name` of the host: what its guest had done at each sample.
    """
    wanted = {name(host, grid): host for host in hosts}
    found = {key: kept for key in wanted if (kept := _read(folder / f"{key}.npz")) is not None}
    missing = [key for key in wanted if key not in found]
    for begin in range(0, len(missing), BATCH):
        batch = missing[begin : begin + BATCH]
        for key, work in zip(
            batch, _run([wanted[key] for key in batch], grid, progress, threads), strict=True
        ):
            _write(folder / f"{key}.npz", work)
            found[key] = work
    return found


def missing(hosts: Sequence[HostSpec], grid: Grid, folder: Path) -> int:
    """How many of the hosts have not been run yet."""
    keys = {name(host, grid) for host in hosts}
    return sum(not (folder / f"{key}.npz").is_file() for key in keys)


def name(host: HostSpec, grid: Grid) -> str:
    """The digest of a run: everything that it depends on."""
    return fingerprint.of(fingerprint.code(memsim, sampling, slowdown), host, tuple(grid))[:32]


def cache_folder() -> Path:
    """Where reference runs are kept: XDG_CACHE_HOME or ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "overcommit" / "references"


def _run(
    hosts: Sequence[HostSpec],
    grid: Grid,
    progress: Callable[[float], object],
    threads: int | None,
) -> list[Work]:
    fleet = Fleet(len(hosts), threads)
    fleet.reset(hosts)
    sampler = Sampler(lambda: fleet, fleet.advance, grid.period_s, grid.end_s, progress)
    sampler.wait_until(np.full(len(hosts), grid.end_s))
    samples = sampler.samples()
    return [samples.work(row, 0, len(host.guests[0].tasks)) for row, host in enumerate(hosts)]


def _write(path: Path, work: Work) -> None:
    """Keep a run; without room for it it is run again by the next evaluation."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **work._asdict())
    try:
        write_atomic(path, buffer.getvalue())
    except OSError as error:
        warnings.warn(
            f"{path.parent}: cannot be written ({error.strerror}): runs of each guest alone will be"
            " run again each time; set XDG_CACHE_HOME to a folder with room",
            stacklevel=2,
        )


def _read(path: Path) -> Work | None:
    """A kept run; None if there is none, or none that can be read."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            return Work(**{field: kept[field] for field in Work._fields})
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
