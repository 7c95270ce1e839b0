"""V13: how fast each mechanism takes memory, gives it back, and lets it be used again."""

from validation.experiment import Experiment, Outcomes, Quantity, Run

NOMINAL = 20.0  # [GiB] as the source counts, though 18 or 19 move
WAIT_S = 190.0  # until the second filling begins

# GiB/s: reclaim touched, reclaim untouched, return, install
PUBLISHED = {
    "balloon": (0.95, 1.67, 2.34, 0.97),
    "virtio_mem": (34.5, 42.2, 102.0, 4.17),
    "balloon_huge": (136.0, 288.0, 326.0, 4.30),
}
NAMES = {"balloon": "4 KiB balloon", "virtio_mem": "virtio-mem", "balloon_huge": "2 MiB balloon"}
RANGE = 0.25


def rate(outcomes: Outcomes, run: str, first: str, last: str) -> float:
    """[GiB/s] between two marks."""
    return NOMINAL / outcomes[run].between(first, last).seconds


def install(outcomes: Outcomes, run: str) -> float:
    """[GiB/s] of the second filling."""
    return NOMINAL / (outcomes[run].at("again").time_s - WAIT_S)


def _quantity(how: str, what: str, number: int) -> Quantity:
    published = PUBLISHED[how][number]
    run = f"{how}, untouched" if what == "reclaim untouched" else how

    def of(runs: Outcomes) -> float:
        if what == "install":
            return install(runs, run)
        return rate(runs, run, *(("grow", "grown") if what == "return" else ("shrink", "shrunk")))

    return Quantity(
        name=f"{what}, {NAMES[how]}",
        of=of,
        published=f"{published:g}",
        low=published * (1 - RANGE),
        high=published * (1 + RANGE),
        unit="GiB/s",
        kind="calibrated",
    )


def _runs() -> dict[str, Run]:
    found = {}
    untouched = ("guests.0.work.tasks.fill.phases.0.bytes=4KiB",)
    for how in PUBLISHED:
        resize = (f"guests.0.mechanisms.resize={how}",)
        found[how] = Run("v13_resize_rates", resize)
        found[f"{how}, untouched"] = Run("v13_resize_rates", resize + untouched)
    return found


EXPERIMENT = Experiment(
    name="V13",
    title="Resize rates of the mechanisms",
    source="L. Wrenger et al., HyperAlloc, EuroSys 2025, measured data (inflate)",
    set_up=(
        "20 GiB, 12 vCPUs: fill 19 GiB and free it, shrink to 2 GiB, grow to 20 GiB, fill 19 GiB"
        " again, 10 s between; untouched: without the first filling.  20 GiB over the time of each,"
        " as the source counts.  HyperAlloc itself (344, 5035, 8522 and 3.93 GiB/s) is not a"
        " mechanism of the simulator."
    ),
    runs=_runs(),
    quantities=tuple(
        _quantity(how, what, number)
        for how in PUBLISHED
        for number, what in enumerate(("reclaim touched", "reclaim untouched", "return", "install"))
    ),
    cost_s=20.0,
    quick=(),
    quick_cost_s=6.0,
    grain="Pages of 64 KiB; costs are proportional to size, so that 4 KiB give the same rates.",
)
