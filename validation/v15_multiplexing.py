"""V15: memory is shared by taking turns only if peaks do not coincide."""

from math import nan

from validation.experiment import Experiment, Outcomes, Quantity, Run

GIB = 2**30
REPORTING = ("guests.0.mechanisms.hinting=reporting",)
JUST_BELOW = (
    "39.2: a build with 8 vCPUs has 13.1 GiB in use at most here, 13.6 there.  The size of"
    " compilers follows from the run with 12."
)
TOGETHER = ("guests.0.start_every=0s",)


def peak(outcomes: Outcomes, run: str) -> float:
    """[GiB] the most that the host backs for all guests."""
    return float(outcomes[run].samples.resident.sum(axis=1).max()) / GIB


def build_min(outcomes: Outcomes, run: str) -> float:
    """[min] that a build takes, the mean of all guests."""
    return outcomes[run].job_s("make") / 60


def slower(outcomes: Outcomes) -> float:
    """[%] that a build takes longer with reporting, staggered."""
    without = build_min(outcomes, "none, staggered")
    return 100 * (build_min(outcomes, "order 9, staggered") / without - 1)


def _peak(
    run: str, published: str, low: float, high: float, missed: str = "", missed_at: float = nan
) -> Quantity:
    return Quantity(
        name=f"peak, {run}",
        of=lambda runs: peak(runs, run),
        published=published,
        low=low,
        high=high,
        unit="GiB",
        missed=missed,
        missed_at=missed_at,
    )


EXPERIMENT = Experiment(
    name="V15",
    title="Multiplexing needs peaks that do not coincide",
    source="L. Wrenger et al., HyperAlloc, EuroSys 2025, measured data (multivm)",
    set_up=(
        "Three guests of 16 GiB and 8 vCPUs run one clang build each (profile `compile`, as fitted"
        " for V11) and clean the tree, 40 min after one another or all at once; the source runs"
        " three rounds, one is enough for a peak.  HyperAlloc is not modelled."
    ),
    runs={
        "none, staggered": Run("v15_multiplexing", sample_s=10.0),
        "order 9, staggered": Run("v15_multiplexing", REPORTING, sample_s=10.0),
        "none, at once": Run("v15_multiplexing", TOGETHER, sample_s=10.0),
        "order 9, at once": Run("v15_multiplexing", TOGETHER + REPORTING, sample_s=10.0),
    },
    quantities=(
        _peak("none, staggered", "40.7", 39.5, 41.9, JUST_BELOW, 39.2),
        _peak("order 9, staggered", "36.0", 34.9, 37.1),
        _peak("none, at once", "40.75", 38.8, 42.2),
        _peak("order 9, at once", "40.9", 38.8, 42.2),
        Quantity(
            name="build time with reporting, staggered",
            of=slower,
            published="0",
            low=-2,
            high=2,
            unit="%",
        ),
    ),
    cost_s=480.0,
    grain="Pages of 16 KiB; see V11 for what that means for reporting.",
)
