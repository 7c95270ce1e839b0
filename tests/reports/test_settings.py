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
