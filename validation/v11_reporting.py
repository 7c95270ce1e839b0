"""V11: what free page reporting gives back, by the size of the pieces that it tells of."""

import numpy as np

from validation.experiment import Curves, Experiment, Line, Outcomes, Quantity, Run

GIB = 2**30
RESTS = ("rested", "cleaned", "dropped")
NAMES = dict(zip(RESTS, ("the build", "make clean", "drop_caches"), strict=True))
# RSS after each [GiB]
PUBLISHED = {"none": (15.8, 15.8, 15.8), "order 9": (12.7, 11.8, 8.3), "order 0": (6.4, 1.4, 1.0)}

FEW_BLOCKS = (
    "Little is free in whole blocks late in the build: 1.6 GiB after it, where the source has 3.4"
    " to 3.9.  The profile meets the mean over the build, not how it falls: huge pages and free"
    " lists by CPU, and blocks of a migrate type for what the kernel allocates after its boot, are"
    " not part of it.  Linux also"
    " takes a page from the smallest free piece there is (__rmqueue_smallest of mm/page_alloc.c)"
    " and so spares what has begun to grow together; here the page freed last goes first, wherever"
    " it is.  How much each of them weighs was not tried."
)


def rss(outcomes: Outcomes, run: str, mark: str) -> float:
    """[GiB] backed by the host at a mark, the emulator included."""
    return outcomes[run].gauge_bytes("resident_pages", mark) / GIB


def footprint(outcomes: Outcomes, run: str) -> float:
    """[GiB min] backed by the host, summed over the build."""
    outcome = outcomes[run]
    samples, end = outcome.samples, outcome.at("built").time_s
    building = samples.time_s <= end
    return float(np.mean(samples.resident[building, 0])) / GIB * end / 60


def saved(outcomes: Outcomes, run: str) -> float:
    """[%] change of the footprint by reporting."""
    return 100 * (footprint(outcomes, run) / footprint(outcomes, "none") - 1)


def in_blocks(outcomes: Outcomes) -> float:
    """Share of free memory that is in whole blocks of 2 MiB, on average during the build."""
    outcome = outcomes["none"]
    samples, end = outcome.samples, outcome.at("built").time_s
    building = (samples.time_s > 60) & (samples.time_s <= end)
    return float(np.mean(samples.free_whole[building, 0] / samples.free[building, 0]))


def unexplained(outcomes: Outcomes, run: str, pages: str) -> float:
    """[GiB] of RSS that size less free memory in such pieces does not explain, the most."""
    outcome = outcomes[run]
    found = []
    for mark in RESTS:
        guest = outcome.at(mark).guest[0]
        free = float(guest["free_pages"]) * outcome.page_bytes
        if pages == "blocks":
            free = float(guest["free_blocks"]) * 2**21
        size = float(guest["pages"]) * outcome.page_bytes
        found.append(rss(outcomes, run, mark) - (size - free) / GIB)
    return max(found, key=abs)


def _runs() -> dict[str, Run]:
    found = {"none": Run("v11_reporting", sample_s=5.0)}
    for order in (9, 0):
        how = f"{{hinting: reporting, resize: none, reporting: {{order: {order}}}}}"
        found[f"order {order}"] = Run(
            "v11_reporting", (f"guests.0.mechanisms={how}",), sample_s=5.0
        )
    return found


def _after(
    run: str, mark: str, low: float, high: float, missed: str = "", missed_at: float = np.nan
) -> Quantity:
    published = PUBLISHED[run][RESTS.index(mark)]
    return Quantity(
        name=f"RSS after {NAMES[mark]}, {run}",
        of=lambda runs: rss(runs, run, mark),
        published=f"{published:g}",
        low=low,
        high=high,
        unit="GiB",
        kind="calibrated" if run == "none" else "predicted",
        missed=missed,
        missed_at=missed_at,
    )


def _curves() -> Curves:
    def line(run: str) -> Line:
        def values(runs: Outcomes) -> list[float]:
            return [rss(runs, run, mark) for mark in RESTS]

        return Line(run, (1.0, 2.0, 3.0), PUBLISHED[run], values)

    return Curves(
        title="RSS of the guest's emulator",
        x_label="after 1 the build, 2 make clean, 3 drop_caches",
        y_label="GiB",
        lines=tuple(line(run) for run in PUBLISHED),
    )


EXPERIMENT = Experiment(
    name="V11",
    title="Reporting granularity and footprint",
    source="L. Wrenger et al., HyperAlloc, EuroSys 2025, measured data (compiling)",
    set_up=(
        "A clang build (profile `compile`) in 16 GiB with 12 vCPUs, 200 s of rest, make clean,"
        " 200 s, drop_caches, 200 s; no pressure on the host.  The profile was fitted to the"
        " run without reporting, before any other: what follows from that is calibrated, what"
        " reporting does is predicted.  HyperAlloc and the automatic virtio-mem are not modelled."
    ),
    runs=_runs(),
    quantities=(
        Quantity(
            name="build, none",
            of=lambda runs: runs["none"].at("built").time_s / 60,
            published="41.2",
            low=39.0,
            high=43.0,
            unit="min",
            kind="calibrated",
        ),
        Quantity(
            name="free memory in whole blocks during the build, none",
            of=in_blocks,
            published="0.48",
            low=0.43,
            high=0.53,
            kind="calibrated",
        ),
        _after("none", "dropped", 15.0, 16.5),
        _after("order 9", "rested", 10.7, 14.7, FEW_BLOCKS, 15.6),
        _after("order 9", "cleaned", 9.8, 13.8, FEW_BLOCKS, 14.3),
        _after("order 9", "dropped", 6.0, 10.0),
        _after("order 0", "rested", 5.4, 7.4),
        _after("order 0", "cleaned", 0.4, 1.9),
        _after("order 0", "dropped", 0.0, 1.5),
        Quantity(
            name="footprint of the build, order 9",
            of=lambda runs: saved(runs, "order 9"),
            published="-9",
            low=-14,
            high=-4,
            unit="%",
            missed=FEW_BLOCKS,
            missed_at=-3.9,
        ),
        Quantity(
            name="footprint of the build, order 0",
            of=lambda runs: saved(runs, "order 0"),
            published="-18 and -21",
            low=-26,
            high=-13,
            unit="%",
            missed=(
                "What the host backs without reporting grows earlier here (510 GiB min, not 478),"
                " and less is used on average (8.1 GiB)."
            ),
            missed_at=-31.8,
        ),
        Quantity(
            name="RSS beyond size less free blocks, order 9",
            of=lambda runs: unexplained(runs, "order 9", "blocks"),
            published="0.4",
            low=0.0,
            high=0.8,
            unit="GiB",
        ),
        Quantity(
            name="RSS beyond size less free pages, order 0",
            of=lambda runs: unexplained(runs, "order 0", "pages"),
            published="0.4",
            low=0.0,
            high=0.8,
            unit="GiB",
        ),
    ),
    curves=(_curves(),),
    cost_s=240.0,
    grain=(
        "Pages of 16 KiB, with which the profile was fitted.  At 4 KiB, one seed, everything is the"
        " same within 6 % (build, footprint, RSS after the build 15.0 GiB, after make clean 14.3)"
        " but for order 9 after drop_caches: 13.2 GiB instead of 8.5.  There slab comes in single"
        " pages of 4 KiB and holds more blocks; slab of Linux comes in pieces of 4 to 32 KiB, and"
        " in blocks of its own migrate type, and neither is modelled: this agreement is owed"
        " to the size of a page."
    ),
)
