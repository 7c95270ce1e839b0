"""V20: what memory.low protects, and what counts as pressure."""

from functools import partial

from memsim.fleet import Mark
from scenarios.outcome import Span
from validation.experiment import Experiment, Outcomes, Quantity, Run


def lost(outcomes: Outcomes, guest: str) -> float:
    """[MiB] of a guest that the host swapped out."""
    return (
        outcomes["protection"].between("begin", "end").guest_bytes("host_swap_out", guest) / 2**20
    )


def expected(mark: Mark, half: int, plain: int) -> float:
    """What get_scan_count lets scan of a guest with low to one without, at one moment."""
    a, b = (mark.group[1 + int(mark.guest["cgroup"][slot])] for slot in (half, plain))
    return float(a["usage"]) * (1 - float(a["low"]) / (float(a["usage"]) + 1)) / float(b["usage"])


def scanned(outcomes: Outcomes) -> float:
    """Pages scanned of the half protected guest to those of the plain one, over what is expected.

    The usage of both falls meanwhile: the mean of begin and end is expected.
    """
    outcome = outcomes["protection"]
    span = outcome.between("begin", "end")
    slots = (outcome.guests.index("half"), outcome.guests.index("plain"))
    share = sum(expected(outcome.at(mark), *slots) for mark in ("begin", "end")) / 2
    return span.cgroup("scanned", "half") / span.cgroup("scanned", "plain") / share


def stalled_s(span: Span) -> float:
    """[s] that the one task was delayed, by the accounts of its time."""
    return sum(span.lost_s(cause, "stall") for cause in ("throttle", "host_reclaim"))


def pressure(outcomes: Outcomes, run: str, kind: str) -> float:
    """[%] pressure of a cgroup by its own file, while the one is delayed."""
    span = outcomes[run].between("begin", "end")
    return 100 * span.cgroup(f"psi_{kind}_s", "guest") / stalled_s(span)


def host_pressure(outcomes: Outcomes, run: str, kind: str) -> float:
    """[%] pressure of the host by its file, while the one is delayed."""
    span = outcomes[run].between("begin", "end")
    return 100 * span.host(f"psi_{kind}_s") / stalled_s(span)


MANY = (
    "host.cores=256",
    "guests.0.vcpus=257",
    "guests.0.work.tasks.work.count=256",
    "timeline.1.after=2s",
)

EXPERIMENT = Experiment(
    name="V20",
    title="Protection and pressure accounting",
    source="Linux 5.13, mm/vmscan.c (get_scan_count), mm/memcontrol.c and kernel/sched/psi.c",
    set_up=(
        "Three guests that hold 400 MiB each, with memory.low above all of it, half of it and none,"
        " beside a fourth that takes 112 MiB, of which the host has 80 MiB.  Then one vCPU"
        " that waits for swap all the time beside 3 that compute, on 4 CPUs; and beside 256 on 256."
    ),
    runs={
        "protection": Run("v20_protection"),
        "four": Run("v20_pressure"),
        "many": Run("v20_pressure", MANY),
    },
    quantities=(
        Quantity(
            name="swapped out of the guest below its low",
            of=lambda runs: lost(runs, "protected"),
            published="0",
            low=0.0,
            high=0.0,
            unit="MiB",
        ),
        Quantity(
            name="swapped out of the guest without low",
            of=lambda runs: lost(runs, "plain"),
            published="more than 0",
            low=1.0,
            unit="MiB",
        ),
        Quantity(
            name="scanned with low / without, over 1 - low / usage",
            of=scanned,
            published="1",
            low=0.98,
            high=1.02,
        ),
        *(
            Quantity(
                name=f"1 of 4 tasks stalled on 4 CPUs, {kind}, {whose}",
                of=partial(find, run="four", kind=kind),
                published="25",
                low=24.9,
                high=25.1,
                unit="%",
            )
            for kind in ("some", "full")
            for whose, find in (("cgroup", pressure), ("host", host_pressure))
        ),
        Quantity(
            name="257 tasks on 256 CPUs, 1 delayed, some",
            of=lambda runs: pressure(runs, "many", "some"),
            published="0.4",
            low=0.385,
            high=0.395,
            unit="%",
        ),
        Quantity(
            name="257 tasks on 256 CPUs, 1 delayed, full",
            of=lambda runs: pressure(runs, "many", "full"),
            published="0",
            low=0.0,
            high=0.0,
            unit="%",
        ),
    ),
    cost_s=20.0,
    quick=(),
    quick_cost_s=7.0,
)
