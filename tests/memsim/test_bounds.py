"""Every index is inside its array: a part of the suite again, with numba's bounds checks.

numba takes an index below 0 as counted from the end, which is what NOBODY would be.  Where checks
are on it is out of bounds as well.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from memsim.build import build
from memsim.jit import entry, kernel
from memsim.machine import Machine
from memsim.state import NOBODY
from tests.memsim.hosts import anon, guest, host

ROOT = Path(__file__).parents[2]
CHECKED = (
    *(
        "laws",
        "swap_area",
        "swap_and_hints",
        "who_waits",
        "resize",
        "power",
        "devices",
        "cpu",
        "emulator",
    ),
    *("writeback", "page_cache"),
)


@kernel
def _flags_of(m: Machine, p: int) -> int:
    return int(m.page[p].hflags)


@entry
def flags_of(m: Machine, p: int) -> int:
    """Read a record of an array, one kernel down."""
    return _flags_of(m, p)


@entry
def held_by(m: Machine, e: int, i: int) -> int:
    """Read an array of two axes."""
    return int(m.iso[e, i])


def _notices() -> None:
    # Or what is run next would pass whatever it does.
    m = build(host(guest(pages=512, regions=[anon(10)])))
    pages, (cpus, batch) = len(m.page), m.iso.shape
    assert flags_of(m, pages - 1) == flags_of(m, 0) == held_by(m, cpus - 1, batch - 1) == 0
    for p in (NOBODY, pages, -pages - 1, 1 << 40):
        with pytest.raises(IndexError):
            flags_of(m, p)
    for e, i in ((NOBODY, 0), (0, NOBODY), (cpus, 0), (0, batch)):
        with pytest.raises(IndexError):
            held_by(m, e, i)


def _run_checked() -> int:
    from numba.core import types
    from numba.np import arrayobj

    def as_it_is(context: Any, builder: Any, kind: Any, index: Any, size: Any) -> Any:  # noqa: ANN401
        return context.cast(builder, index, kind, types.intp)

    arrayobj.fix_integer_index = as_it_is
    _notices()
    files = [str(ROOT / f"tests/memsim/test_{name}.py") for name in CHECKED]
    return pytest.main(["-q", "-m", "not slow", "-p", "no:cacheprovider", *files])


@pytest.mark.slow
def test_no_index_is_out_of_bounds(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name[:6] != "PYTEST"}
    environment |= {
        "NUMBA_BOUNDSCHECK": "1",
        "XDG_CACHE_HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.memsim.test_bounds"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]


if __name__ == "__main__":
    sys.exit(_run_checked())
