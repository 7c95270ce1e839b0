"""The QMP client against a socket that says what it should not."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from overcommitd import qmp
from overcommitd.qmp import Qmp, QmpError
from tools.realguests.host import statistics, whole

GREETING = b'{"QMP": {}}\n'
DONE = b'{"return": {}}\n'


@contextmanager
def server(folder: Path, *answers: bytes, greeting: bytes = GREETING) -> Iterator[Path]:
    """Greets, then gives one answer to each line, and closes."""
    path = folder / "qmp"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def talk() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as lines:
            connection.sendall(greeting)
            for answer in answers:
                lines.readline()
                connection.sendall(answer)

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield path
    finally:
        listener.close()
        thread.join()


def ask(path: Path) -> object:
    client = Qmp(path, timeout_s=5)
    try:
        return client.execute("query-balloon")
    finally:
        client.close()


def test_events_before_an_answer_are_passed_over(tmp_path: Path) -> None:
    event = b'{"event": "BALLOON_CHANGE", "data": {}}\n'
    with server(tmp_path, DONE, event * 3 + b'{"return": {"actual": 7}}\n') as path:
        assert ask(path) == {"actual": 7}


def test_an_error_is_told_in_the_emulators_words(tmp_path: Path) -> None:
    error = {"error": {"class": "DeviceNotActive", "desc": "No balloon device"}}
    with (
        server(tmp_path, DONE, json.dumps(error).encode() + b"\n") as path,
        pytest.raises(QmpError, match="query-balloon: No balloon device"),
    ):
        ask(path)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"this is no JSON\n", "no JSON"),
        (b"[1, 2]\n", "list; expected an object"),
        (b"\xff\xfe\n", "no JSON"),
        (b"[" * 100_000 + b"\n", "nested too deeply"),
        (b"", "closed the connection"),
    ],
)
def test_what_is_no_answer_is_an_error(tmp_path: Path, answer: bytes, says: str) -> None:
    with server(tmp_path, DONE, answer) as path, pytest.raises(QmpError, match=says):
        ask(path)


def test_a_line_has_a_longest_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp, "LINE_BYTES", 1000)
    with (
        server(tmp_path, DONE, b"x" * 70_000) as path,
        pytest.raises(QmpError, match="more than 1000 bytes"),
    ):
        ask(path)


def test_events_alone_are_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp, "EVENTS", 10)
    with (
        server(tmp_path, DONE, b'{"event": "STOP"}\n' * 10) as path,
        pytest.raises(QmpError, match="10 events and no answer"),
    ):
        ask(path)


def test_who_greets_otherwise_is_no_emulator(tmp_path: Path) -> None:
    with (
        server(tmp_path, greeting=b'{"hello": 1}\n') as path,
        pytest.raises(QmpError, match="greets like no emulator"),
    ):
        Qmp(path)


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(QmpError, match="No such file"):
        Qmp(tmp_path / "nobody")


def test_statistics_that_were_never_given_are_left_out() -> None:
    stats = {"stat-free-memory": 5, "stat-total-memory": 2**64 - 1}
    assert statistics({"stats": stats, "last-update": 1}) == {"stats_free_bytes": 5}


@pytest.mark.parametrize("value", [True, -1, "7", 1.5, None])
def test_a_size_is_a_whole_number(value: object) -> None:
    with pytest.raises(QmpError, match=r"actual: .*expected a whole number"):
        whole({"actual": value}, "actual")


def test_statistics_are_an_object() -> None:
    with pytest.raises(QmpError, match="expected an object with stats"):
        statistics([])
