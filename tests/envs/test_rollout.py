"""Rollouts that are kept: a change of what the environment does must be meant."""

from typing import Any

import numpy as np
import pytest

from tests.conftest import Golden
from tests.envs.batches import actions, batch

HOST = ("free_pages", "swap_used_pages", "swap_in_pages", "swap_out_pages", "oom_kills")
GUEST = (
    "state",
    "target_pages",
    "taken_pages",
    "free_pages",
    "anon_pages",
    "file_pages",
    "resident_pages",
    "host_swapped_pages",
    "refaults",
    "oom_kills",
    "touches",
)


@pytest.mark.parametrize("scenario", ["small", "burst"])
def test_a_rollout_is_as_it_was(scenario: str, golden: Golden) -> None:
    env = batch(scenario, 2, episode_steps=12, warm_up_s=20.0)
    seen, infos = env.reset(seed=0)
    kept: list[dict[str, Any]] = [{"host": infos["host"], "seen": _sums(seen)}]
    for action in actions(env, 15):
        seen, reward, terminated, truncated, infos = env.step(action)
        truth = env.core.hosts.truth()
        kept.append(
            {
                "reward": reward,
                "ended": terminated | truncated,
                "progress": infos["progress"],
                "targets": env.telemetry.applied_target_bytes,
                "interventions": {
                    name: count
                    for name, count in infos["interventions"].items()
                    if not name.startswith("_") and count.any()
                },
                "seen": _sums(seen),
                "hosts": {name: truth.host[name] for name in HOST},
                "guests": {name: truth.guest[name] for name in GUEST},
            }
        )
    golden(f"rollout_{scenario}", kept)


def _sums(seen: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One number a host and key: enough to see that something changed."""
    return {name: part.astype(np.float64).sum(axis=1) for name, part in seen.items()}
