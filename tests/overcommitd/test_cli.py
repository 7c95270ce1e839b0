"""The commands as an operator types them, on the simulated backend, in a temporary folder."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contract import recording
from overcommitd.__main__ import main
from overcommitd.ctl import main as ctl


@contextmanager
def running(folder: Path, *changes: str) -> Iterator[subprocess.Popen[str]]:
    line = [sys.executable, "-m", "overcommitd", "--config", "daemon/try"]
    fields = (
        f"state_dir={folder}/state",
        f"runtime_dir={folder}/run",
        "metrics.port=0",
        "backend.options.pace=20",
        *changes,
    )
    for change in fields:
        line += ["--set", change]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(line, stderr=log, text=True) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def asked(
    folder: Path,
    daemon: subprocess.Popen[str],
    *words: str,
    capsys: pytest.CaptureFixture[str],
) -> tuple[int, str]:
    """What overcommitctl says, once the daemon has read its host."""
    end = time.monotonic() + 250  # a first start compiles the simulator
    while True:
        code = ctl(["--socket", str(folder / "run" / "control.sock"), *words])
        said = capsys.readouterr()
        log = (folder / "log").read_text()
        assert daemon.poll() is None, log
        assert time.monotonic() < end, said.err + log
        if code != 2:
            return code, said.out + said.err
        time.sleep(0.1)


@pytest.mark.slow
def test_a_day_with_the_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(tmp_path) as daemon:
        code, said = asked(tmp_path, daemon, "status", capsys=capsys)
        assert code == 0 and "mode act; policy slides; the policy decided" in said
        assert "guest-0" in said and max(map(len, said.splitlines())) <= 100
        code, said = asked(tmp_path, daemon, "explain", "guest-1", capsys=capsys)
        assert code == 0 and "guest-1: running" in said
        code, said = asked(tmp_path, daemon, "--json", "pause", capsys=capsys)
        assert json.loads(said) == {"paused": "by an operator"}
        code, said = asked(tmp_path, daemon, "resume", capsys=capsys)
        assert "resumed" in said
        code, said = asked(tmp_path, daemon, "release", capsys=capsys)
        assert code == 0 and "paused until resume" in said
        began = next(
            line for line in (tmp_path / "log").read_text().splitlines() if "begins" in line
        )
        port = json.loads(began)["port"]
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read()
        assert b"overcommit_paused 1.0" in page
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(20) == 0
    assert not (tmp_path / "run" / "control.sock").exists()
    moments = list(recording.read(tmp_path / "state" / "telemetry"))
    assert moments and moments[0].names == {0: "guest-0", 1: "guest-1"}
    assert main(["replay", str(tmp_path / "state" / "telemetry"), "--policy", "proxmox"]) == 0
    said = capsys.readouterr().out
    assert "Decided again on what was recorded; nothing follows from it" in said
    assert "guest-1" in said


def test_check_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["--config", "daemon/qmp", "--set", f"state_dir={tmp_path}/none"]
    line += ["--set", f"backend.options.sockets={tmp_path}/*.qmp", "check"]
    assert main(line) == 1
    said = capsys.readouterr().out
    assert "FAIL  host: sockets" in said and "start guests with -qmp" in said
    assert "make it, owned by the daemon's user" in said


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["--config", "/none.yaml"], "/none.yaml"),
        (["--config", "daemon/qmp", "--set", "backend.kind=xen"], "backend.kind: 'xen'"),
        (["--config", "daemon/qmp", "--set", "backend.options={}"], "backend.options: sockets"),
        (["--config", "daemon/qmp", "--set", "fallback.policy=wizard"], "fallback.policy"),
        (["replay", "/none"], "/none: expected a file"),
        (["replay", "/none", "--policy", "wizard"], "wizard"),
    ],
)
def test_what_cannot_be_is_one_line_and_status_2(
    line: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line) == 2
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (main, ctl):
        with pytest.raises(SystemExit):
            command(["--help"])
    said = capsys.readouterr().out
    assert "overcommitd --config daemon/try" in said and "release [GUEST]" in said
