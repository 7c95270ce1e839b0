"""What pages hold: kinds, mixes, and who has the same."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from configs.loading import build
from memsim.content import UNIQUE, ZERO
from memsim.spec import Defrag
from scenarios.content import Content, content_numbers
from scenarios.draw import draw
from scenarios.schema import Scenario

MIX: TypeAdapter[dict[str, float]] = TypeAdapter(Content)


def numbers(content: object, guest_id: int = 1, page: int = 4096, pages: int = 1000) -> np.ndarray:
    found = content_numbers(MIX.validate_python(content), pages, page, guest_id)
    assert found is not None
    return found


def test_shares_are_met_and_the_same_everywhere() -> None:
    mix = {"zero": 0.1, "shared:debian": 0.3, "repeated:16": 0.2}
    one, other = numbers(mix, 1), numbers(mix, 2)
    assert abs((one == ZERO).sum() - 100) <= 2
    assert abs((one == UNIQUE).sum() - 400) <= 2
    alike = (one == other) & (one != ZERO) & (one != UNIQUE)
    assert abs(alike.sum() - 300) <= 2


def test_an_image_is_the_same_page_by_page_whatever_is_around_it() -> None:
    long, short = numbers("shared:debian", pages=1000), numbers("shared:debian", 5, pages=100)
    assert np.array_equal(long[:100], short)
    assert len(np.unique(long)) == 1000
    assert not np.isin(numbers("shared:other"), long).any()


@pytest.mark.parametrize(("page", "contents"), [(4096, 64), (65536, 4)])
def test_repetitions_are_of_small_pages(page: int, contents: int) -> None:
    assert len(np.unique(numbers("repeated:64", page=page))) == contents


def test_nothing_alike_takes_no_room() -> None:
    assert content_numbers(MIX.validate_python("unique"), 10, 4096, 1) is None


@pytest.mark.parametrize(
    "content", ["zeros", "shared:", "repeated:0", {"zero": 0.7, "shared:a": 0.4}, {"zero": -0.1}]
)
def test_what_makes_no_sense_is_refused(content: object) -> None:
    with pytest.raises(ValidationError):
        MIX.validate_python(content)


def test_ksmd_runs_on_a_share_of_hosts() -> None:
    data = {
        "name": "simple",
        "host": {"page": "64KiB", "ram": "256MiB", "ksm": {"pages_to_scan": 7}},
        "guests": [{"name": "a", "size": "128MiB", "work": {}}],
        "randomise": {"ksm": 0.5},
    }
    scenario = build(Scenario, data, "test")
    settings = [draw(scenario, (0, episode)).spec.ksm for episode in range(40)]
    assert {one.pages_to_scan for one in settings if one} == {7}
    assert 5 < sum(one.run for one in settings if one) < 35


def test_numbers_of_huge_pages_and_reporting_differ_from_host_to_host() -> None:
    data = {
        "name": "drawn",
        "host": {"page": "64KiB", "ram": "1GiB", "huge_pages": True},
        "profiles": {"idle": {"description": "Nothing.", "regions": {}, "tasks": {}}},
        "randomise": {
            "guests": [2, 2],
            "profiles": {"idle": 1},
            "sizes": {"256MiB": 1},
            "host_huge_pages": 0.5,
            "defrag": {"always": 1, "defer": 1},
            "hinting": {"none": 1, "reporting": 1},
            "reporting_order": {"9": 1, "4": 1},
            "reporting_every": ["1s", "4s"],
        },
    }
    scenario = build(Scenario, data, "test")
    hosts = [draw(scenario, (0, episode)).spec for episode in range(40)]
    guests = [guest for host in hosts for guest in host.guests]
    assert {host.huge_pages for host in hosts} == {True, False}
    assert {guest.defrag for guest in guests} == {Defrag.ALWAYS, Defrag.DEFER}
    assert {guest.reporting.order for guest in guests} == {4, 9}
    every = [guest.reporting.every_s for guest in guests]
    assert 1.0 <= min(every) < 1.5
    assert 3.5 < max(every) <= 4.0
