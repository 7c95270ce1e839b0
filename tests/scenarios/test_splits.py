"""Nothing that policies are chosen or tested on is within reach of training."""

from itertools import combinations
from pathlib import Path

import pytest

import scenarios
from agents.learned.course import make_course
from agents.learned.ppo import HOSTS_A_SEED
from agents.learned.settings import TrainConfig
from configs.loading import ConfigError, find, load, packaged
from envs.keys import pool_host
from envs.settings import settle
from reports.settings import Evaluation
from reports.workloads import prepare
from scenarios import profiles, splits

TRAINING = [name for name in packaged("train") if "/" not in name]
EVALUATIONS = packaged("evaluate")


def test_no_seed_belongs_to_two_splits() -> None:
    for one, other in combinations(splits.SEEDS.values(), 2):
        assert one.stop <= other.start or other.stop <= one.start
    assert all(own.stop <= splits.LEARNING for own in splits.SEEDS.values())
    assert all(len(own) >= splits.SEEDS_A_SPLIT for own in splits.SEEDS.values())


def test_seeds_are_counted_from_where_the_split_begins() -> None:
    assert list(splits.seeds("test", 2, 2)) == [2**18 + 2, 2**18 + 3]
    assert splits.seeds("all", 2, 2) == splits.seeds("validation", 2, 2)
    with pytest.raises(ValueError, match="expected at most 262144"):
        splits.seeds("validation", 2**18 - 1, 2)


def test_held_out_profiles_ship() -> None:
    assert set(splits.PROFILES) <= set(profiles.names())


@pytest.mark.parametrize("name", TRAINING)
def test_training_reaches_nothing_of_validation_and_test(name: str) -> None:
    config = load(TrainConfig, f"train/{name}")
    first = HOSTS_A_SEED * (config.seed + 1)
    for host in (0, config.environment.hosts - 1):
        seed, _ = pool_host(first + host, 3, config.environment.pool)
        assert seed >= splits.LEARNING
    settings = settle(config.environment.scenarios)
    assert [said for one in settings.scenarios for said in splits.strangers(one, "train")] == []


@pytest.mark.parametrize("name", EVALUATIONS)
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_an_evaluation_draws_from_its_split_alone(name: str, split: splits.Split) -> None:
    if (name, split) == ("shift", "train"):
        with pytest.raises(ConfigError, match="takes part in the split train"):
            load(Evaluation, "evaluate/shift", ["split=train"])
        return
    config = load(Evaluation, f"evaluate/{name}", [f"split={split}", "traces=synthetic"])
    own = splits.SEEDS[split]
    assert own.start <= config.host_seeds[0] and config.host_seeds[-1] < own.stop
    for scenario in prepare(config).scenarios:
        assert list(splits.strangers(scenario, split)) == []


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_profile_of_another_split_is_a_stranger(split: splits.Split) -> None:
    said = list(splits.strangers(scenarios.load("unseen"), split))
    assert said[0] == f"unseen: profile 'desktop' belongs to the split validation, not {split}"
    assert list(splits.strangers(scenarios.load("unseen"), "validation")) == []


def test_a_replay_of_all_machines_is_a_stranger_everywhere() -> None:
    said = list(splits.strangers(scenarios.load("replay"), "train"))
    assert said == ["replay: replay.split: all: expected train"]
    said = list(splits.strangers(scenarios.load("pagecache"), "train"))
    assert said == ["pagecache: recordings.split: all: expected train"]


def test_a_profile_is_known_by_what_it_does_not_by_its_name(tmp_path: Path) -> None:
    held = Path(find("scenarios/profiles/hog")).read_text()
    (tmp_path / "renamed.yaml").write_text(held)
    changed = ["guests.0.profile=" + str(tmp_path / "renamed.yaml")]
    (said,) = splits.strangers(scenarios.load("small", changed), "train")
    assert "'hog' belongs to the split validation" in said
    (tmp_path / "desktop.yaml").write_text(held.replace("82%", "80%"))
    changed = ["guests.0.profile=" + str(tmp_path / "desktop.yaml")]
    assert list(splits.strangers(scenarios.load("small", changed), "train")) == []


def test_training_refuses_what_policies_are_judged_by() -> None:
    config = load(TrainConfig, "train/demo", ["environment.scenarios=[small, unseen]"])
    with pytest.raises(ConfigError, match="profile 'desktop' belongs to the split validation"):
        make_course(config)
