"""V10: to take memory back from a guest and give it again: free page hints, balloon, blind swap."""

import numpy as np

from validation.experiment import Curves, Experiment, Line, Outcomes, Quantity, Run

CORES = (1, 4, 8, 16)
MODES = ("balloon", "swap", "hint")
NEAR = 1.02 * 2**30  # [bytes] backed by the host when the cut is over
PUBLISHED = {
    "balloon": ((110.0, 41.0, 23.0, 14.0), (24.0, 24.0, 24.0, 24.0)),
    "swap": ((32.0, 41.0, 51.0, 62.0), (78.0, 98.0, 130.0, 135.0)),
    "hint": ((14.0, 10.0, 11.0, 16.0), (26.0, 26.0, 26.0, 25.0)),
}


def reclaim_s(outcomes: Outcomes, mode: str, cores: int) -> float:
    """[s] from the cut until the host backs no more than 1 GiB; NaN: it never did."""
    outcome = outcomes[f"{mode} {cores}"]
    samples, began = outcome.samples, outcome.at("cut").time_s
    there = (samples.time_s > began) & (samples.resident[:, 0] <= NEAR)
    return float(samples.time_s[np.argmax(there)] - began) if there.any() else np.nan


def refault_s(outcomes: Outcomes, mode: str, cores: int) -> float:
    """[s] to read the file."""
    return outcomes[f"{mode} {cores}"].between("begin", "read").seconds


def _runs() -> dict[str, Run]:
    found = {}
    limit = (
        "timeline.3={do: limit, cgroup: guest, max: 1GiB}",
        "timeline.7={do: limit, cgroup: guest}",
    )
    for mode in MODES:
        for cores in CORES:
            more: tuple[str, ...] = () if mode == "balloon" else limit
            if mode == "hint":
                more += ("guests.0.mechanisms.hinting=bitmap",)
            many = cores if mode == "balloon" else cores + 1
            overrides = (f"timeline.1.cores={many}", *more)
            found[f"{mode} {cores}"] = Run("v10_hint_balloon_swap", overrides, sample_s=0.5)
    return found


def _quantities(cores: int) -> tuple[Quantity, ...]:
    place = CORES.index(cores)
    balloon, swap, hint = (PUBLISHED[mode] for mode in MODES)
    return (
        Quantity(
            name=f"reclaim, swap / hint, {cores} cores",
            of=lambda runs: reclaim_s(runs, "swap", cores) / reclaim_s(runs, "hint", cores),
            published=f"{swap[0][place] / hint[0][place]:.1f}",
            low=2.3,
            high=5.0,
            missed=(
                "At one core 2.2: the thread that reclaims discards 4.7 GiB at 6 us a page and"
                " writes 2.4 GiB, one after the other, where the source finds both at once; with"
                " one core more than that thread's, 2.5 (one seed)."
                if cores == 1
                else ""
            ),
            missed_at=2.18 if cores == 1 else np.nan,
        ),
        Quantity(
            name=f"refault, hint / balloon, {cores} cores",
            of=lambda runs: refault_s(runs, "hint", cores) / refault_s(runs, "balloon", cores),
            published=f"{hint[1][place] / balloon[1][place]:.2f}",
            low=0.9,
            high=1.1,
        ),
        Quantity(
            name=f"refault, swap / balloon, {cores} cores",
            of=lambda runs: refault_s(runs, "swap", cores) / refault_s(runs, "balloon", cores),
            published=f"{swap[1][place] / balloon[1][place]:.1f}",
            low=3.0,
            high=5.5,
            missed=(
                "Every 128 KiB that are read go into swapped-out pages: the emulator reads those in"
                " by windows of 32 KiB, one after the other, and the head moves from swap to image"
                " and back, each time 4.5 ms at 10,000 rpm.  The published 2.4 to 4 ms per 128 KiB"
                " leave room for less than one such move, so that something there, a drive or a"
                " controller that reads on by itself, or a second disk, avoids them; the source"
                " names one disk and no controller.  With swap on a disk of its own of the same"
                " kind the simulator has 4.4, 4.8, 5.1 and 16 times at 1, 4, 8 and 16 cores (one"
                " seed; published 3.2, 4.1, 5.4 and 5.6)."
            ),
            missed_at={1: 20.5, 4: 21.3, 8: 21.6, 16: 26.6}[cores],
        ),
    )


def _curves(title: str, of: object, number: int) -> Curves:
    def line(mode: str) -> Line:
        def values(runs: Outcomes) -> list[float]:
            return [of(runs, mode, cores) for cores in CORES]  # type: ignore[operator]

        return Line(mode, tuple(map(float, CORES)), PUBLISHED[mode][number], values)

    return Curves(title, "cores", "s", tuple(line(mode) for mode in MODES))


EXPERIMENT = Experiment(
    name="V10",
    title="Hint, balloon, swap: reclaim and refault",
    source="N. Amit, M. Wei, The design and implementation of hyperupcalls, ATC 2018, figure 3",
    set_up=(
        "A guest of 8 GiB and 16 vCPUs, all of its memory backed: 256 MiB of its kernel, 3 GiB of"
        " files (assumed), 4 GiB that a program filled and freed.  All vCPUs search primes; the"
        " host cuts the guest to N cores and to 1 GiB, 7 GiB have to go; later the pressure stops"
        " and the guest reads a file of 4 GiB.  One disk of 10,000 rpm for everything."
    ),
    runs=_runs(),
    quantities=(
        *(quantity for cores in CORES for quantity in _quantities(cores)),
        Quantity(
            name="reclaim by balloon, 1 core / 16 cores",
            of=lambda runs: reclaim_s(runs, "balloon", 1) / reclaim_s(runs, "balloon", 16),
            published="7.9",
            low=5.0,
            high=17.0,
        ),
        Quantity(
            name="reclaim, balloon / swap, 1 core",
            of=lambda runs: reclaim_s(runs, "balloon", 1) / reclaim_s(runs, "swap", 1),
            published="3.4",
            low=1.5,
        ),
        Quantity(
            name="reclaim, balloon / swap, 4 cores",
            of=lambda runs: reclaim_s(runs, "balloon", 4) / reclaim_s(runs, "swap", 4),
            published="1.0, where they cross",
            low=0.67,
            high=1.5,
        ),
        Quantity(
            name="reclaim, balloon / swap, 16 cores",
            of=lambda runs: reclaim_s(runs, "balloon", 16) / reclaim_s(runs, "swap", 16),
            published="0.23",
            high=0.67,
        ),
    ),
    curves=(_curves("Reclaim", reclaim_s, 0), _curves("Refault", refault_s, 1)),
    cost_s=300.0,
)
