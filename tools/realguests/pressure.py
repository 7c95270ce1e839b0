"""Memory pressure on the host: cgroups with a limit, and swap on a file.  Needs root.

Everything made here is taken back when the context ends: swap off, cgroups removed.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.realguests.problems import Failed, Unavailable

PREFIX = "overcommit-realguests"
EMPTY_S = 10.0  # [s] until a cgroup whose processes have ended can be removed
SWAP_S = 120.0  # [s] swapoff reads back what is still out


@dataclass(frozen=True)
class Hierarchy:
    """Where the memory controller is, and what its files are called."""

    root: Path
    limit: str
    unlimited: str
    version: int


@dataclass(frozen=True)
class Pressure:
    """The cgroups of one run, by the scenario's names."""

    hierarchy: Hierarchy | None
    folders: Mapping[str, Path]

    def join(self, name: str | None) -> tuple[Path, ...]:
        """The files that a process id has to be written to."""
        return () if name is None else (self.folders[name] / "cgroup.procs",)

    def set_limit(self, name: str, size: int | None) -> None:
        """Set a cgroup's limit [bytes]; None: none.

        Raises:
            Failed: the kernel could not bring it down to that.
        """
        if self.hierarchy is None:
            raise Failed(f"cgroup {name}: there are none")
        text = self.hierarchy.unlimited if size is None else str(size)
        _write(self.folders[name] / self.hierarchy.limit, text)


@contextmanager
def pressure(limits: Mapping[str, int | None], swap: int, folder: Path) -> Iterator[Pressure]:
    """Swap of so many bytes on a file in `folder`, and a cgroup of each limit.

    Args:
        limits: [bytes] by name, None: no limit.
        swap: [bytes] 0: none.
        folder: where the file goes; not on a tmpfs.

    Raises:
        Unavailable: not root, the kernel lacks the memory controller or swap, or a run that was
            killed has left some behind.
    """
    if not limits and not swap:
        yield Pressure(None, {})
        return
    if os.geteuid() != 0:
        raise Unavailable("host pressure (cgroups and swap) needs root; run the command as root")
    _nothing_left(find_hierarchy(Path("/proc/mounts").read_text()) if limits else None, folder)
    with ExitStack() as stack:
        if swap:
            stack.enter_context(_swap(swap, folder / f"swap-{os.getpid()}"))
        hierarchy = find_hierarchy(Path("/proc/mounts").read_text()) if limits else None
        folders = {}
        for name in limits:
            assert hierarchy is not None
            folders[name] = stack.enter_context(_cgroup(hierarchy, name))
        made = Pressure(hierarchy, folders)
        for name, limit in limits.items():
            made.set_limit(name, limit)
        yield made


def leavings(hierarchy: Hierarchy | None, folder: Path) -> list[str]:
    """The commands that take back what runs left that were killed before they could."""
    kills, swaps, removals = [], [], []  # in this order: a cgroup is busy until all have ended
    groups = hierarchy.root.glob(f"{PREFIX}-*") if hierarchy else ()
    for group in sorted(groups):
        if not _alive(group.name.removeprefix(f"{PREFIX}-").split("-")[0]):
            held = " ".join((group / "cgroup.procs").read_text().split())
            kills += [f"kill {held}"] if held else []
            removals.append(f"rmdir {group}")
    for file in sorted(folder.glob("swap-*")):
        if not _alive(file.name.removeprefix("swap-")):
            swaps += [f"swapoff {file}", f"rm {file}"]
    return kills + swaps + removals


def _nothing_left(hierarchy: Hierarchy | None, folder: Path) -> None:
    # Its guests and its swap would be part of all that is measured.
    if commands := leavings(hierarchy, folder):
        lines = "".join(f"\n  {command}" for command in commands)
        raise Unavailable(f"a run that was killed left guests or swap behind; end them by{lines}")


def _alive(process: str) -> bool:
    return Path("/proc", process).exists()


def find_hierarchy(mounts: str) -> Hierarchy:
    """Whichever cgroup hierarchy has the memory controller, from the text of /proc/mounts.

    Raises:
        Unavailable: none has.
    """
    lines = [line.split() for line in mounts.splitlines() if len(line.split()) >= 4]
    for _, where, kind, options, *_ in lines:
        if kind == "cgroup" and "memory" in options.split(","):
            return Hierarchy(Path(where), "memory.limit_in_bytes", "-1", 1)
    for _, where, kind, *_ in lines:
        if kind == "cgroup2" and _has_memory(Path(where)):
            return Hierarchy(Path(where), "memory.max", "max", 2)
    raise Unavailable("host pressure: no mounted cgroup hierarchy has the memory controller")


def _has_memory(root: Path) -> bool:
    try:
        return "memory" in (root / "cgroup.controllers").read_text().split()
    except OSError:
        return False


@contextmanager
def _cgroup(hierarchy: Hierarchy, name: str) -> Iterator[Path]:
    if hierarchy.version == 2:
        _write(hierarchy.root / "cgroup.subtree_control", "+memory")
    folder = hierarchy.root / f"{PREFIX}-{os.getpid()}-{re.sub(r'[^A-Za-z0-9_-]', '_', name)}"
    try:
        folder.mkdir()
    except OSError as error:
        raise Unavailable(f"{folder}: {error.strerror}; may cgroups be made here?") from error
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    until = time.monotonic() + EMPTY_S
    while True:
        try:
            folder.rmdir()
            return
        except OSError as error:
            if time.monotonic() > until:
                raise Failed(f"{folder}: cannot be removed: {error.strerror}") from error
            time.sleep(0.05)


@contextmanager
def _swap(size: int, file: Path) -> Iterator[None]:
    try:
        with file.open("wb") as made:
            file.chmod(0o600)
            os.posix_fallocate(made.fileno(), 0, size)
        _run("mkswap", str(file))
        _run("swapon", str(file))
        try:
            yield
        finally:
            _run("swapoff", str(file))
    except OSError as error:
        raise Unavailable(f"{file}: {size} bytes of swap: {error.strerror}") from error
    finally:
        file.unlink(missing_ok=True)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SWAP_S, check=False)
    except FileNotFoundError as error:
        raise Unavailable(f"{command[0]}: not installed; package mount or util-linux") from error
    if done.returncode:
        raise Unavailable(f"{' '.join(command)}: {done.stderr.strip()}")


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except OSError as error:
        raise Failed(f"{file}: {text}: {error.strerror}") from error
