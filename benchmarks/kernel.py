"""Touches per second of the simulator's kernel, and libCacheSim's LRU on the same references.

A guest touches its working set uniformly on a host that holds a part of it; what is missing is in
compressed memory, so that every miss costs a swap-in and a reclaim but no waiting.  One core.
"""

import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import libcachesim
import numpy as np

from memsim.build import watermarks
from memsim.fleet import Fleet
from memsim.spec import (
    Device,
    DeviceKind,
    GuestSpec,
    HostSpec,
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


class Speed(NamedTuple):
    """One measurement."""

    name: str
    million_per_s: float
    changed: float  # share of the touches that missed


def _fleet(guest: GuestSpec, ram: int, fast: bool = False) -> Fleet:
    fleet = Fleet(1, threads=1)
    devices = (DISK, ZRAM)
    host = HostSpec(4096, ram, (guest,), devices, swap_device=1, swap_pages=1 << 18, fast=fast)
    fleet.reset([host])
    return fleet


def touches(pages: int, missing: float, touches: int = 20_000_000, *, fast: bool = False) -> Speed:
    """Uniform touches of `pages` pages of which the host holds all but a share.

    `fast` jumps over those that change nothing.
    """
    script = (
        Phase(Op.ALLOCATE, region=0),
        Phase(Op.TOUCH, region=0, write=0.3, cost_s=COST_S),
    )
    guest = GuestSpec(
        1, pages + 1000, (Region(RegionKind.ANON, pages),), (Task(script),), stats_period_s=0.0
    )
    ram = 4 * pages if missing == 0.0 else int(pages * (1 - missing)) + 300
    fleet = _fleet(guest, ram, fast)
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
        f"{pages} pages, {missing:.0%} missing{', fast path' if fast else ''}",
        done / spent / 1e6,
        changed,
    )


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


def bytes_per_page() -> float:
    """Bytes of all arrays per guest page, with guests of 256 MiB in 4 KiB pages."""
    regions = (Region(RegionKind.ANON, 40_000), Region(RegionKind.FILE, 30_000))
    script = (Phase(Op.ALLOCATE, region=0), Phase(Op.READ, region=1))
    guests = tuple(GuestSpec(i, 65_536, regions, (Task(script),)) for i in range(4))
    fleet = Fleet(1, threads=1)
    fleet.reset([HostSpec(4096, 200_000, guests, (DISK,), swap_pages=131_072)])
    return fleet.nbytes() / (4 * 65_536)
