"""Reduced to one exact LRU list, the guest's page cache misses as a cache simulator does."""

import os
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from memsim.spec import Op, Pattern, Phase, Start

from .builders import file, guest, host, live

TRACES = Path(os.environ.get("OVERCOMMIT_TRACES", Path(__file__).parents[3] / "shared" / "traces"))


def synthetic_stream(references: int = 20_000, pages: int = 2_000) -> np.ndarray:
    """Zipf popularity with a loop in between, from a seed of its own."""
    rng = np.random.default_rng(11)
    popular = rng.permutation(pages)[np.minimum(rng.zipf(1.3, references) - 1, pages - 1)]
    popular[5_000:8_000] = np.arange(3_000) % 700
    return popular.astype(np.int32)


def lru_misses(stream: np.ndarray, capacity: int) -> int:
    """Misses of a list with move to head, by the book."""
    cache: OrderedDict[int, None] = OrderedDict()
    misses = 0
    for page in stream.tolist():
        if page in cache:
            cache.move_to_end(page)
            continue
        misses += 1
        cache[page] = None
        if len(cache) > capacity:
            cache.popitem(last=False)
    return misses


def our_misses(stream: np.ndarray, size: int) -> tuple[int, int]:
    """Misses of a guest of `size` pages that reads the stream, and its capacity for cache."""
    pages = int(stream.max()) + 1
    read = Phase(
        Op.READ, region=0, pattern=Pattern.STREAM, stream=0, count=len(stream), cost_s=1e-7
    )
    spec = guest(
        (file(pages),),
        (read,),
        pages=size,
        streams=(stream,),
        lru_exact=True,
        start=Start.RESIDENT,
    )
    fleet = live(host(spec, ram=size + 3000), 1000.0)
    assert fleet.task["done"][0, 0, 0] == len(stream)
    row = fleet.guest[0, 0]
    return int(row["guest_major"]), size - int(row["wm_min"])


@pytest.mark.parametrize("size", [300, 700, 1500])
def test_misses_are_those_of_an_lru_list(size: int) -> None:
    stream = synthetic_stream()
    misses, capacity = our_misses(stream, size)
    assert misses == lru_misses(stream, capacity)


def _simulator_misses(stream: np.ndarray, capacity: int) -> int:
    simulator = pytest.importorskip("libcachesim")
    cache = simulator.LRU(cache_size=capacity)
    request = simulator.Request()
    misses = 0
    for page in stream.tolist():
        request.obj_id = page + 1
        request.obj_size = 1
        misses += not cache.get(request)
    return misses


def test_misses_are_those_of_libcachesim() -> None:
    stream = synthetic_stream()
    misses, capacity = our_misses(stream, 700)
    assert misses == _simulator_misses(stream, capacity)


@pytest.mark.parametrize("name", ["lirs_cs", "lirs_multi1", "lirs_sprite"])
def test_misses_on_recorded_streams(name: str) -> None:
    path = TRACES / "page_refs" / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"no recorded streams: {path} (set OVERCOMMIT_TRACES)")
    with np.load(path) as data:
        stream = np.unique(data["page"], return_inverse=True)[1].astype(np.int32)
    misses, capacity = our_misses(stream, 900)
    assert misses == _simulator_misses(stream, capacity)
