"""Xen self-ballooning: down by an eighth, up at once, and the floor in closed form."""

import numpy as np
import pytest

from agents.baselines.selfballoon import Selfballoon, SelfballoonConfig, floor, rule
from contract.arrays import GIB, PAGE, Ints
from contract.telemetry import Telemetry
from tests.contract.readings import mib, reading

C = SelfballoonConfig()
MIB_PAGES = 256


def pages(*values: int) -> Ints:
    return np.array(values, np.int64) * MIB_PAGES


def decided(telemetry: Telemetry, config: SelfballoonConfig | None = None) -> Ints:
    policy = Selfballoon(config)
    decision, _, wake_at_s = policy.decide(telemetry, policy.reset(*telemetry.guest_id.shape))
    assert (wake_at_s == telemetry.time_s + 5.0).all()
    return decision.target_bytes


def test_down_by_an_eighth_of_the_difference_and_up_by_all_of_it() -> None:
    """The goal is 400 MiB and a reserve of 20."""
    found = rule(
        pages(820, 420, 320), pages(400, 400, 400), pages(20, 20, 20), pages(*[1024] * 3), C
    )
    assert found.tolist() == pages(820 - 50, 420, 420).tolist()


@pytest.mark.parametrize(
    ("largest", "least"),
    [
        (15, 15),  # not worth ballooning
        (16, 16),
        (48, 16 + 16),
        (64, 40 + 3),
        (440, 40 + 50),
        (512, 99 + 413 / 32),
        (1123, 99 + 32),
    ],
)
def test_the_floor_grows_with_the_usable_size(largest: int, least: float) -> None:
    """Without a reserve, all of it is usable; with one of 100 MiB, the floor lies on top."""
    assert floor(pages(0), pages(largest), C).tolist() == [int(least * MIB_PAGES)]
    if largest >= 16:
        above = floor(pages(100), pages(largest + 100), C)
        assert above.tolist() == [int((100 + least) * MIB_PAGES)]


def test_a_floor_that_was_set_is_above_the_reserve() -> None:
    config = SelfballoonConfig(min_usable_mib=200)
    assert floor(pages(30), pages(1024), config).tolist() == pages(230).tolist()


def test_an_idle_guest_shrinks_to_its_floor_and_not_further() -> None:
    size = pages(1123)
    for _ in range(100):
        size = rule(size, pages(10), pages(0), pages(1123), C)
    assert size.tolist() == pages(131).tolist()


def test_what_each_guest_tells_is_what_counts() -> None:
    """2 GiB, used 1 GiB: 128 MiB less; used all of 2 GiB: nothing; more committed: to that."""
    telemetry = reading(1, 2, stats_available_bytes=[[GIB, 0]], available_bytes=0)
    assert decided(telemetry).tolist() == mib([[2048 - 128, 2048]]).tolist()
    told = telemetry._replace(
        agent_committed_bytes=mib([[3000, -1]]), agent_reserve_bytes=mib([[24, -1]])
    )
    assert decided(told).tolist() == mib([[3024, 2048]]).tolist()
    more = told._replace(agent_committed_bytes=mib([[9000, -1]]))
    assert decided(more)[0, 0] == 4 * GIB  # there is no more of it


def test_sizes_are_whole_pages() -> None:
    telemetry = reading(current_bytes=2 * GIB + 5 * PAGE, stats_available_bytes=GIB + 12345)
    assert decided(telemetry)[0, 0] % PAGE == 0


@pytest.mark.parametrize(
    "columns",
    [
        {"stats_available_bytes": -1},
        {"current_bytes": -1},
        {"max_bytes": -1},
        {"weight": 0},
        {"state": 1},
        {"state": 4},
    ],
    ids=str,
)
def test_who_does_not_run_or_does_not_tell_is_left_alone(columns: dict[str, int]) -> None:
    assert decided(reading(**columns)).tolist() == [[-1]]


@pytest.mark.parametrize("settings", [{"down_hysteresis": 0}, {"reserved_mib": -1}], ids=str)
def test_settings_without_sense_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        SelfballoonConfig(**settings)
