from collections.abc import Mapping, Sequence
from itertools import product

import pytest

from agents.baselines import load_policy, names, tunable
from agents.baselines._ranges import Range
from reports.trials import Trial, Value, best, search

TUNABLE: dict[str, tuple[Range, Value]] = {
    "share": (Range(0.01, 1.0, log=True), 0.9),
    "bytes": (Range(2**20, 2**30, log=True), 2**29),
}


def score(settings: Mapping[str, Value], rung: int) -> float:
    """Best at a share of 0.2; the first hosts say nearly the same."""
    return 1 - abs(settings["share"] - 0.2) + 0.001 * rung


def tried(trials: int, kept: Sequence[Trial] = (), seed: int = 0) -> tuple[Trial, ...]:
    return search(TUNABLE, 2, trials, score, lambda _: None, kept, seed)


@pytest.fixture(scope="module")
def whole() -> tuple[Trial, ...]:
    return tried(16)


def test_the_defaults_come_first_and_nothing_worse_is_chosen(whole: tuple[Trial, ...]) -> None:
    assert whole[0].settings == {"share": 0.9, "bytes": 2**29}
    assert not whole[0].pruned
    assert best(whole).score >= whole[0].score
    assert best(whole).settings["share"] == pytest.approx(0.2, abs=0.1)
    assert best(whole[:1]) == whole[0]


@pytest.mark.parametrize("stopped", [0, 1, 7, 12])
def test_a_search_that_was_stopped_ends_as_if_it_had_not_been(
    whole: tuple[Trial, ...], stopped: int
) -> None:
    assert tried(16, whole[:stopped]) == whole


def test_another_seed_tries_others(whole: tuple[Trial, ...]) -> None:
    assert tried(4, seed=1)[1:] != whole[1:4]


def test_hopeless_trials_are_cut_short_and_never_chosen(whole: tuple[Trial, ...]) -> None:
    pruned = [trial for trial in whole if trial.pruned]
    assert pruned and all(len(trial.scores) == 1 for trial in pruned)
    assert not any(trial.pruned for trial in whole[:5])
    lucky = Trial({"share": 0.5, "bytes": 2**20}, (2.0,), pruned=True)
    assert best([*whole, lucky]) == best(whole)


def test_settings_are_tidy_and_of_their_type(whole: tuple[Trial, ...]) -> None:
    for trial in whole:
        assert float(f"{trial.settings['share']:.3g}") == trial.settings["share"]
        assert isinstance(trial.settings["bytes"], int)
        assert trial.settings["bytes"] < 2**22 or trial.settings["bytes"] % 2**20 == 0


@pytest.mark.parametrize("name", names())
def test_every_corner_of_the_ranges_is_a_valid_policy(name: str) -> None:
    found = tunable(name)
    assert not any(setting.endswith("period_s") for setting in found)
    for setting, (limits, default) in found.items():
        assert limits.low <= default <= limits.high, setting
        assert limits.low < limits.high, setting
        assert limits.low > 0 or not limits.log, setting
    kinds = {setting: type(default) for setting, (_, default) in found.items()}
    for corner in product(*((limits.low, limits.high) for limits, _ in found.values())):
        load_policy(
            name, {key: kinds[key](value) for key, value in zip(found, corner, strict=True)}
        )


def test_all_but_two_have_something_to_tune() -> None:
    assert {name for name in names() if not tunable(name)} == {"static", "equal"}
