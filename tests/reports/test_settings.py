import pytest

from reports.settings import Seeds


def test_seeds_stay_below_those_of_training() -> None:
    assert Seeds(first=2**20 - 8, count=8).count == 8
    with pytest.raises(ValueError, match=r"is 1048576; expected less than 1048576, .* learned"):
        Seeds(first=2**20 - 7, count=8)
