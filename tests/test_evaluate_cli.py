import errno
import json
import lzma
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import evaluate
import scenarios
from reports import folder as run_folder

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
FLOATS = """
    def decide(self, telemetry, state):
        decision, state, wake_at_s = super().decide(telemetry, state)
        return decision._replace(target_bytes=decision.target_bytes * 0.5), state, wake_at_s
"""
FORGETFUL = """
    def decide(self, telemetry, state):
        return super().decide(telemetry, state)[0]
"""


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


def test_what_a_policy_imports_and_profiles_by_path_are_part_of_the_results(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library = Path(scenarios.__path__[0]).parent / "configs/scenarios"
    web = (library / "profiles/web.yaml").read_text()
    (folder / "own.yaml").write_text(web)
    small = (library / "small.yaml").read_text()
    (folder / "here.yaml").write_text(re.sub(r"profile: \w+", "profile: own.yaml", small))
    (folder / "tiny.yaml").write_text(CONFIG.replace("small", "here.yaml"))
    (folder / "helpers_of_mine.py").write_text("SHARE = 1\n")
    (folder / "mine_with_help.py").write_text("import helpers_of_mine\n" + POLICY)
    named = ["tiny.yaml", "--policies", "static,mine_with_help:Mine"]

    def reused() -> bool:
        assert evaluate.main(named) == 0
        return "Reusing" in capsys.readouterr().out

    assert not reused()
    assert reused()
    (folder / "helpers_of_mine.py").write_text("SHARE = 2\n")
    assert not reused()
    (folder / "own.yaml").write_text(web.replace("cost: 6us", "cost: 60us"))
    assert not reused()


def test_a_killed_run_leaves_no_page_of_other_results(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate.main(["tiny.yaml"]) == 0
    page = folder / "runs/tiny/report.html"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "write_report", killed)
        assert evaluate.main(["tiny.yaml", "--policies", "static,equal"]) == 130
    assert not page.exists()
    assert evaluate.main(["tiny.yaml", "--policies", "static,equal"]) == 0
    assert "equal" in page.read_text()


def test_a_full_disk_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/tiny/config.yaml")

    monkeypatch.setattr(run_folder, "write", full)
    assert evaluate.main(["tiny.yaml"]) == 2
    assert "No space left on device: 'runs/tiny/config.yaml'" in capsys.readouterr().err


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
        (["tiny.yaml", "--policies", "slides,slides=static"], "'slides' stands for more than one"),
        (["twice.yaml"], "scenarios: small: expected every scenario once"),
        (["tiny.yaml", "--policies", "broken_policy:Mine"], "SyntaxError"),
        (
            ["tiny.yaml", "--policies", "floating:Mine"],
            "target_bytes: float64 (2, 2), expected int64",
        ),
        (
            ["tiny.yaml", "--policies", "careless:Mine"],
            "policy 'careless:Mine': careless.py, line 2: NameError: name 'nothing'",
        ),
        (
            ["tiny.yaml", "--policies", "forgetful:Mine"],
            "decide: Decision, expected (Decision, state, wake_at_s)",
        ),
    ],
)
def test_problems_are_told_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    (folder / "runs/half/checkpoints").mkdir(parents=True)
    (folder / "twice.yaml").write_text(
        CONFIG.replace("[{scenario: small}]", "[{scenario: small}, {scenario: small}]")
    )
    (folder / "broken_policy.py").write_text("class Mine(:\n")
    (folder / "floating.py").write_text(POLICY + FLOATS)
    (folder / "forgetful.py").write_text(POLICY + FORGETFUL)
    (folder / "careless.py").write_text("\nnothing.here\n")
    assert evaluate.main(given) == 2
    assert said in capsys.readouterr().err
    assert not (folder / "runs/tiny").exists()


COLUMNS = (
    *("Timestamp [ms]", "CPU cores", "CPU capacity provisioned [MHZ]", "CPU usage [MHZ]"),
    *("CPU usage [%]", "Memory capacity provisioned [KB]", "Memory usage [KB]"),
    *("Disk read throughput [KB/s]", "Disk write throughput [KB/s]"),
    *("Network received throughput [KB/s]", "Network transmitted throughput [KB/s]"),
)
STEP_S = 300
MIB = 2**20  # [KiB] in a GiB


def write_gwa(folder: Path, machines: int = 6, rows: int = 288) -> None:
    """Machines of 4 GiB, one day long, every other file compressed."""
    folder.mkdir(parents=True)
    for vm in range(1, machines + 1):
        times = 1_376_314_846 + vm + STEP_S * np.arange(rows)
        lines = [
            f"{at};\t1;\t0;\t0;\t1.5;\t{3.9 * MIB};\t{MIB / 2};\t9;\t1;\t0;\t0" for at in times
        ]
        text = "\n".join([";\t".join(COLUMNS), *lines]) + "\n"
        if vm % 2:
            (folder / f"{vm}.csv").write_text(text)
        else:
            (folder / f"{vm}.csv.xz").write_bytes(lzma.compress(text.encode()))


def write_tidy(path: Path, machines: int = 2, rows: int = 288) -> None:
    cells = machines * rows
    table = {
        "vm_id": np.repeat(np.arange(1, machines + 1, dtype=np.int32), rows),
        "time_s": np.tile(np.arange(rows, dtype=np.int32) * STEP_S, machines),
        "nominal_bytes": np.full(cells, 4 * 2**30),
        "granted_bytes": np.full(cells, 3.9 * 2**30, np.float32),
        "active_bytes": np.full(cells, 2.0**29, np.float32),
    }
    for name in ("cpu_percent", "disk_read_bytes_per_s", "disk_write_bytes_per_s"):
        table[name] = np.ones(cells, np.float32)
    pq.write_table(pa.table(table), path)


@pytest.mark.parametrize(
    ("given", "names", "guests"),
    [
        ("mine/fastStorage/2013-8", "fastStorage/2013-8", range(1, 7)),
        ("mine", "fastStorage/2013-8", range(1, 7)),
        ("one.parquet", "one", range(1, 3)),
        ("tables", "two", range(1, 3)),
    ],
)
def test_anyones_traces_are_replayed(
    folder: Path, capsys: pytest.CaptureFixture[str], given: str, names: str, guests: range
) -> None:
    write_gwa(folder / "mine/fastStorage/2013-8")
    write_tidy(folder / "one.parquet")
    (folder / "tables").mkdir()
    write_tidy(folder / "tables/two.parquet")
    (folder / "replay.yaml").write_text(CONFIG.replace("small", "bitbrains"))
    options = ["--policies", "static", "--set", "seeds.count=1", "--json", "all.json"]
    assert evaluate.main(["replay.yaml", "--traces", given, *options]) == 0
    printed = capsys.readouterr().out
    assert f"Replays measured traces: {names}, from {given} (split " in printed
    assert "instead of 8" in printed
    (episode,) = json.loads((folder / "all.json").read_text())["episodes"]
    assert episode["guests"] in guests and episode["cluster"].startswith(names)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("gwa", "gwa/1.csv: line 289: "),
        ("gwa/1.csv", "gwa/1.csv: line 289: "),
        ("xz", "xz/2.csv.xz: cannot be read"),
        ("cut.parquet", "cut.parquet: expected a whole parquet file"),
        ("tables_cut", "tables_cut/cut.parquet: expected a whole parquet file"),
        ("empty", "empty: expected tidy .parquet files, or GWA-T-12 files"),
        ("wrong/path", "wrong/path: there is no such folder or file"),
        ("short.parquet", "short: 3 steps of 300 s; expected 4 or more"),
    ],
)
def test_broken_traces_are_named_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], given: str, said: str
) -> None:
    write_gwa(folder / "gwa", machines=1)
    cut(folder / "gwa/1.csv", -30)
    write_gwa(folder / "xz", machines=2)
    cut(folder / "xz/2.csv.xz", 300)
    (folder / "tables_cut").mkdir()
    for name in ("cut.parquet", "tables_cut/cut.parquet"):
        write_tidy(folder / name)
        cut(folder / name, -100)
    (folder / "empty").mkdir()
    write_tidy(folder / "short.parquet", rows=3)
    (folder / "replay.yaml").write_text(CONFIG.replace("small", "bitbrains"))
    assert evaluate.main(["replay.yaml", "--traces", given]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(said) and printed.err.count("\n") == 1
    assert printed.out == ""


def test_threads_are_one_or_more(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        evaluate.main(["demo", "--threads", "0"])
    assert "--threads: 0: expected 1 or more" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        evaluate.main(["--help"])
    text = capsys.readouterr().out
    for word in ("mean score", "examples:", "runs/mine", "--traces", "bitbrains"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_test_split_is_opened_only_when_asked_for_and_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main(["tiny.yaml", "--set", "split=test"]) == 2
    assert "expected only on the command line, as --split test" in capsys.readouterr().err
    alone = ["tiny.yaml", "--policies", "static", "--set", "seeds.count=1"]
    assert evaluate.main(alone) == 0
    assert "Split validation: hosts of the seeds 5 to 5." in capsys.readouterr().out
    assert evaluate.main([*alone, "--split", "test"]) == 0
    printed = capsys.readouterr().out
    assert "Split test: hosts of the seeds 262149 to 262149." in printed
    assert "opened once" in printed
    assert "Report: runs/tiny-test/report.html" in printed
    assert (folder / "runs/tiny/report.html").exists()


FILLED = """\
name: filled
title: Filled
scenarios: [{scenario: default}]
policies: [static, slides]
density:
  {guests: [1, 2, 3, 4], ram: 1GiB, cores: 8, swap: 4GiB, warm_up: 20s, scored: 60s, seeds: 2}
"""


def test_density_fills_hosts_until_nobody_keeps_the_level(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "filled.yaml").write_text(FILLED)
    named = ["filled.yaml", "--density", "--slo", "p90_slowdown<=1.5"]
    assert evaluate.main([*named, "--policies", "slides"]) == 0
    assert "p90_slowdown<=1.50 kept by" in capsys.readouterr().out
    where = folder / "runs/filled/density"
    parts = {path: path.stat().st_mtime_ns for path in (where / "parts").iterdir()}
    first = (where / "density.csv").read_text()
    assert evaluate.main([*named, "--policies", "slides,static"]) == 0
    assert (
        parts.items()
        <= {path: path.stat().st_mtime_ns for path in (where / "parts").iterdir()}.items()
    )
    again = (where / "density.csv").read_text()
    mine = [line for line in again.splitlines() if ",slides," in line]
    assert mine == [line for line in first.splitlines() if ",slides," in line]
    assert (where / "density.png").is_file()


def test_mechanisms_are_filled_side_by_side(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "filled.yaml").write_text(FILLED)
    both = "density.mechanisms={plain: {hinting: none}, hints: {hinting: bitmap}}"
    named = ["filled.yaml", "--density", "--policies", "slides", "--set", both]
    assert evaluate.main([*named, "--set", "density.guests=[1, 2]"]) == 0
    assert "default, hints, 2 guests" in capsys.readouterr().out
    text = (folder / "runs/filled/density/density.csv").read_text()
    assert {line.split(",")[1] for line in text.splitlines()[1:]} == {"plain", "hints"}


def test_the_page_takes_up_densities(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "filled.yaml").write_text(FILLED)
    named = ["filled.yaml", "--policies", "slides", "--set", "density.guests=[1, 2]"]
    named += ["--set", "seeds.count=1", "--set", "warm_up=20s", "--set", "scored=60s"]
    report = folder / "runs/filled/report.html"
    assert evaluate.main(named) == 0
    assert "How many guests a host bears" not in report.read_text()
    assert evaluate.main([*named, "--density"]) == 0
    assert "report.html takes it up" in capsys.readouterr().out
    assert evaluate.main(named) == 0
    assert "Reusing the results" in capsys.readouterr().out
    text = report.read_text()
    assert "How many guests a host bears" in text
    assert "1 to 2 guests on hosts of 1 GiB" in text
    assert "another version of the code" not in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--density", "--json", "x.json"], "--json: is not written by --density"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        evaluate.main(["tiny.yaml", *options])
    assert said in capsys.readouterr().err


def test_hosts_are_not_filled_in_the_folder_of_a_training_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "filled.yaml").write_text(FILLED)
    (folder / "runs/filled/checkpoints").mkdir(parents=True)
    assert evaluate.main(["filled.yaml", "--density"]) == 2
    assert "holds checkpoints of a training run" in capsys.readouterr().err


def test_a_damaged_part_is_run_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "filled.yaml").write_text(FILLED)
    named = ["filled.yaml", "--density", "--policies", "static", "--set", "density.guests=[1, 2]"]
    assert evaluate.main(named) == 0
    first = capsys.readouterr().out
    part = next((folder / "runs/filled/density/parts").iterdir())
    whole = part.read_bytes()
    part.write_bytes(whole[:20])
    assert evaluate.main(named) == 0
    assert part.read_bytes() == whole
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--slo", "p95<=2"], "density.slo: got 'p95<=2'"),
        (["--set", "density.guests=[9, 4]"], "expected two counts or more, rising"),
        (["--set", "density.scored=61s"], "density.scored: expected whole periods of 5 s"),
        (["--set", "scenarios=[{scenario: small}]"], "needs a scenario whose guests are drawn"),
    ],
)
def test_hosts_that_cannot_be_filled_are_a_clear_error(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    (folder / "filled.yaml").write_text(FILLED)
    assert evaluate.main(["filled.yaml", "--density", *options]) == 2
    assert said in capsys.readouterr().err
