"""From a guest's work in bytes to the regions, curves and tasks of a simulated host.

The host's page is `page` bytes long.  One access of the model touches one such page and stands
for page / 4 KiB accesses of a scenario: counts and rates are divided by that, CPU time is
multiplied (model section 10).
"""

import io
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import assert_never

import numpy as np

from configs.loading import ConfigError
from memsim import spec
from memsim.content import UNIQUE
from scenarios import recordings
from scenarios.content import content_numbers
from scenarios.curves import Drawn, Product, Recorded, draw_curve, multiply
from scenarios.quantities import Span
from scenarios.randomise import Vary
from scenarios.randomness import Key, pick, stream
from scenarios.recordings import Recordings
from scenarios.work import (
    Access,
    Allocate,
    Compute,
    DropCaches,
    Exit,
    Follow,
    Free,
    HintFree,
    Phase,
    Region,
    Repeat,
    Signal,
    Sleep,
    Task,
    Touch,
    Wait,
    Work,
    Write,
    walk,
)

ACCESS_BYTES = 4096  # [bytes] what one access of a scenario stands for
VARY_LIMIT = 2.0  # a varied size or rate stays within a half and this many times its own

KINDS = {
    "anon": spec.RegionKind.ANON,
    "file": spec.RegionKind.FILE,
    "kernel": spec.RegionKind.KERNEL,
}
PATTERNS = {
    "uniform": spec.Pattern.UNIFORM,
    "zipf": spec.Pattern.ZIPF,
    "sequential": spec.Pattern.SEQUENTIAL,
    "loop": spec.Pattern.LOOP,
    "stream": spec.Pattern.STREAM,
    "append": spec.Pattern.APPEND,
}


@dataclass(frozen=True)
class Owner:
    """The guest that work is built for."""

    key: Key
    guest_id: int
    size: int  # [bytes]
    page: int  # [bytes] of the host
    end_s: float  # curves are laid out up to here
    events: tuple[str, ...]
    vary: Vary
    jobs: int = 1  # what `vcpus` of a script stands for
    recordings: Recordings = field(default_factory=Recordings)

    def stream(self, purpose: str) -> np.random.Generator:
        """This guest's draws for one purpose."""
        return stream(self.key, purpose, self.guest_id)

    def pages(self, size: int) -> int:
        """Whole pages that hold `size` bytes."""
        return -(-size // self.page)


@dataclass(frozen=True)
class Built:
    """Work in the simulator's terms."""

    regions: tuple[spec.Region, ...]
    curves: tuple[spec.Curve, ...]
    tasks: tuple[spec.Task, ...]
    task_names: tuple[str, ...]
    kernel_pages: int
    streams: tuple[np.ndarray, ...] = ()
    reserved_pages: int = 0
    booted_pages: int = 0
    kernel_spread: int = 0
    kernel_used: int = 0


class _CurveTable:
    """Curves of one guest as they are used: drawn once by name, scaled once by use."""

    def __init__(self, work: Work, owner: Owner) -> None:
        self._work, self._owner = work, owner
        self._drawn: dict[str, Drawn] = {}
        self._places: dict[tuple[str, float], int] = {}
        self.curves: list[spec.Curve] = []

    def place(self, name: str, scale: float, most: float = math.inf) -> int:
        """The index of a curve multiplied by `scale`, at most `most`."""
        if (name, scale) not in self._places:
            times, values = self._draw(name)
            self._places[name, scale] = len(self.curves)
            self.curves.append(spec.Curve(times, np.minimum(values * scale, most)))
        return self._places[name, scale]

    def _draw(self, name: str) -> Drawn:
        if name not in self._drawn:
            curve, owner = self._work.curves[name], self._owner
            if isinstance(curve, Product):
                self._drawn[name] = multiply([self._draw(factor) for factor in curve.of])
            else:
                rng = (
                    owner.stream(f"curve {name}")
                    if curve.shared is None
                    else stream(owner.key, f"shared curve {curve.shared}")
                )
                self._drawn[name] = (
                    recordings.rates(curve, owner.recordings, rng, owner.end_s)
                    if isinstance(curve, Recorded)
                    else draw_curve(curve, rng, owner.end_s)
                )
        return self._drawn[name]


def build_work(work: Work, owner: Owner) -> Built:
    """Everything that runs in a guest, with its random parts drawn."""
    sizes = _region_pages(work, owner)
    curves = _CurveTable(work, owner)
    instances = {name: _instances(work, name, owner) for name in work.regions}
    regions: list[spec.Region] = []
    places: dict[str, list[tuple[int, int]]] = {}  # name -> index and pages of each
    for name, region in work.regions.items():
        pages, count = sizes[name], instances[name]
        places[name] = [(len(regions) + copy, pages) for copy in range(count)]
        regions += [_region(region, pages, owner)] * count
    rate_factor = _varied(owner.stream("vary rates"), owner.vary.rates)
    tasks: list[spec.Task] = []
    task_names: list[str] = []
    for name, task in work.tasks.items():
        copies = _copies(task, owner)
        for copy in range(copies):
            own_name = name if copies == 1 else f"{name}-{copy + 1}"
            writer = _Script(
                streams=list(work.streams),
                regions={region: found[copy % len(found)] for region, found in places.items()},
                curves=curves,
                owner=owner,
                rate_factor=rate_factor,
                quantile=owner.stream(f"task {own_name}").random,
                copies=copies,
            )
            start = task.starts[copy % len(task.starts)] if task.starts else None
            tasks.append(spec.Task(writer.phases(task, start), weight=task.weight))
            task_names.append(own_name)
    kernel = owner.pages(work.kernel.of(owner.size))
    streams = tuple(_stream(work, name, sizes, owner) for name in work.streams)
    return Built(
        tuple(regions),
        tuple(curves.curves),
        tuple(tasks),
        tuple(task_names),
        kernel,
        streams,
        owner.pages(work.reserved.of(owner.size)),
        owner.pages(work.booted.of(owner.size)),
        owner.pages(work.kernel_spread.of(owner.size)),
        owner.pages(work.kernel_used.of(owner.size)),
    )


def _copies(task: Task, owner: Owner) -> int:
    count = owner.jobs if task.count == "vcpus" else task.count
    return count * max(1, len(task.starts))


def _instances(work: Work, name: str, owner: Owner) -> int:
    """How many there are of a region."""
    if not work.regions[name].own:
        return 1
    users = (
        _copies(task, owner)
        for task in work.tasks.values()
        if any(getattr(phase, "region", None) == name for _, phase in walk(task.phases))
    )
    return max(users, default=1)


def _stream(work: Work, name: str, sizes: Mapping[str, int], owner: Owner) -> np.ndarray:
    """(N,) int32 pages that a stream refers to."""
    source = work.streams[name]
    if source.file is not None:
        return _recorded(source.file, source.column, owner.page)
    used = [
        sizes[phase.region]
        for task in work.tasks.values()
        for _, phase in walk(task.phases)
        if isinstance(phase, Access) and phase.stream == name
    ]
    rng = owner.stream(f"stream {name}")
    trace = pick(source.trace, rng, "")
    return recordings.pages(trace, owner.recordings, min(used, default=1), rng.random())


def _recorded(path: str, column: str, page: int) -> np.ndarray:
    """(N,) int32 pages of the host that a recorded string of 4 KiB pages refers to.

    Raises:
        ConfigError: the file or its column is not there.
    """
    try:
        with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as file:
            numbers = np.asarray(file[column], np.int64)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"{path}: expected an .npz file with an array {column!r}: {error}"
        ) from error
    return (numbers // (page // ACCESS_BYTES)).astype(np.int32)


def _region(region: Region, pages: int, owner: Owner) -> spec.Region:
    numbers = content_numbers(region.content, pages, owner.page, owner.guest_id)
    block = max(1, region.locality // owner.page)
    return spec.Region(KINDS[region.kind], pages, block, numbers)


def _region_pages(work: Work, owner: Owner) -> dict[str, int]:
    """Pages of every region, varied; together never more anonymous memory than meant or fits."""
    plain = {name: region.size.of(owner.size) for name, region in work.regions.items()}
    varied = {
        name: size * _varied(owner.stream(f"vary size {name}"), owner.vary.sizes)
        for name, size in plain.items()
    }
    anonymous = [name for name, region in work.regions.items() if region.kind == "anon"]
    meant, wanted = (sum(sizes[name] for name in anonymous) for sizes in (plain, varied))
    if wanted > meant:
        room = max(meant, (owner.size - work.kernel.of(owner.size)) * 9 // 10)
        shrink = min(1.0, room / wanted)
        varied |= {name: varied[name] * shrink for name in anonymous}
    return {name: max(1, math.ceil(size / owner.page - 1e-9)) for name, size in varied.items()}


def _varied(rng: np.random.Generator, sigma: float) -> float:
    """A log-normal factor, cut at VARY_LIMIT; exactly 1 without spread."""
    factor = math.exp(sigma * rng.standard_normal())
    return min(max(factor, 1 / VARY_LIMIT), VARY_LIMIT)


@dataclass
class _Script:
    """Writes one task's phases."""

    streams: list[str]
    regions: dict[str, tuple[int, int]]  # name -> index, pages
    curves: _CurveTable
    owner: Owner
    rate_factor: float
    quantile: Callable[[], float]
    copies: int

    def phases(self, task: Task, start: Span | None) -> tuple[spec.Phase, ...]:
        lines: list[spec.Phase] = []
        if start is not None:
            lines.append(self._timed(spec.Phase(spec.Op.SLEEP), start))
        self._block(task.phases, lines)
        return tuple(lines)

    def _block(self, phases: tuple[Phase, ...], lines: list[spec.Phase]) -> None:
        for phase in phases:
            if isinstance(phase, Repeat):
                first = len(lines)
                self._block(phase.phases, lines)
                times = self.owner.jobs if phase.times == "vcpus" else phase.times or -1
                if phase.together and times > 0:
                    times = -(-times // self.copies)
                lines.append(spec.Phase(spec.Op.REPEAT, jump=first, count=times))
            else:
                lines.append(self._line(phase))

    def _timed(self, line: spec.Phase, seconds: Span) -> spec.Phase:
        return replace(line, seconds=seconds.at(self.quantile()))

    def _line(self, phase: Phase) -> spec.Phase:
        if isinstance(phase, Access):
            return self._access(phase)
        if isinstance(phase, Allocate | Free | HintFree):
            return self._ownership(phase)
        if isinstance(phase, Compute | Sleep):
            op = spec.Op.COMPUTE if isinstance(phase, Compute) else spec.Op.SLEEP
            return self._timed(spec.Phase(op), phase.seconds)
        if isinstance(phase, Wait | Signal):
            op = spec.Op.WAIT if isinstance(phase, Wait) else spec.Op.SIGNAL
            return spec.Phase(op, event=self.owner.events.index(phase.event))
        if isinstance(phase, DropCaches):
            return spec.Phase(spec.Op.DROP_CACHES)
        if isinstance(phase, Exit):
            return spec.Phase(spec.Op.EXIT)
        if isinstance(phase, Follow):
            return self._follow(phase)
        if isinstance(phase, Repeat):
            raise TypeError("a repeat is more than one line")
        assert_never(phase)

    def _follow(self, phase: Follow) -> spec.Phase:
        region, pages = self.regions[phase.region]
        line = spec.Phase(
            spec.Op.FOLLOW,
            region=region,
            size=self.curves.place(phase.size, pages, most=pages),
            interval_s=phase.interval,
        )
        return line if phase.seconds is None else self._timed(line, phase.seconds)

    def _ownership(self, phase: Allocate | Free | HintFree) -> spec.Phase:
        region, pages = self.regions[phase.region]
        count = min(pages, self.owner.pages(phase.bytes.of(pages * self.owner.page)))
        if isinstance(phase, Allocate):
            cost_s = phase.cost * self.owner.page / ACCESS_BYTES
            line = spec.Phase(
                spec.Op.ALLOCATE,
                region=region,
                count=count,
                cost_s=cost_s,
                huge_only=phase.huge_only,
            )
            if phase.content is None:
                return line
            numbers = content_numbers(phase.content, pages, self.owner.page, self.owner.guest_id)
            if numbers is None:
                numbers = np.full(pages, UNIQUE, np.uint32)
            return replace(line, content=numbers)
        op = spec.Op.FREE if isinstance(phase, Free) else spec.Op.HINT_FREE
        return spec.Phase(op, region=region, count=-1 if count == pages else count)

    def _access(self, phase: Access) -> spec.Phase:
        region, pages = self.regions[phase.region]
        grain = self.owner.page / ACCESS_BYTES
        op, write, kernel = spec.Op.READ, 0.0, True
        if isinstance(phase, Touch):
            op, write, kernel = spec.Op.TOUCH, phase.write, phase.context == "kernel"
        elif isinstance(phase, Write):
            op = spec.Op.WRITE
        per_arrival = max(1, round(phase.per_arrival / grain))
        accesses = self._accesses(phase, pages * self.owner.page)
        line = spec.Phase(
            op,
            region=region,
            pattern=PATTERNS[phase.pattern],
            stream=-1 if phase.stream is None else self.streams.index(phase.stream),
            zipf_s=phase.zipf,
            write=write,
            count=-1 if accesses is None else max(1, math.ceil(accesses / grain / per_arrival)),
            cost_s=phase.cost * grain,
            per_arrival=per_arrival,
            backlog_s=phase.backlog,
            kernel=kernel,
        )
        if phase.size is not None:
            line = replace(line, size=self.curves.place(phase.size, pages, most=pages))
        if phase.rate is not None:
            rate = phase.rate.of(self.owner.size) * phase.per_arrival * self.rate_factor
            rate /= grain * per_arrival
            line = replace(line, rate=rate)
            if phase.rate_curve is not None:
                line = replace(line, rate_curve=self.curves.place(phase.rate_curve, rate))
        return line if phase.seconds is None else self._timed(line, phase.seconds)

    def _accesses(self, phase: Access, region_bytes: int) -> float | None:
        """Accesses of 4 KiB after which the phase ends, if it does."""
        if phase.count is not None:
            return float(phase.count * phase.per_arrival)
        if phase.bytes is not None:
            return phase.bytes.of(region_bytes) / ACCESS_BYTES
        return None
