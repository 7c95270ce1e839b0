"""The agent's protocol, spoken over a pseudo-terminal on this machine, and the client's errors."""

import os
import pty
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.realguests.agent import Agent, numbers
from tools.realguests.image import HERE
from tools.realguests.problems import Failed

COMPILED = ("gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    made = tmp_path_factory.mktemp("agent") / "agent"
    subprocess.run([*COMPILED, "-o", str(made), str(HERE / "agent.c")], check=True)
    return made


@pytest.fixture
def agent(program: Path, tmp_path: Path) -> Iterator[Agent]:
    """The agent behind a socket, as QEMU puts its serial port behind one."""
    ours, theirs = pty.openpty()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "agent"))
    listener.listen()
    client = Agent(tmp_path / "agent")
    connection, _ = listener.accept()
    process = subprocess.Popen([str(program), os.ttyname(theirs)])
    up = threading.Thread(target=_up, args=(ours, connection), daemon=True)
    down = threading.Thread(target=_down, args=(connection, ours), daemon=True)
    up.start()
    down.start()
    try:
        client.wait_ready(10)
        yield client
    finally:
        client.close()
        process.kill()
        process.wait()
        down.join()
        os.close(theirs)
        up.join()
        os.close(ours)
        connection.close()
        listener.close()


def _up(source: int, target: socket.socket) -> None:
    try:
        while data := os.read(source, 65536):
            target.sendall(data)
    except OSError:
        return  # the agent has ended


def _down(source: socket.socket, target: int) -> None:
    while data := source.recv(65536):
        os.write(target, data)


def test_memory_is_allocated_touched_and_given_back(agent: Agent) -> None:
    assert agent.call("anon 0 8388608", 10) == {"bytes": 8388608}
    assert agent.call("allocate 0 8388608", 10)["accesses"] == 2048
    assert agent.call("touch 0 uniform 0.5 5000 0", 10)["accesses"] == 5000
    answer = agent.call("touch 0 loop 1 0 0.05", 10)
    assert answer["accesses"] > 0
    assert answer["seconds"] >= 0.05
    assert agent.call("free 0 4096", 10)["accesses"] == 0


def test_commands_run_side_by_side(agent: Agent) -> None:
    agent.call("anon 1 4096", 10)
    answers: list[float] = []

    def slow() -> None:
        answers.append(agent.call("touch 1 uniform 0 0 0.5", 10)["seconds"])

    thread = threading.Thread(target=slow)
    thread.start()
    assert agent.call("touch 1 uniform 0 1 0", 10)["accesses"] == 1
    assert not answers, "the quick command waited for the slow one"
    thread.join()
    assert answers[0] >= 0.5


def test_numbers_of_the_kernel_come_as_names_and_values(agent: Agent) -> None:
    assert agent.call("meminfo", 10)["MemTotal"] > 1000
    assert "pswpin" in agent.call("vmstat", 10)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("allocate 7 4096", "no such memory"),
        ("touch 7 uniform 0 1 0", "no such region"),
        ("anon 64 4096", "no such region"),
        ("anon 1 100", "no such region"),
        ("dance", "no such command"),
        ("free 0", "wrong number of arguments"),
    ],
)
def test_what_makes_no_sense_is_an_error(agent: Agent, line: str, says: str) -> None:
    with pytest.raises(Failed, match=says):
        agent.call(line, 10)


def test_a_guest_that_goes_away_is_told_to_who_waits(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "agent"))
    listener.listen()
    client = Agent(tmp_path / "agent")
    connection, _ = listener.accept()
    threading.Timer(0.1, connection.close).start()
    with pytest.raises(Failed, match="the guest is gone"):
        client.wait_ready(10)
    with pytest.raises(Failed, match="the guest is gone"):
        client.call("meminfo", 10)
    client.close()
    listener.close()


def test_a_guest_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "agent"))
    listener.listen()
    client = Agent(tmp_path / "agent")
    with pytest.raises(Failed, match=r"no answer after 0\.05 s"):
        client.wait_ready(0.05)
    client.close()
    listener.close()


@pytest.mark.parametrize("answer", ["ok a=b", "ok a", "ok a=1=2", "", "hello", "error no memory"])
def test_only_numbers_are_an_answer(answer: str) -> None:
    with pytest.raises(Failed, match="meminfo"):
        numbers(answer, "meminfo")
