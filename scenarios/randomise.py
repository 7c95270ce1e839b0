"""What differs from host to host: the ranges and mixes that a key draws from."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from configs.loading import Bytes, Config, Seconds, parse_bytes
from scenarios.machine import AsyncFaults, Defragment, Hints, Kernel, Resizing
from scenarios.mixes import Mix, some_weight
from scenarios.quantities import parse_amount


class Vary(Config):
    """Log-normal spread among guests of one profile: the standard deviation of the logarithm."""

    sizes: float = Field(default=0.0, ge=0, le=1)
    rates: float = Field(default=0.0, ge=0, le=2)


def _sizes(mix: dict[str, float]) -> dict[str, float]:
    for size in mix:
        if parse_bytes(int(size) if size.isdecimal() else size) == 0:
            raise ValueError(f"{size!r}: expected a size above 0")
    return mix


def _amounts(mix: dict[str, float]) -> dict[str, float]:
    for amount in mix:
        parse_amount(amount)
    return mix


def _whole(mix: dict[str, float]) -> dict[str, float]:
    for number in mix:
        if not number.isdecimal():
            raise ValueError(f"{number!r}: expected a whole number, in quotes")
    return mix


def _ordered(ends: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= ends[0] <= ends[1]:
        raise ValueError(f"{list(ends)}: expected two numbers of 0 or more, the smaller first")
    return ends


SizeMix = Annotated[Mix, AfterValidator(_sizes)]
AmountMix = Annotated[Mix, AfterValidator(_amounts)]
CountMix = Annotated[Mix, AfterValidator(_whole)]
Range = Annotated[tuple[float, float], AfterValidator(_ordered)]


class Randomise(Config):
    """What differs from key to key.

    A mix gives values and how often each comes up; a range is drawn from uniformly.  The host's
    part is drawn from the key alone, a guest's part from the key and its number.
    """

    guests: tuple[int, int] | None = Field(
        default=None, description="fewest and most random guests"
    )
    profiles: Mix = Field(default={})
    sizes: SizeMix = Field(default={})
    min: Range = Field(default=(0.25, 0.25), description="share of the size")
    vcpus: CountMix = Field(default={}, description="left out: the profile's")
    weights: CountMix = Field(default={}, description="left out: 1000")
    vary: Vary = Vary()
    late: float = Field(default=0.0, ge=0, le=1, description="share of guests that boot on the way")
    leave: float = Field(
        default=0.0, ge=0, le=1, description="share that is switched off on the way"
    )
    memory: dict[Literal["fresh", "resident", "reclaimed"], float] = Field(
        default={"fresh": 1.0}, description="of guests that are there from the start"
    )
    boot: tuple[Seconds, Seconds] = Field(default=(0.0, 0.0), description="time to boot")
    emulator: Bytes = Field(default=0, description="anonymous memory of each emulator")
    stuck: float = Field(default=0.0, ge=0, le=1, description="share that never answers to targets")
    slow: float = Field(default=0.0, ge=0, le=1, description="share that answers late")
    slow_by: tuple[Seconds, Seconds] = (5.0, 30.0)
    async_faults: dict[AsyncFaults, float] = Field(default={})
    hinting: dict[Hints, float] = Field(default={})
    resize: dict[Resizing, float] = Field(default={})
    deflate_on_oom: float = Field(
        default=1.0, ge=0, le=1, description="share of guests that have it"
    )
    huge_pages: float = Field(
        default=0.0, ge=0, le=1, description="share of guests with huge pages"
    )
    defrag: dict[Defragment, float] = Field(default={}, description="left out: the kernel's own")
    reporting_order: CountMix = Field(
        default={}, description="least piece of free page reporting, as mechanisms.reporting.order"
    )
    reporting_every: tuple[Seconds, Seconds] = Field(
        default=(2.0, 2.0), description="as mechanisms.reporting.every"
    )
    own_swap: AmountMix = Field(
        default={},
        description="a guest's own swap, size or share of its size; left out: the profile's",
    )
    low: AmountMix = Field(
        default={},
        description="memory.low of a guest's own cgroup, size or share of its size; 0%: its share"
        " of host.protection, or none",
    )
    high: AmountMix = Field(
        default={}, description="memory.high of a guest's own cgroup, in the same way; 0%: none"
    )
    overcommit: Range | None = Field(
        default=None, description="sum of all guests' sizes over RAM; instead of host.ram"
    )
    cores: CountMix = Field(default={}, description="left out: host.cores")
    host_huge_pages: float = Field(
        default=1.0, ge=0, le=1, description="share of hosts with huge pages, of host.huge_pages"
    )
    ksm: float = Field(
        default=1.0, ge=0, le=1, description="share of hosts on which ksmd runs, of those with it"
    )
    kernels: dict[Kernel, float] = Field(default={}, description="left out: host.kernel")
    swap_devices: Mix = Field(
        default={}, description="names of host.devices; left out: host.swap.device"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.guests is not None:
            fewest, most = self.guests
            if not 0 <= fewest <= most:
                raise ValueError(f"guests: {list(self.guests)}: expected fewest and most")
            if most and not (self.profiles and self.sizes):
                raise ValueError("guests: expected profiles and sizes to draw them from")
        if self.min[1] > 1:
            raise ValueError(f"min: {self.min[1]}: expected a share of at most 1")
        if self.overcommit is not None and self.overcommit[0] <= 0:
            raise ValueError("overcommit: expected ratios above 0")
        if any(int(order) > 9 for order in self.reporting_order):
            raise ValueError("reporting_order: expected orders from 0 to 9")
        if self.reporting_every[0] <= 0:
            raise ValueError("reporting_every: expected times above 0")
        for field in ("boot", "slow_by", "reporting_every"):
            low, high = getattr(self, field)
            if low > high:
                raise ValueError(f"{field}: expected the shorter time first")
        for field in ("memory", "async_faults", "hinting", "resize", "kernels", "defrag"):
            some_weight(getattr(self, field))
        return self
