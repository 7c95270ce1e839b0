"""V4: passes over a file in swapped memory: first stale reads, then an order that decays."""

from math import nan

from validation.experiment import Curves, Experiment, Line, Outcomes, Quantity, Run
from validation.v03_sequential_reread import BLIND, FILE_PAGES, PASSES, one_pass

NUMBERS = tuple(range(1, PASSES + 1))


def seconds(outcomes: Outcomes, run: str) -> list[float]:
    """[s] of each pass."""
    return [one_pass(outcomes, run, number).seconds for number in NUMBERS]


def pages_per_fault(outcomes: Outcomes, run: str, number: int) -> float:
    """Pages of the file that a fault of the guest brought in."""
    return FILE_PAGES / one_pass(outcomes, run, number).guest("host_major")


def _first(run: str, missed: str = "", missed_at: float = nan) -> Quantity:
    def of(runs: Outcomes) -> float:
        taken = seconds(runs, run)
        return taken[0] / taken[1]

    name = f"pass 1 / pass 2, slots {run}"
    return Quantity(name, of, published="1.95", low=1.5, missed=missed, missed_at=missed_at)


def _decay(run: str, missed: str = "", missed_at: float = nan) -> Quantity:
    def of(runs: Outcomes) -> float:
        return pages_per_fault(runs, run, PASSES) / pages_per_fault(runs, run, 2)

    name = f"pages per fault, pass 8 / pass 2, slots {run}"
    return Quantity(name, of, published="0.51", high=0.7, missed=missed, missed_at=missed_at)


def _most(run: str) -> Quantity:
    def of(runs: Outcomes) -> float:
        return max(pages_per_fault(runs, run, number) for number in NUMBERS[1:])

    name = f"most pages per fault from pass 2 on, slots {run}"
    return Quantity(name=name, of=of, published="4.3", high=8.0)


def _line(run: str) -> Line:
    return Line(
        label=f"blind, 100 MB of 512, slots {run}",
        x=tuple(float(number) for number in NUMBERS),
        published=(41.0, 21.0, 24.0, 25.5, 27.0, 30.0, 33.0, 38.0),
        of=lambda runs: seconds(runs, run),
    )


IN_ORDER = (
    "With slots freed by every mapping nothing disturbs a lone reader: pages are read, mapped,"
    " evicted and written in the order of the file, and each pass finds them as the last one left"
    " them."
)
SEEKS = (
    "With slots kept the order decays as published, but a fault takes 5 ms in pass 2 and 14 in"
    " pass 8, 1.6 to 1.7 there: writes go back to where pages came from, and the head, which"
    " serves them as soon as no read waits, seeks to them and back: blind is 55 times as"
    " slow as the balloon of V3 then (published 12.5).  A disk of 2011 did not have"
    " to: CFQ waits for the reader's next read before it serves writes, and the drive's own cache"
    " takes them and writes them in order.  Neither is modelled."
)


EXPERIMENT = Experiment(
    name="V4",
    title="Swapped memory read in order: stale reads first, then a decaying order",
    source="N. Amit, D. Tsafrir, A. Schuster, VSwapper, ASPLOS 2014, figure 9",
    set_up=(
        "The blind guest of V3, pass by pass.  Freed: as preset 2011 has it, every mapping frees"
        " the page's slot in the swap area.  Kept: as Linux 3.7 does while less than half of swap"
        " is used, only a fault that writes frees it (reuse_swap_page); KVM's worker for a vCPU"
        " always asks for a page as if to write (async_pf_execute), so of a window of 8 the page"
        " that was waited for leaves, and the other 7 stay."
    ),
    runs={"freed": BLIND, "kept": Run(BLIND.scenario, ("host.swap.slots=kept",))},
    quantities=(
        _first("freed"),
        _first("kept", SEEKS, 1.08),
        _decay("freed", IN_ORDER, 0.972),
        _decay("kept"),
        _most("freed"),
        _most("kept"),
    ),
    curves=(
        Curves(
            title="Time of each pass over a file of 200 MB",
            x_label="pass",
            y_label="s",
            lines=(_line("freed"), _line("kept")),
        ),
    ),
    cost_s=8.0,
    quick=(),
    quick_cost_s=3.0,
)
