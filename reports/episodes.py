"""What an evaluation leaves behind: one row per episode, one per guest, and timelines.

Rows are frozen dataclasses; `storage` writes them with one flat column per field.  Unless a
field says otherwise it covers the scored part of the episode, never the warm-up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from memsim.account import CLASSES, FIRST_LOST

LOST = CLASSES[FIRST_LOST:]  # the classes of time that overcommit costs
BASELINE_SEED = -1  # `training_seed` of policies that were not trained
BOUND = " (bound)"  # ends the label of a reference that sees the future and is no policy
NEVER = float("nan")


class Key(NamedTuple):
    """Names one episode; everything but `policy`, `training_seed` and `arm` names the same work."""

    arm: str
    policy: str
    training_seed: int
    scenario: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The columns that every table shares."""

    arm: str  # of a config with arms; "" without
    policy: str  # as named in --policies
    training_seed: int  # BASELINE_SEED for policies that were not trained
    scenario: str
    seed: int  # draws host, guests and work; equal seeds mean equal work under every policy

    @property
    def key(self) -> Key:
        """The episode that this row belongs to."""
        return Key(self.arm, self.policy, self.training_seed, self.scenario, self.seed)

    @property
    def label(self) -> str:
        """What the row is compared as: its arm, or its policy where there are no arms."""
        return self.arm or self.policy


@dataclass(frozen=True, kw_only=True)
class Counters:
    """What was counted, for one guest or summed over the guests of a host."""

    host_swap_in_bytes: int
    host_swap_out_bytes: int
    guest_swap_in_bytes: int  # the guests' own swap
    guest_swap_out_bytes: int
    discarded_bytes: int  # hinted free: dropped by the host instead of written
    refaulted_bytes: int  # file pages that the guest kernel dropped too early
    inflated_bytes: int  # given up on request, by balloon or free target
    deflated_bytes: int
    hypercalls: int
    resize_s: float  # guest CPU time spent on resizing
    oom_kills: int  # by the guest's own kernel
    host_kills: int  # by the host: the guest is shot and reboots
    account_s: Mapping[str, float] = field(metadata={"suffix": "_s"})  # task seconds per CLASSES

    @property
    def lost_s(self) -> float:
        """Task seconds lost to memory overcommit, all causes together."""
        return sum(self.account_s[name] for name in LOST)


@dataclass(frozen=True, kw_only=True)
class Episode(Identity, Counters):
    """One host under one policy, after the warm-up, with all its guests summed."""

    cluster: str  # episodes of one cluster are not independent: same trace and day, or same seed
    guests: int  # that were scored
    guest_hours: float
    warm_up_s: float
    scored_s: float
    j: float  # weighted mean of the guests' scores, 0..1
    worst_score: float
    progress: float  # weighted mean over guests of nominal / (nominal + lost)
    warm_up_kills: int  # kills before the scored part, for which no guest loses its score
    free_bytes: int  # mean free memory of the host
    interventions: Mapping[str, int] = field(metadata={"prefix": "guard_"})  # of the guard, by name
    left_out: str = ""  # columns of decisions that its hosts cannot carry out, with commas between


@dataclass(frozen=True, kw_only=True)
class GuestEpisode(Identity, Counters):
    """One guest of one episode."""

    guest_id: int
    name: str  # profile, or what the scenario calls it
    machine: str  # of a trace, that it replays; empty: none
    weight: int
    max_bytes: int
    present_s: float  # of the scored part
    score: float  # min(1, 1 / slowdown), 0 from a kill or forced stop to the end
    slowdown: float  # until a kill; NaN if the guest had nothing to do
    progress: float
    killed_s: float  # seconds into the scored part of the first kill or forced stop; NaN: none
    served: int  # open-loop arrivals
    dropped: int
    mean_size_bytes: int  # granted: maximum less what it gave up


@dataclass(frozen=True)
class Timeline:
    """Memory and time over one episode, one sample per control period.

    Axes: N samples, G guests, C = len(CLASSES).  Rates belong to the period that ends at the
    sample; of the first sample they are 0.
    """

    key: Key
    guest_id: np.ndarray  # (G,) int64
    name: tuple[str, ...]  # (G,)
    max_bytes: np.ndarray  # (G,) int64
    time_s: np.ndarray  # (N,) float64 [s] since the start of the scored part; < 0: warm-up
    used_bytes: np.ndarray  # (N, G) int64 allocated by the guest, page cache left out
    cache_bytes: np.ndarray  # (N, G) int64 page cache
    free_bytes: np.ndarray  # (N, G) int64 free inside the guest and not given up
    ballooned_bytes: np.ndarray  # (N, G) int64 given up, by balloon or free target
    swapped_bytes: np.ndarray  # (N, G) int64 of the above: swapped out by the host
    swap_in_bytes_per_s: np.ndarray  # (N,) float64 of the host
    swap_out_bytes_per_s: np.ndarray  # (N,) float64
    host_free_bytes: np.ndarray  # (N,) int64
    time_share: np.ndarray  # (N, C) float64 task seconds per second, all guests, per CLASSES


@dataclass(frozen=True)
class Results:
    """All that one evaluation found."""

    episodes: tuple[Episode, ...]
    guests: tuple[GuestEpisode, ...]
    timelines: tuple[Timeline, ...] = ()

    def labels(self) -> tuple[str, ...]:
        """What is compared, in the order of the episodes."""
        return tuple(dict.fromkeys(episode.label for episode in self.episodes))

    def of(self, label: str) -> tuple[Episode, ...]:
        """The episodes of one arm or policy."""
        return tuple(episode for episode in self.episodes if episode.label == label)

    def guests_of(self, label: str) -> tuple[GuestEpisode, ...]:
        """The guests of one arm or policy."""
        return tuple(guest for guest in self.guests if guest.label == label)

    def timeline(self, key: Key) -> Timeline | None:
        """The timeline of one episode, if it was kept."""
        return next((timeline for timeline in self.timelines if timeline.key == key), None)
