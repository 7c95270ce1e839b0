"""Which checkpoints a run folder keeps: the last few, by iteration.

None is kept for having done best in training: that would be a choice by luck, on training hosts
and under exploring actions.  Runs are chosen among by evaluating them.
"""

from pathlib import Path

from agents.learned.archive import Archive, ArchiveError, read, write


class Shelf:
    """The folder `checkpoints/` of a run: `000012.npz` is the state after iteration 12."""

    def __init__(self, folder: Path, keep: int) -> None:
        """Store where, and how many numbered files to keep (at least one)."""
        self.folder, self.keep = folder, keep

    def iterations(self) -> list[int]:
        """The iterations there are files of, ascending."""
        return sorted(int(file.stem) for file in self.folder.glob("*.npz") if file.stem.isdigit())

    def path(self, iteration: int) -> Path:
        """The file of an iteration."""
        return self.folder / f"{iteration:06d}.npz"

    def put(self, archive: Archive, iteration: int) -> None:
        """Write the state after an iteration, then drop the oldest files beyond `keep`."""
        write(self.path(iteration), archive)
        for old in self.iterations()[: -self.keep]:
            self.path(old).unlink()

    def latest(self) -> tuple[Path, Archive] | None:
        """The newest state, or None before the first.

        Raises:
            ArchiveError: the newest file is damaged; the message says what to do.
        """
        iterations = self.iterations()
        if not iterations:
            return None
        path = self.path(iterations[-1])
        try:
            return path, read(path)
        except ArchiveError as error:
            rest = iterations[:-1]
            way = f"resume from {self.path(rest[-1]).name}" if rest else "begin again"
            raise ArchiveError(f"{error}; delete it to {way}") from error
