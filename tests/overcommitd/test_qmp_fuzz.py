"""QMP from an emulator that lies: whatever comes, the daemon reads on or says who is at fault."""

import contextlib
import json
import socket
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract import telemetry as readings
from contract.host import HostError
from overcommitd.backend import open_backend
from overcommitd.config import DaemonConfig
from overcommitd.qmp import Qmp, QmpError
from tests.overcommitd.fake_qemu import FakeQemu

NAMES = ("actual", "base-memory", "stats", "last-update", "status", "UUID", "name", "enabled")
KEYS = st.text(max_size=8) | st.sampled_from((*NAMES, "type", "data", "id", "max-size"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=6,
)


class Liar:
    """Says what it is given, whatever it is asked, and hangs up."""

    def __init__(self, path: Path, said: bytes) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._talk, args=(said,), daemon=True)
        self._thread.start()

    def _talk(self, said: bytes) -> None:
        with contextlib.suppress(OSError):
            one, _ = self._listener.accept()
            with one:
                one.sendall(said)

    def close(self) -> None:
        self._listener.close()
        self._thread.join(5)


@settings(max_examples=60, deadline=None)
@given(said=st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode() + b"\n"))
@pytest.mark.parametrize("greets", [False, True])
def test_any_bytes_end_in_an_answer_or_an_error(greets: bool, said: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "liar")
        greeting = b'{"QMP": {}}\n{"return": {}, "id": 1}\n' if greets else b""
        with contextlib.closing(Liar(path, greeting + said)), contextlib.suppress(QmpError):
            client = Qmp(path, timeout_s=2)
            try:
                client.execute("query-status")
            finally:
                client.close()


@settings(max_examples=80, deadline=None)
@given(lies=st.lists(st.tuples(st.booleans(), JSON), max_size=30))
def test_strange_answers_become_unknown_not_wrong(lies: list[tuple[bool, Any]]) -> None:
    class Strange(FakeQemu):
        def _do(self, command: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401
            if command != "qmp_capabilities" and lies:
                lying, lie = lies.pop()
                if lying:
                    return lie
            return super()._do(command, arguments)

    with TemporaryDirectory() as folder:
        guest = Strange(Path(folder), "a")
        fields = {"backend": {"kind": "qmp", "options": {"sockets": f"{folder}/*.qmp"}}}
        with (
            contextlib.closing(guest),
            contextlib.closing(open_backend(DaemonConfig.model_validate(fields))) as backend,
            contextlib.suppress(HostError),
        ):
            for _ in range(2):
                readings.check(backend.read())


def test_a_late_answer_is_not_taken_for_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "qmp"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def talk() -> None:
        one, _ = listener.accept()
        with one, one.makefile("rb") as lines:
            one.sendall(b'{"QMP": {}}\n')
            json.loads(lines.readline())
            one.sendall(b'{"return": {}, "id": 1}\n')
            lines.readline()  # the question that is given up
            second = json.loads(lines.readline())
            late = {"return": "late", "id": second["id"] - 1}
            prompt = {"return": "prompt", "id": second["id"]}
            one.sendall(json.dumps(late).encode() + b"\n" + json.dumps(prompt).encode() + b"\n")

    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    client = Qmp(path, timeout_s=0.3)
    with pytest.raises(QmpError, match="timed out"):
        client.execute("slow")
    assert client.execute("next") == "prompt"
    client.close()
    thread.join(5)
    listener.close()


def test_a_drip_of_bytes_does_not_outlast_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "qmp"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    over = threading.Event()

    def talk() -> None:
        one, _ = listener.accept()
        with one, contextlib.suppress(OSError):
            while not over.wait(0.05):
                one.sendall(b" ")

    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    with pytest.raises(QmpError, match="timed out"):
        Qmp(path, timeout_s=0.4)
    over.set()
    thread.join(5)
    listener.close()
