"""The control socket: who may ask, and what becomes of questions that are none."""

import contextlib
import json
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from overcommitd import control, lock
from overcommitd.control import Control, ControlError, ask
from overcommitd.lock import Taken


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Path]:
    """A daemon that answers every command with itself."""
    path = tmp_path / "run" / "control.sock"
    wake, over = threading.Event(), threading.Event()
    server = Control(path, wake.set)

    def answer() -> None:
        while not over.is_set():
            wake.wait(0.05)
            wake.clear()
            while not server.questions.empty():
                question = server.questions.get()
                question.answer.put({"command": question.command, **question.arguments})

    thread = threading.Thread(target=answer)
    thread.start()
    yield path
    over.set()
    thread.join()
    server.close()


def raw(path: Path, said: bytes) -> dict[str, object]:
    with socket.socket(socket.AF_UNIX) as out:
        out.settimeout(5)
        out.connect(str(path))
        out.sendall(said)
        found: dict[str, object] = json.loads(out.makefile().readline())
        return found


def test_a_question_is_answered_and_the_socket_is_the_owners(listening: Path) -> None:
    assert ask(listening, "explain", guest="web") == {"command": "explain", "guest": "web"}
    assert stat.S_IMODE(listening.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "said",
    [b"\n", b"{\n", b"[]\n", b'{"command": 3}\n', b'{"command": "a", "arguments": []}\n',
     b"[" * 60_000 + b"\n", b"\xff\xfe\n", b"x" * (control.LINE_BYTES + 10)],
)  # fmt: skip
def test_what_is_no_question_is_told_so_and_the_next_is_answered(
    listening: Path, said: bytes
) -> None:
    assert "error" in raw(listening, said)
    assert ask(listening, "status")["command"] == "status"


def test_another_user_is_hung_up_on(listening: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    monkeypatch.setattr(control, "ROOT", 54321)
    with pytest.raises(ControlError):
        ask(listening, "status")


def test_where_no_daemon_runs_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="does the daemon run"):
        ask(tmp_path / "none", "status")


def test_two_daemons_refuse_to_share_a_host(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        stack.callback(lock.of_host(str(tmp_path)).release)
        with pytest.raises(Taken, match="another daemon has this host"):
            lock.of_host(str(tmp_path))
        lock.of_folder(str(tmp_path)).release()
    lock.of_host(str(tmp_path)).release()


def test_a_daemon_that_listens_keeps_its_socket(listening: Path) -> None:
    with pytest.raises(ControlError, match="another daemon listens"):
        Control(listening, lambda: None)
    assert ask(listening, "status")["command"] == "status"
