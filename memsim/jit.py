"""One decorator for every kernel, with a compile cache that follows all of memsim's sources.

numba's own cache does not see an edit in another file, so the cache folder is named by a hash of
all sources.  Kernels run without reference counts (`_nrt=False`): they never allocate, and counts
on shared arrays cost more than the work in between, most of all from two threads at once.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from numba import config, njit

F = TypeVar("F", bound=Callable[..., object])


def _cache_folder() -> str:
    digest = hashlib.sha256(os.environ.get("NUMBA_BOUNDSCHECK", "").encode())
    for source in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return str(root / "memsim" / digest.hexdigest()[:16])


CACHE_FOLDER = _cache_folder()
# Both: numba re-reads its environment whenever a NUMBA_* variable changes.
_settings: Any = config
_settings.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"] = CACHE_FOLDER

_OPTIONS: dict[str, Any] = {
    "cache": True,
    "error_model": "numpy",
    "fastmath": False,
    "nogil": True,
    "_nrt": False,
}
_NO_WRAPPERS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def kernel(function: F) -> F:
    """Compile a function that other kernels call; it may raise nothing and allocate nothing.

    It has no wrapper for Python, which would cost as much to compile as the function.
    """
    compiled: F = njit(**_OPTIONS, **_NO_WRAPPERS)(function)
    return compiled


def entry(function: F) -> F:
    """Compile a kernel that Python calls too."""
    compiled: F = njit(**_OPTIONS)(function)
    return compiled
