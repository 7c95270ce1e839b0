"""Small hosts and short episodes, for tests."""

from typing import Any

import numpy as np

from configs.loading import build
from envs.vector import OvercommitVectorEnv
from scenarios.schema import Scenario


def host(work: dict[str, Any], **changes: Any) -> Scenario:  # noqa: ANN401  parts of a scenario
    """A host with guests that do `work`; changes replace whole sections."""
    data: dict[str, Any] = {
        "name": "test",
        "host": {
            "page": "256KiB",
            "ram": "160MiB",
            "reserved": "16MiB",
            "cores": 2,
            "devices": {"disk": {"preset": "nvme"}},
            "swap": {"device": "disk", "size": "256MiB"},
        },
        "guests": [{"name": "g", "count": 2, "size": "96MiB", "min": "24MiB", "work": work}],
        "warm_up": 0.0,
    }
    return build(Scenario, data | changes, "test")


def touching(heap: str = "64MiB", **limits: Any) -> dict[str, Any]:  # noqa: ANN401
    """Work of one task that uses all of its heap, for ever or as long as `limits` say."""
    touch = {"op": "touch", "region": "heap", "write": 0.5, "cost": "1ms", **limits}
    return {
        "kernel": "8MiB",
        "regions": {"heap": {"kind": "anon", "size": heap}},
        "tasks": {"use": {"phases": [touch]}},
    }


def batch(scenario: Any = "small", num_envs: int = 3, **options: Any) -> OvercommitVectorEnv:  # noqa: ANN401
    """A batch with short episodes and few starts."""
    usual: dict[str, Any] = {"episode_steps": 12, "warm_up_s": 10.0, "pool": 4, "threads": 1}
    return OvercommitVectorEnv(scenario, num_envs, **usual | options)


def actions(env: OvercommitVectorEnv, steps: int, seed: int = 0, spread: float = 0.5) -> np.ndarray:
    """(steps, num_envs, G) actions, the same for host i whatever the batch."""
    found = []
    for row in range(env.num_envs):
        rng = np.random.default_rng((seed, row))
        found.append(rng.uniform(-spread, spread, (steps, env.core.guests)))
    return np.stack(found, axis=1).astype(np.float32)
