import json
from pathlib import Path

import pytest

import tune
from configs import files
from configs.loading import load, packaged
from reports import trials, tuned, tuning
from reports.entrants import EntrantError, read
from scenarios import splits

TINY = """\
name: tiny
scenarios: [{scenario: small}]
rungs: [1, 2]
trials: 7
warm_up: 20s
scored: 40s
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


def tune_slides(*more: str) -> int:
    return tune.main(["slides", "--config", "tiny.yaml", "--out", "out", *more])


def test_a_killed_search_goes_on_and_its_result_is_a_policy(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune_slides("--runs", "whole") == 0
    assert "on the 2 hosts it was tuned on" in capsys.readouterr().out
    kept = tuning.write

    def killed(path: Path, digest: str, found: list[trials.Trial]) -> None:
        kept(path, digest, found)
        if len(found) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tuning, "write", killed)
        assert tune_slides("--runs", "parts") == 130
    assert "go on with: python tune.py slides" in capsys.readouterr().err
    assert len(json.loads((folder / "parts" / "slides.json").read_text())["trials"]) == 3
    assert tune_slides("--runs", "parts") == 0
    one, other = (folder / name / "slides.json" for name in ("whole", "parts"))
    assert one.read_bytes() == other.read_bytes()

    assert tune_slides("--runs", "parts", "--set", "scored=60s") == 2
    assert "trials of another configuration" in capsys.readouterr().err
    (folder / "parts" / "slides.json").write_text("{")
    assert tune_slides("--runs", "parts") == 2
    assert "cannot be read as trials" in capsys.readouterr().err

    found = load(tuned.TunedPolicy, folder / "out" / "slides-tuned.yaml")
    assert found.provenance.tuned_score >= found.provenance.default_score
    assert found.provenance.seeds[0] in splits.SEEDS["train"]
    (folder / "ships" / "policies").mkdir(parents=True)
    (folder / "out" / "slides-tuned.yaml").rename(folder / "ships/policies/slides-tuned.yaml")
    monkeypatch.setattr(files, "PACKAGE", folder / "ships")
    label, (member,) = read("slides-tuned", {})
    assert label == "slides-tuned"
    assert vars(member.policy)["config"].ask_share == found.settings["ask_share"]
    assert member.source.startswith("tuned baseline")


def test_what_cannot_be_tuned_is_said_at_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune.main(["static", "magic"]) == 2
    said = capsys.readouterr().err
    assert "'static': has nothing to tune" in said
    assert "'magic': expected one of chromeos" in said
    assert tune_slides("--set", "rungs=[2,1]") == 2
    assert "numbers of hosts that rise" in capsys.readouterr().err


def test_hosts_of_other_splits_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune_slides("--set", "scenarios=[{scenario: unseen}]") == 2
    assert "belongs to the split validation, not train" in capsys.readouterr().err


def test_a_policy_that_was_not_tuned_says_how_to() -> None:
    with pytest.raises(EntrantError, match=r"static-tuned.*has not been tuned"):
        read("static-tuned", {})


@pytest.mark.parametrize("name", packaged("tune"))
def test_what_ships_has_sixteen_episodes_of_the_train_split(name: str) -> None:
    config = load(tuning.Tuning, f"tune/{name}")
    assert (config.trials, config.episodes) == (30, 16)
    for rung in range(len(config.rungs)):
        hosts = config.evaluation(rung)
        assert hosts.split == "train"
        assert set(hosts.host_seeds) <= set(splits.SEEDS["train"])


@pytest.mark.parametrize("name", tuned.names())
def test_tuned_policies_that_ship_are_no_worse_than_shipped_settings(name: str) -> None:
    found = tuned.find(name)
    assert f"{found.policy}{tuned.SUFFIX}" == name
    assert found.provenance.split == "train"
    assert found.provenance.tuned_score >= found.provenance.default_score
    read(name, {})
