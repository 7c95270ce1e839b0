from collections.abc import Callable
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from reports import arms, table
from reports.episodes import Results

WOBBLE = np.array([0.01, -0.02, 0.0, 0.02, -0.01, 0.0])
NOTHING, MORE, SAME = 0.3 + WOBBLE, 0.5 + WOBBLE, 0.5 + WOBBLE[::-1]


@pytest.fixture
def results(invent: Callable[..., Results]) -> Results:
    """Three arms; progress is J + 0.1, swap and lost time fall with it."""
    scores = {("nothing", -1): NOTHING, ("+ more", -1): MORE, ("+ same", -1): SAME}
    return invent({label: list(values) for label, values in scores.items()}, arms=True)


def test_each_arm_is_compared_with_the_one_before(results: Results) -> None:
    nothing, more, same = arms.rows(results, resamples=500)
    assert nothing.change is None and more.change is not None and same.change is not None
    assert nothing.progress.value == pytest.approx(0.4)
    assert nothing.progress.low < 0.4 < nothing.progress.high
    assert more.change == pytest.approx((0.2, 0.2, 0.2))
    assert same.change.value == pytest.approx(0.0) and not same.change.shows_difference
    swapped = [episode.host_swap_in_bytes for episode in results.of("nothing")]
    assert nothing.swap_in_bytes == pytest.approx(np.mean(swapped))


def test_the_words_name_the_best_and_what_is_not_known(results: Results) -> None:
    first, *others = arms.sentences(arms.rows(results, resamples=500))
    assert first == "Progress is 40% under nothing. Best is + more: 60%."
    assert others[0].startswith("+ more against nothing: +20.0 [")
    assert others[1].startswith("+ same against + more: no evidence of a difference, ")


def test_one_host_has_no_interval(invent: Callable[..., Results]) -> None:
    alone = invent({("nothing", -1): [0.3], ("+ more", -1): [0.5]}, arms=True)
    assert arms.sentences(arms.rows(alone))[1].endswith("+20.0 points of progress.")


def test_the_table_fits_a_terminal(results: Results) -> None:
    console = Console(file=StringIO(), width=80)
    table.show_arms(arms.rows(results, resamples=200), ("said",), console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 80
    assert [line.split("  ")[0].strip() for line in lines if "+ " in line] == ["+ more", "+ same"]
