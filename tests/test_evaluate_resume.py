"""What an evaluation has done is kept: it goes on after a kill, and runs nothing twice."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

import evaluate
from reports import evaluation, parts
from reports.entrants import Entrant
from reports.rows import Batch
from reports.settings import Evaluation
from reports.slowdown import Work

ROOT = Path(__file__).parent.parent
CONFIG = """\
name: tiny
title: Tiny
scenarios: [{scenario: small}, {scenario: small, set: [name=other]}]
seeds: {first: 5, count: 2}
policies: [static, slides]
warm_up: 20s
scored: 40s
bootstrap: {resamples: 200}
"""
KILLED = """\
import os, sys
import memsim.jit  # whose compiled kernels are not to move with the cache of results
os.environ["XDG_CACHE_HOME"] = "cache"
import evaluate
from reports import evaluation

simulate, calls = evaluation.simulate, 0

def killed(*given, **options):
    global calls
    calls += 1
    if calls == int(sys.argv[1]):
        os.kill(os.getpid(), int(sys.argv[2]))
    return simulate(*given, **options)

evaluation.simulate = killed
sys.exit(evaluate.main(sys.argv[3:]))
"""
ENVIRONMENT = dict(os.environ)  # before a test changes it
TABLES = ("episodes", "guests", "memory", "traffic")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Policy and scenario of every batch that is simulated from now on."""
    found: list[tuple[str, str]] = []
    original = evaluation.simulate

    def noted(
        config: Evaluation,
        setting: evaluation.Setting,
        entrant: Entrant,
        alone: Sequence[Mapping[int, Work]],
        passed: Callable[[float], object],
        threads: int | None,
    ) -> Batch:
        found.append((entrant.label, setting.name))
        return original(config, setting, entrant, alone, passed, threads)

    monkeypatch.setattr(evaluation, "simulate", noted)
    return found


def tables(folder: Path) -> list[bytes]:
    return [(folder / f"{name}.parquet").read_bytes() for name in TABLES]


@pytest.mark.parametrize(("stop", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_stopped_run_goes_on_and_ends_the_same(
    folder: Path,
    simulated: list[tuple[str, str]],
    capsys: pytest.CaptureFixture[str],
    stop: signal.Signals,
    status: int,
) -> None:
    command = [sys.executable, "-c", KILLED, "3", str(int(stop)), "tiny.yaml", "--name", "stopped"]
    run = subprocess.run(
        command,
        env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        stderr=subprocess.PIPE,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == status
    assert ("the same command goes on" in run.stderr) == (status == 130)
    assert len(list((folder / "runs/stopped/parts").iterdir())) == 2
    assert evaluate.main(["tiny.yaml", "--name", "stopped"]) == 0
    assert simulated == [("static", "other"), ("slides", "other")]
    assert "4 lives of 1 min (2 of 4 parts were done before)" in capsys.readouterr().out
    assert evaluate.main(["tiny.yaml", "--name", "straight"]) == 0
    assert tables(folder / "runs/stopped") == tables(folder / "runs/straight")


def test_one_more_policy_costs_its_own_runs(folder: Path, simulated: list[tuple[str, str]]) -> None:
    assert evaluate.main(["tiny.yaml", "--policies", "static"]) == 0
    simulated.clear()
    assert evaluate.main(["tiny.yaml", "--policies", "static,equal"]) == 0
    assert simulated == [("equal", "small"), ("equal", "other")]
    simulated.clear()
    assert evaluate.main(["tiny.yaml", "--policies", "equal"]) == 0
    assert simulated == []
    assert evaluate.main(["tiny.yaml", "--policies", "equal", "--set", "warm_up=10s"]) == 0
    assert len(simulated) == 2


def test_a_label_says_nothing_of_what_is_behind_it(
    folder: Path, simulated: list[tuple[str, str]]
) -> None:
    for policy in ("static", "slides"):
        simulated.clear()
        assert evaluate.main(["tiny.yaml", "--policies", f"mine={policy}"]) == 0
        assert simulated == [("mine", "small"), ("mine", "other")]


def test_a_changed_setting_runs_its_policy_alone(
    folder: Path, simulated: list[tuple[str, str]]
) -> None:
    assert evaluate.main(["tiny.yaml"]) == 0
    simulated.clear()
    changed = ["--set", "settings={slides: {ask_share: 0.5}}"]
    assert evaluate.main(["tiny.yaml", *changed]) == 0
    assert simulated == [("slides", "small"), ("slides", "other")]


@pytest.mark.parametrize("damage", ["cut", "gone", "flipped", "another"])
def test_a_damaged_part_is_run_again(
    folder: Path, simulated: list[tuple[str, str]], damage: str
) -> None:
    assert evaluate.main(["tiny.yaml"]) == 0
    found = tables(folder / "runs/tiny")
    first, other, *_ = sorted((folder / "runs/tiny/parts").iterdir())
    part = first / "guests.parquet"
    whole = part.read_bytes()
    if damage == "cut":
        part.write_bytes(whole[:100])
    elif damage == "flipped":
        middle = len(whole) // 2
        part.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    elif damage == "another":
        shutil.rmtree(first)
        shutil.copytree(other, first)
    else:
        part.unlink()
    (folder / "runs/tiny/digest").unlink()
    simulated.clear()
    assert evaluate.main(["tiny.yaml"]) == 0
    assert len(simulated) == 1
    assert tables(folder / "runs/tiny") == found


def test_parts_of_other_code_are_removed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert evaluate.main(["tiny.yaml"]) == 0
    before = set((folder / "runs/tiny/parts").iterdir())
    monkeypatch.setattr(parts, "_code", lambda *_: "0" * 64)
    (folder / "runs/tiny/digest").unlink()
    assert evaluate.main(["tiny.yaml"]) == 0
    after = set((folder / "runs/tiny/parts").iterdir())
    assert len(after) == len(before) == 4
    assert not after & before


def test_two_evaluations_do_not_write_into_one_folder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "runs/tiny").mkdir(parents=True)
    with (folder / "runs/tiny/lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for options in ([], ["--density"]):
            assert evaluate.main(["tiny.yaml", *options]) == 2
            assert "another evaluation is writing there" in capsys.readouterr().err
    assert evaluate.main(["tiny.yaml"]) == 0


def test_a_fresh_run_forgets_what_was_kept(
    folder: Path, simulated: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main(["tiny.yaml", "--fresh"]) == 0  # nothing was
    simulated.clear()
    assert evaluate.main(["tiny.yaml", "--fresh"]) == 0
    assert len(simulated) == 4
    assert "Reusing" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        evaluate.main(["tiny.yaml", "--fresh", "--density"])
    assert "--fresh: --density begins anew in a folder" in capsys.readouterr().err
