"""Small hosts for the tests, and random ones."""

import random
from dataclasses import replace

import numpy as np

from memsim.content import UNIQUE
from memsim.fleet import Fleet
from memsim.spec import (
    Act,
    Async,
    Cgroup,
    Curve,
    Defrag,
    Device,
    DeviceKind,
    Entry,
    GuestSpec,
    Hinting,
    HostSpec,
    Ksm,
    Op,
    Pattern,
    Phase,
    Region,
    RegionKind,
    Reporting,
    Resize,
    Start,
    Task,
)

SSD = Device(DeviceKind.SOLID, 1e-4, 5e8, 4)
HDD = Device(DeviceKind.ROTATING, 8e-3, 1.5e8)
ZRAM = Device(DeviceKind.ZRAM, 3e-6, 1e12)


def anon(pages: int) -> Region:
    """Anonymous memory."""
    return Region(RegionKind.ANON, pages)


def file(pages: int) -> Region:
    """A file."""
    return Region(RegionKind.FILE, pages)


def guest(
    regions: tuple[Region, ...], *tasks: tuple[Phase, ...], pages: int = 1024, **kw: object
) -> GuestSpec:
    """A guest whose tasks are given as scripts."""
    settings = {"guest_id": 7, "stats_period_s": 0.0} | kw
    return GuestSpec(pages=pages, regions=regions, tasks=tuple(Task(t) for t in tasks), **settings)  # type: ignore[arg-type]


def host(*guests: GuestSpec, ram: int = 4096, **kw: object) -> HostSpec:
    """A host of 4 KiB pages with one disk for images and swap."""
    settings: dict[str, object] = {
        "page_bytes": 4096,
        "devices": (SSD,),
        "swap_pages": 8192,
        "cores": 4,
    } | kw
    return HostSpec(ram_pages=ram, guests=guests, **settings)  # type: ignore[arg-type]


def live(spec: HostSpec, until_s: float) -> Fleet:
    """Let a host live and check its laws."""
    fleet = Fleet(1)
    fleet.reset([spec])
    fleet.advance(np.array([until_s]))
    fleet.check()
    return fleet


_SCRIPT_OPS = (
    Op.TOUCH,
    Op.READ,
    Op.WRITE,
    Op.COMPUTE,
    Op.ALLOCATE,
    Op.FREE,
    Op.HINT_FREE,
    Op.DROP_CACHES,
    Op.SLEEP,
    Op.FOLLOW,
    Op.SIGNAL,
    Op.WAIT,
)
_ON_MEMORY = (Op.ALLOCATE, Op.FREE, Op.HINT_FREE, Op.FOLLOW)
_ACCESS = (Op.TOUCH, Op.READ, Op.WRITE)


def _phase(r: random.Random) -> Phase:
    op = r.choice(_SCRIPT_OPS)
    region = r.choice([0, 1]) if op in _ON_MEMORY else r.choice([0, 1, 2])
    if op in (Op.TOUCH, Op.ALLOCATE, Op.FREE) and r.random() < 0.3:
        region = 3
    if op == Op.FREE and r.random() < 0.2:
        region = 2
    rate = r.choice([0.0, 0.0, 100.0, 1000.0]) if op in _ACCESS else 0.0
    follows = op in (Op.TOUCH, Op.FOLLOW) and region == 0
    return Phase(
        op,
        region=region,
        pattern=r.choice([p for p in Pattern if p != Pattern.STREAM]),
        zipf_s=r.uniform(0.3, 1.5),
        write=r.choice([0.0, 0.3, 1.0]),
        count=r.choice([-1, r.randint(1, 3000)]),
        seconds=r.uniform(0.01, 2.0),
        cost_s=r.choice([1e-6, 1e-4, 1e-3]),
        rate=rate,
        per_arrival=r.choice([1, 3]),
        backlog_s=r.choice([0.1, 1.0]),
        kernel=r.random() < 0.3,
        size=r.choice([-1, 0]) if follows else -1,
        rate_curve=r.choice([-1, 1]) if rate > 0 else -1,
        interval_s=0.3,
        event=0 if op in (Op.WAIT, Op.SIGNAL) else -1,
    )


def _task(r: random.Random) -> Task:
    phases = [_phase(r) for _ in range(r.randint(1, 6))]
    phases.append(Phase(Op.SLEEP, seconds=0.01))
    if r.random() < 0.8:
        phases.append(Phase(Op.REPEAT, jump=0, count=r.choice([-1, -1, 3])))
    return Task(tuple(phases), r.choice([1024, 300]))


def _guest(r: random.Random, i: int, groups: int, old: bool) -> GuestSpec:
    pages = r.randint(120, 600)
    regions = (
        Region(RegionKind.ANON, r.randint(10, pages), r.choice([1, 8, 1024])),
        Region(RegionKind.ANON, r.randint(10, 300), 16),
        Region(RegionKind.FILE, r.randint(10, pages * 2), 8),
        Region(RegionKind.KERNEL, r.randint(1, 40)),
    )
    times = np.array([0.0, 5.0, 10.0])
    curves = (
        Curve(times, np.array([5.0, float(regions[0].pages), 3.0])),
        Curve(times, np.array([5.0, 0.0, 200.0])),
    )
    cgroup = r.choice([-1, *range(groups)])
    plain = old or cgroup >= 0
    kernel = r.randint(0, 30)
    own = r.choice([0, 10, r.randint(0, 80)])  # of the emulator
    return GuestSpec(
        guest_id=r.randint(0, 10**6) * 10 + i,
        pages=pages,
        regions=tuple(replace(one, content=_content(r, one.pages)) for one in regions),
        tasks=tuple(_task(r) for _ in range(r.randint(1, 3))),
        curves=curves,
        min_pages=10,
        vcpus=r.randint(1, 3),
        kernel_pages=kernel,
        kernel_spread=r.choice([0, 0, r.randint(30, pages)]),
        kernel_used=r.choice([0, 0, kernel // 3]),
        emulator_pages=own,
        emulator_used=r.choice([-1, 0, own // 4]),
        swap_pages=r.choice([0, 0, 100, 400]),
        disk=1,
        cgroup=cgroup,
        high_pages=-1 if plain else r.choice([-1, -1, r.randint(20, 400)]),
        low_pages=0 if plain else r.choice([0, 0, r.randint(20, 600)]),
        hinting=r.choice(list(Hinting)),
        reporting=Reporting(r.choice([0, 0, 2, 4]), r.choice([0.1, 2.0]), r.choice([2, 32])),
        async_mode=r.choice(list(Async)),
        resize=r.choice(list(Resize)),
        deflate_on_oom=r.random() < 0.5,
        stuck=r.random() < 0.1,
        resize_delay_s=r.choice([0.0, 0.0, 1.0]),
        lru_exact=r.random() < 0.1,
        lru_2011=r.random() < 0.3,
        swappiness=r.choice([60, 60, 0, 200]),
        start=r.choice(list(Start)),
        start_s=r.choice([0.0, 0.0, 1.0]),
        stop_s=r.choice([np.inf, np.inf, 6.0]),
        boot_s=r.choice([0.0, 0.5]),
        max_pages=own + r.randint(30, 600) if cgroup < 0 and r.random() < 0.2 else -1,
    )


def _with_huge_pages(r: random.Random, guest: GuestSpec) -> GuestSpec:
    return replace(
        guest,
        huge_pages=not guest.lru_exact and r.random() < 0.7,
        defrag=Defrag(r.choice([0, 2] if guest.lru_2011 else [0, 1, 2, 2])),
        movable_balloon=r.random() < 0.7,
    )


def _cgroup(r: random.Random, old: bool) -> Cgroup:
    most = r.choice([-1, r.randint(100, 400)])
    if old:
        return Cgroup(most)
    return Cgroup(most, r.choice([-1, r.randint(50, 400)]), r.choice([0, r.randint(50, 400)]))


def _entry(r: random.Random, guests: int, groups: int, old: bool) -> Entry:
    acts = [Act.START_GUEST, Act.STOP_GUEST, Act.TARGET, Act.WAIT_TARGET, Act.CORES, Act.MARK]
    if groups:
        acts += [Act.CGROUP_MAX] if old else [Act.CGROUP_MAX, Act.CGROUP_LOW, Act.CGROUP_HIGH]
    act = r.choice(acts)
    return Entry(
        act,
        after_s=r.uniform(0, 2),
        guest=r.randrange(guests),
        index=r.randrange(groups) if groups else 0,
        value=r.randint(1, 4) if act == Act.CORES else r.randint(50, 500),
    )


def _ksm(r: random.Random) -> Ksm:
    return Ksm(
        run=r.choice([1, 1, 1, 0]),
        pages_to_scan=r.choice([20, 1000, 20000]),
        sleep_s=r.choice([1e-3, 0.02]),
        max_page_sharing=r.choice([2, 3, 256]),
        use_zero_pages=r.random() < 0.3,
    )


def _content(r: random.Random, pages: int) -> np.ndarray | None:
    # Few numbers, so that many pages are equal: zeros, unique ones, and what others have too.
    if r.random() < 0.3:
        return None
    most = r.choice([2, 10, 1000])
    numbers = np.array([r.randrange(most) for _ in range(pages)], np.uint32)
    numbers[numbers == most - 1] = UNIQUE
    return numbers


def random_host(r: random.Random) -> HostSpec:
    """Any host: all mechanisms, sizes, devices, limits and scripts, most of them too small."""
    n = r.randint(1, 5)
    old = r.random() < 0.5
    groups = tuple(_cgroup(r, old) for _ in range(r.randint(0, 2)))
    guests = tuple(_guest(r, i, len(groups), old) for i in range(n))
    total = sum(g.pages + g.emulator_pages for g in guests)
    huge = r.random() < 0.5
    if huge:
        guests = tuple(_with_huge_pages(r, g) for g in guests)
    page = r.choice([16384, 65536, 65536] if huge else [4096, 16384, 65536, 1 << 20])
    return HostSpec(
        page_bytes=page,
        huge_pages=huge and r.random() < 0.7,
        ram_pages=max(60, int(total * r.uniform(0.4, 1.3))) + 100 + 20 * n,
        guests=guests,
        devices=(r.choice([HDD, SSD, ZRAM]), SSD),
        seed=r.randint(0, 2**60),
        cores=r.randint(1, 4),
        swap_pages=r.choice([0, 500, 3000]),
        reserved_pages=20,
        cgroups=groups,
        slice_low_pages=-1 if old else r.choice([-1, -1, r.randint(50, 1000)]),
        global_lru=old,
        ept_dirty_bits=r.random() < 0.5,
        readahead_virtual=r.random() < 0.5,
        readahead_adapts=r.random() < 0.7,
        lru_2011=r.random() < 0.3,
        ksm=_ksm(r) if page <= 65536 and r.random() < 0.5 else None,
        tick_s=r.choice([1e-3, 1e-2, 0.05]),
        timeline=tuple(_entry(r, n, len(groups), old) for _ in range(r.randint(0, 5))),
        swappiness=r.choice([-1, 0, 60, 200]),
        slots_kept=r.random() < 0.5,
        sample_every_s=r.choice([0.0, 2.0]),
    )
