"""The spaces of one host, from the contract's feature table."""

from typing import Any

import numpy as np
from gymnasium import spaces

from contract.feature_table import GUEST_FEATURES, HOST_FEATURES, bounds
from envs import privileged


def observation_space(guests: int, with_truth: bool) -> spaces.Dict:
    """`guests` (G*F,), a row for each slot; `host`; `present` (G,); `privileged` if asked."""
    low, high = bounds(GUEST_FEATURES)
    parts: dict[str, spaces.Space[Any]] = {
        "guests": spaces.Box(np.tile(low, guests), np.tile(high, guests), dtype=np.float32),
        "host": spaces.Box(*bounds(HOST_FEATURES), dtype=np.float32),
        "present": spaces.MultiBinary(guests),
    }
    if with_truth:
        parts["privileged"] = spaces.Box(0.0, 1.0, (privileged.length(guests),), np.float32)
    return spaces.Dict(parts)


def action_space(guests: int) -> spaces.Box:
    """One number in [-1, 1] for each slot; those of empty slots do nothing."""
    return spaces.Box(-1.0, 1.0, (guests,), np.float32)
