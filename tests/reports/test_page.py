import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure

from memsim.account import CLASSES
from reports import figures, page, plotstyle, talk, worst
from reports.episodes import LOST, Results
from reports.standings import standings, verdict
from reports.table import interval
from reports.wins import compare
from reports.worst import worst_episode

ARMS = {"nothing": 0.4, "+ async page faults": 0.5, "+ <free> page hinting": 0.8}


def provenance(reference: str, arms: bool) -> page.Provenance:
    return page.Provenance(
        title="Made up & tested",
        description="",
        command="python evaluate.py configs/evaluate/demo.yaml",
        config="name: <demo>\n",
        versions={"numpy": np.__version__},
        traces=("Replayed synthetic traces.",),
        policies={"slides": "baseline"},
        reference=reference,
        arms=arms,
        guard="Guard level: limits.",
    )


def rendered(results: Results, reference: str, arms: bool) -> str:
    table = standings(results, reference, resamples=500)
    sentences = verdict(results, table, reference, resamples=500)
    found = compare(results, [row.label for row in table], reference, 500)
    return page.render(results, table, sentences, found, provenance(reference, arms))


@pytest.fixture
def arms(invent: Callable[..., Results]) -> Results:
    scores = {(name, -1): [j, j + 0.02, j - 0.02] for name, j in ARMS.items()}
    return invent(scores, arms=True, timelines=True)


def test_the_page_fetches_nothing(three_policies: Results, arms: Results) -> None:
    for text in (rendered(three_policies, "slides", False), rendered(arms, "nothing", True)):
        assert not re.search(r"""(src|href)\s*=\s*["'](?!#)""", text.replace("xlink:", ""))
        assert not re.search(r"url\((?!#)|@import|<script|<link", text)


def test_the_page_says_what_the_table_says(three_policies: Results) -> None:
    text = rendered(three_policies, "slides", False)
    table = standings(three_policies, "slides", resamples=500)
    for standing in table:
        assert standing.label in text
        assert interval(standing.j) in text
    for sentence in verdict(three_policies, table, "slides", 500):
        assert sentence in text
    assert "Replayed synthetic traces." in text
    assert "The arms side by side" not in text


def test_names_are_escaped_and_the_page_is_well_formed(arms: Results) -> None:
    text = rendered(arms, "nothing", True)
    assert "<free>" not in text
    assert "&lt;demo&gt;" in text
    open_tags: list[str] = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in ("meta", "br"):
                open_tags.append(tag)

        def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            pass

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Balance().feed(text)
    assert not open_tags


def test_worst_guests_come_first(three_policies: Results) -> None:
    worst = page.worst_guests(three_policies)
    assert [guest.score for guest in worst] == sorted(guest.score for guest in worst)
    assert worst[0].score == min(guest.score for guest in three_policies.guests)
    assert worst_episode(three_policies, "static").j == pytest.approx(0.52)


def test_every_cause_of_lost_time_has_one_colour() -> None:
    drawn = [name for cause in plotstyle.CAUSES for name in cause.classes]
    assert sorted(drawn) == sorted(LOST)
    assert len({cause.colour for cause in plotstyle.CAUSES}) == len(plotstyle.CAUSES)


def test_lost_shares_by_hand(invent: Callable[..., Results]) -> None:
    shares = figures.lost_shares(invent({("slides", -1): [0.5]}), "slides")
    busy = 3000 + 5 * (len(CLASSES) - 2)
    host_swap, reclaim_and_kswapd = shares[0], shares[4]
    assert host_swap == pytest.approx(100 * 5 / busy)
    assert reclaim_and_kswapd == pytest.approx(2 * host_swap)
    assert shares.sum() == pytest.approx(100 * 5 * len(LOST) / busy)


def test_thinning_keeps_the_mean_of_full_runs() -> None:
    values = np.arange(4 * figures.POINTS, dtype=np.float64)
    assert figures.thinned(values)[0] == pytest.approx(1.5)
    assert len(figures.thinned(values)) == figures.POINTS
    assert figures.thinned(np.array([1, 2, 4])) == pytest.approx([1, 2, 4])


def test_equal_results_draw_equal_pictures(arms: Results) -> None:
    first, again = plotstyle.svg(talk.talk(arms, 200)), plotstyle.svg(talk.talk(arms, 200))
    assert first == again
    assert "currentColor" in plotstyle.inline_svg(talk.talk(arms, 200))


def test_machines_that_several_windows_share_are_told(three_policies: Results) -> None:
    assert page.shared_machines(three_policies) == ""
    replayed = [
        replace(guest, machine=f"t/{guest.guest_id}" if guest.guest_id else f"t/own {guest.seed}")
        for guest in three_policies.guests
    ]
    said = page.shared_machines(replace(three_policies, guests=tuple(replayed)))
    assert said.startswith(" 2 of 8 replayed machines live in more than one window")


def test_the_worst_episodes_of_those_that_matter_come_first(three_policies: Results) -> None:
    table = standings(three_policies, "slides", resamples=200)
    shelf = worst.shelf(three_policies, table, "slides")
    assert [shown.title for shown in shelf.first] == [
        "best mean, reference: slides on made-up 3: J 0.790",
        "worst of all: static on made-up 3: J 0.520",
    ]
    assert [shown.title.split(" on ")[0] for shown in shelf.others] == ["runs/mine"]
    assert shelf.left_out == ()
    text = rendered(three_policies, "slides", False)
    assert text.count("<details") == 3 + 1 + 3  # their fold; configuration, versions, hosts


def test_timelines_do_not_make_the_page_larger_than_it_may_be(three_policies: Results) -> None:
    table = standings(three_policies, "slides", resamples=200)
    whole = worst.shelf(three_policies, table, "slides")
    size = len(whole.first[0].picture.encode())
    cut = worst.shelf(three_policies, table, "slides", most=size + 1)
    assert cut == worst.Shelf(whole.first[:1], (), ("static", "runs/mine"))
    assert worst.shelf(three_policies, table, "slides", most=1).first == whole.first[:1]


def test_a_short_path_is_the_same_path(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Figure(figsize=(2, 2))
    picture.subplots().fill_between([0, 1, 2], [3, 1, 2])
    short = re.findall(r' d="([^"]*)"', plotstyle.inline_svg(picture))
    monkeypatch.setattr(plotstyle, "_short", lambda path: path)
    drawn = re.findall(r' d="([^"]*)"', plotstyle.inline_svg(picture))
    assert len(drawn) == len(short) > 5
    for long, brief in zip(drawn, short, strict=True):
        numbers = [float(text) for text in re.findall(r"[-\d.]+", long)]
        assert [float(text) for text in re.findall(r"[-\d.]+", brief)] == pytest.approx(
            numbers, abs=0.1
        )
    assert max(map(len, short)) < 0.7 * max(map(len, drawn))
