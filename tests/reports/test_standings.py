import math
from collections.abc import Callable
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from memsim.account import CLASSES
from reports import table
from reports.episodes import BASELINE_SEED, Results
from reports.standings import Standing, cautions, standings, verdict

STEADY = [0.80, 0.82, 0.78, 0.81, 0.79, 0.80]


Invent = Callable[..., Results]
Scores = dict[tuple[str, int], list[float]]


def found(
    invent: Invent, scores: Scores, reference: str = "slides"
) -> tuple[tuple[Standing, ...], tuple[str, ...]]:
    results = invent(scores)
    ranked = standings(results, reference, resamples=2000)
    return ranked, verdict(results, ranked, reference, resamples=2000)


def below(values: list[float], gap: float) -> list[float]:
    return [value - gap for value in values]


def test_the_learned_policy_lost_and_the_sentence_says_so(three_policies: Results) -> None:
    ranked = standings(three_policies, "slides", resamples=2000)
    assert [standing.label for standing in ranked] == ["slides", "runs/mine", "static"]
    sentences = verdict(three_policies, ranked, "slides", resamples=2000)
    assert sentences[0].startswith("slides won: J 0.822, ahead of runs/mine by +0.080")
    assert sentences[1].startswith("This one training run of runs/mine lost to slides: -0.080 [")


def test_the_learned_policy_won(invent: Invent) -> None:
    scores = {("slides", -1): below(STEADY, 0.1), ("runs/mine", 3): STEADY}
    _, sentences = found(invent, scores)
    assert sentences[0].startswith(
        "This one training run of runs/mine won: J 0.800, ahead of slides by +0.100"
    )
    assert "beat slides by +0.100" in sentences[1]


def test_no_evidence_is_not_a_win(invent: Invent) -> None:
    shuffled = [0.81, 0.79, 0.80, 0.80, 0.81, 0.80]
    scores: Scores = {("slides", -1): STEADY, ("runs/mine", 3): shuffled, ("static", -1): [0.2] * 6}
    _, sentences = found(invent, scores)
    assert sentences[0].startswith("No clear winner: runs/mine has the best mean, J 0.802, but")
    assert "no evidence of a difference to slides (+0.002 [" in sentences[0]
    assert "of its own" not in sentences[0]
    assert "runs/mine and slides: no evidence of a difference (+0.002 [" in sentences[1]


def test_equal_scores_separate_nobody(invent: Invent) -> None:
    ranked, sentences = found(invent, {("slides", -1): STEADY, ("equal", -1): STEADY})
    assert sentences[0].startswith("No clear winner")
    assert not any(row.difference.shows_difference for row in ranked if row.difference)


def test_few_hosts_are_called_few(invent: Invent) -> None:
    _, sentences = found(invent, {("slides", -1): [0.8, 0.9], ("equal", -1): [0.3, 0.2]})
    assert sentences[-1].startswith("Only 2 independent hosts in made-up: too few")


def test_one_host_gives_no_interval_and_no_winner(invent: Invent) -> None:
    _, sentences = found(invent, {("slides", -1): [0.8], ("equal", -1): [0.3]})
    assert sentences[0].startswith("No clear winner")
    assert "no interval" in sentences[0]
    assert sentences[-1].startswith("Only 1 independent host in made-up: there is no interval")


def test_each_scenario_needs_hosts_of_its_own(invent: Invent) -> None:
    many = invent({("slides", -1): STEADY, ("equal", -1): below(STEADY, 0.3)})
    alone = replace(many.episodes[0], scenario="lone", cluster="lone/0")
    both = [alone, replace(alone, policy="equal")]
    results = replace(many, episodes=(*many.episodes, *both))
    ranked = standings(results, "slides", resamples=500)
    sentences = verdict(results, ranked, "slides", resamples=500)
    assert sentences[0].startswith("No clear winner") and "no interval" in sentences[0]
    assert [line for line in sentences if "independent" in line] == [sentences[-1]]
    assert sentences[-1].startswith("Only 1 independent host in lone")


def test_hosts_that_replay_the_same_times_are_told_apart_from_few_seeds(invent: Invent) -> None:
    made = invent({("slides", -1): STEADY}, arms=True)
    replays = [
        replace(episode, scenario="replay", cluster=f"trace from step {86 * (episode.seed % 2)}")
        for episode in made.episodes
    ]
    (said,) = cautions(replace(made, episodes=(*made.episodes, *replays)))
    assert said.startswith("Only 2 independent hosts in replay, as its 6 replay the same times")
    assert "seeds.count" not in said


def test_several_training_runs_speak_for_the_policy(invent: Invent) -> None:
    scores: Scores = {("mine", seed): below(STEADY, seed / 100) for seed in range(3)}
    _, sentences = found(invent, {("slides", -1): below(STEADY, 0.4), **scores})
    assert sentences[1].startswith("The learned policy mine beat slides by +0.390")
    scores[("mine", 2)] = below(STEADY, 0.6)  # one bad run of three
    _, sentences = found(invent, {("slides", -1): below(STEADY, 0.4), **scores})
    assert "no evidence of a difference" in sentences[1]
    # so it is if they are those that the best is compared with
    _, sentences = found(invent, {("slides", -1): below(STEADY, 0.1), **scores})
    assert sentences[0].startswith("No clear winner: slides has the best mean")


def test_the_best_of_many_by_chance_did_not_win(invent: Invent) -> None:
    ahead = [0.85, 0.83, 0.80, 0.84, 0.82, 0.805]
    two: Scores = {("best", -1): ahead, ("slides", -1): STEADY}
    assert found(invent, two)[1][0].startswith("best won")
    many: Scores = {(f"other {index}", -1): STEADY for index in range(20)}
    sentence = found(invent, {**two, **many})[1][0]
    assert sentence.startswith("No clear winner: best has")
    assert "; intervals so wide that all 21 hold at once)" in sentence
    # each interval of the table leaves 0 out: why that is no contradiction is said
    assert "By an interval of its own the difference to slides, other 0, " in sentence
    assert sentence.endswith("not enough, as best was picked because it came out best.")


def test_a_kill_does_not_hide_in_the_slowdown(invent: Invent) -> None:
    results = invent({("slides", -1): [0.9] * 6})
    dead = [
        replace(part, killed_s=60.0, slowdown=slow)
        for part, slow in zip(results.guests[:2], (1.0, math.nan), strict=True)
    ]
    worse = replace(results, guests=(*dead, *results.guests[2:]))
    assert standings(results, "slides", resamples=200)[0].slowdown_p95 < 2
    assert standings(worse, "slides", resamples=200)[0].slowdown_p95 > 15


def test_kills_in_the_warm_up_are_told(invent: Invent) -> None:
    results = invent({("slides", -1): STEADY, ("equal", -1): below(STEADY, 0.3)})
    ranked = standings(results, "slides", resamples=500)
    assert not any("warm-up" in line for line in verdict(results, ranked, "slides", 500))
    first = replace(results.episodes[0], warm_up_kills=2)
    results = replace(results, episodes=(first, *results.episodes[1:]))
    ranked = standings(results, "slides", resamples=500)
    told = "Kills in the warm-up, which is not scored: slides 2."
    assert told in verdict(results, ranked, "slides", 500)


def test_measures_by_hand(invent: Invent) -> None:
    ranked, _ = found(invent, {("slides", -1): [0.5] * 6})
    only = ranked[0]
    lost = 13 * 5.0
    assert only.lost_share == pytest.approx(lost / (3000 + 5 + lost))
    assert only.swap_bytes_per_s == pytest.approx(3500 * 2**20 / 3600)
    assert only.kills_per_guest_hour == 0
    assert only.slowdown_p95 == pytest.approx(1 / 0.4)
    assert only.tail_score == pytest.approx(0.4)
    assert only.interventions_per_hour == pytest.approx(3)
    assert only.difference is None
    assert len(CLASSES) == 16


def test_interquartile_means_only_across_training_seeds(invent: Invent) -> None:
    scores: Scores = {("mine", seed): [0.5 + seed / 10] * 6 for seed in range(4)}
    scores[("slides", BASELINE_SEED)] = STEADY
    ranked, _ = found(invent, scores)
    by_label = {row.label: row for row in ranked}
    assert by_label["mine"].interquartile_j == pytest.approx(0.65)
    assert by_label["mine"].training_seeds == 4
    assert np.isnan(by_label["slides"].interquartile_j)


@pytest.mark.parametrize("width", [80, 100])
def test_the_table_fits_the_terminal(invent: Invent, width: int) -> None:
    names = ["static", "slides", "runs/demo-agent", "my_module:MyPolicy"]
    results = invent({(name, -1): below(STEADY, i / 9) for i, name in enumerate(names)})
    ranked = standings(results, "slides", resamples=500)
    console = Console(width=width, record=True, file=StringIO())
    table.show(ranked, verdict(results, ranked, "slides", 500), "slides", console)
    text = console.export_text()
    assert ("p95 slow:" in text) == (width == 100)  # the note is on columns that are there
    assert max(map(len, text.splitlines())) <= width
    for standing in ranked:
        assert f"{standing.j.value:.3f}" in text
    assert "-0.111 [-0.11, -0.11]" in text
    assert all(name in text for name in names)


def test_a_bound_does_not_win(invent: Invent) -> None:
    scores = {
        ("planner (bound)", BASELINE_SEED): [0.99, 0.98, 0.99, 0.97, 0.99, 0.98],
        ("slides", BASELINE_SEED): STEADY,
        ("static", BASELINE_SEED): [value - 0.3 for value in STEADY],
    }
    ranked, said = found(invent, scores)
    assert ranked[0].label == "planner (bound)"
    assert said[0].startswith("slides won")


@pytest.mark.parametrize("width", [80, 100])
def test_the_gap_to_a_bound_fits_too(invent: Invent, width: int) -> None:
    names = ["static", "slides", "selfballoon-tuned", "runs/demo-agent (full guard)"]
    scores = {(name, BASELINE_SEED): below(STEADY, i / 9) for i, name in enumerate(names)}
    scores["planner (bound)", BASELINE_SEED] = below(STEADY, -0.02)
    results = invent(scores)
    ranked = standings(results, "slides", resamples=500)
    console = Console(width=width, record=True, file=StringIO())
    table.show(ranked, verdict(results, ranked, "slides", 500), "slides", console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "85%" in text  # static: 1/9 ahead of slides, of 1/9 + 0.02


def test_a_sentence_names_the_first_of_many(invent: Invent) -> None:
    scores = {
        (f"p{number}", BASELINE_SEED): list(np.roll(STEADY, number) + 1e-6 * (number == 0))
        for number in range(13)
        if number % 6 or not number
    }
    _, said = found(invent, scores, "p0")
    assert len(scores) == 11
    assert said[0].startswith("No clear winner: p0")
    named = said[0].partition("difference to ")[2].partition(" and 2 more (")[0]
    assert named.count(",") == 7
