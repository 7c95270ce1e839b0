"""Neon: the original's own examples of working sets, units in closed form, and the guest's veto."""

import numpy as np
import pytest

from agents.baselines.neon import Metrics, Neon, NeonConfig, projected, rule, vetoed, working_set
from contract.arrays import GIB, MIB, Floats, Ints
from contract.telemetry import WORKING_SET_WINDOWS_S, Telemetry
from tests.contract.readings import mib, reading

C = NeonConfig()
WINDOWS = len(WORKING_SET_WINDOWS_S)
NO_SET = np.full(WINDOWS, np.nan)


def decided(telemetry: Telemetry, config: NeonConfig | None = None) -> Ints:
    policy = Neon(config)
    decision, _, wake_at_s = policy.decide(telemetry, policy.reset(*telemetry.guest_id.shape))
    assert (wake_at_s == telemetry.time_s + 5.0).all()
    return decision.target_bytes


def units(used: float, cached: float = np.nan, sizes: Floats = NO_SET) -> int:
    """Of 1 GiB, of MiB."""
    metrics = Metrics(np.array(used * MIB), np.array(cached * MIB), sizes * MIB)
    return int(rule(metrics, np.array(GIB), C))


def test_a_plateau_ends_the_working_set() -> None:
    """The original's example: ten minutes up, five flat, then up again."""
    config = NeonConfig(rise=2.0, offset=10, window=5)
    up = np.arange(1, 11) / 10
    series = np.concatenate([up, np.ones(5), 1.0 + up])
    assert working_set(series, config) == 1.0


def test_a_plateau_before_the_least_window_does_not() -> None:
    config = NeonConfig(rise=2.0, offset=10, window=5)
    series = [0.1, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1]
    assert working_set(np.array(series), config) == 1.1


def test_sizes_that_fall_count_as_flat() -> None:
    config = NeonConfig(rise=2.0, offset=5, window=5)
    series = np.array([5.0, 4.0, 3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 2.0, 3.0])
    assert working_set(series, config) == 1.0


@pytest.mark.parametrize(
    ("series", "project", "highest"),
    [
        ([0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0], 0.5, 1.05),
        ([0.0, 0.3, 0.5, 0.6], 2.0, 0.9),  # the second slope, not the steepest
        ([0.0, 1.0, 3.0, 4.0, 5.0], 3.0, 9.0),
    ],
)
def test_growth_is_carried_on(series: list[float], project: float, highest: float) -> None:
    """The original's examples."""
    found = projected(np.array(series), np.array(9.0), NeonConfig(project=project))
    assert found == pytest.approx(highest)


def test_growth_beyond_the_estimate_is_not_carried_on() -> None:
    """From the fifth minute on, windows count up to the first that is above the estimate."""
    series = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 5.0, 1.0])
    assert projected(series, np.array(1.0), C) == 1.0
    early = np.array([1.0, 4.0, 4.0, 4.0, 4.0, 4.0])
    assert projected(early, np.array(1.0), C) == 5.5  # before, all do


@pytest.mark.parametrize(
    ("used", "goal"), [(668, 1), (669, 2), (1436, 2), (1437, 3), (0, 1), (np.nan, 0)]
)
def test_use_and_100_mib_fill_75_percent(used: float, goal: int) -> None:
    """768 MiB are 75 % of a GiB."""
    assert units(used) == goal


def test_the_cached_part_of_the_working_set_counts_at_90_percent() -> None:
    """600 used, 100 on top and a working set of 700, of which 400 are cached: 1100 / 0.9 > 1024."""
    flat = np.full(WINDOWS, 700.0)
    assert units(600, 400, flat) == 2
    assert units(600, 200, flat) == 1  # 900 / 0.9 = 1000; the set alone: 700 / 0.75 = 933


def test_the_working_set_alone_counts_at_75_percent() -> None:
    assert units(0, 0, np.full(WINDOWS, 768.0)) == 1
    assert units(0, 0, np.full(WINDOWS, 769.0)) == 2


def test_a_guest_is_measured_in_eighths_of_its_size_or_in_units() -> None:
    """Used 1 GiB and 100 MiB, of 75 %: 1499 MiB, three units of half a GiB; 16 GiB: two of one."""
    small = reading(max_bytes=4 * GIB)
    assert decided(small).tolist() == [[3 * GIB // 2]]
    assert decided(reading(max_bytes=16 * GIB)).tolist() == [[2 * GIB]]
    shipped = NeonConfig(least_units=1)
    assert decided(small, shipped).tolist() == [[2 * GIB]]


def test_sizes_stay_within_bounds() -> None:
    assert decided(reading(min_bytes=3 * GIB)).tolist() == [[3 * GIB]]
    full = reading(stats_available_bytes=0, max_bytes=2 * GIB + MIB)
    assert decided(full).tolist() == [[2 * GIB + MIB]]


def judged(goal: int, size: int, anonymous: int) -> int:
    """[units of 256 MiB], sizes in MiB."""
    found = vetoed(np.array([goal]), mib([size]), mib([anonymous]), np.array([256 * MIB]), C)
    return int(found[0])


def test_the_guest_asks_for_a_unit_more_at_85_percent() -> None:
    """85 % of 1024 - 100 MiB are 785.4."""
    assert judged(2, 1024, 786) == 5
    assert judged(9, 1024, 786) == 9


@pytest.mark.parametrize(("anonymous", "kept"), [(300, 3), (467, 3), (468, 4), (785, 4), (50, 2)])
def test_the_guest_refuses_what_it_would_overfill(anonymous: int, kept: int) -> None:
    """From 1024 to 512: of 768 - 100 MiB 85 % are 567.8, anonymous and 100 must fit."""
    assert judged(2, 1024, anonymous) == kept


def test_without_an_agent_there_is_no_veto() -> None:
    found = vetoed(np.array([2]), mib([1024]), np.array([-1]), np.array([256 * MIB]), C)
    assert found.tolist() == [2]


def test_the_columns_of_an_agent_are_read() -> None:
    plain = reading(stats_caches_bytes=GIB)
    assert decided(plain).tolist() == [[3 * GIB // 2]]
    sizes = np.full((1, 1, WINDOWS), 2 * GIB, np.int64)
    assert decided(plain._replace(agent_working_set_bytes=sizes)).tolist() == [[3 * GIB]]
    full = plain._replace(agent_anonymous_bytes=mib([[1900]]))
    assert decided(full).tolist() == [[5 * GIB // 2]]


@pytest.mark.parametrize(
    "columns",
    [
        {"stats_available_bytes": -1},
        {"current_bytes": -1},
        {"max_bytes": -1},
        {"weight": 0},
        {"state": 1},
        {"state": 3},
    ],
    ids=str,
)
def test_who_does_not_run_or_does_not_tell_keeps_its_size(columns: dict[str, int]) -> None:
    assert decided(reading(**columns)).tolist() == [[-1]]


@pytest.mark.parametrize(
    "settings", [{"use_share": 0.0}, {"window": 9}, {"offset": 58}, {"unit_bytes": 0}], ids=str
)
def test_settings_without_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        NeonConfig(**settings)  # type: ignore[arg-type]
