"""Makes a replay possible on traces with few machines, little time or unusual sizes, and says so.

A split of somebody's own six machines may have none, and a fifth of one day is shorter than a
host's life; an evaluation on all of them is better than none, if it is told.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from scenarios import datasets, fitting
from scenarios.quantities import GIB
from scenarios.schema import Replay
from scenarios.traces import Dataset, TraceError

FEW = 1000  # machines that are read to learn their sizes


@dataclass(frozen=True)
class Adapted:
    """A replay that has machines, and what was changed for that."""

    replay: Replay
    datasets: tuple[Dataset, ...]
    said: tuple[str, ...]  # sentences for people


@dataclass(frozen=True)
class _Found:
    """What a data set has for a replay."""

    dataset: Dataset
    machines: int  # that fit, counted up to those of a host
    seldom: bool  # they are on for less than half of any window


def adapt(replay: Replay, begin_s: float, end_s: float) -> Adapted:
    """Use what a replay asks for as far as it is there, else all machines and times of any size.

    Args:
        replay: as configured.
        begin_s: start of what is scored [s of the host].
        end_s: end of the host's life [s of the host].

    Raises:
        TraceError: there are no traces, or none that is as long as a host's life with a machine on.
    """
    sets = datasets.chosen(replay.source, replay.folder, replay.datasets)
    said: list[str] = []
    for tried in _ways(replay, sets):
        found = [_look(tried, dataset, begin_s, end_s) for dataset in sets]
        usable = [one for one in found if one.machines]
        if not usable:
            continue
        said += _about_split(replay, tried) + _about_sizes(replay, tried)
        said += [s for one in found for s in _about(tried, one)]
        if len(usable) < len(found):
            names = tuple(one.dataset.name for one in usable)
            tried = tried.model_copy(update={"datasets": names})
        return Adapted(tried, tuple(one.dataset for one in usable), tuple(said))
    raise TraceError(_why_not(replay, sets, begin_s, end_s))


def _ways(replay: Replay, sets: Sequence[Dataset]) -> Iterator[Replay]:
    """The replay itself, then with all machines and times, then with all sizes too."""
    yield replay
    whole = replay.model_copy(update={"split": "all"})
    if replay.split != "all":
        yield whole
    if sum(len(dataset.machines) for dataset in sets) <= FEW:
        sizes = [dataset.read(vm).nominal_bytes for dataset in sets for vm in dataset.machines]
        if sizes:
            yield whole.model_copy(update={"nominal": (min(sizes), max(sizes))})


def _look(replay: Replay, dataset: Dataset, begin_s: float, end_s: float) -> _Found:
    where = fitting.span(replay, dataset, begin_s, end_s)
    for fit in (fitting.mostly_on, fitting.seldom_on):
        fits = fitting.fitting(replay, dataset, where, fit)
        machines = sum(1 for _ in islice(fits, max(1, replay.guests[1])))
        if machines:
            return _Found(dataset, machines, fit is fitting.seldom_on)
    return _Found(dataset, 0, seldom=False)


def _about_split(wanted: Replay, used: Replay) -> list[str]:
    if used.split == wanted.split:
        return []
    return [
        f"Their split {wanted.split} has no machine, or too little time, for a host, so all"
        " machines and times are used; a policy that was trained on these traces knows them."
    ]


def _about_sizes(wanted: Replay, used: Replay) -> list[str]:
    if used.nominal == wanted.nominal:
        return []
    return [f"No machine is of {_sizes(wanted)}, so those of {_sizes(used)} are used."]


def _about(replay: Replay, found: _Found) -> list[str]:
    name, split = found.dataset.name, f"split {replay.split}"
    if not found.machines:
        return [f"{name} is left out: no machine of its {split} fits a host."]
    said = []
    if found.machines < replay.guests[0]:
        fewer = "1 guest" if found.machines == 1 else f"at most {found.machines} guests"
        hint = "" if replay.split == "all" else "; --set split=all takes those of all splits"
        said.append(
            f"{name}: hosts have {fewer} instead of {replay.guests[0]}, because its {split} has"
            f" no more machines that fit{hint}."
        )
    if share := getattr(found.dataset, "censored", 0.0):
        said.append(
            f"{name}: {share:.0%} of its rows are lower bounds, because guests were squeezed then."
        )
    if found.seldom:
        said.append(f"{name}: its machines are off most of the time, and so are the guests.")
    return said


def _why_not(replay: Replay, sets: Sequence[Dataset], begin_s: float, end_s: float) -> str:
    whole = replay.model_copy(update={"split": "all"})
    spans = [fitting.span(whole, dataset, begin_s, end_s) for dataset in sets]
    names = ", ".join(dataset.name for dataset in sets)
    needed = spans[0].rows
    longest = max(where.high for where in spans)
    if not any(where.windows for where in spans):
        return (
            f"{names}: {longest} steps of {sets[0].step_s:g} s; expected {needed} or more for"
            f" {end_s:g} s of a host, {replay.compression:g} times as fast; a shorter run needs"
            " fewer, such as --set warm_up=60 --set scored=10min"
        )
    return f"{names}: expected a machine of {_sizes(replay)} that is on for some time; none is"


def _sizes(replay: Replay) -> str:
    low, high = (size / GIB for size in replay.nominal)
    return f"{low:g} GiB" if low == high else f"{low:g} to {high:g} GiB"
