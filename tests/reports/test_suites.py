"""The five suites: everybody takes part, and what a file says of its seeds is true."""

import re

import pytest

from agents.baselines import names
from configs.loading import find, load, packaged
from reports.entrants import entrants, reference_label
from reports.settings import Evaluation
from reports.workloads import prepare
from scenarios.draw import draw

SUITES = ("synthetic", "bitbrains", "burst", "pagecache", "shift")
WITH = ["traces=synthetic"]


@pytest.mark.parametrize("suite", SUITES)
def test_all_baselines_take_part(suite: str) -> None:
    config = load(Evaluation, f"evaluate/{suite}")
    assert sorted(config.policies) == sorted([*names(), *packaged("policies")])
    assert reference_label(config, entrants(config)) == "slides-tuned"


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_says_which_seeds_it_has(suite: str) -> None:
    text = find(f"evaluate/{suite}").read_text().replace("\n#", "")
    (said,) = re.findall(r"validation (\d+) to (\d+), test (\d+) to (\d+)", text)
    found = []
    for split in ("validation", "test"):
        seeds = load(Evaluation, f"evaluate/{suite}", [f"split={split}"]).host_seeds
        found += [str(seeds[0]), str(seeds[-1])]
    assert list(said) == found


@pytest.mark.parametrize("suite", SUITES)
def test_hosts_of_a_suite_are_independent(suite: str) -> None:
    config = load(Evaluation, f"evaluate/{suite}")
    seeds = [seed for number in range(len(config.uses)) for seed in config.seeds_of(number)]
    assert len(set(seeds)) == len(seeds)


def test_no_two_suites_share_a_host() -> None:
    seeds = [set(load(Evaluation, f"evaluate/{suite}").host_seeds) for suite in SUITES]
    assert len(set.union(*seeds)) == sum(map(len, seeds))


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("split", ["validation", "test"])
def test_every_host_can_be_drawn(suite: str, split: str) -> None:
    config = load(Evaluation, f"evaluate/{suite}", [*WITH, f"split={split}"])
    for number, scenario in enumerate(prepare(config).scenarios):
        for seed in config.seeds_of(number)[:2]:
            assert draw(scenario, seed).guests


def test_shift_has_few_guests_and_many() -> None:
    config = load(Evaluation, "evaluate/shift", WITH)
    number, crowded = next(
        (number, one)
        for number, one in enumerate(prepare(config).scenarios)
        if one.name == "crowded"
    )
    counts = [len(draw(crowded, seed).guests) for seed in config.seeds_of(number)]
    assert min(counts) < 10 and max(counts) > 30
