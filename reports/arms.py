"""The arms of an experiment: what each added mechanism brings, in the experiment's own measures."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from reports import measures
from reports.episodes import Episode, Results
from reports.statistics import RESAMPLES, Interval


@dataclass(frozen=True)
class ArmRow:
    """One arm: means over hosts."""

    label: str
    progress: Interval  # useful time over useful and lost time, in [0, 1]
    change: Interval | None  # of progress to the arm before it, paired; None for the first
    lost_share: float  # of the task time that was not idle
    swap_in_bytes: float  # read from the host's swap, per run
    swap_out_bytes: float
    hypercalls: float  # for resizing, per run
    resize_s: float  # guest CPU spent on resizing, per run
    j: Interval

    def as_dict(self) -> dict[str, object]:
        """Plain data, intervals as value, low and high."""
        return {
            name: value._asdict() if isinstance(value, Interval) else value
            for name, value in vars(self).items()
        }


def rows(results: Results, resamples: int = RESAMPLES, seed: int = 0) -> tuple[ArmRow, ...]:
    """All arms in the order of the configuration."""
    labels = results.labels()
    before = (None, *labels[:-1])
    return tuple(
        _row(results, label, last, resamples, seed)
        for label, last in zip(labels, before, strict=True)
    )


def sentences(table: Sequence[ArmRow]) -> tuple[str, ...]:
    """What each arm changed, in words."""
    first, best = table[0], max(table, key=lambda row: row.progress.value)
    said = [f"Progress is {first.progress.value:.0%} under {first.label}."]
    if best is not first:
        said[0] += f" Best is {best.label}: {best.progress.value:.0%}."
    for before, row in itertools.pairwise(table):
        assert row.change is not None
        known = "" if row.change.shows_difference else "no evidence of a difference, "
        said.append(
            f"{row.label} against {before.label}: {known}{points(row.change)} points of progress."
        )
    return tuple(said)


def points(change: Interval) -> str:
    """A change of a share in percentage points with its interval."""
    value = f"{100 * change.value:+.1f}"
    if np.isnan(change.low):
        return value
    return f"{value} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"


def _row(results: Results, label: str, last: str | None, resamples: int, seed: int) -> ArmRow:
    episodes = results.of(label)
    busy = sum(sum(part.account_s.values()) - part.account_s["idle"] for part in episodes)

    def mean(measure: Callable[[Episode], float]) -> float:
        return float(np.mean([measure(episode) for episode in episodes]))

    change = None
    if last is not None:
        before = results.of(last)
        change = measures.difference(episodes, before, measures.progress, resamples, seed)
    return ArmRow(
        label=label,
        progress=measures.mean(episodes, measures.progress, resamples, seed),
        change=change,
        lost_share=sum(episode.lost_s for episode in episodes) / busy if busy else 0.0,
        swap_in_bytes=mean(lambda episode: episode.host_swap_in_bytes),
        swap_out_bytes=mean(lambda episode: episode.host_swap_out_bytes),
        hypercalls=mean(lambda episode: episode.hypercalls),
        resize_s=mean(lambda episode: episode.resize_s),
        j=measures.mean(episodes, measures.score, resamples, seed),
    )
