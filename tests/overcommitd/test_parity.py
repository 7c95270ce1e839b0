"""The daemon on the simulated backend takes exactly the actions of the plain loop."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scenarios
from agents.learned.export import export
from configs.loading import dump
from contract.decision import Decision
from contract.decode import Decoding
from contract.features import Observation
from contract.guard import GuardConfig
from contract.loop import Loop, Turn
from contract.recording import read
from contract.version import Contract
from envs import keys
from overcommitd import policies
from overcommitd.backend import open_backend
from overcommitd.config import DaemonConfig
from overcommitd.service import Service
from scenarios.hosts import SimulatedHosts
from tests.agents.test_onnx_policy import make_policy
from tests.envs.batches import batch

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


def by_daemon(made: DaemonConfig, seconds: float = SECONDS) -> list[Turn]:
    backend = open_backend(made)
    service = Service(made, backend, policies.plan(made))
    turns: list[Turn] = []
    while True:
        until_s = service.turn()
        assert service.outcome is not None
        turns.append(service.outcome.turn)
        if until_s >= seconds:
            service.close()
            return turns
        backend.wait_until(until_s, threading.Event())


@pytest.mark.parametrize("level", ["limits", "full"])
def test_a_learned_policy_does_in_the_daemon_what_it_does_in_the_environment(
    tmp_path: Path,
    level: Any,  # noqa: ANN401  a literal
) -> None:
    contract = Contract(Decoding(mode="change"), 2.5, GuardConfig(level))
    folder = tmp_path / "run-folder"
    folder.mkdir()
    export(make_policy(), contract, folder)
    env = batch(
        "small",
        1,
        episode_steps=40,
        staggered=False,
        warm_up_s=0.0,
        guard=level,
        decoding=contract.decoding,
        period_s=2.5,
    )
    network = policies.open_policy(str(folder), {})
    seen, _ = env.reset(seed=11)
    readings = [env.telemetry]
    for _ in range(40):
        rows = seen["guests"].reshape(1, env.core.guests, -1)
        observation = Observation(rows, seen["host"], seen["present"] > 0)
        seen, *_ = env.step(network.act(observation))  # type: ignore[attr-defined]  # OnnxPolicy
        readings.append(env.telemetry)
    seed, episode = keys.pool_host(11, 0, 4)
    scenario = tmp_path / "as-trained.yaml"
    scenario.write_text(dump(env.settings.scenarios[0]))
    options = {"scenario": str(scenario), "seed": seed, "episode": episode, "pace": 0}
    backend = {"kind": "simulated", "options": options}
    turns = by_daemon(config(tmp_path, str(folder), level, backend=backend), 40 * 2.5)
    assert len(turns) == 40
    for turn, reading in zip(turns, readings, strict=False):
        np.testing.assert_equal(turn.telemetry._asdict(), reading._asdict())
    moved = np.stack([reading.applied_target_bytes for reading in readings])
    assert len(np.unique(moved)) > 6  # it was not about nothing


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
