"""V2: asynchronous page faults hide reads, they do not remove them."""

from validation.experiment import Experiment, Outcomes, Quantity, Run
from validation.v01_async_faults import work

SCENARIO = "v01_async_faults"
NO_WORKERS = ("guests.0.work.tasks.work.phases=[{op: exit}]",)
KERNEL_MODE = ("host.kernel=modern", "guests.0.work.tasks.fault.phases.1.context=kernel")


def reads_per_access(outcomes: Outcomes, run: str) -> float:
    """Pages that the host swapped in for each access of the faulting threads."""
    span = outcomes[run].between("begin", "end")
    return span.host("swap_in_pages") / span.task("done", "fault")


def accesses(outcomes: Outcomes, run: str) -> float:
    """Accesses of the faulting threads."""
    return outcomes[run].between("begin", "end").task("done", "fault")


def _mode(mode: str, *overrides: str) -> Run:
    return Run(SCENARIO, (f'guests.0.mechanisms.async_faults="{mode}"', *overrides))


EXPERIMENT = Experiment(
    name="V2",
    title="Asynchronous page faults hide reads, they do not remove them",
    source=(
        "Linux virt/kvm/async_pf.c, arch/x86/kvm/x86.c; R. van Riel, Guest Memory Overcommit,"
        " KVM Forum 2011"
    ),
    set_up=(
        "As V1: (a) reads per access; (b) without the counting threads, so that nothing can run"
        " while a thread waits; (c) every fault in the guest's kernel, where modern kernels deliver"
        " no asynchronous fault, so that they halt instead.  The range of (c) is the published"
        " standard error of V1, 3 %."
    ),
    runs={
        "block": _mode("off"),
        "async": _mode("on"),
        "block, alone": _mode("off", *NO_WORKERS),
        "async, alone": _mode("on", *NO_WORKERS),
        "halt, kernel": _mode("halt", *KERNEL_MODE),
        "async, kernel": _mode("on", *KERNEL_MODE),
    },
    quantities=(
        Quantity(
            name="(a) reads per access, async / block",
            of=lambda runs: reads_per_access(runs, "async") / reads_per_access(runs, "block"),
            published="1",
            low=0.9,
            high=1.1,
        ),
        Quantity(
            name="(b) accesses, nothing else runnable, async / block",
            of=lambda runs: accesses(runs, "async, alone") / accesses(runs, "block, alone"),
            published="1",
            low=0.98,
            high=1.05,
        ),
        Quantity(
            name="(c) work, faults in kernel mode, async / halt",
            of=lambda runs: work(runs, "async, kernel") / work(runs, "halt, kernel"),
            published="1",
            low=0.97,
            high=1.03,
        ),
    ),
    cost_s=20.0,
    quick=(),
    quick_cost_s=4.0,
)
