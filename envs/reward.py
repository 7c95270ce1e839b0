"""The reward of a host: minus what its guests lose, each term pure and named.

    progress   weighted mean over guests of their loss, 1 - nominal / (nominal + lost)
    tail       weighted mean of the square of that loss: one guest hurt badly counts more than the
               same loss spread over many
    oom        guests killed, each at more than the rest of an episode can win
    resize     share of the guests' memory by which targets were changed

Every term is 0 at best, so a step can win nothing, only lose less; memory saved earns nothing.
Arrays are (H, G), results (H,).  Sums run over guests one after the other, so that empty slots,
of which a larger batch may have more, do not change the last digit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from contract.arrays import Bools, Floats, Ints


@dataclass(frozen=True)
class Weights:
    """What the terms count; a step costs at most `step` besides kills."""

    progress: float = 1.0
    tail: float = 0.5
    oom: float = 1.0  # of a kill: multiples of a whole episode at its worst, at least 1
    resize: float = 0.1

    def __post_init__(self) -> None:
        """Refuse weights that pay for losses, or make a kill worth its price."""
        wrong = [
            f"{name}: {value}: must not be negative"
            for name, value in vars(self).items()
            if not value >= 0
        ]
        if not self.oom >= 1:
            wrong.append(f"oom: {self.oom}: expected at least 1, or a kill may be worth its price")
        if not self.step > 0:
            wrong.append("progress, tail and resize: 0: expected one of them above 0")
        if wrong:
            raise ValueError("reward weights: " + "; ".join(wrong))

    @classmethod
    def named(cls, values: Mapping[str, float]) -> "Weights":
        """Weights by name, the others as usual.

        Raises:
            ValueError: there is no term of that name, or the weights make no sense.
        """
        known = [entry.name for entry in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"reward weights: {', '.join(unknown)}: expected {', '.join(known)}")
        return cls(**values)

    @property
    def step(self) -> float:
        """The most that a step can cost besides kills."""
        return self.progress + self.tail + self.resize

    def kill(self, episode_steps: int) -> float:
        """The cost of a kill: above all that `episode_steps` steps can win."""
        return self.oom * self.step * (episode_steps + 1)


class Terms(NamedTuple):
    """The reward of each host by its terms; it is their sum."""

    progress: Floats  # (H,)
    tail: Floats  # (H,)
    oom: Floats  # (H,)
    resize: Floats  # (H,)

    def total(self) -> Floats:
        """(H,) the reward."""
        return self.progress + self.tail + self.oom + self.resize


def progress(nominal_s: Floats, lost_s: Floats) -> Floats:
    """Share of a guest's time that was work and not loss; 1 if it did neither."""
    worked = nominal_s + lost_s
    share = np.ones_like(worked)
    np.divide(nominal_s, worked, out=share, where=worked > 0)
    return share


def mean(values: Floats, weight: Floats) -> Floats:
    """Weighted mean over guests; 0 where nobody has a weight."""
    total = np.cumsum(weight, axis=1)[:, -1]
    summed = np.cumsum(values * weight, axis=1)[:, -1]
    return np.divide(summed, total, out=np.zeros_like(total), where=total > 0)


def progress_loss(share: Floats, weight: Floats) -> Floats:
    """Minus the mean loss of progress, in [-1, 0]."""
    return 0.0 - mean(1.0 - share, weight)


def tail_loss(share: Floats, weight: Floats) -> Floats:
    """Minus the mean square of the loss of progress, in [-1, 0]."""
    squared = (1.0 - share) ** 2
    return 0.0 - mean(squared, weight)


def kill_loss(killed: Bools, weight: Floats) -> Floats:
    """Minus the number of guests killed; those without weight are left out."""
    guests: Floats = (killed & (weight > 0)).sum(axis=1, dtype=np.float64)
    return 0.0 - guests


def resize_traffic(changed_bytes: Ints, max_bytes: Ints, weight: Floats) -> Floats:
    """Minus the changes of targets, up or down, over the guests' largest sizes; in [-1, 0]."""
    counted = weight > 0
    changed = np.minimum(np.abs(changed_bytes), max_bytes)
    sizes = np.where(counted, max_bytes, 0).sum(axis=1)
    moved = np.where(counted, changed, 0).sum(axis=1)
    traffic = np.zeros(len(sizes))
    np.divide(moved, sizes, out=traffic, where=sizes > 0)
    return 0.0 - traffic


def terms(
    share: Floats,
    killed: Bools,
    changed_bytes: Ints,
    max_bytes: Ints,
    weight: Floats,
    weights: Weights,
    episode_steps: int,
) -> Terms:
    """All terms of one step.

    Args:
        share: progress of each guest.
        killed: by its own kernel or by the host, in this step.
        changed_bytes: by how much its target was changed.
        max_bytes: its largest size.
        weight: its importance; 0 for empty slots and guests that are left out.
        weights: of the terms.
        episode_steps: of a whole episode.
    """
    return Terms(
        weights.progress * progress_loss(share, weight),
        weights.tail * tail_loss(share, weight),
        weights.kill(episode_steps) * kill_loss(killed, weight),
        weights.resize * resize_traffic(changed_bytes, max_bytes, weight),
    )
