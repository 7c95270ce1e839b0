"""A scenario: who lives on a host, what they do, what happens to them and who watches.

One YAML file is one scenario.  Everything the simulator can do can be said here in bytes and
seconds; `draw` turns it, with a random key, into the pages of one simulated host.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from configs.loading import Bytes, Config, Seconds
from memsim.params import PSI_PERIOD_S, TLB_SHARE
from scenarios import check
from scenarios.machine import AsyncFaults, Defragment, Hints, Host, KernelField, Reporting, Resizing
from scenarios.quantities import GIB, NONE, Amount, AmountField
from scenarios.randomise import Randomise, Range, Vary
from scenarios.recordings import Recordings
from scenarios.traces import STEP_S
from scenarios.work import Profile, Work


class Mechanisms(Config):
    """How host and guest work together."""

    async_faults: AsyncFaults = Field(
        default=AsyncFaults.ON,
        description="while the host reads a page from swap the vCPU waits (off), halts, or runs"
        " another task (on; in user mode only on a modern kernel)",
    )
    hinting: Hints = Field(
        default=Hints.NONE,
        description="how the host learns what is free: bitmap, the talk's, which it reads when it"
        " is short; reporting, free page reporting of Linux",
    )
    reporting: Reporting | None = Field(
        default=None, description="how, with hinting: reporting; left out: as mainline does"
    )
    resize: Resizing = Field(
        default=Resizing.BALLOON,
        description="how it follows a target; none: not at all; balloon_huge and virtio_mem: by"
        " blocks of 2 MiB; free_target: the guest itself keeps the rest free",
    )
    deflate_on_oom: bool = Field(
        default=True, description="the balloon gives back before the guest kills a program"
    )
    huge_pages: bool = Field(default=False, description="2 MiB for anonymous memory of the guest")
    defrag: Defragment | None = Field(
        default=None,
        description="what first touches do without a free block, as in"
        " /sys/kernel/mm/transparent_hugepage; left out: always in 2011, madvise since 4.6",
    )
    tlb_share: float = Field(
        default=TLB_SHARE, ge=0, le=1, description="a touch outside of them takes so much longer"
    )
    movable_balloon: bool = Field(default=True, description="compaction can move its pages")


class Arm(Config):
    """What an experiment's arm changes for all guests; the rest stays as it is."""

    async_faults: AsyncFaults | None = None
    hinting: Hints | None = None
    reporting: Reporting | None = None
    resize: Resizing | None = None
    deflate_on_oom: bool | None = None
    huge_pages: bool | None = None
    defrag: Defragment | None = None
    tlb_share: float | None = Field(default=None, ge=0, le=1)
    movable_balloon: bool | None = None
    kernel: KernelField | None = None


class Cooperation(Config):
    """How well a guest answers to targets."""

    stuck: bool = Field(default=False, description="never answers")
    delay: Seconds = Field(default=0.0, description="begins to move so long after a new target")


class Guest(Config):
    """A guest, or `count` alike."""

    name: str = Field(min_length=1)
    profile: str | None = Field(default=None, description="of this file, of the library, or a path")
    work: Work | None = Field(default=None, description="instead of a profile")
    count: int = Field(default=1, ge=1)
    size: Bytes = Field(gt=0, description="maximum memory")
    min: AmountField = Field(default=Amount(share=0.25), description="or a share of size")
    weight: int = Field(default=1000, ge=0, description="for policies and results; 0: left out")
    vcpus: int | None = Field(default=None, ge=1, description="left out: the profile's, or 1")
    jobs: int | None = Field(
        default=None, ge=1, description="tasks of which there are `vcpus`; left out: as many"
    )
    cpu_weight: int = Field(default=1024, ge=1, description="CPU share of each vCPU on the host")
    start: Seconds = Field(default=0.0, description="boots at this time")
    start_every: Seconds = Field(
        default=0.0, description="each of `count` so long after the one before"
    )
    on_demand: bool = Field(default=False, description="boots only when the timeline starts it")
    stop: Seconds | None = Field(default=None, description="is switched off at this time")
    boot: Seconds = Field(default=0.0, description="from power-on until its tasks start")
    memory: Literal["fresh", "resident", "reclaimed"] = Field(
        default="fresh",
        description="at the start the host backs nothing of it, all of it, or has swapped it out",
    )
    mechanisms: Mechanisms = Mechanisms()
    cooperation: Cooperation = Cooperation()
    own_swap: AmountField | None = Field(
        default=None, description="left out: the profile's, or none"
    )
    emulator: Bytes = Field(default=0, description="anonymous memory of the emulator, on the host")
    emulator_used: Bytes | None = Field(
        default=None, description="of it in use all the time; left out: 3 MiB at most"
    )
    cgroup: str | None = Field(
        default=None, description="shared by all that name it; left out: one of its own"
    )
    max: Annotated[Annotated[Bytes, Field(gt=0)] | None, NONE] = Field(
        default=None, description="size or none: limit of a cgroup of its own, each of `count` one"
    )
    high: Annotated[Bytes | None, NONE] = Field(
        default=None, description="size or none: of the cgroup of its own; see cgroups"
    )
    low: Bytes | None = Field(
        default=None,
        description="of the cgroup of its own; left out: its share of host.protection, or none",
    )
    disk: str | None = Field(default=None, description="left out: the host's guest_disk")
    lru: Literal["linux", "exact"] = Field(
        default="linux", description="exact: one list in the order of use, as cache simulators have"
    )
    swappiness: int = Field(default=60, ge=0, le=200, description="of the guest's kernel")
    vary: Vary = Vary()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.profile is None) == (self.work is None):
            raise ValueError("expected either profile or work")
        if self.min.of(self.size) > self.size:
            raise ValueError(f"min: {self.min.of(self.size)}: expected at most size, {self.size}")
        last = self.start + (self.count - 1) * self.start_every
        if self.stop is not None and self.stop <= last:
            of = "start" if last == self.start else "the start of the last of them"
            raise ValueError(f"stop: {self.stop}: expected after {of}, {last}")
        if self.on_demand and self.start:
            raise ValueError("start: expected none, because the guest boots on demand")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Its name, or `name-1` and so on when there are several."""
        if self.count == 1:
            return (self.name,)
        return tuple(f"{self.name}-{number}" for number in range(1, self.count + 1))


class Timed(Config):
    """An entry of the host's timeline, done at a time or some time after the entry before."""

    at: Seconds | None = Field(default=None, description="at this time")
    after: Seconds | None = Field(
        default=None, description="instead: so long after the entry before; left out: at once"
    )

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        if self.at is not None and self.after is not None:
            raise ValueError("expected at most one of at and after")
        return self


class StartGuest(Timed):
    """Power a guest on."""

    do: Literal["start"]
    guest: str = Field(description="its name; of several alike with the number, as web-2")


class StopGuest(Timed):
    """Switch a guest off."""

    do: Literal["stop"]
    guest: str = Field(description="its name; of several alike with the number, as web-2")


class OfCgroup(Timed):
    """An entry about one cgroup."""

    cgroup: str | None = None
    guest: str | None = Field(default=None, description="instead: the cgroup of its own")

    @model_validator(mode="after")
    def _one_cgroup(self) -> Self:
        if (self.cgroup is None) == (self.guest is None):
            raise ValueError("expected either cgroup or guest")
        return self


class LimitCgroup(OfCgroup):
    """Set a cgroup's limit, throttle or protection; with none of the three: no limit any more."""

    do: Literal["limit"]
    max: Bytes | Literal["none"] | None = Field(
        default=None, description="left out beside low or high: as it is"
    )
    high: Bytes | Literal["none"] | None = Field(default=None, description="left out: as it is")
    low: Bytes | None = Field(default=None, description="left out: as it is; 0: none")


class SetCores(Timed):
    """Change the number of the host's cores."""

    do: Literal["cores"]
    cores: int = Field(ge=1)


class SetTarget(Timed):
    """Ask a guest for a size, as a policy would."""

    do: Literal["target"]
    guest: str = Field(description="its name; of several alike with the number, as web-2")
    size: Bytes


class AwaitTarget(Timed):
    """Hold the timeline until a guest has reached its target."""

    do: Literal["wait_target"]
    guest: str = Field(description="its name; of several alike with the number, as web-2")


class AwaitEvent(Timed):
    """Hold the timeline until an event of a guest has been signalled."""

    do: Literal["wait_event"]
    guest: str = Field(description="its name; of several alike with the number, as web-2")
    event: str = Field(description="as its phases name it")
    times: int = Field(default=1, ge=1)


class SignalEvent(Timed):
    """Signal an event of a guest, for tasks that wait for it."""

    do: Literal["signal"]
    guest: str = Field(description="its name; of several alike with the number, as web-2")
    event: str = Field(description="as its phases name it")


class AwaitLimit(OfCgroup):
    """Hold the timeline until no more is charged to a cgroup than its limit."""

    do: Literal["wait_limit"]


class Mark(Timed):
    """Copy all counters; results are given between marks."""

    do: Literal["mark"]
    name: str


Entry = Annotated[
    StartGuest
    | StopGuest
    | LimitCgroup
    | SetCores
    | SetTarget
    | AwaitTarget
    | AwaitEvent
    | SignalEvent
    | AwaitLimit
    | Mark,
    Field(discriminator="do"),
]


class Replay(Config):
    """Guests whose memory follows real or synthetic traces of virtual machines."""

    source: Literal["synthetic", "folder"] = "synthetic"
    folder: str | None = Field(
        default=None, description="left out: OVERCOMMIT_TRACES or ../shared/traces"
    )
    datasets: tuple[str, ...] = Field(default=(), description="left out: all that the source has")
    split: Literal["train", "validation", "test", "all"] = "all"
    guests: tuple[int, int] = Field(
        default=(8, 8), description="fewest and most machines on the host, or all that fit"
    )
    nominal: tuple[Bytes, Bytes] = Field(
        default=(2 * GIB, 64 * GIB), description="sizes to choose from"
    )
    scale: float = Field(default=16.0, ge=1, description="all sizes are divided by this")
    compression: float = Field(default=6.0, gt=0, description="seconds of the trace in one second")
    smooth: Seconds = Field(
        default=3600.0, gt=0, description="the hot set: mean of active over so long"
    )
    settle: Seconds = Field(
        default=1800.0, description="active is ignored for so long after power-on"
    )
    bursts: float = Field(default=0.3, ge=0, le=1, description="spread of the hot set within a row")
    hold: Seconds = Field(default=10.0, gt=0, description="mean time between changes within a row")
    anon: Range = Field(default=(0.4, 0.9), description="share of the cold part that is anonymous")
    hot_every: Seconds = Field(
        default=2.0, gt=0, description="mean time between touches of a hot page"
    )
    cold_every: Seconds = Field(default=14400.0, gt=0, description="and of a cold one")
    min: AmountField = Field(
        default=Amount(share=0.25), description="or a share of the guest's size"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for field in ("guests", "nominal"):
            low, high = getattr(self, field)
            if not 0 <= low <= high:
                raise ValueError(f"{field}: {[low, high]}: expected the smaller first")
        if self.anon[1] > 1:
            raise ValueError(f"anon: {self.anon[1]}: expected a share of at most 1")
        if self.source == "synthetic" and self.folder is not None:
            raise ValueError("folder: expected none, because the source is synthetic")
        row_s = STEP_S / self.compression
        if self.hold > row_s / 4:
            raise ValueError(
                f"hold: {self.hold}: expected at most a quarter of a row, {row_s / 4:g} s, so that"
                " every row can keep its mean"
            )
        return self


class Sensors(Config):
    """What stands between the truth and what a policy reads."""

    period: Seconds = Field(
        default=1.0, gt=0, description="balloon statistics are polled this often"
    )
    delay: Seconds = Field(
        default=0.0, description="statistics become known so long after they were made"
    )
    noise: float = Field(
        default=0.0, ge=0, le=0.5, description="relative error of balloon statistics"
    )
    missing: float = Field(
        default=0.0, ge=0, le=1, description="share of guests without statistics"
    )
    psi: bool = Field(default=True, description="the host reports pressure stall information")
    cgroup: str | None = Field(
        default=None, description="a cgroup of the host whose limit is told as the host's memory"
    )
    reclaim_statistics: bool = Field(
        default=False,
        description="balloon statistics have tags 10 to 15, as of Linux 6.12 and QEMU 9.2;"
        " a kernel of 2011 never has",
    )
    descriptors: bool = Field(default=True, description="mechanisms and swap device are known")
    agents: float = Field(
        default=0.0, ge=0, le=1, description="share of guests with an agent inside"
    )
    sampling: Seconds = Field(
        default=0.0,
        description="the host samples what guests touch so often, as ESX every 30 s; 0: not",
    )

    @field_validator("sampling")
    @classmethod
    def _looks_rarely(cls, value: float) -> float:
        if 0 < value < PSI_PERIOD_S:
            raise ValueError(f"{value}: expected 0 or at least {PSI_PERIOD_S:g} s")
        return value


class Scenario(Config):
    """Everything about one kind of host."""

    name: str = Field(min_length=1)
    description: str = ""
    host: Host = Field(description="the machine")
    profiles: dict[str, Profile] = Field(default={}, description="besides those of the library")
    guests: tuple[Guest, ...] = Field(default=(), description="beside those that are drawn")
    timeline: tuple[Entry, ...] = Field(
        default=(), description="what the host does, one entry after the other"
    )
    randomise: Randomise = Randomise()
    replay: Replay | None = None
    recordings: Recordings = Recordings()
    sensors: Sensors = Sensors()
    arm: Arm = Field(default=Arm(), description="what overrides the mechanisms of all guests")
    warm_up: Seconds = Field(
        default=600.0,
        description="lived and left out of evaluate.py's metrics; `python -m scenarios` counts it",
    )
    length: Seconds = Field(
        default=3600.0, gt=0, description="after the warm-up: a life is as long as both together"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = list(check.problems(self))
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def most_guests(self) -> int:
        """Guest slots that a host of this scenario may need."""
        fixed = sum(guest.count for guest in self.guests)
        drawn = self.randomise.guests[1] if self.randomise.guests else 0
        return fixed + drawn + (self.replay.guests[1] if self.replay else 0)

    @property
    def end_s(self) -> float:
        """[s] Curves and traces are laid out up to here."""
        return self.warm_up + self.length

    def with_arm(self, arm: Arm) -> "Scenario":
        """The same scenario with what the arm sets; what it leaves open stays as it is."""
        settings = {**self.arm.model_dump(exclude_none=True), **arm.model_dump(exclude_none=True)}
        return self.model_copy(update={"arm": Arm(**settings)})
