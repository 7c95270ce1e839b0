"""Results barely depend on the size of a page, nor on the length of a tick (model, section 10).

A touch of a large page stands for touches of all its small ones: it costs as much and comes as
rarely as they together.  Where that does not hold yet, the reason stands beside it.

`python -m tests.memsim.test_granularity` writes the tables into `docs/model.md` (some minutes).
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memsim import params
from memsim.account import FIRST_LOST, NOMINAL
from memsim.spec import (
    Act,
    Async,
    Entry,
    GuestSpec,
    Hinting,
    HostSpec,
    Ksm,
    Pattern,
    Phase,
    Reporting,
    Resize,
)
from tests.memsim.hosts import (
    SSD,
    again,
    allocate,
    anon,
    file,
    free,
    guest,
    host,
    read,
    run,
    sleep,
    task,
    touch,
)

KIB, MIB = 1024, 1024 * 1024
SIZES = [4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB]
LARGEST = {"huge pages": 64 * KIB, "KSM": 64 * KIB}  # memsim.spec_check refuses larger ones
TICKS_S = [0.01, 0.001]
WARM_S, END_S = 20.0, 80.0

# Found: 0.08, 0.09 and 0.031 where nothing is known to differ.
SEEDS = 10
TRAFFIC, LOST, PROGRESS = 0.1, 0.1, 0.04  # shares, and a difference
TICK = 0.02  # share of all three; found 0.006


def pages(mib: float, page_bytes: int) -> int:
    return round(mib * MIB / page_bytes)


def touching(page_bytes: int, **fields: Any) -> Phase:  # noqa: ANN401  any of Phase
    return touch(0, cost_s=1e-4 * page_bytes / (4 * KIB), **fields)


def worker(page_bytes: int, **fields: Any) -> GuestSpec:  # noqa: ANN401
    """Touches 72 MiB for ever."""
    return guest(
        task(allocate(0), touching(page_bytes, write=0.5, **fields)),
        pages=pages(128, page_bytes),
        regions=[anon(pages(72, page_bytes), block_pages=max(1, pages(4, page_bytes)))],
        async_mode=Async.USER,
        guest_id=1,
    )


def collector(page_bytes: int) -> GuestSpec:
    """Fills 40 MiB, and frees it for a while."""
    filled = touching(page_bytes, pattern=Pattern.SEQUENTIAL, count=pages(40, page_bytes))
    return guest(
        task(allocate(0), filled, free(0), sleep(2.0), again()),
        pages=pages(128, page_bytes),
        regions=[anon(pages(40, page_bytes))],
        hinting=Hinting.BITMAP,
        guest_id=2,
    )


def cache(page_bytes: int) -> GuestSpec:
    """Reads a file that does not fit."""
    sub = page_bytes / (4 * KIB)
    lookup = read(0, pattern=Pattern.ZIPF, rate=1500.0 / sub, cost_s=2e-5 * sub)
    return guest(
        task(lookup),
        pages=pages(48, page_bytes),
        regions=[file(pages(64, page_bytes), block_pages=max(1, pages(4, page_bytes)))],
        async_mode=Async.USER,
        guest_id=3,
    )


def on_host(*guests: GuestSpec, page_bytes: int, mib: float, **fields: Any) -> HostSpec:  # noqa: ANN401
    marks = tuple(Entry(Act.MARK, at_s=t, value=i) for i, t in enumerate((WARM_S, END_S)))
    common: dict[str, Any] = {"devices": (SSD, SSD), "cores": 4, "readahead_bytes": 4 * KIB}
    return host(
        *guests,
        page_bytes=page_bytes,
        ram_pages=pages(mib, page_bytes),
        swap_pages=pages(400, page_bytes),
        timeline=marks,
        **common | fields,
    )


def experiment(name: str, size: int, tick_s: float) -> HostSpec:
    common: dict[str, Any] = {"page_bytes": size, "tick_s": tick_s}
    match name:
        case "uniform":
            return on_host(worker(size), mib=60, **common)
        case "zipf":
            return on_host(worker(size, pattern=Pattern.ZIPF), mib=60, **common)
        case "hinting":
            return on_host(worker(size), collector(size), mib=75, **common)
        case "reporting":
            # Not after the 2 s that it rests: who comes first then would be chance.
            reports = replace(
                collector(size), hinting=Hinting.REPORTING, reporting=Reporting(every_s=0.5)
            )
            return on_host(worker(size), reports, mib=75, **common)
        case "readahead":
            return on_host(worker(size), mib=60, readahead_bytes=32 * KIB, **common)
        case "balloon":
            squeezed = replace(worker(size), resize=Resize.BALLOON, swap_pages=pages(100, size))
            spec = on_host(squeezed, mib=200, **common)
            target = Entry(Act.TARGET, at_s=1.0, guest=0, value=pages(60, size))
            return replace(spec, timeline=(target, *spec.timeline))
        case "huge pages":
            mapped = replace(worker(size), huge_pages=True)
            return on_host(mapped, mib=60, huge_pages=True, **common)
        case "KSM":
            content = 1 + np.arange(pages(72, size), dtype=np.uint32) % pages(36, size)
            half = anon(len(content), content=content, block_pages=max(1, pages(4, size)))
            alike = replace(worker(size), regions=(half,))
            still = replace(alike, tasks=(task(allocate(0), touching(size, pattern=Pattern.ZIPF)),))
            return on_host(still, mib=30, ksm=Ksm(pages_to_scan=1000), **common)
        case "in order":
            loop = worker(size, pattern=Pattern.LOOP)
            return on_host(loop, mib=60, readahead_bytes=32 * KIB, **common)
        case _:
            return on_host(worker(size), cache(size), mib=105, **common)


def measure(spec: HostSpec) -> np.ndarray:
    """(3,) swap traffic [MiB/s], lost time [s/s] and progress after a warm-up, mean over seeds."""
    found = np.array([measure_one(replace(spec, seed=seed)) for seed in range(SEEDS)])
    mean: np.ndarray = found.mean(axis=0)
    return mean


def measure_one(spec: HostSpec) -> tuple[float, float, float]:
    """The same of one seed."""
    fleet = run(spec, END_S + 0.1)
    first, last = fleet.marks(0)
    span = END_S - WARM_S
    moved = sum(int(last.host[n] - first.host[n]) for n in ("swap_in_pages", "swap_out_pages"))
    own = ("guest_swap_in", "guest_swap_out")
    moved += sum(int((last.guest[n] - first.guest[n]).sum()) for n in own)
    seconds = (last.account - first.account).sum(axis=1)
    nominal, lost = seconds[:, NOMINAL], seconds[:, FIRST_LOST:].sum(axis=-1)
    progress = float((nominal / (nominal + lost)).mean())
    return moved * spec.page_bytes / MIB / span, float(lost.sum()) / span, progress


def sizes(name: str) -> list[int]:
    return [size for size in SIZES if size <= LARGEST.get(name, size)]


def table(name: str) -> np.ndarray:
    """(sizes, ticks, 3) what was measured."""
    return np.array([[measure(experiment(name, size, t)) for t in TICKS_S] for size in sizes(name)])


def check(found: np.ndarray) -> None:
    traffic, lost, progress = np.moveaxis(found, -1, 0)
    fine = found[0, 0]
    assert np.abs(traffic / fine[0] - 1).max() < TRAFFIC
    assert np.abs(lost / fine[1] - 1).max() < LOST
    assert np.abs(progress - fine[2]).max() < PROGRESS


NAMES = [
    *("uniform", "zipf", "hinting", "reporting", "readahead", "balloon", "huge pages", "KSM"),
    *("in order", "page cache"),
]
HINTED = "pages of 16 KiB swap 8 % less than of 4 KiB, and lose 9 % less; why is not known"
SPARE = "coarse pages under write-back leave 1 of 60 MiB more free, of 14 that do not fit"
RUNS = "windows of 4 KiB pages lie in several runs of slots, each a request: 15-20 % less beyond"
CODE = "I/O of coarse pages is rarer, so that the emulator's code is evicted between"


@pytest.mark.parametrize(
    "name",
    [
        "uniform",
        "zipf",
        pytest.param("hinting", marks=pytest.mark.xfail(reason=HINTED)),
        "reporting",
        "readahead",
        pytest.param("balloon", marks=pytest.mark.xfail(reason=SPARE)),
        "huge pages",
        "KSM",
        pytest.param("in order", marks=pytest.mark.xfail(reason=RUNS)),
        pytest.param("page cache", marks=pytest.mark.xfail(reason=CODE)),
    ],
)
def test_the_size_of_a_page_hardly_matters(name: str) -> None:
    check(table(name))


def test_beside_a_page_cache_it_is_the_emulators_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(params, "EMULATOR_CODE_PAGES", 1)
    check(table("page cache"))


@pytest.mark.parametrize("name", ["uniform", "hinting", "readahead", "in order", "page cache"])
def test_the_length_of_a_tick_hardly_matters(name: str) -> None:
    long, short = (measure(experiment(name, 16 * KIB, t)) for t in TICKS_S)
    assert np.abs(short / long - 1).max() < TICK


def lines(name: str) -> list[str]:
    """Rows of a table in Markdown."""
    return [
        f"| {name} | {size // KIB} | {tick_s * 1e3:.0f} | {traffic:.2f} | {lost:.3f} |"
        f" {progress:.3f} |"
        for size, row in zip(sizes(name), table(name), strict=True)
        for tick_s, (traffic, lost, progress) in zip(TICKS_S, row, strict=True)
    ]


def main() -> None:
    page = Path(__file__).parents[2] / "docs" / "model.md"
    head = "| workload | page [KiB] | tick [ms] | swap [MiB/s] | lost [s/s] | progress |"
    rows = [head, "|---|--:|--:|--:|--:|--:|"]
    for name in NAMES:
        rows += lines(name)
        print(*rows[-len(sizes(name)) * len(TICKS_S) :], sep="\n", flush=True)
    between = r"(<!-- granularity -->\n).*(<!-- /granularity -->)"
    made = "\n".join(rows)
    text = re.sub(between, lambda m: f"{m[1]}{made}\n{m[2]}", page.read_text(), flags=re.S)
    page.write_text(text)


if __name__ == "__main__":
    main()
