"""Equal shares: the water level in closed form, against filling drop by drop, and in the policy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.baselines.equal import Equal, EqualConfig, rule
from agents.baselines.static import Static
from contract.arrays import GIB, MIB
from tests.contract.readings import mib, reading


def share(budget: int, smallest: list[int], largest: list[int]) -> list[int]:
    everybody = np.ones((1, len(smallest)), bool)
    low, high = np.array([smallest]), np.array([largest])
    shares: list[int] = rule(np.array([budget]), low, high, everybody)[0].tolist()
    return shares


@pytest.mark.parametrize(
    ("budget", "smallest", "largest", "shares"),
    [
        (90, [0, 0, 0], [100, 100, 100], [30, 30, 30]),
        (90, [0, 0, 0], [10, 100, 100], [10, 40, 40]),
        (90, [50, 0, 0], [100, 100, 100], [50, 20, 20]),
        (90, [50, 0, 0], [100, 5, 100], [50, 5, 35]),
        (10, [5, 6, 7], [9, 9, 9], [5, 6, 7]),
        (99, [0, 0], [10, 20], [10, 20]),
        (-5, [1, 0], [10, 20], [1, 0]),
        (7, [3], [3], [3]),
        (50, [40, 0], [40, 5], [40, 5]),
    ],
)
def test_clipping_is_shared_again(
    budget: int, smallest: list[int], largest: list[int], shares: list[int]
) -> None:
    assert share(budget, smallest, largest) == shares


bounds = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda b: (min(b), max(b))),
    min_size=1,
    max_size=5,
)


@given(st.integers(-5, 120), bounds)
def test_the_level_is_that_of_filling_drop_by_drop(
    budget: int, bounds: list[tuple[int, int]]
) -> None:
    """Raise one level for all while the clipped sum still fits."""
    smallest, largest = [low for low, _ in bounds], [high for _, high in bounds]

    def at(level: int) -> list[int]:
        return [min(max(level, low), high) for low, high in bounds]

    level = 0
    while level < 30 and sum(at(level + 1)) <= budget:
        level += 1
    assert share(budget, smallest, largest) == at(level)


def test_what_the_host_keeps_is_taken_off_first() -> None:
    """2 % of 16 GiB; three guests that can take all the rest."""
    telemetry = reading(1, 3, min_bytes=0, max_bytes=16 * GIB)
    decision, _, wake_at_s = Equal().decide(telemetry, Equal().reset(1, 3))
    assert decision.target_bytes.tolist() == [[(16 * GIB - int(0.02 * 16 * GIB)) // 3] * 3]
    assert wake_at_s.tolist() == [5.0]
    small = telemetry._replace(total_bytes=np.array([GIB]))
    decision, _, _ = Equal().decide(small, Equal().reset(1, 3))
    assert decision.target_bytes.tolist() == [[(GIB - 64 * MIB) // 3] * 3]


def test_guests_that_cannot_be_resized_keep_what_they_have() -> None:
    telemetry = reading(
        1,
        4,
        present=[[True, True, True, False]],
        weight=[[1000, 0, 1000, 1000]],
        max_bytes=[[16 * GIB, 16 * GIB, -1, 16 * GIB]],
        current_bytes=mib([[4096, 2048, 1024, 512]]),
    )
    config = EqualConfig(reserve_share=0.0, reserve_bytes=GIB)
    decision, _, _ = Equal(config).decide(telemetry, Equal().reset(1, 4))
    assert decision.target_bytes.tolist() == [[12 * GIB, -1, -1, -1]]


def test_unknown_ram_is_not_shared() -> None:
    telemetry = reading(1, 2, total_bytes=-1)
    assert Equal().decide(telemetry, Equal().reset(1, 2))[0].target_bytes.tolist() == [[-1, -1]]


def test_static_asks_for_the_largest_size() -> None:
    telemetry = reading(1, 3, max_bytes=[[GIB, -1, 3 * GIB]], weight=[[1, -1, 0]])
    decision, _, _ = Static().decide(telemetry, Static().reset(1, 3))
    assert decision.target_bytes.tolist() == [[GIB, -1, -1]]


@pytest.mark.parametrize("wrong", [{"reserve_share": 1.0}, {"reserve_bytes": -1}])
def test_settings_without_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EqualConfig(**wrong)  # type: ignore[arg-type] # the error
