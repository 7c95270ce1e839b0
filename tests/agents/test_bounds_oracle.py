"""The oracle against rules on small hosts where the answer is known."""

from typing import Any

import pytest

from agents import bounds
from agents.bounds.oracle import Oracle, OracleConfig, count, fillings
from contract.guard import GuardConfig
from reports.entrants import entrants
from reports.evaluation import run
from reports.settings import Evaluation
from scenarios import load
from scenarios.hosts import SimulatedHosts
from scenarios.schema import Scenario
from tests.agents.futures import progress

GUARD = GuardConfig()
QUICK = OracleConfig(sizes=3, degrees=(1.0, 1.5), aheads_s=(30.0,), search_s=1e9)


def hosts() -> SimulatedHosts:
    found = SimulatedHosts(load("small"), 1, threads=1)
    found.reset([0], [3])
    return found


def test_it_is_bound_to_simulated_hosts_alone() -> None:
    with pytest.raises(TypeError, match="oracle: bound to str; expected SimulatedHosts"):
        Oracle().bind("a host", GUARD, progress(hosts()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sizes": 1}, "sizes: 1"),
        ({"every_s": 0}, "every_s: 0"),
        ({"search_s": 0}, "search_s: 0"),
        ({"degrees": ()}, "degrees: "),
        ({"degrees": (1.0, -1.0)}, "degrees: "),
        ({"aheads_s": (0.0,)}, "aheads_s: "),
    ],
)
def test_settings_without_sense_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bounds.load("oracle", settings)


def test_it_is_priced() -> None:
    assert len(fillings(QUICK, hosts(), 60.0)) == count(QUICK) == 3
    assert Oracle(QUICK).lives(60.0) == 3 + 1 + 3  # sizes, itself, fillings


# A heap of 80 % of its guest, touched everywhere, beside a guest that has no use for most of what
# it holds: a stream through a page cache that never helps, or a heap that was filled and left.
HEAP = {
    "description": "all of it is in use",
    "regions": {"heap": {"kind": "anon", "size": "80%"}},
    "tasks": {
        "serve": {
            "phases": [
                {
                    "op": "touch",
                    "region": "heap",
                    "pattern": "uniform",
                    "write": 0.5,
                    "rate": "200/GiB",
                    "per_arrival": 16,
                    "cost": "5us",
                }
            ]
        }
    },
}
STREAM = {
    "description": "a file is read from end to end, again and again",
    "regions": {"input": {"kind": "file", "size": "300%"}},
    "tasks": {
        "read": {
            "phases": [
                {
                    "op": "read",
                    "region": "input",
                    "pattern": "sequential",
                    "rate": "200/GiB",
                    "per_arrival": 16,
                    "cost": "5us",
                }
            ]
        }
    },
}
LEFT = {
    "description": "memory is filled and left, and a little of it is in use",
    "regions": {
        "heap": {"kind": "anon", "size": "80%"},
        "service": {"kind": "anon", "size": "5%"},
    },
    "tasks": {
        "fill": {
            "phases": [
                {"op": "allocate", "region": "heap", "cost": "5us"},
                {"op": "sleep", "seconds": "10h"},
            ]
        },
        "serve": {
            "phases": [
                {
                    "op": "touch",
                    "region": "service",
                    "write": 0.5,
                    "rate": "40/GiB",
                    "per_arrival": 16,
                    "cost": "5us",
                }
            ]
        },
    },
}


def fates(other: dict[str, Any], swap: str) -> dict[str, float]:
    """J of each policy where a heap has another guest beside it, and the host room for 1.3."""
    scenario = Scenario.model_validate(
        {
            "name": "two",
            "description": "two guests",
            "host": {
                "page": "1MiB",
                "ram": "760MiB",
                "reserved": "24MiB",
                "cores": 4,
                "devices": {"disk": {"preset": "ssd"}, "fast": {"preset": "zram"}},
                "swap": {"device": swap, "size": "2GiB"},
            },
            "profiles": {"heap": HEAP, "other": other},
            "guests": [
                {"name": name, "profile": name, "size": "512MiB", "min": "64MiB"}
                | {"own_swap": "100%"}
                for name in ("heap", "other")
            ],
            "warm_up": "60s",
            "length": "180s",
        }
    )
    config = Evaluation.model_validate(
        {
            "name": "two",
            "title": "Two guests",
            "scenarios": [{"scenario": "small"}],  # `scenario` takes its place
            "policies": ["static", "equal", "oracle"],
            "warm_up": 60.0,
            "scored": 120.0,
            "seeds": {"first": 5, "count": 1},
        }
    )
    found = run(config, [scenario], entrants(config), threads=1)
    return {episode.policy: episode.j for episode in found.episodes}


def test_a_useless_cache_gives_way_to_a_heap() -> None:
    # The host cannot tell that the cache is useless, and half of it all is too little for the heap.
    found = fates(STREAM, "disk")
    assert found["static"] < 0.8
    assert found["equal"] < 0.8
    assert found["oracle (bound)"] > 0.98


def test_memory_that_was_left_gives_way_to_a_heap() -> None:
    # The host swaps it by itself, to memory: all large is good, halves are not.
    found = fates(LEFT, "fast")
    assert found["equal"] < 0.8
    assert found["static"] > 0.95
    assert found["oracle (bound)"] > max(found["static"], 0.99)
