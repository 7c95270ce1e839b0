"""V4: passes over a file in swapped memory: first stale reads, then an order that decays."""

from validation.experiment import Curves, Experiment, Line, Outcomes, Quantity
from validation.v03_sequential_reread import BLIND, FILE_PAGES, PASSES, one_pass

NUMBERS = tuple(range(1, PASSES + 1))


def seconds(outcomes: Outcomes) -> list[float]:
    """[s] of each pass."""
    return [one_pass(outcomes, "blind", number).seconds for number in NUMBERS]


def pages_per_fault(outcomes: Outcomes, number: int) -> float:
    """Pages of the file that a fault of the guest brought in."""
    return FILE_PAGES / one_pass(outcomes, "blind", number).guest("host_major")


EXPERIMENT = Experiment(
    name="V4",
    title="Swapped memory read in order: stale reads first, then a decaying order",
    source="N. Amit, D. Tsafrir, A. Schuster, VSwapper, ASPLOS 2014, figure 9",
    set_up="The blind guest of V3, pass by pass.",
    runs={"blind": BLIND},
    quantities=(
        Quantity(
            name="pass 1 / pass 2",
            of=lambda runs: seconds(runs)[0] / seconds(runs)[1],
            published="1.95",
            low=1.5,
        ),
        Quantity(
            name="pages per fault, pass 8 / pass 2",
            of=lambda runs: pages_per_fault(runs, PASSES) / pages_per_fault(runs, 2),
            published="0.51",
            high=0.7,
            missed=(
                "Nothing disturbs a single reader here: pages are read, mapped, evicted and written"
                " in the order of the file, and each pass finds them as the last one left them. "
                " A guest whose memory lies in swap at random before pass 1 keeps 4.8 pages per"
                " fault: disorder stays as it is, too.  Other memory in use makes it grow: 16 MB"
                " that a second program touches 50 times a second give 4.2 pages per fault in"
                " pass 2 and 4.0 in pass 8, and 75 s and 92 s.  The source does not say what else"
                " ran; per-CPU batches before the lists, pages skipped while the disk's queue is"
                " congested, and the emulator's code, which faulted 10 to 20 thousand times a pass"
                " there, are left out here."
            ),
        ),
        Quantity(
            name="most pages per fault from pass 2 on",
            of=lambda runs: max(pages_per_fault(runs, number) for number in NUMBERS[1:]),
            published="4.3",
            high=8.0,
        ),
    ),
    curves=(
        Curves(
            title="Time of each pass over a file of 200 MB",
            x_label="pass",
            y_label="s",
            lines=(
                Line(
                    label="blind, 100 MB of 512",
                    x=tuple(float(number) for number in NUMBERS),
                    published=(41.0, 21.0, 24.0, 25.5, 27.0, 30.0, 33.0, 38.0),
                    of=seconds,
                ),
            ),
        ),
    ),
    cost_s=4.0,
    quick=(),
    quick_cost_s=1.5,
)
