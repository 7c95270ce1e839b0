"""What runs inside a guest: memory regions, tasks, their phases, and curves over time.

Sizes are bytes or shares (of the guest for a region, of the region for an operation).  An access
stands for 4 KiB; `build` turns all of it into the pages of a simulated host.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from configs.loading import Bytes, Config, Seconds
from scenarios.content import Content
from scenarios.curves import Curve, Product
from scenarios.mixes import Mix
from scenarios.quantities import Amount, AmountField, RateField, Span, SpanField

MIB = 2**20

ALL = Amount(share=1.0)
MOST_COPIES = 1000  # of a task; each is one thread, stepped on its own
ACCESS_S = 1e-6  # [s] CPU of one access of 4 KiB and of what a program then does with it


class Region(Config):
    """Memory of the guest's programs or of its kernel, or a file on its disk."""

    kind: Literal["anon", "file", "kernel"] = Field(
        description="kernel: slab and page tables, which nothing can move or reclaim"
    )
    size: AmountField = Field(description="or a share of the guest's size")
    own: bool = Field(
        default=False, description="every copy of a task that uses it has one of its own"
    )
    locality: Bytes = Field(
        default=4 * MIB, gt=0, description="popularity is laid out in such blocks"
    )
    content: Content = Field(
        default={}, description="what pages hold first, for KSM: kinds and shares, the rest unique"
    )


class Stream(Config):
    """A recorded reference string: numbers of 4 KiB pages, in order, in an .npz file.

    A `trace` stands for as many pages as the smallest region has that it is used on, whatever
    their size: see `recordings`.
    """

    file: str | None = None
    column: str = "page"
    trace: Mix = Field(
        default={}, description="instead of a file: recordings by name, one for each guest"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (not self.trace):
            raise ValueError("expected either file or trace")
        return self


class Access(Config):
    """What loads, stores and system calls on a region have in common.

    Without `rate` the next access begins when the last is done.  With it, arrivals come at
    random, wait in line up to `backlog` and are dropped beyond.
    """

    region: str = Field(description="which of the regions")
    pattern: Literal["uniform", "zipf", "sequential", "loop", "stream", "append"] = Field(
        default="uniform",
        description="sequential: from the region's beginning; loop: on from where the phase stopped"
        " before; append: on from where any task stopped",
    )
    stream: str | None = Field(default=None, description="pattern stream: which of the streams")
    zipf: float = Field(default=1.0, gt=0, description="exponent of the popularity of blocks")
    count: int | None = Field(
        default=None, ge=1, description="accesses, or arrivals if there is a rate"
    )
    bytes: AmountField | None = Field(
        default=None, description="instead of count; or share of the region"
    )
    seconds: SpanField | None = Field(default=None, description="ends after so long")
    cost: Seconds = Field(default=ACCESS_S, gt=0, description="CPU time of one access")
    rate: RateField | None = Field(
        default=None, description="arrivals per second, or per second and GiB"
    )
    per_arrival: int = Field(default=1, ge=1, description="accesses of one arrival")
    backlog: Seconds = Field(
        default=1.0, description="an arrival that would wait longer is dropped"
    )
    size: str | None = Field(default=None, description="curve: share of the region that is in use")
    rate_curve: str | None = Field(default=None, description="curve: factor on the rate")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.count is not None and self.bytes is not None:
            raise ValueError("count and bytes say the same; expected at most one of them")
        usual = Access.model_fields
        for field in ("per_arrival", "backlog", "rate_curve"):
            if self.rate is None and getattr(self, field) != usual[field].default:
                raise ValueError(f"{field}: makes sense only with a rate")
        if self.pattern != "zipf" and self.zipf != usual["zipf"].default:
            raise ValueError("zipf: an exponent makes sense only with pattern zipf")
        if (self.pattern == "stream") != (self.stream is not None):
            raise ValueError("stream: expected a name if and only if the pattern is stream")
        return self

    @property
    def endless(self) -> bool:
        """Whether the phase never ends by itself."""
        return self.count is None and self.bytes is None and self.seconds is None


class Touch(Access):
    """Loads and stores to mapped memory."""

    op: Literal["touch"]
    write: float = Field(default=0.0, ge=0, le=1, description="share of the accesses that store")
    context: Literal["user", "kernel"] = Field(
        default="user", description="kernel: a modern guest cannot run another task meanwhile"
    )


class Read(Access):
    """read(2) of a region."""

    op: Literal["read"]


class Write(Access):
    """write(2) to a region."""

    op: Literal["write"]


class Compute(Config):
    """CPU time and no memory."""

    op: Literal["compute"]
    seconds: SpanField = Field(description="so long")


class Allocate(Config):
    """First touch of the region's first bytes, in order."""

    op: Literal["allocate"]
    region: str = Field(description="which of the regions")
    bytes: AmountField = Field(default=ALL, description="or a share of the region")
    cost: Seconds = Field(
        default=0.0, ge=0, description="CPU time of the program per 4 KiB, beside the fault's"
    )
    content: Content | None = Field(default=None, description="instead of the region's")
    huge_only: bool = Field(
        default=False, description="what gets no huge page gets none, as a pool of them"
    )


class Free(Config):
    """Give memory back to the guest: all of the region, or its last bytes.  A file is deleted."""

    op: Literal["free"]
    region: str = Field(description="which of the regions")
    bytes: AmountField = ALL


class HintFree(Config):
    """Say that the content may go, as a JVM after a collection; the pages stay mapped."""

    op: Literal["hint_free"]
    region: str = Field(description="which of the regions")
    bytes: AmountField = ALL


class DropCaches(Config):
    """Drop the guest's clean page cache."""

    op: Literal["drop_caches"]


class Sleep(Config):
    """Let time pass."""

    op: Literal["sleep"]
    seconds: SpanField = Field(description="so long")


class Wait(Config):
    """Wait until the event has been signalled as often as this task has waited for it."""

    op: Literal["wait"]
    event: str = Field(description="any name, of this guest alone")


class Signal(Config):
    """Signal an event of this guest."""

    op: Literal["signal"]
    event: str = Field(description="any name, of this guest alone")


class Exit(Config):
    """End the task."""

    op: Literal["exit"]


class Follow(Config):
    """Keep as much of a region in memory as a curve says, by touching or freeing."""

    op: Literal["follow"]
    region: str = Field(description="which of the regions")
    size: str = Field(description="curve: share of the region that is resident")
    interval: Seconds = Field(default=1.0, gt=0)
    seconds: SpanField | None = Field(default=None, description="ends after so long")

    @property
    def endless(self) -> bool:
        """Whether the phase never ends by itself."""
        return self.seconds is None


class Repeat(Config):
    """Do phases over and over."""

    op: Literal["repeat"]
    times: Annotated[int, Field(ge=1)] | Literal["vcpus"] | None = Field(
        default=None, description="left out: for ever"
    )
    together: bool = Field(
        default=False, description="so often by all copies of the task, not by each"
    )
    phases: tuple["Phase", ...] = Field(min_length=1)

    @property
    def endless(self) -> bool:
        """Whether the phases after it never begin."""
        return self.times is None


Phase = Annotated[
    Touch
    | Read
    | Write
    | Compute
    | Allocate
    | Free
    | HintFree
    | DropCaches
    | Sleep
    | Wait
    | Signal
    | Exit
    | Follow
    | Repeat,
    Field(discriminator="op"),
]
OnRegion = Access | Allocate | Free | HintFree | Follow


class Task(Config):
    """A program with one thread."""

    phases: tuple[Phase, ...] = Field(min_length=1)
    weight: int = Field(default=1024, ge=1, description="CPU share inside the guest")
    count: Annotated[int, Field(ge=1, le=MOST_COPIES)] | Literal["vcpus"] = Field(
        default=1,
        description="so many of them, or as many as there are vCPUs, or the guest's `jobs`",
    )
    starts: tuple[SpanField, ...] = Field(
        default=(),
        description="one of them starts at each of these times after the guest has booted",
    )

    @model_validator(mode="after")
    def _all_reachable(self) -> Self:
        lost = _unreachable(self.phases, "phases")
        if lost:
            raise ValueError(f"{lost}: never begins, because the phase before it never ends")
        return self


def _unreachable(phases: tuple[Phase, ...], path: str) -> str | None:
    """The path of the first phase that nothing leads to."""
    for number, phase in enumerate(phases):
        if isinstance(phase, Repeat):
            inner = _unreachable(phase.phases, f"{path}.{number}.phases")
            if inner:
                return inner
        ends = isinstance(phase, Exit) or never_ends(phase)
        if ends and number + 1 < len(phases):
            return f"{path}.{number + 1}"
    return None


def never_ends(phase: Phase) -> bool:
    """Whether what stands after the phase never begins."""
    return isinstance(phase, Access | Follow | Repeat) and phase.endless


class Work(Config):
    """Everything that runs in a guest."""

    kernel: AmountField = Field(
        default=Amount(share=0.06), description="unmovable memory of its kernel"
    )
    kernel_spread: AmountField = Field(
        default=Amount(),
        description="part of the guest's memory that this is scattered over; else in one piece",
    )
    kernel_used: AmountField = Field(
        default=Amount(), description="part of it that the kernel uses all the time"
    )
    reserved: AmountField = Field(
        default=Amount(), description="part of it that is set aside at boot: not in MemTotal"
    )
    booted: AmountField = Field(
        default=Amount(),
        description="memory that the host backs once it has booted, the kernel's with it;"
        " the rest is free again, which nobody told the host",
    )
    regions: dict[str, Region] = Field(default={})
    curves: dict[str, Curve] = Field(default={})
    streams: dict[str, Stream] = Field(default={}, description="recorded page numbers")
    tasks: dict[str, Task] = Field(default={})

    @model_validator(mode="after")
    def _names_known(self) -> Self:
        problems = list(self._unknown_names())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _unknown_names(self) -> Iterator[str]:
        for name, curve in self.curves.items():
            if isinstance(curve, Product):
                for factor in curve.of:
                    if isinstance(self.curves.get(factor, curve), Product):
                        yield f"curves.{name}.of: {factor!r}: expected the name of a plain curve"
        for task_name, task in self.tasks.items():
            for path, phase in walk(task.phases):
                for problem in self._unknown_in(phase):
                    yield f"tasks.{task_name}.{path}.{problem}"

    def _unknown_in(self, phase: Phase) -> Iterator[str]:
        if isinstance(phase, OnRegion):
            if phase.region not in self.regions:
                yield f"region: {phase.region!r}: {expected_one_of(self.regions)}"
            elif self.regions[phase.region].kind not in _kinds_of(phase):
                yield f"region: {phase.region!r}: expected one of {' or '.join(_kinds_of(phase))}"
        if isinstance(phase, Access) and phase.stream not in (None, *self.streams):
            yield f"stream: {phase.stream!r}: {expected_one_of(self.streams)}"
        curves = (
            [phase.size, phase.rate_curve]
            if isinstance(phase, Access)
            else [phase.size]
            if isinstance(phase, Follow)
            else []
        )
        for curve in curves:
            if curve is not None and curve not in self.curves:
                yield f"curve {curve!r}: {expected_one_of(self.curves)}"


def _kinds_of(phase: OnRegion) -> tuple[str, ...]:
    """The kinds of region that a phase can be about."""
    if isinstance(phase, HintFree):
        return ("anon",)
    if isinstance(phase, Allocate | Follow):
        return ("anon", "kernel")
    if isinstance(phase, Touch | Free):
        return ("anon", "file", "kernel")
    return ("anon", "file")


def walk(phases: tuple[Phase, ...], path: str = "phases") -> Iterator[tuple[str, Phase]]:
    """Every phase with its path, those inside a repeat too."""
    for number, phase in enumerate(phases):
        yield f"{path}.{number}", phase
        if isinstance(phase, Repeat):
            yield from walk(phase.phases, f"{path}.{number}.phases")


def expected_one_of(names: Iterable[str]) -> str:
    """The expectation of a name, worded."""
    known = ", ".join(sorted(names))
    return f"expected one of {known}" if known else "expected one that is defined; there is none"


class Profile(Work):
    """A named kind of guest, for any size."""

    description: str
    own_swap: AmountField = Field(default=Amount(), description="swap on the guest's disk")
    vcpus: int = Field(default=1, ge=1)


def span(value: Span | None) -> Span:
    """A span that is not there is the shortest."""
    return value if value is not None else Span(0.0, 0.0)


Repeat.model_rebuild()
