"""One daemon a host: two that resize the same guests would fight.

The lock is a name in the kernel, not a file: it ends with the process that holds it, however that
ends.  Users without rights on each other's folders share it.
"""

import errno
import socket


class Taken(Exception):
    """Another daemon holds the lock."""


class HostLock:
    """Held from construction to `release`."""

    def __init__(self, name: str) -> None:
        """Take it.

        Raises:
            Taken: somebody else has it.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.bind(f"\0overcommit/{name}")
        except OSError as error:
            self._socket.close()
            if error.errno != errno.EADDRINUSE:
                raise
            raise Taken(
                f"another daemon already looks after this host (lock {name}); stop it first"
            ) from error

    def release(self) -> None:
        """Give it back."""
        self._socket.close()
