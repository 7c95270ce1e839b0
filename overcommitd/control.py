"""The control socket: one JSON object a line there, one back.  For the daemon's user and root only.

The server only carries questions to the daemon's own loop, which answers between two turns; so
nothing here runs beside a decision.
"""

import contextlib
import json
import os
import socket
import socketserver
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

ROOT = 0
LINE_BYTES = 1 << 16  # [bytes] of a request at most
ANSWER_BYTES = 16 << 20  # [bytes] of an answer at most
ANSWER_S = 30.0  # [s] until who asks is told that the daemon is busy
IDLE_S = 60.0  # [s] until a client that says nothing is hung up on
CREDENTIALS = struct.Struct("3i")  # SO_PEERCRED: process, user, group

Answer = dict[str, Any]


class ControlError(Exception):
    """The daemon cannot be asked, or refused; the message says which."""


@dataclass
class Question:
    """A request on its way to the loop."""

    command: str
    arguments: dict[str, Any]
    answer: SimpleQueue[Answer] = field(default_factory=SimpleQueue)


class Control:
    """Listens from construction to `close`."""

    def __init__(self, path: Path, wake: Callable[[], None]) -> None:
        """Open the socket; `wake` is called when a question waits.

        Raises:
            ControlError: another daemon listens there.
            OSError: it cannot be made.
        """
        self._path, self._wake = path, wake
        self.questions: SimpleQueue[Question] = SimpleQueue()
        path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_if_answered(path)
        path.unlink(missing_ok=True)  # of a daemon that was killed
        before = os.umask(0o177)  # 0600 from its first moment on
        try:
            self._server = _Server(str(path), _handler(self._ask))
        finally:
            os.umask(before)
        threading.Thread(target=self._server.serve_forever, name="control", daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._path.unlink(missing_ok=True)

    def _ask(self, command: str, arguments: dict[str, Any]) -> Answer:
        question = Question(command, arguments)
        self.questions.put(question)
        self._wake()
        try:
            return question.answer.get(timeout=ANSWER_S)
        except Empty:
            return {"error": f"the daemon has been busy for {ANSWER_S:g} s"}


def _refuse_if_answered(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(str(path))
        raise ControlError(f"{path}: another daemon listens; give each a runtime_dir of its own")


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 16

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ANN401
        """Only root and the daemon's own user may ask, whatever the file's mode has become."""
        found = request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        return CREDENTIALS.unpack(found)[1] in (ROOT, os.geteuid())

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """A client that hung up is no news."""


def _handler(
    ask: Callable[[str, dict[str, Any]], Answer],
) -> type[socketserver.StreamRequestHandler]:
    class Handler(socketserver.StreamRequestHandler):
        timeout = IDLE_S

        def handle(self) -> None:
            while line := self.rfile.readline(LINE_BYTES + 1):
                answer = _answer(line, ask)
                self.wfile.write(json.dumps(answer).encode() + b"\n")

    return Handler


def _answer(line: bytes, ask: Callable[[str, dict[str, Any]], Answer]) -> Answer:
    if len(line) > LINE_BYTES:
        return {"error": f"more than {LINE_BYTES} bytes"}
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {"error": "expected one JSON object a line"}
    command = found.get("command") if isinstance(found, dict) else None
    arguments = found.get("arguments", {}) if isinstance(found, dict) else None
    if not isinstance(command, str) or not isinstance(arguments, dict):
        return {"error": 'expected {"command": TEXT, "arguments": {}}'}
    return ask(command, arguments)


def ask(path: Path, command: str, **arguments: object) -> Answer:
    """Ask a daemon.

    Raises:
        ControlError: there is none, it does not answer, or it refuses.
    """
    try:
        with socket.socket(socket.AF_UNIX) as out:
            out.settimeout(ANSWER_S + 5)
            out.connect(str(path))
            out.sendall(json.dumps({"command": command, "arguments": arguments}).encode() + b"\n")
            found = json.loads(_line(out))
    except FileNotFoundError as error:
        raise ControlError(f"{path}: there is no such socket; does the daemon run?") from error
    except PermissionError as error:
        raise ControlError(f"{path}: be root or the daemon's own user") from error
    except ConnectionRefusedError as error:
        raise ControlError(f"{path}: nobody listens; does the daemon run?") from error
    except (OSError, ValueError) as error:
        raise ControlError(f"{path}: {error}") from error
    if not isinstance(found, dict) or "error" in found:
        raise ControlError(str(found.get("error") if isinstance(found, dict) else found))
    return found


def _line(out: socket.socket) -> bytes:
    kept = b""
    while b"\n" not in kept and len(kept) <= ANSWER_BYTES:
        with contextlib.suppress(InterruptedError):
            received = out.recv(65536)
            if not received:
                raise ValueError("the daemon hung up: be root or its own user")
            kept += received
    return kept.partition(b"\n")[0]
