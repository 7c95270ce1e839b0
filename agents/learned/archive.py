"""A file of arrays and plain facts: one uncompressed .npz, never a pickle, whole or refused.

The facts are JSON in the member `facts`.  Every member carries a checksum, so a file that was cut
short or altered is an error with a name, not a wrong number.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs.loading import write_atomic

FACTS = "facts"


class ArchiveError(Exception):
    """The file is missing, cut short, damaged, or not one of ours; the message names it."""


class Archive(NamedTuple):
    """What one file holds."""

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]  # what JSON can say


def write(path: Path, archive: Archive) -> None:
    """Write a file that is complete as soon as it has its name.

    Raises:
        ValueError: an array of objects, or an array under the name of the facts.
        OSError: the file cannot be written.
    """
    for name, array in archive.arrays.items():
        if array.dtype.hasobject or name == FACTS:
            raise ValueError(f"{path}: array {name!r} of {array.dtype} cannot be stored")
    facts = np.frombuffer(json.dumps(archive.facts).encode(), np.uint8)
    content = io.BytesIO()
    arrays: Mapping[str, Any] = {**archive.arrays, FACTS: facts}
    np.savez(content, allow_pickle=False, **arrays)
    write_atomic(path, content.getvalue())


def _member(members: zipfile.ZipFile, name: str) -> np.ndarray:
    array: np.ndarray = np.lib.format.read_array(
        io.BytesIO(members.read(f"{name}.npy")), allow_pickle=False
    )
    return array


def read(path: Path) -> Archive:
    """Read a file back.

    Raises:
        ArchiveError: it is not there, not whole, or not ours.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as members:
            names = [name.removesuffix(".npy") for name in members.namelist()]
            arrays = {name: _member(members, name) for name in names}
        facts = json.loads(arrays.pop(FACTS).tobytes())
    except FileNotFoundError as error:
        raise ArchiveError(f"{path}: there is no such file") from error
    except KeyError as error:
        raise ArchiveError(f"{path}: has no member {FACTS!r}, so it is not a checkpoint") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise ArchiveError(f"{path}: is damaged or was cut short ({error})") from error
    return Archive(arrays, facts)
