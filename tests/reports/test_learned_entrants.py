from pathlib import Path

import pytest
import torch
from gymnasium import spaces

from agents.learned.export import export
from agents.learned.policy import GuestSetPolicy
from contract.features import GUEST_FEATURES, HOST_FEATURES
from contract.version import Contract
from reports.entrants import EntrantError, entrants, labels
from reports.evaluation import run
from reports.settings import Evaluation
from reports.standings import standings, verdict
from reports.workloads import prepare

SLOTS = 2


def train_nothing(folder: Path, seed: int) -> Path:
    """A run folder of a policy with random weights."""
    torch.manual_seed(seed)
    space = spaces.Dict(
        {
            "guests": spaces.Box(-1.0, 1.0, (SLOTS * len(GUEST_FEATURES),)),
            "host": spaces.Box(-1.0, 1.0, (len(HOST_FEATURES),)),
            "present": spaces.MultiBinary(SLOTS),
        }
    )
    policy = GuestSetPolicy(space, spaces.Box(-1, 1, (SLOTS,)), lambda _: 1e-3, width=16)
    folder.mkdir()
    export(policy, Contract(), folder)
    (folder / "seed").write_text(f"{seed}\n")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("runs")
    return train_nothing(place / "one", 1), train_nothing(place / "two", 2)


def evaluation(*policies: str) -> Evaluation:
    return Evaluation.model_validate(
        {
            "name": "t",
            "title": "T",
            "scenarios": ({"scenario": "small"},),
            "seeds": {"first": 5, "count": 3},
            "policies": policies,
            "warm_up": 20.0,
            "scored": 40.0,
        }
    )


def test_a_learned_policy_takes_part_under_both_guards(runs: tuple[Path, Path]) -> None:
    config = evaluation("slides", f"mine={runs[0]}+{runs[1]}")
    found = entrants(config)
    assert [(one.label, one.guard.level, one.member.training_seed) for one in found] == [
        ("slides", "limits", -1),
        ("mine", "limits", 1),
        ("mine", "limits", 2),
        ("mine (full guard)", "full", 1),
        ("mine (full guard)", "full", 2),
    ]
    assert labels(found)["mine"].count("trained with seed") == 2
    results = run(config, prepare(config).scenarios, found)
    table = standings(results, "slides", resamples=200)
    by_label = {standing.label: standing for standing in table}
    assert by_label["mine"].training_seeds == 2
    assert by_label["mine"].episodes == 6
    assert not by_label["slides"].learned
    assert sum("The learned policy mine" in said for said in verdict(results, table, "slides")) == 2


def test_the_same_training_twice_is_refused(runs: tuple[Path, Path]) -> None:
    with pytest.raises(EntrantError, match=r"training seeds \[1, 1\]"):
        entrants(evaluation(f"mine={runs[0]}+{runs[0]}"))


def test_a_damaged_run_folder_says_what_is_wrong(runs: tuple[Path, Path], tmp_path: Path) -> None:
    folder = train_nothing(tmp_path / "torn", 3)
    (folder / "model.onnx").write_bytes(b"torn")
    with pytest.raises(EntrantError, match=r"not a whole ONNX model.*train it anew"):
        entrants(evaluation(str(folder)))
    (folder / "seed").unlink()
    (folder / "model.onnx").write_bytes((runs[0] / "model.onnx").read_bytes())
    with pytest.raises(EntrantError, match="expected the training seed"):
        entrants(evaluation(str(folder)))
