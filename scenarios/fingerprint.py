"""What a result that is kept depends on, as a name: sources, versions and plain data."""

import hashlib
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np

LIBRARIES = ("numpy", "numba")


@cache
def code(*modules: ModuleType) -> str:
    """A hash of the sources and shipped YAML of packages or modules, and of the libraries."""
    digest = hashlib.sha256()
    for module in modules:
        for file in _files(module):
            digest.update(f"{module.__name__} {file.name}\0".encode())
            digest.update(file.read_bytes())
    for library in LIBRARIES:
        digest.update(f"{library} {version(library)}\0".encode())
    return digest.hexdigest()


def _files(module: ModuleType) -> list[Path]:
    if not hasattr(module, "__path__"):
        return [Path(str(module.__file__))]
    found = Path(module.__path__[0]).rglob("*")
    return sorted(file for file in found if file.suffix in (".py", ".yaml"))


def of(*values: object) -> str:
    """A hash of dataclasses, tuples, arrays and plain values, by all that they hold.

    Raises:
        TypeError: something else is among them.
    """
    digest = hashlib.sha256()
    _feed(digest.update, values)
    return digest.hexdigest()


def _feed(update: Callable[[bytes], object], value: object) -> None:
    if isinstance(value, np.ndarray):
        update(f"{value.dtype.str}{value.shape}".encode())
        update(np.ascontiguousarray(value).tobytes())
    elif is_dataclass(value) and not isinstance(value, type):
        update(type(value).__name__.encode())
        for field in fields(value):
            update(field.name.encode())
            _feed(update, getattr(value, field.name))
    elif isinstance(value, tuple):
        update(f"({len(value)}".encode())
        for part in value:
            _feed(update, part)
    elif value is None or isinstance(value, Enum | bool | int | float | str):
        update(f"{type(value).__name__} {value!r}\0".encode())
    else:
        raise TypeError(f"fingerprint: cannot take {type(value).__name__}")
