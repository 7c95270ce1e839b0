"""What all tests share: how Hypothesis searches, and results that are kept and compared."""

import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# Without deadlines (other processes share the machine); CI repeats itself, people explore.
settings.register_profile(
    "suite",
    deadline=None,
    derandomize="CI" in os.environ,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")

os.environ.setdefault("MPLBACKEND", "agg")

FLOAT_TOLERANCE = 1e-6  # relative; integers and text are compared exactly

Golden = Callable[[str, Any], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-golden",
        action="store_true",
        help="write the kept results anew instead of comparing with them",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "golden" in getattr(item, "fixturenames", ()):
            item.add_marker("golden")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compare plain data or arrays with `golden/NAME.json` beside the test.

    `make rollouts` writes the files anew, to be reviewed as a difference.
    """

    def compare(name: str, found: Any) -> None:  # noqa: ANN401  plain data or arrays
        path = Path(request.path).parent / "golden" / f"{name}.json"
        found = _plain(found)
        if request.config.getoption("--write-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(found, indent=1) + "\n")
            return
        kept = json.loads(path.read_text())
        wrong = [f"{where}: kept {old}, found {new}" for where, old, new in _differ(kept, found)]
        if wrong:
            pytest.fail(f"{path.name} differs in {len(wrong)} places\n" + "\n".join(wrong[:20]))

    return compare


def _plain(data: Any) -> Any:  # noqa: ANN401  plain data or arrays
    """Arrays as lists, so that JSON can hold them."""
    if isinstance(data, np.ndarray | np.generic):
        return data.tolist()
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    return data


def _differ(old: Any, new: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401
    """Every place where kept and found data are not the same."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _differ(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (left, right) in enumerate(zip(old, new, strict=True)):
            yield from _differ(left, right, f"{where}[{index}]")
    elif isinstance(old, float) and isinstance(new, float):
        both_nan = math.isnan(old) and math.isnan(new)
        if not both_nan and not math.isclose(old, new, rel_tol=FLOAT_TOLERANCE, abs_tol=1e-12):
            yield where, old, new
    elif type(old) is not type(new) or old != new:
        yield where, old, new
