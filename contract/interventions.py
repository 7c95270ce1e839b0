"""The names of what the guard did to a decision, one bit each."""

from enum import IntFlag

import numpy as np

from contract.arrays import Ints


class Intervention(IntFlag):
    """Why a guest's target is not what the policy asked; several may hold at once."""

    MIN = 1  # raised to its guaranteed size
    MAX = 2  # lowered to its largest size
    GROWTH = 4  # grows less than asked: the host does not have the memory
    UNKNOWN_SIZE = 8  # left alone: its size, or the bound that the ask crosses, is unknown
    HIGH = 16  # memory.high raised to its guaranteed size
    LEFT_OUT = 32  # booting, migrating, paused, or of weight 0
    STUCK = 64  # does not move in the direction asked
    STALE = 128  # not shrunk on old statistics
    STEP = 256  # moves by the largest step only
    DEAD_BAND = 512  # too small a change to be worth it
    SHRINK_FIRST = 1024  # growth waits for the host's shrinking guests
    DISTRESS = 2048  # given memory that nobody asked for


NAMES: tuple[str, ...] = tuple(str(flag.name).lower() for flag in Intervention)


def count(interventions: Ints) -> Ints:
    """Count guests by intervention and host: (H, G) bits -> (H, len(NAMES)) int64."""
    bits = np.array([int(flag) for flag in Intervention])
    fired: Ints = np.sum((interventions[:, :, None] & bits) != 0, axis=1, dtype=np.int64)
    return fired
