"""`train.py` end to end on the smallest scenario, as users and schedulers treat it."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import train
from agents.baselines import UnknownPolicy
from agents.learned.archive import read
from agents.learned.export import ExportError
from agents.onnx_policy import OnnxPolicy
from contract.guard import GuardConfig
from contract.loop import Loop
from scenarios import load
from scenarios.hosts import SimulatedHosts
from scenarios.traces import TraceError

ROOT = Path(__file__).parent.parent
HOSTS, ROLLOUT, ITERATIONS = 2, 16, 4
CONFIG = f"""\
name: tiny
steps: {HOSTS * ROLLOUT * ITERATIONS}
environment: {{scenarios: [small], hosts: {HOSTS}, episode_steps: 20, pool: 4, threads: 1}}
network: {{width: 16, message_width: 8}}
ppo: {{rollout_steps: {ROLLOUT}, minibatch_hosts: 16, epochs: 1}}
clone: {{steps: 64, rounds: 1, epochs: 1}}
checkpoints: {{keep: 9}}
"""
LAST = f"checkpoints/{ITERATIONS:06d}.npz"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Exactness is promised for one number of threads: that of the processes that are stopped."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def straight(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    runs = tmp_path_factory.mktemp("runs")
    assert train.main([str(config), "--runs", str(runs)]) == 0
    return runs / "tiny"


def assert_same_end(found: Path, expected: Path) -> None:
    ends = [read(folder / LAST) for folder in (found, expected)]
    assert ends[0].facts == ends[1].facts
    assert ends[0].arrays.keys() == ends[1].arrays.keys()
    for name, part in ends[1].arrays.items():
        same = np.array_equal(ends[0].arrays[name], part, equal_nan=part.dtype.kind == "f")
        assert same or part.tobytes() == ends[0].arrays[name].tobytes(), name
    assert (found / "model.onnx").read_bytes() == (expected / "model.onnx").read_bytes()


def test_a_trained_policy_runs_on_hosts(straight: Path) -> None:
    policy = OnnxPolicy(straight)
    hosts = SimulatedHosts(load("small"), 2, threads=1)
    hosts.reset(range(2), [7, 8])
    seen = []
    loop = Loop(hosts, policy, GuardConfig(), hosts.advance)
    end = loop.run(30.0, lambda turn: seen.append(turn.asked.target_bytes))
    assert len(seen) == 7
    assert (seen[0] > 0).any()
    assert (end.telemetry.time_s == 30.0).all()


def test_the_same_command_again_reuses_the_run(
    config: Path, straight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main([str(config), "--runs", str(straight.parent)]) == 0
    assert capsys.readouterr().out == f"{straight} is finished: reusing it\n"


def test_another_configuration_is_not_overwritten(
    config: Path, straight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [str(config), "--runs", str(straight.parent), "--set", "ppo.epochs=2"]
    assert train.main(options) == 2
    said = capsys.readouterr().err
    assert "tiny: holds a run of another configuration" in said
    assert "ppo.epochs: 1 there, 2 wanted" in said


# Trains, and sends itself a signal just before the `count`-th call of a function.
STOPPING = """\
import importlib, os, sys
import train

owner, name, count, stop = *sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4])
module, _, inner = owner.partition(":")
place = importlib.import_module(module)
place = getattr(place, inner) if inner else place
original = getattr(place, name)
calls = 0

def stopping(*arguments, **options):
    global calls
    calls += 1
    if calls == count:
        os.kill(os.getpid(), stop)
    return original(*arguments, **options)

setattr(place, name, stopping)
sys.exit(train.main(sys.argv[5:]))
"""
MOMENTS = {  # what is about to be called, for which time
    "cloning": ("agents.learned.run", "_tick", 3),
    "cloned": ("agents.learned.progress:Recorder", "_on_rollout_start", 1),
    "acting": ("agents.learned.progress:Recorder", "_on_step", ROLLOUT + 5),
    "writing": ("os", "replace", 6),
    "learning": ("agents.learned.progress:Recorder", "_on_rollout_end", 3),
}


def run_until(config: Path, runs: Path, moment: str, stop: signal.Signals) -> int:
    """Train in a process of its own, stopped at that moment; returns how it ended."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    where = [str(part) for part in (*MOMENTS[moment], int(stop))]
    command = [sys.executable, "-c", STOPPING, *where, str(config), "--runs", str(runs)]
    run = subprocess.run(
        command, env=environment, stderr=subprocess.PIPE, text=True, timeout=240, check=False
    )
    if stop is not signal.SIGKILL:
        expected = f"stopped; continue with: python train.py --resume {runs / 'tiny'}"
        assert expected in run.stderr
    return run.returncode


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "stop", "status"),
    [
        *((moment, signal.SIGKILL, -9) for moment in MOMENTS),
        ("cloning", signal.SIGTERM, 130),
        ("writing", signal.SIGTERM, 130),
        ("acting", signal.SIGINT, 130),
        ("learning", signal.SIGINT, 130),
    ],
)
def test_a_stopped_run_resumes_to_the_same_end(
    config: Path, straight: Path, tmp_path: Path, moment: str, stop: signal.Signals, status: int
) -> None:
    run = tmp_path / "tiny"
    assert run_until(config, tmp_path, moment, stop) == status
    assert not (run / "card.md").exists()
    assert train.main(["--resume", str(run)]) == 0
    assert_same_end(run, straight)


def test_a_damaged_checkpoint_is_a_clear_error(
    config: Path, straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "tiny"
    (run / "checkpoints").mkdir(parents=True)
    for name in ("config.yaml", "versions.json", "checkpoints/000003.npz", LAST):
        (run / name).write_bytes((straight / name).read_bytes())
    content = (run / LAST).read_bytes()
    (run / LAST).write_bytes(content[:-100])
    assert train.main(["--resume", str(run)]) == 2
    said = capsys.readouterr().err
    assert "000004.npz: is damaged or was cut short" in said
    assert "delete it to resume from 000003.npz" in said
    (run / LAST).unlink()
    assert train.main(["--resume", str(run)]) == 0
    assert_same_end(run, straight)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("ppo.epohs=2", "ppo.epohs"),
        ("environment.scenarios=[nowhere]", "nowhere"),
        ("environment.decoding.mode=correction", "mode correction needs one"),
        ("environment.decoding={mode: correction, rule: slides}", "tiny.yaml: clone: got {"),
        ("environment.decoding={mode: correction, rule: nope}", ".decoding.rule: got 'nope'; "),
        ("clone.baseline=nope", "tiny.yaml: clone.baseline: got 'nope'; policy 'nope': expected"),
        ("environment.reward={progress: 0, tail: 0, resize: 0}", "environment.reward: got "),
        ("ppo.gamma=1.0", "ppo.gamma"),
        ("name=../elsewhere", "name"),
    ],
)
def test_a_bad_configuration_is_a_clear_error(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, expected: str
) -> None:
    assert train.main([str(config), "--runs", str(tmp_path), "--set", option]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert "Traceback" not in said
    assert not (tmp_path / "tiny/config.yaml").exists() or "nowhere" in option


def test_no_clone_in_mode_correction_even_by_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plain.yaml"
    path.write_text("name: x\nenvironment: {decoding: {mode: correction, rule: slides}}\n")
    assert train.main([str(path), "--runs", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "plain.yaml: clone: got CloneSettings(" in said
    assert "expected null with environment.decoding.mode correction" in said


def test_a_disk_that_refuses_is_a_clear_error(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert train.main([str(config), "--runs", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err == f"{tmp_path}/file/tiny: Not a directory\n"


@pytest.mark.parametrize(
    "error",
    [
        ExportError("torch and onnxruntime differ"),
        TraceError("1.csv: line 3: expected a number"),
        UnknownPolicy("policy 'nope': expected another"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_what_goes_wrong_later_is_a_sentence(
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("agents.learned.run.train", fail)
    assert train.main([str(config), "--runs", str(tmp_path)]) == 2
    expected = f"{tmp_path / 'tiny'}: {error.strerror}" if isinstance(error, OSError) else error
    assert capsys.readouterr().err == f"{expected}\n"


@pytest.mark.parametrize("name", ["digest", "episodes.parquet", "parts"])
def test_an_evaluation_is_not_overwritten(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.yaml").write_text("name: tiny\n")
    (folder / name).write_text("x")
    assert train.main([str(config), "--runs", str(tmp_path)]) == 2
    assert f"tiny: holds {name} of an evaluation; choose another" in capsys.readouterr().err
    assert (folder / "config.yaml").read_text() == "name: tiny\n"


def test_what_a_library_makes_of_an_interrupt_is_a_stop(
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def swallow(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise ImportError("half imported") from None

    monkeypatch.setattr("agents.learned.run.train", swallow)
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        assert train.main([str(config), "--runs", str(tmp_path)]) == 130
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)
    assert f"train.py --resume {tmp_path / 'tiny'}" in capsys.readouterr().err


def test_resume_needs_a_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--resume", str(tmp_path)]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        train.main(["--resume", str(tmp_path), "--name", "x"])
    assert "takes the configuration from the folder" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        train.main(["--help"])
    said = capsys.readouterr().out
    for part in ("--resume runs/mine", "--set seed=3", "tensorboard", "evaluate.py"):
        assert part in said


@pytest.mark.parametrize("name", ["demo", "default"])
def test_shipped_configurations_are_valid(name: str) -> None:
    from agents.learned.settings import TrainConfig
    from configs.loading import load as load_config

    config = load_config(TrainConfig, f"train/{name}")
    for scenario in config.environment.scenarios:
        load(scenario)
    assert config.iterations > 10
