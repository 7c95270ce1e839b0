"""Service levels and densities in closed form."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest

from reports import density, density_figure, density_kept, density_table, page, plotstyle, service
from reports.density import Crowd, Crowds, Place
from reports.density_kept import Kept
from reports.service import ServiceLevel

LEVEL = ServiceLevel(95, 1.10)


def crowd(guests: int, slowdowns: dict[int, list[float]], trained: int = -1) -> Crowd:
    """Slowdowns by seed of the host."""
    seeds = [seed for seed, found in slowdowns.items() for _ in found]
    return Crowd(
        guests,
        np.array(seeds),
        np.full(len(seeds), trained),
        np.array([value for found in slowdowns.values() for value in found]),
        tuple((seed, f"seed {seed}") for seed in slowdowns),
    )


def measured(*crowds: Crowd) -> density.Density:
    return density.density(crowds, LEVEL, density.draws(crowds, 200))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p95_slowdown<=1.10", ServiceLevel(95, 1.1)),
        (" p99.9_slowdown <= 2", ServiceLevel(99.9, 2)),
    ],
)
def test_a_service_level_is_read_and_written(text: str, expected: ServiceLevel) -> None:
    assert service.parse(text) == expected
    assert service.parse(str(expected)) == expected


@pytest.mark.parametrize(
    "text", ["p95_slowdown<=1", "p0_slowdown<=2", "p95_slowdown<1.1", "p95<=2", "p100_slowdown<=2"]
)
def test_what_is_no_service_level_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"as in p95_slowdown<=1\.10"):
        service.parse(text)


def test_a_percentile_is_a_value_that_was_seen() -> None:
    values = np.array([5.0, 1.0, 3.0, np.inf])
    assert service.percentile(values, 50)[0] == 3
    assert service.percentile(values, 75)[0] == 5
    assert service.percentile(values, 75.1)[0] == np.inf
    assert service.percentile(np.arange(1.0, 101.0), 95)[0] == 95


def test_weights_of_a_percentile_are_repetitions() -> None:
    values = np.array([4.0, 1.0, 2.0])
    weights = np.array([[1.0, 3.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    found = service.percentile(values, 75, weights)
    np.testing.assert_array_equal(found, [1, 2, np.nan])


def test_the_crossing_is_linear_in_the_logarithm() -> None:
    counts, limit = np.array([10, 20, 30]), 1.1
    fitted = np.array([1.0, 1.05, 1.21])
    share = (math.log(1.1) - math.log(1.05)) / (math.log(1.21) - math.log(1.05))
    assert density.crossing_of(counts, fitted, limit) == pytest.approx(20 + 10 * share)
    assert density.crossing_of(counts, np.array([1.2, 1.3, 1.4]), limit) == 9
    assert density.crossing_of(counts, np.array([1.0, 1.1, 1.1]), limit) == 30


def test_a_curve_does_not_fall() -> None:
    fitted = density.fit(np.array([1.0, 4.0, 1.0, 8.0]), np.ones(4))
    np.testing.assert_allclose(fitted, [1, 2, 2, 8])
    killed = density.fit(np.array([1.0, np.inf]), np.ones(2))
    assert killed[1] == pytest.approx(density.UNBOUNDED)


def test_hosts_that_agree_give_the_crossing_without_doubt() -> None:
    few = crowd(10, {seed: [1.0] * 10 for seed in range(4)})
    many = crowd(20, {seed: [1.21] * 20 for seed in range(4)})
    found = measured(many, few)
    assert found.guests == (15, 15, 15)
    assert found.within
    assert str(found) == "15"
    assert [(point.guests, point.fitted) for point in found.curve] == [(10, 1.0), (20, 1.21)]


def test_nothing_is_claimed_beyond_what_was_run() -> None:
    never = measured(crowd(10, {1: [9.0], 2: [9.0]}), crowd(20, {1: [9.0], 2: [9.0]}))
    always = measured(crowd(10, {1: [1.0], 2: [1.0]}), crowd(20, {1: [1.0], 2: [1.0]}))
    assert (str(never), never.guests) == ("< 10", (9, 9, 9))
    assert (str(always), always.guests) == (">= 20", (20, 20, 20))
    assert not never.within
    assert not always.within


def test_a_killed_guest_is_beyond_every_limit() -> None:
    killed = crowd(10, {1: [1.0] * 18 + [np.inf] * 2, 2: [1.0] * 20})
    assert measured(killed).curve[0].value.value == 1.0  # 2 of 40 are the promised 5 %
    assert measured(crowd(10, {1: [1.0] * 18 + [np.inf] * 2})).curve[0].value.value == np.inf


def test_the_interval_covers_what_seeds_differ_in() -> None:
    """Two hosts of eight slow as many of 20 guests as all together may have slow."""
    few = crowd(10, {seed: [1.0] * 10 for seed in range(8)})
    many = crowd(20, {seed: [3.0 if seed < 2 else 1.0] * 4 + [1.0] * 16 for seed in range(8)})
    found = measured(few, many)
    assert str(found) == ">= 20"
    assert 9 <= found.guests.low < 12
    assert found.curve[1].value == (1, 1, 3)
    alone = measured(crowd(10, {1: [1.0]}), crowd(20, {1: [3.0]}))
    assert math.isnan(alone.guests.low)


def test_seeds_of_one_cluster_are_drawn_together() -> None:
    parts = crowd(10, {1: [1.0], 2: [1.0], 3: [1.0]})
    linked = Crowd(
        10, parts.seed, parts.training, parts.slowdown, ((1, "a"), (2, "a"), (3, "seed 3"))
    )
    times = density.draws([linked], 50).times
    np.testing.assert_array_equal(times[:, 0], times[:, 1])
    assert (times[:, 0] + times[:, 2] == 2).all()


def test_differences_are_taken_draw_by_draw() -> None:
    """Hosts that differ much among themselves, policies that differ by the same on each."""
    rng = np.random.default_rng(0)
    strength = rng.uniform(0.9, 1.3, 12)
    few = {seed: [1.0] * 10 for seed in range(12)}

    def crowds(factor: float) -> list[Crowd]:
        many = {seed: [max(1.0, strength[seed] * factor)] * 20 for seed in range(12)}
        return [crowd(10, few), crowd(20, many)]

    own, other = crowds(1.0), crowds(1.0)
    drawn = density.draws([*own, *other], 200)
    apart = density.difference(
        density.density(own, LEVEL, drawn), density.density(other, LEVEL, drawn), drawn
    )
    assert apart == (0, 0, 0)
    worse = density.density(crowds(1.4), LEVEL, drawn)
    assert density.difference(density.density(own, LEVEL, drawn), worse, drawn).low > 0


def two_rows() -> tuple[density_table.Row, ...]:
    """15 guests under slides, 11 under a bad policy."""
    few, many = {seed: [1.0] * 10 for seed in range(6)}, {seed: [1.21] * 20 for seed in range(6)}
    soon = {seed: [2.42] * 20 for seed in range(6)}
    place = Place("default")
    crowds: Crowds = {
        place: {
            "slides": (crowd(10, few), crowd(20, many)),
            "bad": (crowd(10, few), crowd(20, soon)),
        }
    }
    return density_table.rows(crowds, LEVEL, "slides", 100)


def test_a_table_says_what_an_interval_shows() -> None:
    rows = two_rows()
    assert [(row.policy, str(row.density)) for row in rows] == [("slides", "15"), ("bad", "11")]
    assert density_table.verdict(rows, LEVEL, "slides") == (
        "default: slides bears 15 guests at p95_slowdown<=1.10; fewer: bad.",
    )
    lines = list(csv.DictReader(io.StringIO(density_table.as_csv(rows))))
    assert len(lines) == 4
    assert (lines[3]["policy"], lines[3]["guests"], lines[3]["slowdown"]) == ("bad", "20", "2.42")
    assert "| default | bad | 11 [11, 11] | -4 [-3.9, -3.9] |" in density_table.as_markdown(
        rows, "slides"
    )
    picture = density_figure.figure(rows, LEVEL)
    assert len(picture.axes) == 2
    assert plotstyle.png(picture).startswith(b"\x89PNG")


def test_the_page_shows_what_a_run_has_kept(tmp_path: Path) -> None:
    rows = two_rows()
    said = density_table.verdict(rows, LEVEL, "slides")
    rows = (rows[0], rows[1]._replace(policy="<bad>"))
    density_kept.write(tmp_path, Kept(rows, said, LEVEL, "slides", "2 hosts.", "abc"))
    kept = density_kept.read(tmp_path)
    assert kept is not None
    assert density_table.as_csv(kept.rows) == density_table.as_csv(rows)
    assert density_table.as_markdown(kept.rows, "slides") == density_table.as_markdown(
        rows, "slides"
    )
    part = page.density_part(kept, "abc")
    assert part.said == (*said, "2 hosts.")
    assert part.table[1][1] == ("default", "<bad>", "11 [11, 11]", "-4 [-3.9, -3.9]")
    assert "&lt;bad&gt;" in part.picture
    assert "<bad>" not in part.picture
    assert "another version" in page.density_part(kept, "other").said[-1]


def test_what_no_host_shows_survives_the_file(tmp_path: Path) -> None:
    killed = crowd(10, {1: [1.0] * 18 + [np.inf] * 2})
    rows = density_table.rows({Place("default"): {"slides": (killed,)}}, LEVEL, "slides", 100)
    density_kept.write(tmp_path, Kept(rows, (), LEVEL, "slides", "", ""))
    kept = density_kept.read(tmp_path)
    assert kept is not None
    point = kept.rows[0].density.curve[0]
    assert point.value.value == np.inf
    assert math.isnan(kept.rows[0].density.guests.low)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"rows": [{}]}'])
def test_a_file_that_cannot_be_read_is_as_none(tmp_path: Path, text: str) -> None:
    assert density_kept.read(tmp_path) is None
    (tmp_path / density_kept.FILE).write_text(text)
    assert density_kept.read(tmp_path) is None
