"""The daemon on the simulated backend takes exactly the actions of the plain loop."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scenarios
from contract.decision import Decision
from contract.guard import GuardConfig
from contract.loop import Loop, Turn
from contract.recording import read
from overcommitd import policies
from overcommitd.backend import open_backend
from overcommitd.config import DaemonConfig
from overcommitd.service import Service
from scenarios.hosts import SimulatedHosts

SECONDS = 200.0


def config(folder: Path, policy: str, level: str, **more: Any) -> DaemonConfig:  # noqa: ANN401
    return DaemonConfig.model_validate(
        {
            "mode": "act",
            "policy": policy,
            "backend": {
                "kind": "simulated",
                "options": {"scenario": "small", "seed": 5, "pace": 0},
            },
            "guard": {"level": level},
            "state_dir": str(folder / "state"),
            "runtime_dir": str(folder / "run"),
            "metrics": None,
            **more,
        }
    )


def by_loop(policy: Any, level: str) -> list[Turn]:  # noqa: ANN401
    hosts = SimulatedHosts(scenarios.load("small"), 1, threads=1)
    hosts.reset([0], [5])
    turns: list[Turn] = []
    guard = GuardConfig(level)  # type: ignore[arg-type]  # a literal
    Loop(hosts, policy, guard, hosts.advance).run(SECONDS, turns.append)
    return turns


def by_daemon(made: DaemonConfig) -> list[Turn]:
    backend = open_backend(made)
    service = Service(made, backend, policies.plan(made))
    turns: list[Turn] = []
    while True:
        until_s = service.turn()
        assert service.outcome is not None
        turns.append(service.outcome.turn)
        if until_s >= SECONDS:
            service.close()
            return turns
        backend.wait_until(until_s, threading.Event())


def same(ours: Decision, theirs: Decision) -> bool:
    return bool((ours.target_bytes == theirs.target_bytes).all())


@pytest.mark.parametrize("level", ["limits", "full"])
@pytest.mark.parametrize("name", ["slides", "mom", "senpai"])
def test_the_daemon_does_what_the_loop_does(tmp_path: Path, name: str, level: str) -> None:
    made = config(tmp_path, name, level)
    theirs = [turn for turn in by_loop(policies.open_policy(name, {}), level) if turn.due.any()]
    ours = [turn for turn in by_daemon(made) if turn.due.any()]
    for mine, plain in zip(ours, theirs, strict=True):
        assert mine.telemetry.time_s == plain.telemetry.time_s
        for column, values in plain.telemetry._asdict().items():
            np.testing.assert_equal(getattr(mine.telemetry, column), values, err_msg=column)
        assert same(mine.asked, plain.asked) and same(mine.applied, plain.applied)
        np.testing.assert_equal(mine.interventions, plain.interventions)
    recorded = list(read(made.record_folder))
    assert len(recorded) == len(ours)
    for moment, mine in zip(recorded, ours, strict=True):
        slots = mine.telemetry.present[0].nonzero()[0]
        assert moment.applied is not None
        got = moment.applied.target_bytes[0, : slots.max() + 1]
        assert (got == mine.applied.target_bytes[0, : slots.max() + 1]).all()
