"""Writes a cpio archive in the format "newc", which is what the kernel unpacks as an initramfs."""

from collections.abc import Iterable
from typing import NamedTuple

FOLDER_MODE, FILE_MODE, PROGRAM_MODE = 0o040755, 0o100644, 0o100755


class Entry(NamedTuple):
    """A folder (no content) or a file; folders come before what is in them."""

    name: str
    content: bytes | None = None
    executable: bool = False


def newc(entries: Iterable[Entry]) -> bytes:
    """The archive: headers of 13 eight-digit hexadecimal numbers, all padded to four bytes.

    Format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.  Owner is root,
    times are 0, so that equal entries give equal bytes.
    """
    listed = [*entries, Entry("TRAILER!!!", b"")]
    return b"".join(_record(number, entry) for number, entry in enumerate(listed, start=1))


def _record(inode: int, entry: Entry) -> bytes:
    content, name = entry.content or b"", entry.name.encode() + b"\0"
    mode = PROGRAM_MODE if entry.executable else FILE_MODE
    mode = FOLDER_MODE if entry.content is None else mode
    links = 2 if entry.content is None else 1
    numbers = (inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers)
    return _padded(header + name) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
