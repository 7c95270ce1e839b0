"""Where configurations lie, and files that are either the old or the new one, never half."""

import difflib
import errno
import os
import secrets
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).parent
MANY = 24  # names that nobody reads in one line
PARTIAL = ".partial"


class NotFound(Exception):
    """Neither a file of that name nor a packaged configuration; the message says what there is."""


def find(source: str | Path) -> Path:
    """The file that a path or the name of a packaged configuration means.

    A file relative to the working folder comes first; then `evaluate/demo`,
    `evaluate/demo.yaml` and `configs/evaluate/demo.yaml` mean the one that ships.

    Raises:
        NotFound: there is neither.
    """
    path = Path(source)
    if path.is_file():
        return path
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise NotFound(f"{source}: there is no such file")
    inside = Path(*path.parts[1:]) if path.parts[0] == PACKAGE.name else path
    shipped = PACKAGE / inside.parent / (inside.name.removesuffix(".yaml") + ".yaml")
    if shipped.is_file():
        return shipped
    raise NotFound(
        f"{source}: there is no such file, and no packaged configuration; {_instead(inside)}"
    )


def named(kind: str, source: str) -> str:
    """What a command line means by `source`: a path, or the name of one of a kind that ships."""
    return source if "/" in source or source.endswith(".yaml") else f"{kind}/{source}"


def packaged(kind: str = "") -> list[str]:
    """The names of the packaged configurations of a kind, such as `evaluate`, sorted."""
    folder = PACKAGE / kind
    files = folder.glob("*.yaml") if kind else folder.rglob("*.yaml")
    return sorted(file.relative_to(folder).with_suffix("").as_posix() for file in files)


def _instead(wanted: Path) -> str:
    """What ships and is called alike; else all of the same kind, or their folders if too many."""
    kind = wanted.parent.as_posix()
    known = packaged(kind) if kind != "." and (PACKAGE / kind).is_dir() else packaged()
    before = "" if known == packaged() else f"{kind}/"
    close = difflib.get_close_matches(wanted.name.removesuffix(".yaml"), known, n=3)
    if close:
        return f"did you mean {' or '.join(before + name for name in close)}?"
    if len(known) > MANY:
        folders = sorted({Path(name).parts[0] for name in known if "/" in name})
        return f"what ships is in {', '.join(f'{PACKAGE.name}/{folder}' for folder in folders)}"
    return f"there are {', '.join(before + name for name in known)}"


def check_writable(path: str | Path) -> None:
    """Find out before minutes are spent on it that a file cannot be written.

    Raises:
        OSError: its folder is not there or cannot be written to, or it is a folder itself.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_atomic(path: str | Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new one.

    Missing folders are made.  Text is UTF-8 with its line ends as they are.

    Raises:
        OSError: the folder or file cannot be written, its name is that of the file; an existing
            file is left as it was.
    """
    path = Path(path)
    try:
        _write(path, content)
    except OSError as error:
        if isinstance(error.filename, str) and not error.filename.endswith(PARTIAL):
            raise  # a folder
        raise OSError(error.errno, error.strerror, str(path)) from error


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
