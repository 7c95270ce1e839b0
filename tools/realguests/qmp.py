"""A client of QEMU's machine protocol: one JSON object a line, one request at a time.

What comes from the socket is not trusted: lines are bounded, and anything but the expected
objects ends the connection.
"""

import json
import socket
import threading
from pathlib import Path
from typing import Any

from contract.host import HostError

LINE_BYTES = 1 << 20  # [bytes] of one answer at most
EVENTS = 1000  # that may come before an answer
TIMEOUT_S = 30.0  # [s] for an answer: an emulator that is itself swapped out is slow

Object = dict[str, Any]


class QmpError(HostError):
    """The emulator is gone, refused a command or said what is no QMP."""


class Qmp:
    """A connection to one emulator."""

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        """Connect and leave negotiation behind.

        Raises:
            QmpError: nobody listens there, or not an emulator.
        """
        self._path, self._lock, self._kept = path, threading.Lock(), b""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)
        try:
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

    def execute(self, command: str, **arguments: object) -> Any:  # noqa: ANN401  what QMP returns
        """Run one command and return what it returns.

        Raises:
            QmpError: the emulator refuses, is gone, or takes too long.
        """
        request = {"execute": command} | ({"arguments": arguments} if arguments else {})
        with self._lock:
            try:
                self._socket.sendall(json.dumps(request).encode() + b"\n")
                return self._answer(command)
            except OSError as error:
                raise QmpError(f"{self._path}: {command}: {error}") from error

    def close(self) -> None:
        """End the connection; the emulator goes on."""
        self._socket.close()

    def _answer(self, command: str) -> Any:  # noqa: ANN401
        for _ in range(EVENTS):
            found = self._object()
            if "return" in found:
                return found["return"]
            if "error" in found:
                error = found["error"]
                said = error.get("desc") if isinstance(error, dict) else error
                raise QmpError(f"{self._path}: {command}: {said}")
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
            received = self._socket.recv(65536)
            if not received:
                raise QmpError(f"{self._path}: the emulator closed the connection")
            self._kept += received
        line, _, self._kept = self._kept.partition(b"\n")
        return line
