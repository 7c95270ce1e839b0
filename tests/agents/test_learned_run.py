import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.learned.archive import read
from agents.learned.checkpoint import Progress, restore
from agents.learned.export import to_onnx
from agents.learned.folder import FolderError, RunFolder, differences
from agents.learned.ppo import GuestPPO
from agents.learned.progress import advanced
from agents.learned.run import Course, train
from agents.learned.settings import (
    CheckpointSettings,
    CloneSettings,
    EnvironmentSettings,
    NetworkSettings,
    PpoSettings,
    TrainConfig,
)
from agents.onnx_policy import CONTRACT, MODEL
from contract.decode import Decoding
from contract.version import Contract, read_contract
from tests.agents.test_learned_clone import CappedShare
from tests.agents.toy import ToyHosts

HOSTS, STEPS = 8, 16


def make_config(seed: int = 1, iterations: int = 4) -> TrainConfig:
    return TrainConfig(
        name="mine",
        seed=seed,
        steps=HOSTS * STEPS * iterations,
        environment=EnvironmentSettings(hosts=HOSTS),
        network=NetworkSettings(width=16),
        ppo=PpoSettings(rollout_steps=STEPS, minibatch_hosts=64, epochs=2),
        clone=CloneSettings(steps=320, rounds=2, epochs=2),
        checkpoints=CheckpointSettings(keep=2),
    )


class NextHosts(ToyHosts):
    """Every reset begins other episodes, as the project's environment does."""

    def reset(self) -> dict[str, np.ndarray]:
        self._start(np.ones(self.num_envs, bool))
        return self.observe()


def toy_course(config: TrainConfig) -> Course:
    env = NextHosts(config.environment.hosts, 4)
    return Course(env, Contract(Decoding(mode="change")), lambda name: CappedShare(env))


class Killed(BaseException):
    """The process ends here."""


def killed_after(rollouts: int) -> Callable[[TrainConfig], Course]:
    """A course whose hosts die in the rollout after so many, or in cloning if negative."""

    def make(config: TrainConfig) -> Course:
        course = toy_course(config)
        env, steps = course.env, [0]
        assert isinstance(env, ToyHosts)
        plain_step = env.step_wait
        deadline = STEPS // 2 + (320 // HOSTS + rollouts * STEPS if rollouts >= 0 else 0)

        def step_wait() -> Any:  # noqa: ANN401 # SB3's step tuple
            steps[0] += 1
            if steps[0] == deadline:
                raise Killed
            return plain_step()

        env.step_wait = step_wait  # type: ignore[method-assign] # fails on purpose
        return course

    return make


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "mine"
    train(make_config(), path, toy_course, lambda line: None)
    return path


def test_the_run_folder_is_complete(finished: Path) -> None:
    names = {entry.name for entry in finished.iterdir()} - {".lock"}
    assert names == {
        "config.yaml",
        "seed",
        "versions.json",
        CONTRACT,
        "checkpoints",
        "tb",
        MODEL,
        "card.md",
    }
    assert (finished / "seed").read_text() == "1\n"
    assert RunFolder(finished).config() == make_config()
    assert json.loads((finished / "versions.json").read_text())["torch"] == torch.__version__
    assert read_contract(finished / CONTRACT).decoding.mode == "change"
    assert sorted(file.name for file in (finished / "checkpoints").iterdir()) == [
        "000003.npz",
        "000004.npz",
    ]


def test_the_card_says_what_the_model_is(finished: Path) -> None:
    text = (finished / "card.md").read_text()
    contract = read_contract(finished / CONTRACT)
    for part in (
        "# mine",
        "clone of `slides`",
        "512 environment steps",
        "4 iterations",
        contract.digest,
        "--policies static,slides,runs/mine",
        f"| torch | {torch.__version__} |",
    ):
        assert part in text


def test_tensorboard_has_every_iteration(finished: Path) -> None:
    events = EventAccumulator(str(finished / "tb"))
    events.Reload()
    steps = [event.step for event in events.Scalars("rollout/reward")]
    assert steps == [HOSTS * STEPS * number for number in (1, 2, 3, 4)]
    assert {"time/fps", "train/approx_kl", "train/std", "train/learning_rate"} <= set(
        events.Tags()["scalars"]
    )


def test_a_finished_run_is_reused(finished: Path) -> None:
    said: list[str] = []
    before = (finished / "card.md").stat().st_mtime_ns

    def no_course(config: TrainConfig) -> Course:
        raise AssertionError("nothing is to be built")

    train(make_config(), finished, no_course, said.append)
    assert said == [f"{finished} is finished: reusing it"]
    assert (finished / "card.md").stat().st_mtime_ns == before


def test_another_configuration_is_refused(finished: Path) -> None:
    expected = r"mine: holds a run of another configuration.*\n  seed: 1 there, 2 wanted$"
    with pytest.raises(FolderError, match=expected):
        train(make_config(seed=2), finished, toy_course, lambda line: None)


@pytest.mark.parametrize("rollouts", [-1, 0, 2])
def test_a_killed_run_ends_as_if_it_had_not_been(
    finished: Path, tmp_path: Path, rollouts: int
) -> None:
    path, said = tmp_path / "mine", list[str]()
    with pytest.raises(Killed):
        train(make_config(), path, killed_after(rollouts), lambda line: None)
    assert not RunFolder(path).finished
    torch.manual_seed(1234)
    train(make_config(), path, toy_course, said.append)
    continued = f"{path}: continuing after iteration {rollouts} of 4" in said
    assert continued == (rollouts >= 0)
    straight, resumed = (read(folder / "checkpoints/000004.npz") for folder in (finished, path))
    assert resumed.facts == straight.facts
    for name, part in straight.arrays.items():
        assert np.array_equal(resumed.arrays[name], part, equal_nan=True), name
    assert (path / MODEL).read_bytes() == (finished / MODEL).read_bytes()
    assert (path / "card.md").read_text() == (finished / "card.md").read_text()


def test_a_run_killed_before_its_first_checkpoint_binds_nobody(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    with pytest.raises(Killed):
        train(make_config(), path, killed_after(-1), lambda line: None)
    train(make_config(seed=5, iterations=1), path, toy_course, lambda line: None)
    assert RunFolder(path).config().seed == 5


def test_the_model_is_that_of_the_last_checkpoint(finished: Path) -> None:
    path = finished / "checkpoints/000004.npz"
    course = toy_course(make_config())
    run = GuestPPO(course.env, make_config().ppo, make_config().network, seed=9)
    restore(run, read(path), path)
    digest = course.contract.digest
    assert to_onnx(run.policy, digest) == (finished / MODEL).read_bytes()


def test_two_trainings_in_one_folder_are_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "mine")
    with (
        folder.locked(),
        pytest.raises(FolderError, match="mine: another process is training here"),
        RunFolder(tmp_path / "mine").locked(),
    ):
        pass


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(FolderError, match="holds files but no run"):
        train(make_config(), tmp_path, toy_course, lambda line: None)
    with pytest.raises(FolderError, match=r"is not a run folder: there is no config\.yaml"):
        RunFolder(tmp_path).config()


def test_a_change_of_versions_is_said(tmp_path: Path) -> None:
    path, said = tmp_path / "mine", list[str]()
    with pytest.raises(Killed):
        train(make_config(), path, killed_after(1), lambda line: None)
    there = json.loads((path / "versions.json").read_text())
    (path / "versions.json").write_text(json.dumps(there | {"numpy": "1.0"}))
    train(make_config(), path, toy_course, said.append)
    assert any("begun with numpy 1.0, now" in line for line in said)


def test_differences_name_the_leaf() -> None:
    there = {"a": {"b": 1, "c": 2}, "d": [1]}
    wanted = {"a": {"b": 1, "c": 3}, "e": None}
    found = [tuple(part) for part in differences(there, wanted)]
    assert found == [("a.c", 2, 3), ("e", "(missing)", None), ("d", [1], "(missing)")]


def test_the_progress_of_the_last_five_rollouts_is_kept() -> None:
    progress = Progress()
    for value in (9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0):
        progress = advanced(progress, value)
    assert progress == Progress(iteration=7, recent=(1.0, 1.0, 1.0, 1.0, 2.0))


def test_a_configuration_survives_its_file(tmp_path: Path) -> None:
    config = make_config()
    folder = RunFolder(tmp_path / "x")
    with folder.locked():
        folder.claim(config)
    assert folder.config() == config
    content = yaml.safe_load((tmp_path / "x/config.yaml").read_text())
    assert content["ppo"]["rollout_steps"] == STEPS
    assert config.iterations == 4
