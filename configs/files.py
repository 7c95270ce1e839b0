"""Where configurations lie, and files that are either the old or the new one, never half."""

import difflib
import os
import secrets
from pathlib import Path

PACKAGE = Path(__file__).parent


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
    names = packaged()
    close = difflib.get_close_matches(inside.as_posix().removesuffix(".yaml"), names, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names)}"
    raise NotFound(f"{source}: there is no such file, and no packaged configuration; {hint}")


def packaged(kind: str = "") -> list[str]:
    """The names of the packaged configurations of a kind, such as `evaluate`, sorted."""
    folder = PACKAGE / kind
    files = folder.glob("*.yaml") if kind else folder.rglob("*.yaml")
    return sorted(file.relative_to(folder).with_suffix("").as_posix() for file in files)


def write_atomic(path: str | Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new one.

    Missing folders are made.  Text is UTF-8 with its line ends as they are.

    Raises:
        OSError: the folder or file cannot be written; an existing file is left as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
