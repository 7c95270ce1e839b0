"""Episodes made up by formula, so that reports can be tested without a simulation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from memsim.account import CLASSES
from reports.episodes import BASELINE_SEED, NEVER, Episode, GuestEpisode, Key, Results, Timeline

MIB = 2**20
NAMES = ("web", "database", "jvm")
Scores = Mapping[tuple[str, int], Sequence[float]]  # (policy, training seed) -> J by seed
Invent = Callable[..., Results]


def counters(scale: float) -> dict[str, Any]:
    account = {name: 10.0 * scale for name in CLASSES}
    account["idle"], account["nominal"] = 4000.0, 3000.0
    return {
        "host_swap_in_bytes": int(3000 * MIB * scale),
        "host_swap_out_bytes": int(4000 * MIB * scale),
        "guest_swap_in_bytes": 0,
        "guest_swap_out_bytes": 0,
        "discarded_bytes": int(900 * MIB * (1 - scale)),
        "refaulted_bytes": int(50 * MIB * scale),
        "inflated_bytes": int(700 * MIB * (1 - scale)),
        "deflated_bytes": int(600 * MIB * (1 - scale)),
        "hypercalls": int(90_000 * (1 - scale)),
        "resize_s": 12 * (1 - scale),
        "oom_kills": int(scale > 0.5),
        "host_kills": 0,
        "account_s": account,
    }


def timeline(key: Key, scale: float, samples: int = 60) -> Timeline:
    generator = np.random.default_rng(key.seed)
    shape = (samples, len(NAMES))
    size = np.full(shape, 1024 * MIB)
    given = (size * 0.4 * (1 - scale) * np.linspace(0, 1, samples)[:, None]).astype(np.int64)
    used = (size * generator.uniform(0.3, 0.4, shape)).astype(np.int64)
    cache = ((size - given - used) * 0.6).astype(np.int64)
    share = generator.uniform(0, 0.1 * scale, (samples, len(CLASSES)))
    share[:, 1] = 1 - scale / 2
    return Timeline(
        key=key,
        guest_id=np.arange(len(NAMES)),
        name=NAMES,
        max_bytes=size[0],
        time_s=np.linspace(-600, 3600, samples),
        used_bytes=used,
        cache_bytes=cache,
        free_bytes=size - used - cache - given,
        ballooned_bytes=given,
        swapped_bytes=(used * 0.3 * scale).astype(np.int64),
        swap_in_bytes_per_s=generator.exponential(8 * MIB * scale, samples),
        swap_out_bytes_per_s=generator.exponential(6 * MIB * scale, samples),
        host_free_bytes=generator.integers(0, 300 * MIB, samples),
        time_share=share,
    )


def episode(key: Key, j: float) -> Episode:
    return Episode(
        **key._asdict(),
        **counters(1 - j),
        cluster=f"made-up/{key.seed}",
        guests=len(NAMES),
        guest_hours=float(len(NAMES)),
        warm_up_s=600.0,
        scored_s=3600.0,
        j=j,
        worst_score=j / 2,
        progress=min(1.0, j + 0.1),
        warm_up_kills=0,
        free_bytes=200 * MIB,
        interventions={"growth": 3},
    )


def guest(key: Key, j: float, slot: int) -> GuestEpisode:
    score = min(1.0, j * (0.8 + 0.2 * slot))
    return GuestEpisode(
        **key._asdict(),
        **counters(1 - j),
        guest_id=slot,
        name=NAMES[slot],
        machine="",
        weight=1000,
        max_bytes=1024 * MIB,
        present_s=3600.0,
        score=score,
        slowdown=1 / score,
        progress=min(1.0, j + 0.1),
        killed_s=NEVER,
        served=1000,
        dropped=slot,
        mean_size_bytes=800 * MIB,
    )


@pytest.fixture
def invent() -> Invent:
    """Results from J per (label, training seed) and seed; with `arms`, labels are arms."""

    def build(scores: Scores, arms: bool = False, timelines: bool = False) -> Results:
        keys = [
            (Key(label if arms else "", "slides" if arms else label, training, "made-up", seed), j)
            for (label, training), by_seed in scores.items()
            for seed, j in enumerate(by_seed)
        ]
        return Results(
            tuple(episode(key, j) for key, j in keys),
            tuple(guest(key, j, slot) for key, j in keys for slot in range(len(NAMES))),
            tuple(timeline(key, 1 - j) for key, j in keys) if timelines else (),
        )

    return build


@pytest.fixture
def three_policies(invent: Invent) -> Results:
    """slides ahead of a learned policy ahead of static, on six hosts."""
    wobble = np.array([0.03, -0.02, 0.01, -0.03, 0.02, 0.0])
    scores: Scores = {
        ("static", BASELINE_SEED): list(0.55 + wobble),
        ("slides", BASELINE_SEED): list(0.82 + wobble),
        ("runs/mine", 7): list(0.74 + wobble[::-1]),
    }
    return invent(scores, timelines=True)
