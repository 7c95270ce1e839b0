"""A client of QEMU's machine protocol: one JSON object a line, one request at a time.

What comes from the socket is not trusted: lines are bounded, so is what may come before an answer,
and anything but the expected objects ends the connection.  An answer that comes too late is told
from the next one by its id.
"""

import json
import socket
import struct
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contract.host import HostError, Refused

LINE_BYTES = 1 << 20  # [bytes] of one answer at most
EVENTS = 1000  # that may come before an answer
TIMEOUT_S = 30.0  # [s] for an answer: an emulator that is itself swapped out is slow
CREDENTIALS = struct.Struct("3i")  # process, user and group of a peer: SO_PEERCRED

Object = dict[str, Any]


class QmpError(HostError):
    """The emulator is gone or said what is no QMP; the connection is over."""


class QmpRefused(Refused, QmpError):
    """The emulator understood a command and will not carry it out; the connection goes on."""


class Qmp:
    """A connection to one emulator."""

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        """Connect and leave negotiation behind.

        Raises:
            QmpError: nobody listens there, or not an emulator.
        """
        self._path, self._timeout_s, self._kept = path, timeout_s, b""
        self._lock, self._asked, self._until = threading.Lock(), 0, 0.0
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._begin()
            self._socket.connect(str(path))
            if "QMP" not in self._object():
                raise QmpError(f"{path}: greets like no emulator")
            self.execute("qmp_capabilities")
        except OSError as error:
            self.close()
            raise QmpError(f"{path}: {error}") from error
        except QmpError:
            self.close()
            raise

    @property
    def pid(self) -> int | None:
        """The emulator's process, None if it runs where its number means nothing to us."""
        size = CREDENTIALS.size
        found = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        pid = int(CREDENTIALS.unpack(found)[0])
        return pid if pid > 0 else None

    def execute(self, command: str, **arguments: object) -> Any:  # noqa: ANN401  what QMP returns
        """Run one command and return what it returns.

        Raises:
            QmpRefused: the emulator will not.
            QmpError: it is gone, takes too long, or says what is no QMP.
        """
        (found,) = self.execute_all([(command, arguments)])
        if isinstance(found, QmpRefused):
            raise found
        return found

    def execute_all(self, commands: Sequence[tuple[str, Object]]) -> list[Any]:
        """Run several commands, sent together; a refusal stands in the place of its answer.

        Raises:
            QmpError: as `execute`.
        """
        names = [name for name, _ in commands]
        with self._lock:
            first = self._asked + 1
            self._asked += len(commands)
            lines = [
                json.dumps({"execute": name, "id": first + place, "arguments": arguments})
                for place, (name, arguments) in enumerate(commands)
            ]
            try:
                self._begin()
                self._socket.sendall("\n".join(lines).encode() + b"\n")
                return [self._answer(name, first + place) for place, name in enumerate(names)]
            except OSError as error:
                raise QmpError(f"{self._path}: {names[0]}: {error}") from error

    def close(self) -> None:
        """End the connection; the emulator goes on."""
        self._socket.close()

    def _begin(self) -> None:
        self._until = time.monotonic() + self._timeout_s
        self._socket.settimeout(self._timeout_s)

    def _answer(self, command: str, number: int) -> Any:  # noqa: ANN401
        for _ in range(EVENTS):
            found = self._object()
            if found.get("id", number) != number:
                continue  # of a question that was given up
            if "return" in found:
                return found["return"]
            if "error" in found:
                error = found["error"]
                said = error.get("desc") if isinstance(error, dict) else error
                return QmpRefused(f"{self._path}: {command}: {said}")
        raise QmpError(f"{self._path}: {command}: {EVENTS} events and no answer")

    def _object(self) -> Object:
        try:
            found = json.loads(self._line())
        except ValueError as error:  # also of bytes that are no UTF-8
            raise QmpError(f"{self._path}: a line that is no JSON") from error
        except RecursionError as error:
            raise QmpError(f"{self._path}: JSON nested too deeply") from error
        if not isinstance(found, dict):
            raise QmpError(f"{self._path}: {type(found).__name__}; expected an object")
        return found

    def _line(self) -> bytes:
        while b"\n" not in self._kept:
            if len(self._kept) > LINE_BYTES:
                raise QmpError(f"{self._path}: a line of more than {LINE_BYTES} bytes")
            left_s = self._until - time.monotonic()  # of the whole answer, however it drips
            if left_s <= 0:
                raise TimeoutError("timed out")
            self._socket.settimeout(left_s)
            received = self._socket.recv(65536)
            if not received:
                raise QmpError(f"{self._path}: the emulator closed the connection")
            self._kept += received
        line, _, self._kept = self._kept.partition(b"\n")
        return line
