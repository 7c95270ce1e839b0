"""V3: a file read again and again by a guest that does not know how little memory it has."""

from scenarios.outcome import Span
from validation.experiment import Experiment, Outcomes, Quantity, Run

PASSES = 8
FILE_PAGES = 51_200
BLIND = Run("v03_sequential_reread")
BALLOON = Run("v03_sequential_reread", ("timeline.0.size=100MiB",))


def one_pass(outcomes: Outcomes, run: str, number: int) -> Span:
    """What happened in a pass, counted from 1."""
    return outcomes[run].between(f"pass {number - 1}", f"pass {number}")


def mean_pass_s(outcomes: Outcomes, run: str) -> float:
    """[s] of a pass, over all of them."""
    return sum(one_pass(outcomes, run, i).seconds for i in range(1, PASSES + 1)) / PASSES


def written_share(outcomes: Outcomes, run: str) -> float:
    """Swap-out of a pass as a share of the file, over all passes but the first."""
    span = outcomes[run].between("pass 1", f"pass {PASSES}")
    return span.guest("host_swap_out") / (PASSES - 1) / FILE_PAGES


EXPERIMENT = Experiment(
    name="V3",
    title="Blind swap against balloon: a file read again and again",
    source="N. Amit, D. Tsafrir, A. Schuster, VSwapper, ASPLOS 2014, figures 3 and 9",
    set_up=(
        "A guest with 1 vCPU believes in 512 MB and has 100 MB, the rest reclaimed before; it reads"
        " a file of 200 MB in order, 8 times; a 7200 rpm disk holds swap and image.  Balloon: the"
        " guest was told.  Kernel 3.7 there, preset 2011 here; 40 MB of guest kernel are assumed."
    ),
    runs={"blind": BLIND, "balloon": BALLOON},
    quantities=(
        Quantity(
            name="time of a pass, blind / balloon",
            of=lambda runs: mean_pass_s(runs, "blind") / mean_pass_s(runs, "balloon"),
            published="12.5",
            low=6.0,
        ),
        Quantity(
            name="swap-out per pass / file size, blind",
            of=lambda runs: written_share(runs, "blind"),
            published="0.9–1.2",
            low=0.7,
            high=1.3,
        ),
        Quantity(
            name="swap-out per pass / file size, balloon",
            of=lambda runs: written_share(runs, "balloon"),
            published="0",
            high=0.02,
        ),
    ),
    cost_s=6.0,
    quick=(),
    quick_cost_s=2.0,
)
