"""The guest agent (qemu-ga), for one thing: the talk's own free-memory target.

With factor f the guest's kernel keeps f ten-thousandths of its memory between two watermarks, so
that kswapd goes on until 2 f are free.  The factor's grain is .01 % of the guest's memory and its
cap, in every kernel since 4.6, is 1000 (newer ones take 3000): at most 20 % of a guest can be had
in this way.  The balloon reaches further.
"""

import base64
import json
import math
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from contract.host import GuestGone, HostError, Refused

SCALE_FILE = "/proc/sys/vm/watermark_scale_factor"
LEAST_SCALE, MOST_SCALE = 10, 1000  # the kernel's default and cap
LINE_BYTES = 1 << 16  # [bytes] of one answer at most
Ask = Callable[[str, Mapping[str, object]], Any]  # command, arguments -> what it returns
AGENT_ADVICE = "install qemu-guest-agent in the guest and give it a virtio-serial port"


def free_target_scale(free_bytes: int, size_bytes: int) -> int:
    """The factor that keeps `free_bytes` of `size_bytes` free, as far as it reaches."""
    scale = math.ceil(10_000 * max(0, free_bytes) / max(1, size_bytes) / 2)
    return min(max(scale, LEAST_SCALE), MOST_SCALE)


def set_watermark_scale(ask: Ask, scale: int) -> None:
    """Write a guest's watermark_scale_factor through its agent.

    Raises:
        GuestGone, Refused: as in the contract.
    """
    handle = ask("guest-file-open", {"path": SCALE_FILE, "mode": "w"})
    try:
        content = base64.b64encode(f"{scale}\n".encode()).decode()
        ask("guest-file-write", {"handle": handle, "buf-b64": content})
        ask("guest-file-flush", {"handle": handle})
    finally:
        ask("guest-file-close", {"handle": handle})


class Agent:
    """A connection to one guest's agent."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        """Connect and leave what earlier clients left unread behind.

        Raises:
            GuestGone: nobody answers there.
        """
        self._path, self._timeout_s, self._kept = path, timeout_s, b""
        self._socket = socket.socket(socket.AF_UNIX)
        self._until = time.monotonic() + timeout_s
        try:
            self._socket.settimeout(timeout_s)
            self._socket.connect(str(path))
            mark = secrets.randbelow(1 << 31)
            self._send({"execute": "guest-sync-delimited", "arguments": {"id": mark}}, b"\xff")
            while self._object().get("return") != mark:
                pass
        except (OSError, HostError) as error:
            self.close()
            raise GuestGone(f"{path}: {error}") from error

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def ask(self, command: str, arguments: Mapping[str, object]) -> Any:  # noqa: ANN401
        """Run one command and return what it returns.

        Raises:
            GuestGone, Refused: as in the contract.
        """
        self._until = time.monotonic() + self._timeout_s
        try:
            self._send({"execute": command, "arguments": dict(arguments)})
            found = self._object()
        except OSError as error:
            raise GuestGone(f"{self._path}: {command}: {error}") from error
        if "error" in found:
            raise Refused(f"{self._path}: {command}: {str(found['error'])[:200]}")
        return found.get("return")

    def _send(self, request: dict[str, Any], before: bytes = b"") -> None:
        self._socket.sendall(before + json.dumps(request).encode() + b"\n")

    def _object(self) -> dict[str, Any]:
        while b"\n" not in self._kept:
            left_s = self._until - time.monotonic()
            if len(self._kept) > LINE_BYTES or left_s <= 0:
                raise GuestGone(f"{self._path}: no answer in time, or one that does not end")
            self._socket.settimeout(left_s)
            received = self._socket.recv(4096)
            if not received:
                raise GuestGone(f"{self._path}: closed")
            self._kept += received
        line, _, self._kept = self._kept.partition(b"\n")
        try:
            found = json.loads(line.rpartition(b"\xff")[2])
        except (ValueError, RecursionError) as error:
            raise GuestGone(f"{self._path}: a line that is no JSON") from error
        if not isinstance(found, dict):
            raise GuestGone(f"{self._path}: {type(found).__name__}; expected an object")
        return found
