import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import evaluate

CONFIG = """\
name: tiny
title: Tiny
scenarios: [{scenario: small}]
seeds: {first: 5, count: 2}
policies: [static, slides]
warm_up: 20s
scored: 40s
bootstrap: {resamples: 200}
"""
POLICY = '''\
"""A policy of anyone's: the maximum, said in another module."""

from agents.baselines.static import Static, StaticConfig


class Mine(Static):
    def __init__(self) -> None:
        super().__init__(StaticConfig())
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    (tmp_path / "own_policies.py").write_text(POLICY)
    return tmp_path


def test_from_the_command_line_to_the_report(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ["tiny.yaml", "--policies", "static,slides,own_policies:Mine", "--json", "all.json"]
    assert evaluate.main(named) == 0
    printed = capsys.readouterr().out
    assert "Workloads are synthetic" in printed
    assert "Report: runs/tiny/report.html" in printed
    found = json.loads((folder / "all.json").read_text())
    table = pq.read_table(folder / "runs/tiny/episodes.parquet").to_pylist()
    assert [row["j"] for row in found["episodes"]] == [row["j"] for row in table]
    assert {row["policy"] for row in table} == {"static", "slides", "own_policies:Mine"}
    for standing in found["standings"]:
        assert f"{standing['j']['value']:.3f}" in printed
    by_policy = {row["policy"]: row for row in table if row["seed"] == 5}
    assert by_policy["own_policies:Mine"]["j"] == by_policy["static"]["j"]
    page = (folder / "runs/tiny/report.html").read_text()
    assert found["verdict"][0] in page
    assert "python evaluate.py tiny.yaml --policies" in page
    for name in ("config.yaml", "seed", "versions.json", "figures/comparison.png"):
        assert (folder / "runs/tiny" / name).stat().st_size > 0

    first = capsys.readouterr()
    assert evaluate.main(named) == 0
    again = capsys.readouterr().out
    assert "Reusing the results in runs/tiny" in again
    assert first.out == ""
    assert json.loads((folder / "all.json").read_text()) == found

    (folder / "own_policies.py").write_text(POLICY + "\n# changed\n")
    assert evaluate.main(named) == 0
    assert "Reusing" not in capsys.readouterr().out


def test_arms_draw_their_figure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "arms.yaml").write_text(
        CONFIG.replace("policies: [static, slides]\n", "")
        + "arms: [{name: nothing}, {name: more, policy: slides, mechanisms: {hinting: bitmap}}]\n"
    )
    assert evaluate.main(["arms.yaml", "--out", "elsewhere", "--set", "seeds.count=1"]) == 0
    assert "Only 1 independent host" in capsys.readouterr().out
    assert (folder / "elsewhere/figures/talk.svg").is_file()
    assert "The arms side by side" in (folder / "elsewhere/report.html").read_text()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["nothing.yaml"], "nothing.yaml: there is no such file"),
        (["tiny.yaml", "--set", "seeds.count=0"], "seeds.count: got 0"),
        (["tiny.yaml", "--set", "sedes.count=1"], "sedes"),
        (["tiny.yaml", "--policies", "static,slide"], "no such baseline or run folder"),
        (["tiny.yaml", "--traces", "no-such-folder"], "no-such-folder"),
        (["tiny.yaml", "--policies", "runs/half"], "train.py --resume runs/half"),
        (["tiny.yaml", "--name", "half"], "choose another --name"),
        (["tiny.yaml", "--set", "reference=equal"], "reference: 'equal'"),
    ],
)
def test_problems_are_told_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    (folder / "runs/half/checkpoints").mkdir(parents=True)
    assert evaluate.main(given) == 2
    assert said in capsys.readouterr().err
    assert not (folder / "runs/tiny").exists()


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        evaluate.main(["--help"])
    text = capsys.readouterr().out
    for word in ("mean score", "examples:", "runs/mine", "--traces", "bitbrains"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 100
