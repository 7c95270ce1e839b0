import pytest

from reports.settings import Evaluation, Seeds
from scenarios.splits import SEEDS


def evaluation(**changes: object) -> Evaluation:
    settings = {"name": "t", "title": "T", "policies": ["static"], **changes}
    return Evaluation.model_validate({"scenarios": [{"scenario": "small"}], **settings})


def test_seeds_stay_within_a_split() -> None:
    assert Seeds(first=2**18 - 8, count=8).count == 8
    with pytest.raises(ValueError, match=r"is 262144; expected less than 262144, .* learned"):
        Seeds(first=2**18 - 7, count=8)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_hosts_have_seeds_of_the_split(split: str) -> None:
    seeds = evaluation(split=split, seeds=Seeds(first=5, count=3)).host_seeds
    assert list(seeds) == [SEEDS[split].start + number for number in (5, 6, 7)]


def test_a_scenario_may_take_part_in_some_splits_alone() -> None:
    uses = [{"scenario": "small"}, {"scenario": "unseen", "splits": ("validation",)}]
    assert [use.scenario for use in evaluation(scenarios=uses).uses] == ["small", "unseen"]
    assert [use.scenario for use in evaluation(scenarios=uses, split="test").uses] == ["small"]
    with pytest.raises(ValueError, match="takes part in the split test"):
        evaluation(scenarios=uses[1:], split="test")


def test_scenarios_may_have_hosts_of_their_own() -> None:
    uses = [{"scenario": "small"}, {"scenario": "unseen"}, {"scenario": "default"}]
    shared = evaluation(scenarios=uses, seeds=Seeds(first=5, count=3))
    assert [list(shared.seeds_of(number)) for number in range(3)] == [[5, 6, 7]] * 3
    own = shared.model_copy(update={"own_seeds": True})
    assert [list(own.seeds_of(number)) for number in (0, 2)] == [[5, 6, 7], [11, 12, 13]]
    assert list(own.host_seeds) == list(range(5, 14))
    with pytest.raises(ValueError, match="9 from number 262139 on: expected at most 262144"):
        evaluation(scenarios=uses, seeds=Seeds(first=2**18 - 5, count=3), own_seeds=True)
