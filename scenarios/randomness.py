"""Keyed random streams: a draw depends on what it is for, never on what was drawn before.

A stream is named by the key of the host (seed and episode), a purpose in words and the number of
the guest it is for, so that one more guest, or one more purpose, changes no other draw.
"""

import hashlib
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

T = TypeVar("T")

Key = tuple[int, int]  # seed, episode

HOST = -1  # "guest" number of what belongs to the host


def as_key(key: Key | int) -> Key:
    """A lone seed means its first episode.

    Raises:
        ValueError: a part is negative.
    """
    seed, episode = (key, 0) if isinstance(key, int) else key
    if seed < 0 or episode < 0:
        raise ValueError(f"key: {key}: expected a seed and an episode of 0 or more")
    return int(seed), int(episode)


def stream(key: Key, purpose: str, guest: int = HOST) -> np.random.Generator:
    """The stream of draws for one purpose of one guest (or of the host)."""
    seed, episode = key
    name = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:16], "little")
    sequence = np.random.SeedSequence([seed, episode, name, guest + 1])
    return np.random.Generator(np.random.Philox(sequence))


def seed_of(key: Key) -> int:
    """The seed that the simulated host's own draws are keyed by: 63 bits."""
    return int(stream(key, "memsim").integers(2**63))


def pick(mix: Mapping[T, float], rng: np.random.Generator, otherwise: T) -> T:
    """One value of a mix; always takes one draw."""
    quantile = rng.random()
    if not mix:
        return otherwise
    shares = np.cumsum(list(mix.values()))
    chosen = int(np.searchsorted(shares, quantile * shares[-1], side="right"))
    return list(mix)[min(chosen, len(mix) - 1)]


def uniform(ends: tuple[float, float], rng: np.random.Generator) -> float:
    """A draw between two ends; always takes one draw."""
    return ends[0] + (ends[1] - ends[0]) * rng.random()
