"""The comparison with kept results can fail, and says where."""

import json
import math
from pathlib import Path

import pytest

KEPT = {
    "counts": [1, 2, 3],
    "seconds": {"idle": 0.5, "lost": [1.0, math.nan]},
    "name": "talk",
    "unknown": None,
}


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder with the shared conftest and one test that hands data.json to `golden`."""
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text())
    pytester.makeini("[pytest]\nmarkers = golden: kept results")
    pytester.makepyfile(
        test_it=(
            "import json\n"
            "import numpy as np\n"
            "def test_it(golden):\n"
            "    with open('data.json') as file:\n"
            "        data = json.load(file)\n"
            "    golden('kept', data | {'array': (np.arange(3), np.float32(0.5))})\n"
            "def test_other():\n"
            "    raise AssertionError('not selected')\n"
        )
    )
    (pytester.path / "data.json").write_text(json.dumps(KEPT))
    pytester.runpytest_inprocess("-m", "golden", "--write-golden").assert_outcomes(
        passed=1, deselected=1
    )
    return pytester


def outcome(suite: pytest.Pytester, data: object) -> tuple[bool, str]:
    (suite.path / "data.json").write_text(json.dumps(data))
    result = suite.runpytest_inprocess("-m", "golden")
    return result.ret == 0, result.stdout.str()


def test_the_same_data_passes_also_with_floats_off_by_a_rounding(suite: pytest.Pytester) -> None:
    assert outcome(suite, KEPT)[0]
    assert outcome(suite, KEPT | {"seconds": {"idle": 0.5 * (1 + 1e-9), "lost": [1.0, math.nan]}})[
        0
    ]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"counts": [1, 2, 4]}, "counts[2]: kept 3, found 4"),
        ({"counts": [1, 2]}, "counts: kept [1, 2, 3], found [1, 2]"),
        ({"counts": [1, 2, 3.0]}, "counts[2]: kept 3, found 3.0"),
        ({"seconds": {"idle": 0.50001, "lost": [1.0, math.nan]}}, "seconds.idle: kept 0.5, found"),
        ({"seconds": {"idle": 0.5, "lost": [1.0, 0.0]}}, "seconds.lost[1]: kept nan, found 0.0"),
        ({"seconds": {"idle": 0.5}}, "seconds.lost: kept [1.0, nan], found None"),
        ({"more": 1}, "more: kept None, found 1"),
        ({"name": "Talk"}, "name: kept talk, found Talk"),
        ({"unknown": 0}, "unknown: kept None, found 0"),
    ],
)
def test_a_difference_fails_and_is_named(
    suite: pytest.Pytester, change: dict[str, object], where: str
) -> None:
    passed, said = outcome(suite, KEPT | change)
    assert not passed
    assert where in said


def test_a_missing_file_fails(suite: pytest.Pytester) -> None:
    (suite.path / "golden" / "kept.json").unlink()
    passed, said = outcome(suite, KEPT)
    assert not passed
    assert "kept.json" in said
