"""Talks to the agent in a guest: a line there, a line back; several commands may be under way."""

import contextlib
import socket
import threading
from pathlib import Path
from queue import Empty, SimpleQueue

from tools.realguests.problems import Failed

LINE_BYTES = 1 << 16  # [bytes] of one answer at most
READY = "0"  # what the agent's first line answers

Numbers = dict[str, float]


class Agent:
    """A connection to one guest's second serial port."""

    def __init__(self, path: Path) -> None:
        """Connect; the guest may still have to boot.

        Raises:
            Failed: nobody listens there.
        """
        self._path, self._lock, self._used = path, threading.Lock(), 0
        self._waiting: dict[str, SimpleQueue[str | None]] = {READY: SimpleQueue()}
        self._gone = False
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise Failed(f"{path}: {error}") from error
        threading.Thread(target=self._listen, daemon=True).start()

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the guest has booted.

        Raises:
            Failed: it has not in time, or is gone.
        """
        self._take(READY, "boot", timeout_s)

    def call(self, command: str, timeout_s: float) -> Numbers:
        """Run one command and return the numbers of its answer.

        Raises:
            Failed: the guest refuses, is gone, or takes too long.
        """
        with self._lock:
            if self._gone:
                raise Failed(f"{self._path}: {command}: the guest is gone")
            self._used += 1
            name = str(self._used)
            self._waiting[name] = SimpleQueue()
            try:
                self._socket.sendall(f"{name} {command}\n".encode())
            except OSError as error:
                raise Failed(f"{self._path}: {command}: {error}") from error
        return self._take(name, command, timeout_s)

    def close(self) -> None:
        """End the connection; whoever waits for an answer gets an error."""
        with contextlib.suppress(OSError):  # the guest may be gone already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _take(self, name: str, command: str, timeout_s: float) -> Numbers:
        try:
            answer = self._waiting[name].get(timeout=timeout_s)
        except Empty as error:
            raise Failed(f"{self._path}: {command}: no answer after {timeout_s:g} s") from error
        finally:
            self._waiting.pop(name, None)
        if answer is None:
            raise Failed(f"{self._path}: {command}: the guest is gone")
        return numbers(answer, command)

    def _listen(self) -> None:
        kept = b""
        while len(kept) <= LINE_BYTES:
            try:
                received = self._socket.recv(65536)
            except OSError:
                break
            if not received:
                break
            *lines, kept = (kept + received).split(b"\n")
            for line in lines:
                self._deliver(line.decode(errors="replace").strip())
        with self._lock:
            self._gone = True
            for queue in list(self._waiting.values()):
                queue.put(None)

    def _deliver(self, line: str) -> None:
        name, _, answer = line.partition(" ")
        queue = self._waiting.get(name)
        if queue is not None:
            queue.put(answer)


def numbers(answer: str, command: str) -> Numbers:
    """The numbers of "ok NAME=NUMBER ...".

    Raises:
        Failed: the answer is an error, or no such line.
    """
    verdict, _, rest = answer.partition(" ")
    if verdict != "ok":
        raise Failed(f"{command}: {rest or answer or 'no answer'}")
    try:
        pairs = [word.split("=") for word in rest.split()]
        return {name: float(value) for name, value in pairs}
    except ValueError as error:
        raise Failed(f"{command}: {answer[:80]!r}; expected NAME=NUMBER") from error
