"""One daemon a host, and one a state folder: two that resize the same guests would fight.

A lock is a name in the kernel, not a file: it ends with the process that holds it, however that
ends.  Users without rights on each other's folders share it.
"""

import errno
import hashlib
import socket


class Taken(Exception):
    """Another daemon holds the lock."""


class Lock:
    """Held from construction to `release`."""

    def __init__(self, name: str) -> None:
        """Take it.

        Raises:
            Taken: somebody else has it.
        """
        short = hashlib.sha256(name.encode()).hexdigest()[:32]  # a socket's name has 107 bytes
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.bind(f"\0overcommit/{short}")
        except OSError as error:
            self._socket.close()
            if error.errno != errno.EADDRINUSE:
                raise
            raise Taken(f"another daemon has {name}; stop it first") from error

    def release(self) -> None:
        """Give it back."""
        self._socket.close()


def of_host(name: str) -> Lock:
    """The lock of who acts on this host.

    Raises:
        Taken: another daemon acts.
    """
    return Lock(f"this host (host_lock {name})")


def of_folder(folder: str) -> Lock:
    """The lock of who writes to a state folder, an absolute path.

    Raises:
        Taken: another daemon writes there.
    """
    return Lock(f"the folder {folder}")
