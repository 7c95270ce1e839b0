"""Writes the telemetry file: a new part when one is full, the oldest part goes."""

import errno
import os
from pathlib import Path
from typing import IO

from contract import recording
from contract.recording import Moment


class Recorder:
    """Appends moments; a full disk loses lines, never the daemon."""

    def __init__(self, folder: Path, size_bytes: int, files: int) -> None:
        """Go on in a new part; what is there stays until its turn comes.

        Raises:
            OSError: the folder cannot be made.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._size, self._files = folder, size_bytes, files
        self._open: IO[bytes] | None = None

    def add(self, moment: Moment) -> None:
        """Append a moment, whole or not at all.

        Raises:
            OSError: it could not be written; earlier lines are as they were.
        """
        text = recording.line(moment).encode()
        if self._open is None or self._open.tell() + len(text) > self._size:
            self._begin()
        assert self._open is not None
        before = self._open.tell()
        try:
            if self._open.write(text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))
        except OSError:
            self._undo(before)
            raise

    def close(self) -> None:
        """End the file."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _begin(self) -> None:
        self.close()
        parts = sorted(self._folder.glob(recording.PATTERN))
        for old in parts[: max(0, len(parts) - self._files + 1)]:
            old.unlink(missing_ok=True)
        last = int(parts[-1].stem.rpartition("-")[2]) if parts else 0
        name = recording.PATTERN.replace("*", f"{last + 1:08d}")
        # unbuffered, so that a line that failed is not kept and written later
        self._open = open(self._folder / name, "ab", buffering=0)  # noqa: SIM115  closed in close

    def _undo(self, size: int) -> None:
        assert self._open is not None
        os.ftruncate(self._open.fileno(), size)
        self._open.seek(size)
