"""Touches per second of the simulator's kernel, and libCacheSim's LRU on the same references.

A guest touches its working set uniformly on a host that holds a part of it; what is missing is in
compressed memory, so that every miss costs a swap-in and a reclaim but no waiting.  One core.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import libcachesim
import numpy as np

from memsim.build import watermarks
from memsim.fleet import Fleet
from memsim.spec import (
    Cgroup,
    Device,
    DeviceKind,
    GuestSpec,
    Hinting,
    HostSpec,
    Ksm,
    Op,
    Pattern,
    Phase,
    Region,
    RegionKind,
    Start,
    Task,
)

DISK = Device(DeviceKind.SOLID, 1e-4, 5e8)
ZRAM = Device(DeviceKind.ZRAM, 1e-7, 1e12, ratio=1000.0)
COST_S = 1e-6  # simulated CPU of one touch
STORES = 0.3  # share of touches


class Speed(NamedTuple):
    """One measurement."""

    name: str
    million_per_s: float
    changed: float  # share of the touches that missed


def _fleet(guest: GuestSpec, ram: int, fast: bool = False, huge: bool = False) -> Fleet:
    fleet = Fleet(1, threads=1)
    host = HostSpec(
        4096,
        ram,
        (guest,),
        (DISK, ZRAM),
        swap_device=1,
        swap_pages=1 << 18,
        huge_pages=huge,
        fast=fast,
    )
    fleet.reset([host])
    return fleet


def touches(
    pages: int,
    missing: float,
    touches: int = 20_000_000,
    *,
    fast: bool = False,
    huge: bool = False,
) -> Speed:
    """Uniform touches of `pages` pages of which the host holds all but a share.

    `fast` jumps over those that change nothing; `huge` maps and backs by 2 MiB where that can be.
    """
    script = (
        Phase(Op.ALLOCATE, region=0),
        Phase(Op.TOUCH, region=0, write=STORES, cost_s=COST_S),
    )
    guest = GuestSpec(
        1,
        pages + 1000,
        (Region(RegionKind.ANON, pages),),
        (Task(script),),
        stats_period_s=0.0,
        huge_pages=huge,
    )
    ram = 4 * pages if missing == 0.0 else int(pages * (1 - missing)) + 300
    fleet = _fleet(guest, ram, fast, huge)
    fleet.advance(np.array([2.0]))
    row = fleet.guest[0, 0]
    before = int(row["touches"]), int(row["host_swap_in"])
    until, spent = 2.0, 0.0
    while row["touches"] - before[0] < touches and spent < 20.0:
        until += 1.0
        start = time.perf_counter()
        fleet.advance(np.array([until]))
        spent += time.perf_counter() - start
    done = int(row["touches"]) - before[0]
    changed = (int(row["host_swap_in"]) - before[1]) / done
    return Speed(
        f"{pages} pages, {missing:.0%} missing{', huge pages' if huge else ''}"
        f"{', fast path' if fast else ''}",
        done / spent / 1e6,
        changed,
    )


def mechanisms(
    missing: float, touches: int = 10_000_000, *, everything: bool, pages: int = 8_192
) -> Speed:
    """Touches of two guests on a host with KSM that holds all but a share of what is left of them.

    An eighth of a guest's memory is like the other's and only read, so it merges; the rest is its
    own.  `everything`: guests and host have huge pages, guests report free pages, and each has a
    cgroup with low, and high just above what it uses.  What changes state is a fault of the host.
    """
    shared = pages // 8
    regions = (
        Region(RegionKind.ANON, shared, content=np.arange(shared, dtype=np.uint32) + 1),
        Region(RegionKind.ANON, pages - shared),
    )
    tasks = (
        Task((Phase(Op.ALLOCATE, region=0), Phase(Op.TOUCH, region=0, cost_s=COST_S))),
        Task(
            (Phase(Op.ALLOCATE, region=1), Phase(Op.TOUCH, region=1, write=STORES, cost_s=COST_S))
        ),
    )
    size = pages + 1_024
    more: dict[str, Any] = {"hinting": Hinting.REPORTING, "huge_pages": True} if everything else {}
    guests = tuple(
        GuestSpec(
            number + 1,
            size,
            regions,
            tasks,
            stats_period_s=0.0,
            cgroup=number if everything else -1,
            **more,
        )
        for number in range(2)
    )
    cgroup = Cgroup(low_pages=pages // 4, high_pages=size)
    host = HostSpec(
        4096,
        4 * size,
        guests,
        (DISK, ZRAM),
        cores=4,
        swap_device=1,
        swap_pages=1 << 18,
        huge_pages=everything,
        cgroups=(cgroup, cgroup) if everything else (),
        ksm=Ksm(pages_to_scan=1_000),
    )
    # How much is left when all is merged, then as much of it as is wanted.
    used = _settled(host).host[0]
    need = int(used["ram_pages"] - used["free_pages"])
    kept = need - int(missing * (2 * pages - shared))
    fleet = _settled(replace(host, ram_pages=kept + watermarks(kept, 1.0)[2]))
    before, until, spent = _seen(fleet), 5.0, 0.0
    while _seen(fleet)[0] - before[0] < touches and spent < 20.0:
        until += 0.25
        start = time.perf_counter()
        fleet.advance(np.array([until]))
        spent += time.perf_counter() - start
    done, changed = (after - first for after, first in zip(_seen(fleet), before, strict=True))
    name = "everything on" if everything else "KSM"
    return Speed(
        f"2 x {pages} pages, {missing:.0%} missing, {name}", done / spent / 1e6, changed / done
    )


def _settled(host: HostSpec) -> Fleet:
    fleet = Fleet(1, threads=1)
    fleet.reset([host])
    fleet.advance(np.array([5.0]))
    return fleet


def _seen(fleet: Fleet) -> tuple[int, int]:
    rows = fleet.guest[0]
    changing = rows["host_swap_in"] + rows["host_fresh"] + rows["unshared"]
    return int(rows["touches"].sum()), int(changing.sum())


def stream(references: int = 3_000_000, pages: int = 60_000) -> np.ndarray:
    """Zipf references with a seed of their own: (references,) int32."""
    rng = np.random.default_rng(5)
    rank = np.minimum(rng.zipf(1.2, references) - 1, pages - 1)
    return rng.permutation(pages)[rank].astype(np.int32)


def one_list(references: np.ndarray, size: int) -> tuple[float, int]:
    """Our one-list mode on a reference string: (million references/s, misses)."""
    read = Phase(
        Op.READ, region=0, pattern=Pattern.STREAM, stream=0, count=len(references), cost_s=1e-7
    )
    guest = GuestSpec(
        1,
        size,
        (Region(RegionKind.FILE, int(references.max()) + 1),),
        (Task((read,)),),
        streams=(references,),
        lru_exact=True,
        start=Start.RESIDENT,
        stats_period_s=0.0,
    )
    fleet = _fleet(guest, size + 3000)
    start = time.perf_counter()
    fleet.advance(np.array([1e5]))
    spent = time.perf_counter() - start
    return len(references) / spent / 1e6, int(fleet.guest["guest_major"][0, 0])


_ORACLE = np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])


def cache_pages(size: int) -> int:
    """Pages that a guest of `size` pages has for its cache: all above the min watermark."""
    return size - watermarks(size, 1.0)[0]


def cache_simulator(references: np.ndarray, capacity: int) -> tuple[float, int]:
    """LibCacheSim's LRU on the same string: (million references/s, misses), inside C."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "references.oracleGeneral"
        rows = np.zeros(len(references), _ORACLE)
        rows["time"] = np.arange(len(references))
        rows["id"] = references + 1
        rows["size"] = 1
        rows["next"] = -1
        rows.tofile(path)
        reader = libcachesim.TraceReader(str(path), libcachesim.TraceType.ORACLE_GENERAL_TRACE)
        cache = libcachesim.LRU(cache_size=capacity)
        start = time.perf_counter()
        miss_ratio, _ = cache.process_trace(reader)
        spent = time.perf_counter() - start
    return len(references) / spent / 1e6, round(miss_ratio * len(references))


def bytes_per_page(*, everything: bool = False) -> float:
    """Bytes of all arrays per guest page, with guests of 256 MiB in 4 KiB pages."""
    content = np.arange(40_000, dtype=np.uint32) if everything else None
    regions = (Region(RegionKind.ANON, 40_000, content=content), Region(RegionKind.FILE, 30_000))
    script = (Phase(Op.ALLOCATE, region=0), Phase(Op.READ, region=1))
    guests = tuple(
        GuestSpec(i, 65_536, regions, (Task(script),), huge_pages=everything) for i in range(4)
    )
    fleet = Fleet(1, threads=1)
    host = HostSpec(4096, 200_000, guests, (DISK,), swap_pages=131_072, huge_pages=everything)
    fleet.reset([replace(host, ksm=Ksm() if everything else None)])
    return fleet.nbytes() / (4 * 65_536)
