"""The process-wide random generators that SB3 seeds: what they will draw next is part of a run."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def capture() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The states of torch, numpy and python as arrays and plain facts."""
    name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002 # SB3 seeds this one
    version, words, next_gauss = random.getstate()
    arrays = {
        "torch": torch.get_rng_state().numpy().copy(),
        "numpy": np.asarray(keys, np.uint32),
        "python": np.asarray(words, np.uint32),
    }
    facts = {
        "numpy": [name, int(position), int(has_gauss), float(gauss)],
        "python": [version, next_gauss],
    }
    return arrays, facts


def restore(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Make the generators draw what they would have drawn after `capture`."""
    torch.set_rng_state(torch.from_numpy(arrays["torch"].copy()))
    name, position, has_gauss, gauss = facts["numpy"]
    np.random.set_state((name, arrays["numpy"], position, has_gauss, gauss))  # noqa: NPY002 # SB3 seeds this one
    version, next_gauss = facts["python"]
    random.setstate((version, tuple(int(word) for word in arrays["python"]), next_gauss))
