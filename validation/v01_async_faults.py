"""V1: what asynchronous page faults gain for threads that do not fault."""

from validation.experiment import Experiment, Outcomes, Quantity, Run


def work(outcomes: Outcomes, run: str) -> float:
    """[s] CPU time that the four workers got."""
    return outcomes[run].between("begin", "end").task("nominal_s", "work")


def _runs() -> dict[str, Run]:
    modes = {"block": "off", "halt": "halt", "async": "on"}
    return {
        name: Run("v01_async_faults", (f'guests.0.mechanisms.async_faults="{mode}"',))
        for name, mode in modes.items()
    }


EXPERIMENT = Experiment(
    name="V1",
    title="Asynchronous page faults: the gain",
    source="G. Natapov, KVM: Add host swap event notifications for PV guest, v4 and v7, 2010",
    set_up=(
        "4 vCPUs, 2 GB in a container of 512 MB; four threads write to random pages of an array of"
        " 1 GiB that was filled before, four threads count; 60 s.  Swap on a 7200 rpm disk and 8"
        " host cores are assumed.  Work is the CPU time that the counting threads got."
    ),
    runs=_runs(),
    quantities=(
        Quantity(
            name="work, async / block",
            of=lambda runs: work(runs, "async") / work(runs, "block"),
            published="1.91",
            low=1.7,
            high=2.05,
        ),
        Quantity(
            name="work, halt / block",
            of=lambda runs: work(runs, "halt") / work(runs, "block"),
            published="1.13",
            low=1.0,
            high=1.3,
        ),
    ),
    cost_s=10.0,
    quick=(),
    quick_cost_s=2.0,
)
