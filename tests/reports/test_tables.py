"""Tables as files: every metric in its column, and nothing that a reader must guess."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from reports import measures, tables
from reports.standings import standings
from reports.wins import compare
from tests.reports.conftest import Invent

LABELS = ("slides", "static")
SCORES = {("slides", -1): (0.9, 0.8, 0.7), ("static", -1): (0.5, 0.4, 0.9)}


@pytest.mark.parametrize(
    ("scores", "weights", "expected"),
    [
        ((0.7, 0.7, 0.7), (1, 5, 2), 1.0),
        ((1.0, 0.0, 0.0, 0.0), (1, 1, 1, 1), 0.25),
        ((1.0, 0.0), (3, 1), 0.75),
        ((1.0, 0.5), (1, 1), 2.25 / 2.5),
        ((0.0, 0.0), (1, 1), 1.0),
    ],
)
def test_fairness_is_jains_index(
    scores: tuple[float, ...], weights: tuple[float, ...], expected: float
) -> None:
    found = measures.fairness(np.array(scores), np.array(weights, np.float64))
    assert found == pytest.approx(expected)


def test_a_weight_is_so_many_guests() -> None:
    scores = np.array([0.9, 0.3, 0.3, 0.3])
    assert measures.fairness(scores, np.ones(4)) == pytest.approx(
        measures.fairness(scores[:2], np.array([1.0, 3.0]))
    )


def test_files_hold_what_the_standings_are(invent: Invent, tmp_path: Path) -> None:
    results = invent(SCORES)
    ranked = standings(results, "slides", resamples=200)
    tables.write(tmp_path, results, ranked, "slides", compare(results, LABELS, "slides", 200))
    lines = list(csv.DictReader((tmp_path / "standings.csv").read_text().splitlines()))
    assert [line["label"] for line in lines] == [row.label for row in ranked]
    for line, row in zip(lines, ranked, strict=True):
        assert float(line["j"]) == row.j.value
        assert float(line["j_low"]) == row.j.low
        assert float(line["violations"]) == row.violations
        gap = line["difference"]
        assert (gap == "") == (row.difference is None)
    text = (tmp_path / "ranking.md").read_text()
    assert text.splitlines()[0].startswith("| policy | J (95 %) | against slides |")
    assert {line.count("|") for line in text.splitlines()} == {8}
    assert not math.isnan(ranked[0].fairness)


def test_each_scenario_and_host_has_its_own_numbers(invent: Invent) -> None:
    results = invent(SCORES)
    ranked = standings(results, "slides", resamples=200)
    assert tables.scenarios(results, ranked) == (
        ("policy", "made-up"),
        [("slides", "0.800"), ("static", "0.600")],
    )
    titles, rows = tables.hosts(results, ranked)
    assert titles == ("host", "slides", "static")
    kills = {part.seed: part.oom_kills for part in results.of("static")}
    assert [row[0] for row in rows] == ["made-up 0", "made-up 1", "made-up 2"]
    assert rows[0][2] == f"0.50 ({kills[0]})" if kills[0] else "0.50"


def test_causes_add_up_to_the_lost_time(invent: Invent) -> None:
    results = invent(SCORES)
    ranked = standings(results, "slides", resamples=200)
    for row, cells in zip(ranked, tables.causes(results, ranked)[1], strict=True):
        total = sum(float(cell) for cell in cells[1:])
        assert total == pytest.approx(100 * row.lost_share, abs=0.5)


def test_a_label_does_not_break_a_table() -> None:
    text = tables.markdown(("policy", "J"), [("a|b", "1")])
    assert text.splitlines()[2] == "| a\\|b | 1 |"
