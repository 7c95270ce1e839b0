"""What a simulated host is asked to be: plain data, all sizes in pages, all times in seconds.

`scenarios` turns a YAML file and a random key into these; `fleet` compiles them into arrays.
One page is `HostSpec.page_bytes` long everywhere in memsim.  Curves are piecewise linear in time
since the host's start; a time that stands twice makes a step.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from math import inf

import numpy as np

from memsim.params import ROTATION_S, TLB_SHARE


class Async(IntEnum):
    """What a vCPU does while the host reads a page that its task touched (model section 3)."""

    OFF = 0  # blocks: the vCPU stops until the read is done
    HALT = 1  # artificial halt: a timer interrupt every 4 ms may switch task
    USER = 2  # the task sleeps if it was in user mode, else halt (modern preset)
    ANY = 3  # the task also sleeps in sleepable kernel context (2011 preset)


class Hinting(IntEnum):
    """How the host learns which guest pages are free."""

    NONE = 0
    BITMAP = 1  # the talk's: one bit a page, read by the host at swap-out and swap-in
    REPORTING = 2  # Linux': the guest tells of free blocks, the host drops them at once


class Resize(IntEnum):
    """How a guest follows its target."""

    NONE = 0  # targets are ignored
    BALLOON = 1
    FREE_TARGET_2011 = 2  # extra_free_kbytes: extra = max - target
    FREE_TARGET = 3  # watermark_scale_factor, at most 1000
    BALLOON_HUGE = 4  # a balloon of blocks of 2 MiB
    VIRTIO_MEM = 5  # blocks of 2 MiB, from the end of memory


class Start(IntEnum):
    """Where a guest's memory is when the host starts."""

    FRESH = 0  # the host backs nothing yet
    RESIDENT = 1  # the host backs every page
    RECLAIMED = 2  # everything was touched once and then swapped out


class DeviceKind(IntEnum):
    """How a device spends its time."""

    ROTATING = 0
    SOLID = 1
    ZRAM = 2  # CPU time inline, no queue


class RegionKind(IntEnum):
    """What a region's pages are to the guest kernel."""

    ANON = 0
    FILE = 1
    KERNEL = 2  # slab, page tables: what a workload makes its kernel allocate; unmovable


class Pattern(IntEnum):
    """Which page of a region an access goes to."""

    UNIFORM = 0
    ZIPF = 1  # popularity over blocks of `block_pages`, uniform inside a block
    SEQUENTIAL = 2  # from the first page; wraps round, and a repeated phase starts anew
    LOOP = 3  # goes on where the same phase stopped before
    STREAM = 4  # as LOOP, but over the page numbers of a recorded reference string
    APPEND = 5  # goes on where any task left the region, from the first page once it was freed


class Op(IntEnum):
    """What a phase does."""

    TOUCH = 0  # loads and stores to a mapped region
    READ = 1  # read(2) of a region: kernel context; sets no mapping bit
    WRITE = 2  # write(2) of a region: as READ, and dirties
    COMPUTE = 3  # CPU only
    ALLOCATE = 4  # first touch of the first `count` pages of an anonymous region, in order
    FREE = 5  # give back the region's pages (all, or the last `count`); a file's: delete it
    HINT_FREE = 6  # tell the host that the region's content may go; pages stay mapped
    DROP_CACHES = 7
    SLEEP = 8
    WAIT = 9  # until EVENT has been signalled as often as this task has waited for it
    SIGNAL = 10
    EXIT = 11
    REPEAT = 12  # jump to `jump` until the jump was taken `count` - 1 times (for ever if < 0)
    FOLLOW = 13  # every `interval_s`: touch or free until the region has `size` pages


@dataclass(frozen=True)
class Curve:
    """Piecewise linear in time; constant before the first and after the last point."""

    time_s: np.ndarray  # (N,) float64 [s] not falling
    value: np.ndarray  # (N,) float64


@dataclass(frozen=True)
class Region:
    """Memory of a guest: anonymous, the pages of a file on its disk, or its kernel's own."""

    kind: RegionKind
    pages: int
    block_pages: int = 1024  # popularity is laid out in blocks of this many pages
    content: np.ndarray | None = None  # (pages,) uint32 what its pages hold first, see `content`


@dataclass(frozen=True)
class Phase:
    """One line of a task's script.

    Without `rate` a phase is closed-loop: the next access begins when the last is done.  With
    `rate` (or `rate_curve`) it is open-loop: arrivals come as a Poisson stream, each with
    `per_arrival` accesses, wait in line up to `backlog_s` and are dropped and counted beyond.
    They go on coming while a killed task or guest starts again, but not to one switched off.
    A phase ends after `count` accesses (arrivals if open-loop) or `seconds`, whichever is first.
    """

    op: Op
    region: int = -1  # index into GuestSpec.regions
    pattern: Pattern = Pattern.UNIFORM
    zipf_s: float = 1.0  # exponent of the popularity of blocks, > 0
    write: float = 0.0  # share of the touches that store
    count: int = -1  # accesses, arrivals, pages or jumps; < 0: no limit
    seconds: float = inf  # of elapsed time; for COMPUTE and SLEEP the length
    cost_s: float = 1e-6  # CPU time of one access of a page of this host, beside any fault's
    rate: float = 0.0  # [1/s] arrivals; 0: closed loop
    per_arrival: int = 1
    backlog_s: float = 1.0
    kernel: bool = False  # touches in kernel context (system calls) rather than user mode
    size: int = -1  # index of a curve [pages]: only the region's first pages are used
    rate_curve: int = -1  # index of a curve [1/s]
    interval_s: float = 1.0  # FOLLOW
    stream: int = -1  # STREAM: index into GuestSpec.streams
    jump: int = 0  # REPEAT: index of a phase of this task
    event: int = -1  # WAIT, SIGNAL: events are numbered per guest
    huge_only: bool = False  # ALLOCATE: what gets no huge page gets none, as a pool of them
    content: np.ndarray | None = None  # ALLOCATE: instead of the region's, for all of its pages


class Defrag(IntEnum):
    """What who wants a huge page does if there is none: /sys/kernel/mm/transparent_hugepage/defrag.

    Of memory without MADV_HUGEPAGE; `madvise` is NEVER for it, and ALWAYS for that with it.
    """

    NEVER = 0  # takes small pages
    DEFER = 1  # ... and wakes kswapd and kcompactd
    ALWAYS = 2  # compacts and reclaims


@dataclass(frozen=True)
class Task:
    """A process with one thread."""

    phases: tuple[Phase, ...]
    weight: int = 1024  # CPU share inside the guest, as CFS


@dataclass(frozen=True)
class Reporting:
    """Free page reporting, where it is the guest's hinting."""

    order: int = 9  # the least piece, 2**order small pages; 9: blocks of 2 MiB
    every_s: float = 2.0
    batch: int = 32  # pieces of one report


@dataclass(frozen=True)
class GuestSpec:
    """A guest slot's occupant."""

    guest_id: int  # keys all its random draws; unique on its host
    pages: int  # maximum size
    regions: tuple[Region, ...]
    tasks: tuple[Task, ...]
    curves: tuple[Curve, ...] = ()
    streams: tuple[np.ndarray, ...] = ()  # each (N,) int32 page numbers within a region
    min_pages: int = 0
    vcpus: int = 1
    cpu_weight: int = 1024  # CPU share of each vCPU on the host
    kernel_pages: int = 0  # unmovable
    kernel_spread: int = 0  # pages over which these are scattered; 0: in one piece
    kernel_used: int = 0  # of these: in use all the time
    reserved_pages: int = 0  # of these: set aside at boot, not in the guest's MemTotal
    booted_pages: int = (
        0  # backed when it has booted, the kernel's with them; others are free again
    )
    emulator_pages: int = 0  # anonymous memory of the emulator, on the host
    emulator_used: int = -1  # pages of it that it works with, -1: EMULATOR_USED_PAGES at most
    swap_pages: int = 0  # the guest's own swap, on its disk
    disk: int = 0  # index into HostSpec.devices
    cgroup: int = -1  # index into HostSpec.cgroups; -1: a group of its own
    max_pages: int = -1  # memory.max of the group of its own, -1: none
    high_pages: int = -1  # memory.high of the group of its own, -1: none
    low_pages: int = 0  # memory.low of the group of its own
    hinting: Hinting = Hinting.NONE
    reporting: Reporting = Reporting()
    async_mode: Async = Async.OFF
    resize: Resize = Resize.BALLOON
    deflate_on_oom: bool = True
    huge_pages: bool = False  # of 2 MiB for anonymous memory, on first touch and by khugepaged
    defrag: Defrag = Defrag.ALWAYS  # what its first touches do if no block is free
    tlb_share: float = TLB_SHARE  # a touch not in a huge page of both takes that much longer
    movable_balloon: bool = True  # compaction can move what is in it, since Linux 3.8
    stuck: bool = False  # never answers to targets
    resize_delay_s: float = 0.0  # a slow guest starts to move this long after each new target
    lru_exact: bool = False  # one list, move to head
    lru_2011: bool = False  # new anonymous pages active, no shadow entries, balance by rotation
    swappiness: int = 60  # 0-200: pressure on anonymous memory; 100: as much as on files
    start: Start = Start.FRESH
    start_s: float = 0.0  # boots at this time
    stop_s: float = inf  # is switched off at this time
    boot_s: float = 0.0  # from power-on until its tasks start
    stats_period_s: float = 1.0  # balloon statistics: polled this often; 0: never


@dataclass(frozen=True)
class Ksm:
    """The settings of ksmd in /sys/kernel/mm/ksm."""

    run: int = 1  # 0 stopped, 1 runs, 2 stopped and unmerged
    pages_to_scan: int = 100  # [small pages] before each sleep
    sleep_s: float = 0.02
    max_page_sharing: int = 256
    use_zero_pages: bool = False


@dataclass(frozen=True)
class Device:
    """A disk, or compressed memory."""

    kind: DeviceKind
    latency_s: float  # ROTATING: mean random positioning, with rotation; SOLID: of one request;
    # ZRAM: CPU time to store or load 4 KiB
    bytes_per_s: float
    parallel: int = 1
    near_s: float = 1e-3  # ROTATING: seek to a near track; half a turn comes on top
    half_turn_s: float = ROTATION_S  # ROTATING: what the head waits for a sector on average
    span_bytes: float = 0.0  # ROTATING: all of the disk; 0: unknown, any far seek is an average one
    ratio: float = 3.0  # ZRAM: pages stored per frame


@dataclass(frozen=True)
class Cgroup:
    """A host memory cgroup."""

    max_pages: int = -1  # -1: no limit
    high_pages: int = -1  # memory.high, -1: none; no global LRU
    low_pages: int = 0  # memory.low; no global LRU


class Act(IntEnum):
    """Entries of a host's timeline."""

    START_GUEST = 0  # guest
    STOP_GUEST = 1  # guest
    CGROUP_MAX = 2  # cgroup, value [pages], -1 none
    CORES = 3  # value
    TARGET = 4  # guest, value [pages]
    WAIT_TARGET = 5  # guest: later entries wait until it is as near its target as it gets
    WAIT_EVENT = 6  # guest, event: later entries wait until it has been signalled `value` times
    MARK = 7  # value: number of the mark; all counters are copied
    CGROUP_LOW = 8  # cgroup, value [pages]
    CGROUP_HIGH = 9  # cgroup, value [pages], -1 none
    SIGNAL = 10  # guest, event: as if one of its tasks had signalled it
    WAIT_LIMIT = 11  # cgroup: later entries wait until no more is charged to it than its limit


@dataclass(frozen=True)
class Entry:
    """One act of the timeline: done `after_s` after the entry before it was done, or `at_s`."""

    act: Act
    at_s: float = -1.0  # absolute; < 0: relative
    after_s: float = 0.0
    guest: int = -1  # slot
    index: int = -1  # cgroup or event
    value: float = 0.0


@dataclass(frozen=True)
class HostSpec:
    """One simulated host."""

    page_bytes: int
    ram_pages: int
    guests: tuple[GuestSpec, ...]  # slot by slot
    devices: tuple[Device, ...]
    seed: int = 0
    cores: int = 4
    swap_device: int = 0
    swap_pages: int = 0
    reserved_pages: int = 0  # the host's own kernel and daemons
    cgroups: tuple[Cgroup, ...] = ()
    slice_low_pages: int = -1  # memory.low of the slice that all cgroups are in, -1: none
    global_lru: bool = False  # 2011: one pair of lists for all without a limit
    lru_2011: bool = False  # as of a guest, for the host's own lists
    swappiness: int = -1  # 0-200: guest memory against the emulators' code; -1: code goes first
    huge_pages: bool = False  # back fresh blocks of guest memory with pages of 2 MiB
    ept_dirty_bits: bool = True  # 2011: False, every mapping dirties
    slots_kept: bool = False  # without dirty bits: what a fault only reads is written to its slot
    readahead_virtual: bool = True  # False: windows lie in slot space (rotating, 2011)
    readahead_adapts: bool = True  # until 3.14 False: always the whole window
    readahead_bytes: int = 32768  # window of the host's swap readahead: page-cluster 3
    ksm: Ksm | None = None  # None: without KSM, and pages have no content
    tick_s: float = 0.01
    sample_every_s: float = 0.0  # the host samples what guests touch, see `accessed`; 0: never
    emulation: float = 1.0  # guest kernels take so many times longer: software emulation
    fast: bool = False  # jump over touches that change nothing; other draws, equal in law
    timeline: tuple[Entry, ...] = field(default=())
