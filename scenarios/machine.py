"""The host of a scenario: memory, cores, kernel, devices, swap and cgroups."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from configs.loading import Bytes, Config, Seconds
from memsim.params import ROTATION_S
from memsim.spec import Async, Defrag, Device, DeviceKind, Resize
from memsim.spec import Ksm as KsmSpec
from memsim.spec import Reporting as ReportingSpec
from scenarios.quantities import NONE

MIB = 2**20


class Kernel(StrEnum):
    """Which Linux host and guests run: a preset of behaviours (model section 5)."""

    OLD = "2011"
    MODERN = "modern"


# A year is easily taken for a number.
KernelField = Annotated[Kernel, BeforeValidator(lambda year: "2011" if year == 2011 else year)]


class DevicePreset(StrEnum):
    """What a device is unless it says otherwise."""

    HDD = "hdd"
    SSD = "ssd"
    NVME = "nvme"
    ZRAM = "zram"


class AsyncFaults(StrEnum):
    """What a vCPU does while the host reads a page that a task needs."""

    OFF = "off"
    HALT = "halt"
    ON = "on"


class Hints(StrEnum):
    """How the host learns which guest pages are free."""

    NONE = "none"
    BITMAP = "bitmap"
    REPORTING = "reporting"


class Resizing(StrEnum):
    """How a guest follows its target."""

    NONE = "none"
    BALLOON = "balloon"
    BALLOON_HUGE = "balloon_huge"
    VIRTIO_MEM = "virtio_mem"
    FREE_TARGET = "free_target"


class Defragment(StrEnum):
    """What is done for a huge page where none is free: Linux' own words."""

    ALWAYS = "always"
    DEFER = "defer"
    DEFER_MADVISE = "defer+madvise"
    MADVISE = "madvise"
    NEVER = "never"


class Reporting(Config):
    """Free page reporting, where it is the guest's hinting; Linux' own numbers."""

    order: int = Field(
        default=9, ge=0, le=9, description="least piece reported, 4 KiB * 2^order; mainline: 9"
    )
    every: Seconds = Field(default=2.0, gt=0, description="from a free to the pass, and on")
    batch: int = Field(default=32, ge=1, description="pieces told of at a time")

    def spec(self) -> ReportingSpec:
        """The numbers as the simulator takes them."""
        return ReportingSpec(order=self.order, every_s=self.every, batch=self.batch)


# 7,200 rpm disk, SATA and NVMe drives and lz4 zram: reference/mechanisms.md section 10, the row
# "swap device"; their parallelism is one head, the 32 commands of SATA's queue (of which a 4 KiB
# read at 100 us and 90k IOPS keeps 9 busy), and 0.6-1 M IOPS at 30 us for NVMe.
DEVICES = {
    DevicePreset.HDD: Device(DeviceKind.ROTATING, latency_s=8e-3, bytes_per_s=150e6),
    DevicePreset.SSD: Device(DeviceKind.SOLID, latency_s=100e-6, bytes_per_s=500e6, parallel=8),
    DevicePreset.NVME: Device(DeviceKind.SOLID, latency_s=30e-6, bytes_per_s=2e9, parallel=16),
    DevicePreset.ZRAM: Device(DeviceKind.ZRAM, latency_s=3e-6, bytes_per_s=4096 / 3e-6),
}


class DeviceConfig(Config):
    """A disk, or compressed memory; numbers left out are the preset's."""

    preset: DevicePreset
    latency: Seconds | None = Field(default=None, gt=0, description="left out: the preset's")
    bytes_per_s: Bytes | None = Field(default=None, gt=0, description="left out: the preset's")
    parallel: int | None = Field(
        default=None, ge=1, description="requests that it serves at a time; left out: the preset's"
    )
    rpm: int = Field(default=7200, gt=0, description="of a disk: half a turn comes with any seek")
    span: Bytes | None = Field(
        default=None,
        gt=0,
        description="size of a disk: seeks cost by distance; left out: far ones are average",
    )
    ratio: float = Field(default=3.0, gt=1, description="zram: pages stored in one frame")

    def spec(self) -> Device:
        """The device as the simulator takes it."""
        base = DEVICES[self.preset]
        return Device(
            kind=base.kind,
            latency_s=base.latency_s if self.latency is None else self.latency,
            bytes_per_s=base.bytes_per_s if self.bytes_per_s is None else float(self.bytes_per_s),
            parallel=base.parallel if self.parallel is None else self.parallel,
            half_turn_s=ROTATION_S * 7200 / self.rpm,
            span_bytes=float(self.span or 0),
            ratio=self.ratio,
        )


class Swap(Config):
    """The host's swap area."""

    device: str
    size: Bytes
    slots: Literal["freed", "kept"] = Field(
        default="freed",
        description="kept: on a host of 2011 a page that is only read stays in its slot, as in"
        " Linux 3.7",
    )


class CgroupConfig(Config):
    """A memory cgroup that guests may share."""

    max: Annotated[Annotated[Bytes, Field(gt=0)] | None, NONE] = Field(
        default=None, description="left out: none"
    )
    high: Annotated[Bytes | None, NONE] = Field(
        default=None, description="above it, who charges reclaims and sleeps; left out: none"
    )
    low: Bytes = Field(
        default=0, description="up to it, reclaim passes it over while others have memory to give"
    )


class Ksm(Config):
    """Kernel samepage merging: what stands in /sys/kernel/mm/ksm."""

    run: Literal[0, 1, 2] = Field(default=1, description="0 stopped, 1 runs, 2 unmerges")
    pages_to_scan: int = Field(default=100, ge=0, description="of 4 KiB, before each sleep")
    sleep: Seconds = Field(default=0.02, ge=1e-3, description="between batches")
    max_page_sharing: int = Field(default=256, ge=2, description="pages of one frame at most")
    use_zero_pages: bool = Field(default=False, description="pages of zeros share the zero page")

    def spec(self) -> KsmSpec:
        """The settings as the simulator takes them."""
        return KsmSpec(
            run=self.run,
            pages_to_scan=self.pages_to_scan,
            sleep_s=self.sleep,
            max_page_sharing=self.max_page_sharing,
            use_zero_pages=self.use_zero_pages,
        )


class Host(Config):
    """The machine that all guests share."""

    page: Bytes = Field(
        default=4096, description="4KiB to 4MiB, a power of two: the grain of the model"
    )
    ram: Bytes | None = Field(
        default=None, description="left out: follows from randomise.overcommit"
    )
    cores: int = Field(default=4, ge=1)
    tick: Seconds = Field(
        default=0.01, gt=0, description="a task runs ahead of the others by so much at most"
    )
    emulation: float = Field(
        default=1.0, ge=1, description="guest kernels take so many times longer: software emulation"
    )
    fast: bool = Field(
        default=False,
        description="jump over touches that change nothing: other draws, the same distribution",
    )
    kernel: KernelField = Field(
        default=Kernel.MODERN,
        description="of host and guests; 2011: cgroup v1, one LRU, no dirty bits in the EPT",
    )
    swappiness: int | None = Field(
        default=None,
        ge=0,
        le=200,
        description="of the host's kernel: guest memory against the emulators' code; left out:"
        " code goes first",
    )
    huge_pages: bool = Field(
        default=False, description="back guests by pages of 2 MiB; not with pages beyond 64KiB"
    )
    reserved: Bytes = Field(default=64 * MIB, description="the host's own kernel and daemons")
    devices: dict[str, DeviceConfig] = Field(
        default={"disk": DeviceConfig(preset=DevicePreset.SSD)}, min_length=1
    )
    guest_disk: str | None = Field(default=None, description="left out: the first device")
    swap: Swap | None = Field(default=None, description="left out: a host without swap")
    readahead: Bytes = Field(
        default=32768, description="window of its swap readahead: 4KiB << page-cluster"
    )
    cgroups: dict[str, CgroupConfig] = Field(
        default={}, description="that guests share by naming them; others have one of their own"
    )
    ksm: Ksm | None = Field(default=None, description="left out: a host without KSM")
    protection: Bytes | None = Field(
        default=None,
        description="memory.low of the slice that all guests are in; what cgroups and guests do"
        " not claim for themselves is shared by the weights of the other guests, as their low",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not 4096 <= self.page <= 4 * MIB or self.page & (self.page - 1):
            raise ValueError(f"page: {self.page}: expected a power of two from 4KiB to 4MiB")
        if self.huge_pages and self.page > 65536:
            raise ValueError(f"page: {self.page}: expected at most 64KiB with huge pages")
        if not 4096 <= self.readahead <= MIB or self.readahead & (self.readahead - 1):
            raise ValueError(
                f"readahead: {self.readahead}: expected a power of two from 4KiB to 1MiB"
            )
        if self.ksm is not None and self.page > 64 * 1024:
            raise ValueError(f"page: {self.page}: expected at most 64KiB with ksm")
        named = {"guest_disk": self.guest_disk, "swap.device": self.swap and self.swap.device}
        for field, name in named.items():
            if name is not None and name not in self.devices:
                known = ", ".join(self.devices)
                raise ValueError(f"{field}: {name!r}: expected one of the devices {known}")
        disk = self.devices[self.guest_disk or next(iter(self.devices))]
        if disk.preset == DevicePreset.ZRAM:
            raise ValueError("guest_disk: compressed memory holds no files; expected a disk")
        sizes = {"ram": self.ram, "reserved": self.reserved}
        sizes |= {"swap.size": self.swap.size if self.swap else None}
        sizes |= {"protection": self.protection}
        for name, cgroup in self.cgroups.items():
            sizes |= {f"cgroups.{name}.{field}": size for field, size in cgroup}
        for field, size in sizes.items():
            if size is not None and size % self.page:
                raise ValueError(f"{field}: {size}: expected a multiple of page, {self.page}")
        if self.ram is not None and self.ram <= self.reserved:
            raise ValueError(f"ram: {self.ram}: expected more than reserved, {self.reserved}")
        return self

    @property
    def guest_device(self) -> str:
        """The name of the device that holds the guests' disks."""
        return self.guest_disk or next(iter(self.devices))


def async_mode(kernel: Kernel, wanted: AsyncFaults) -> Async:
    """What asynchronous faults mean under a kernel: in user mode only, since 2020."""
    on = Async.ANY if kernel == Kernel.OLD else Async.USER
    return {AsyncFaults.OFF: Async.OFF, AsyncFaults.HALT: Async.HALT, AsyncFaults.ON: on}[wanted]


def defrag_mode(kernel: Kernel, wanted: Defragment | None) -> Defrag:
    """What a setting means for a program that never calls madvise."""
    if wanted is None:
        wanted = Defragment.ALWAYS if kernel == Kernel.OLD else Defragment.MADVISE
    return {
        Defragment.ALWAYS: Defrag.ALWAYS,
        Defragment.DEFER: Defrag.DEFER,
        Defragment.DEFER_MADVISE: Defrag.DEFER,
        Defragment.MADVISE: Defrag.NEVER,
        Defragment.NEVER: Defrag.NEVER,
    }[wanted]


def resize_mode(kernel: Kernel, wanted: Resizing) -> Resize:
    """What a resizing mechanism is under a kernel."""
    target = Resize.FREE_TARGET_2011 if kernel == Kernel.OLD else Resize.FREE_TARGET
    return {
        Resizing.NONE: Resize.NONE,
        Resizing.BALLOON: Resize.BALLOON,
        Resizing.BALLOON_HUGE: Resize.BALLOON_HUGE,
        Resizing.VIRTIO_MEM: Resize.VIRTIO_MEM,
        Resizing.FREE_TARGET: target,
    }[wanted]
