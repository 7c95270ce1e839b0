"""Where policies win and lose: cells by hand; page, Markdown and CSV say the same."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reports import measures, tables
from reports.episodes import Results
from reports.standings import standings
from reports.wins import ALL, Found, as_csv, compare, wins
from tests.reports.conftest import Invent
from tests.reports.test_page import rendered

WOBBLE = np.array([0.02, -0.01, 0.03, -0.03, 0.01, -0.02])
NAMES = ("slides", "mixed")


@pytest.fixture
def two_scenarios(invent: Invent) -> Results:
    """`mixed` is 0.2 ahead of slides in `calm`, 0.1 behind in `storm`, but for one host each."""
    base = 0.5 + WOBBLE
    calm = invent({("slides", -1): list(base), ("mixed", -1): [*(base[:5] + 0.2), base[5]]})
    storm = invent({("slides", -1): list(base), ("mixed", -1): [*(base[:5] - 0.1), base[5] + 0.1]})
    named = (("calm", calm), ("<storm>", storm))
    return Results(
        tuple(replace(part, scenario=name) for name, found in named for part in found.episodes),
        tuple(replace(part, scenario=name) for name, found in named for part in found.guests),
    )


def test_cells_by_hand(two_scenarios: Results) -> None:
    (row,) = wins(two_scenarios, NAMES, "slides", 2000)
    calm, storm, both = row.cells
    assert (calm.scenario, storm.scenario, both.scenario) == ("calm", "<storm>", ALL)
    assert calm.difference.value == pytest.approx(5 / 6 * 0.2)
    assert storm.difference.value == pytest.approx((-0.5 + 0.1) / 6)
    assert both.difference.value == pytest.approx((calm[1].value + storm[1].value) / 2)
    assert (calm.outcome, storm.outcome) == ("better", "even")
    assert (calm.hosts, calm.ahead, calm.behind) == (6, 5, 0)
    assert (storm.hosts, storm.ahead, storm.behind) == (6, 1, 5)
    assert (row.ahead, row.behind) == (6 / 12, 5 / 12)
    own, base = two_scenarios.of("mixed"), two_scenarios.of("slides")
    assert both.difference == measures.difference(own, base, measures.score, 2000)


def test_a_loss_is_a_loss(invent: Invent) -> None:
    results = invent({("slides", -1): list(0.5 + WOBBLE), ("worse", -1): list(0.4 + WOBBLE)})
    (row,) = wins(results, ("slides", "worse"), "slides", 500)
    assert [cell.outcome for cell in row.cells] == ["worse"]  # one scenario: no second cell


def test_training_seeds_are_averaged_before_hosts_are_counted(invent: Invent) -> None:
    results = invent(
        {
            ("slides", -1): [0.5, 0.5, 0.5],
            ("mine", 0): [0.9, 0.4, 0.5],
            ("mine", 1): [0.3, 0.4, 0.5002],
        }
    )
    (row,) = wins(results, ("slides", "mine"), "slides", 500)
    (cell,) = row.cells
    assert (cell.hosts, cell.ahead, cell.behind) == (3, 1, 1)


def test_nobody_is_compared_with_who_is_not_there(two_scenarios: Results) -> None:
    assert wins(two_scenarios, NAMES, "equal") == ()
    assert tables.against(()) == (("policy",), [])


def test_page_markdown_and_csv_agree(two_scenarios: Results, tmp_path: Path) -> None:
    ranked = standings(two_scenarios, "slides", resamples=500)
    found = compare(two_scenarios, [row.label for row in ranked], "slides", 500)
    tables.write(tmp_path, two_scenarios, ranked, "slides", found)
    page = rendered(two_scenarios, "slides", arms=False)
    assert (tmp_path / "wins.csv").read_text() == as_csv(found.reference)
    lines = list(csv.DictReader((tmp_path / "wins.csv").read_text().splitlines()))
    (cells,) = [
        line.split(" | ")
        for line in (tmp_path / "wins.md").read_text().splitlines()
        if line.startswith("| mixed")
    ]
    assert len(lines) == 3
    for line, cell in zip(lines, cells[1:], strict=False):
        value = f"{float(line['difference']):+.3f}"
        bounds = f"[{float(line['difference_low']):+.3f}, {float(line['difference_high']):+.3f}]"
        assert cell.startswith(f"{value} {bounds}")
        assert cell.endswith("≈") == (line["evidence"] == "even")
        assert f">{value}<small>{bounds}</small>" in page
    assert page.count('title="no evidence of a difference"') == sum(
        line["evidence"] == "even" for line in lines
    )
    assert "&lt;storm&gt;" in page
    assert "<storm>" not in page


def test_every_table_is_there_as_text_and_as_numbers(
    two_scenarios: Results, tmp_path: Path
) -> None:
    ranked = standings(two_scenarios, "slides", resamples=500)
    tables.write(tmp_path, two_scenarios, ranked, "slides", Found((), ()))
    files = {path.name for path in tmp_path.iterdir()}
    texts = {name[:-3] for name in files if name.endswith(".md")}
    assert texts == {"ranking", "details", "wins", "scenarios", "causes", "hosts", "guard"}
    assert {f"{name}.csv" for name in texts - {"ranking", "details"}} <= files
    guard = list(csv.reader((tmp_path / "guard.csv").read_text().splitlines()))
    assert guard == [["policy", "growth"], ["mixed", "3.0"], ["slides", "3.0"]]


def test_the_limit_of_the_service_level_is_the_tables(invent: Invent) -> None:
    results = invent({("slides", -1): [0.8, 0.9], ("static", -1): [0.5, 0.6]})
    strict, lax = (standings(results, "slides", 200, limit=limit) for limit in (1.2, 1.5))
    slowdowns = [guest.slowdown for guest in results.guests_of("slides")]
    for ranked, limit in ((strict, 1.2), (lax, 1.5)):
        assert tables.ranking(ranked, "slides")[0][-1] == f"slowed > {limit:.2f}"
        assert ranked[0].violations == pytest.approx(np.mean(np.array(slowdowns) > limit))
    assert strict[0].violations > lax[0].violations


def test_tuned_policies_are_compared_with_themselves_as_shipped(
    invent: Invent, tmp_path: Path
) -> None:
    scores = {"slides": 0.5, "slides-tuned": 0.6, "equal": 0.8, "static-tuned": 0.9}
    results = invent({(name, -1): list(j + WOBBLE) for name, j in scores.items()})
    found = compare(results, tuple(scores), "equal", 500)
    assert [row.label for row in found.reference] == ["slides", "slides-tuned", "static-tuned"]
    (row,) = found.tuned  # static as shipped does not take part
    assert row.label == "slides-tuned"
    assert row.cells[0].difference.value == pytest.approx(0.1)
    tables.write(tmp_path, results, standings(results, "equal", 500), "equal", found)
    assert (tmp_path / "tuned.csv").read_text() == as_csv(found.tuned)
    assert "| slides-tuned | +0.100 [" in (tmp_path / "tuned.md").read_text()
    assert "What tuning brought" in rendered(results, "equal", arms=False)
    alone = compare(results, ("slides", "equal"), "equal", 500)
    assert alone.tuned == ()
