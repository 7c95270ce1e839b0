"""Both checkers, on every registered environment, with warnings as errors."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as check_for_sb3

import envs
from configs.loading import ConfigError
from envs.single import OvercommitEnv
from envs.vector import OvercommitVectorEnv

QUICK: dict[str, Any] = {"episode_steps": 20, "warm_up_s": 30.0, "pool": 2}


@pytest.mark.parametrize("privileged", [False, True])
@pytest.mark.parametrize("name", envs.ENVIRONMENTS)
def test_checkers_find_nothing(name: str, privileged: bool) -> None:
    env = gymnasium.make(name, privileged=privileged, **QUICK)
    check_env(env.unwrapped)
    check_for_sb3(env.unwrapped)
    env.close()


@pytest.mark.parametrize("name", envs.ENVIRONMENTS)
def test_everything_is_registered_twice_and_cuts_its_episodes_itself(name: str) -> None:
    spec = gymnasium.spec(name)
    assert spec.max_episode_steps is None
    env = gymnasium.make(name)
    assert isinstance(env.unwrapped, OvercommitEnv)
    assert env.unwrapped.batch.settings.episode_steps == 720
    batch = gymnasium.make_vec(name, num_envs=3, vectorization_mode="vector_entry_point")
    assert isinstance(batch, OvercommitVectorEnv)
    assert batch.num_envs == 3
    assert batch.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


def test_a_scenario_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(
        "name: mine\n"
        "host: {page: 1MiB, ram: 1GiB}\n"
        "guests: [{name: a, count: 3, size: 256MiB, profile: idle}]\n"
    )
    env = gymnasium.make("Overcommit-v0", scenario="x.yaml")
    assert env.action_space.shape == (3,)
    env = gymnasium.make("Overcommit-v0", scenario="x.yaml", overrides=["guests.0.count=5"])
    assert env.action_space.shape == (5,)
    with pytest.raises(ConfigError, match=r"y\.yaml: there is no such file"):
        gymnasium.make("Overcommit-v0", scenario="y.yaml")


def test_it_is_made_from_any_folder(tmp_path: Path) -> None:
    root = Path(envs.__file__).parents[1]
    code = "import gymnasium as g; print(g.make('envs:Overcommit-v0').action_space.shape)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "(8,)\n"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"episode_steps": 0}, "episode_steps: 0: must be positive"),
        ({"period_s": -1.0, "pool": 0}, "period_s: -1.0: must be positive; pool: 0"),
        ({"warm_up_s": -1.0}, "warm_up_s: -1.0: must not be negative"),
        ({"guard": "none"}, "guard: level: 'none': expected 'limits' or 'full'"),
        ({"decoding": "relative"}, "decoding: mode: 'relative'"),
        ({"weights": {"stall": 1.0}}, "reward weights: stall"),
        ({"render_mode": "human"}, "render_mode: 'human': expected one of ansi, rgb_array"),
        ({"autoreset_mode": AutoresetMode.SAME_STEP}, "autoreset_mode: SAME_STEP"),
        ({"num_envs": 0}, "num_envs: 0: expected at least 1"),
        ({"scenario": []}, "scenario: none; expected at least one"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        OvercommitVectorEnv(**options)  # type: ignore[arg-type]  # wrong on purpose


def test_replays_keep_to_what_training_may_see() -> None:
    env = OvercommitVectorEnv("replay")
    replay = env.settings.scenarios[0].replay
    assert replay is not None
    assert replay.split == "train"
    env = OvercommitVectorEnv("replay", overrides=["replay.split=validation"])
    replay = env.settings.scenarios[0].replay
    assert replay is not None
    assert replay.split == "validation"
