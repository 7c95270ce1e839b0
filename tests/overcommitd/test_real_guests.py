"""The daemon on real guests under software emulation, as a process, as an operator runs it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from overcommitd.control import ControlError, ask
from tests.overcommitd.sessions import SIZE, libvirt_session, real_guests
from tools.realguests.agent import Agent
from tools.realguests.qemu import Emulator

MIB = 1 << 20
DEMAND = 300  # [MiB] that one guest, then the other allocates
CONFIG = """
mode: act
policy: tools.realguests.headroom:Headroom
backend:
  kind: {kind}
  options: {options}
guests: {{defaults: {{min: 128MiB}}}}
guard: {{caution: {{dead_band_share: 0.01}}}}
state_dir: {folder}/state
runtime_dir: {folder}/run
host_lock: {folder}
metrics: {{port: 0}}
"""


@contextmanager
def daemon(folder: Path, kind: str, options: str) -> Iterator[subprocess.Popen[bytes]]:
    config = folder / "daemon.yaml"
    config.write_text(CONFIG.format(folder=folder, kind=kind, options=options))
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "overcommitd", "--config", str(config)], stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


def status(folder: Path) -> dict[str, dict[str, int | None]]:
    """Guests by name; none while the daemon starts."""
    try:
        found = ask(folder / "run" / "control.sock", "status")["status"]
    except ControlError:
        return {}
    return {guest["name"]: guest for guest in found["guests"]}


def until(true: Callable[[], bool], what: str, seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.2)


def size(folder: Path, name: str) -> int:
    return (status(folder).get(name, {}).get("current_bytes") or 0) // MIB


def settled(folder: Path, name: str) -> bool:
    """It has its target, and has had it for two seconds."""
    first = status(folder)[name]["applied_target_bytes"]
    time.sleep(2)
    last = status(folder)[name]
    there = abs((last["current_bytes"] or 0) - (last["applied_target_bytes"] or 0)) < 4 * MIB
    return there and first == last["applied_target_bytes"]


@pytest.mark.slow
def test_memory_follows_demand_by_qmp(tmp_path: Path) -> None:
    with real_guests(tmp_path, "east", "west") as (east, west):
        options = f"{{sockets: {tmp_path}/*.daemon, stats_period: 1s}}"
        follow(tmp_path, "qmp", options, east.agent, west.agent)
        for one in (east, west):
            assert actual(one) == SIZE, "released"
            assert b"Out of memory" not in (tmp_path / f"{one.hardware.name}.console").read_bytes()
            one.check()


@pytest.mark.slow
def test_memory_follows_demand_by_libvirt(tmp_path: Path) -> None:
    with libvirt_session(tmp_path, "east", "west") as session:
        options = f'{{uri: "{session.uri}", stats_period: 1s}}'
        follow(tmp_path, "libvirt", options, session.agents["east"], session.agents["west"])


def follow(folder: Path, kind: str, options: str, east: Agent, west: Agent) -> None:
    """Demand moves from one guest to the other, and the daemon is killed in between."""
    control = folder / "run" / "control.sock"
    for agent in (east, west):
        agent.call(f"anon 0 {DEMAND * MIB}", 60)
    with daemon(folder, kind, options) as process:
        until(lambda: 0 < size(folder, "east") < 330, "an idle guest is shrunk")
        until(lambda: 0 < size(folder, "west") < 330, "the other one, too")
        east.call(f"allocate 0 {DEMAND * MIB}", 60)
        until(lambda: size(folder, "east") > 400, "memory comes to the one that works")
        assert size(folder, "west") < 330
        explained = str(ask(control, "explain", guest="east")["text"])
        assert "east: running" in explained and "the policy decided" in explained
        until(lambda: settled(folder, "east"), "it has its target")
        before = status(folder)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    with daemon(folder, kind, options):
        until(lambda: bool(status(folder)), "the daemon is back")
        assert any(line["event"] == "goes on where it stopped" for line in lines(folder))
        after = status(folder)
        for name in ("east", "west"):
            assert after[name]["guest_id"] == before[name]["guest_id"]
            for field in ("current_bytes", "applied_target_bytes"):
                moved = (after[name][field] or 0) - (before[name][field] or 0)
                assert abs(moved) < 32 * MIB, f"{name}: {field} jumped by {moved // MIB} MiB"
        east.call("free 0 0", 60)
        west.call(f"allocate 0 {DEMAND * MIB}", 60)
        until(lambda: size(folder, "west") > 400, "memory moves to the other guest")
        until(lambda: size(folder, "east") < 330, "and away from the first")
        port = next(line["port"] for line in reversed(lines(folder)) if "port" in line)
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read()
        assert b"overcommit_up 1.0" in page
        assert b'overcommit_guest_size_bytes{guest="west"}' in page
        answer = ask(control, "release")
        assert answer["released"] == ["east", "west"]
        until(lambda: size(folder, "east") == size(folder, "west") == SIZE // MIB, "released")


def actual(guest: Emulator) -> int:
    return int(guest.qmp.execute("query-balloon")["actual"])
