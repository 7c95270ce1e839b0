"""The columns of a reading, and what total memory means under deflate-on-oom."""

import numpy as np
import pytest

from contract.arrays import GIB
from contract.telemetry import (
    COLUMNS,
    WORKING_SET_WINDOWS_S,
    Telemetry,
    check,
    column,
    running,
    select,
    unknown,
    used_bytes,
)
from tests.contract.readings import reading


def test_unknown_is_minus_one_or_nan_and_never_zero() -> None:
    telemetry = unknown(2, 3, optional=tuple(n for n, c in COLUMNS.items() if c.optional))
    check(telemetry)
    for name, values in telemetry._asdict().items():
        if name == "time_s":
            continue
        if values.dtype == np.bool_:
            assert not values.any()
        elif values.dtype == np.int64:
            assert (values == -1).all(), name
        else:
            assert np.isnan(values).all(), name


def test_the_table_names_every_field_once_with_a_meaning() -> None:
    assert tuple(COLUMNS) == Telemetry._fields
    assert all(entry.meaning for entry in COLUMNS.values())
    assert {n for n, c in COLUMNS.items() if c.optional} == set(Telemetry._field_defaults)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"total_bytes": np.zeros(2)}, "total_bytes: float64"),
        ({"present": np.zeros((1, 2), bool)}, "present: bool (1, 2), expected bool (2, 2)"),
        ({"time_s": np.array([0.0, np.nan])}, "time_s: must be known"),
        ({"guest_id": np.full((2, 2), -1)}, "guest_id: a guest that is present"),
    ],
)
def test_check_names_the_column(change: dict[str, np.ndarray], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint.replace("(", r"\(").replace(")", r"\)")):
        check(reading(2, 2)._replace(**change))


def test_absent_optional_columns_read_as_unknown() -> None:
    telemetry = reading(2, 3)
    windows = column(telemetry, "agent_working_set_bytes")
    assert windows.shape == (2, 3, len(WORKING_SET_WINDOWS_S))
    assert (windows == -1).all()
    assert np.isnan(column(telemetry, "agent_load")).all()


def test_select_takes_hosts_in_order() -> None:
    telemetry = reading(3, 1, time_s=[1.0, 2.0, 3.0])
    assert select(telemetry, np.array([2, 0])).time_s.tolist() == [3.0, 1.0]
    assert select(telemetry, np.array([2, 0])).active_bytes is None


def test_used_takes_off_what_a_balloon_hides_in_total() -> None:
    """2 GiB taken of 4: total shrinks without deflate-on-oom, and stays with it."""
    sizes = {"max_bytes": 4 * GIB, "current_bytes": 2 * GIB, "stats_available_bytes": GIB}
    shrunk = reading(deflate_on_oom=0, stats_total_bytes=2 * GIB, **sizes)
    stays = reading(deflate_on_oom=1, stats_total_bytes=4 * GIB, **sizes)
    betrayed = reading(deflate_on_oom=-1, stats_total_bytes=4 * GIB, **sizes)
    for telemetry in (shrunk, stays, betrayed):
        assert used_bytes(telemetry).tolist() == [[GIB]]


def test_used_takes_the_size_at_the_time_of_the_statistics() -> None:
    telemetry = reading(
        deflate_on_oom=1,
        max_bytes=4 * GIB,
        current_bytes=3 * GIB,
        stats_current_bytes=2 * GIB,
        stats_total_bytes=4 * GIB,
        stats_available_bytes=GIB,
    )
    assert used_bytes(telemetry).tolist() == [[GIB]]


@pytest.mark.parametrize("lacking", ["stats_total_bytes", "stats_available_bytes", "max_bytes"])
def test_used_is_unknown_if_a_part_is(lacking: str) -> None:
    assert used_bytes(reading(deflate_on_oom=1, **{lacking: -1})).tolist() == [[-1]]


def test_a_guest_of_unknown_state_counts_as_running() -> None:
    telemetry = reading(1, 5, state=[[-1, 1, 2, 3, 4]])
    assert running(telemetry).tolist() == [[True, False, True, False, False]]
