"""Train, validation and test: which seeds, profiles, machines and times belong to which.

Nothing belongs to two.  Policies learn and are tuned on `train`, everything is chosen on
`validation`, and `test` is opened once, for all policies together.  Machines and times of traces
are split by `traces.SPLITS`, recorded page numbers and intensities by time alone.
"""

from collections.abc import Iterator
from typing import Literal

from scenarios import check, profiles, recordings
from scenarios.schema import Scenario

Split = Literal["train", "validation", "test", "all"]

LEARNING = 2**20  # training runs draw hosts from this seed on, `envs.keys`
SEEDS = {  # of hosts
    "validation": range(2**18),
    "test": range(2**18, 2**19),
    "train": range(2**19, LEARNING),  # for tuning, which shares no host with learning either
}
SEEDS_A_SPLIT = 2**18  # that each has at least
PROFILES = {  # that one split alone has
    **dict.fromkeys(("desktop", "hog"), "validation"),
    **dict.fromkeys(("keyvalue", "analytics"), "test"),
}


def seeds(split: Split, first: int, count: int) -> range:
    """The seeds of `count` hosts, from number `first` of a split on.

    A replay of `all` machines and times has the hosts' seeds of `validation`.

    Raises:
        ValueError: the split has fewer.
    """
    own = SEEDS["validation" if split == "all" else split]
    if first < 0 or count < 0 or first + count > len(own):
        raise ValueError(
            f"seeds: {count} from number {first} on: expected at most {len(own)}, all that the"
            f" split {split} has"
        )
    return own[first : first + count]


def strangers(scenario: Scenario, split: Split) -> Iterator[str]:
    """What a scenario has of other splits, one sentence each."""
    if split == "all":
        return
    works = tuple(check.works_of(scenario))
    for name, belongs in PROFILES.items():
        if belongs != split and profiles.find(name, {}) in works:
            yield f"{scenario.name}: profile {name!r} belongs to the split {belongs}, not {split}"
    replay = scenario.replay
    if replay is not None and replay.split != split:
        yield f"{scenario.name}: replay.split: {replay.split}: expected {split}"
    own = scenario.recordings.split
    if own != split and recordings.used(works):
        yield f"{scenario.name}: recordings.split: {own}: expected {split}"
