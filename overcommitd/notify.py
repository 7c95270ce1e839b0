"""Tells systemd how it goes: ready, alive, stopping.  Without systemd nobody is told."""

import contextlib
import os
import socket


class Systemd:
    """The service manager's notification socket."""

    def __init__(self) -> None:
        """Look for it in the environment."""
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        usec = os.environ.get("WATCHDOG_USEC", "")
        ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(usec) / 1e6 if usec.isdigit() and ours else float("inf")

    def tell(self, *words: str) -> None:
        """Send words such as READY=1."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto("\n".join(words).encode(), address)
