"""Who counts as lost for a while, because it was killed: what a learner is told beside the reward.

The reward prices a kill above all that an episode can win, once for each step with a kill.  That
cannot be exploited, but one guest that is killed again and again outweighs what all others lose,
and returns spread widely.  The score J has a bounded form of the same wish, in which a guest
scores 0 from a kill on.  So here a killed guest's loss is total for the next STEPS steps.
"""

from typing import NamedTuple

import numpy as np

from contract.arrays import Bools, Floats, Ints
from contract.state import follow
from envs import reward
from envs.reward import Weights

STEPS = 50  # as far as a discount of 0.98 looks ahead


class Mourning(NamedTuple):
    """How long killed guests still count as lost."""

    guest_id: Ints  # (H, G) -1 nobody
    left: Ints  # (H, G) steps


def reset(hosts: int, guests: int) -> Mourning:
    """Nobody was killed."""
    nobody = np.full((hosts, guests), -1, np.int64)
    return Mourning(nobody, np.zeros((hosts, guests), np.int64))


def after_step(
    kept: Mourning, guest_id: Ints, killed: Bools, going: Bools
) -> tuple[Mourning, Bools]:
    """The state after a step of the hosts in `going` (H,), and who counts as lost in it (H, G)."""
    held = follow(kept, guest_id, reset)
    left = np.where(killed, STEPS, held.left)
    lost = left > 0
    left = np.where(going[:, None], np.maximum(left - 1, 0), held.left)
    return Mourning(held.guest_id, left), lost


def more_loss(share: Floats, lost: Bools, weight: Floats, weights: Weights) -> Floats:
    """(H,) of 0 or less: what more `progress` and `tail` cost if `lost` guests made none."""
    seen = np.where(lost, 0.0, share)

    def both(progress: Floats) -> Floats:
        loss: Floats = weights.progress * reward.progress_loss(progress, weight)
        return loss + weights.tail * reward.tail_loss(progress, weight)

    return both(seen) - both(share)
