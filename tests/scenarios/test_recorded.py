"""A recording of the daemon as a trace: what is hot, cold, censored, missing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract import recording
from contract.arrays import GIB, MIB
from contract.recording import Moment
from scenarios import datasets
from scenarios.recorded import Recorded
from scenarios.traces import TraceError
from tests.contract.readings import reading

USUAL: dict[str, Any] = {
    "max_bytes": 2 * GIB,
    "current_bytes": 2 * GIB,
    "stats_total_bytes": 2 * GIB,
    "stats_available_bytes": 1536 * MIB,
    "stats_caches_bytes": 256 * MIB,
    "stats_age_s": 0.0,
}


def moment(time_s: float, wall_s: float | None = None, name: str = "web", **columns: Any) -> str:  # noqa: ANN401
    told = reading(time_s=time_s, **USUAL | columns)
    wall = 1e9 + time_s if wall_s is None else wall_s
    return recording.line(Moment(told, wall, names={0: name}))


def recorded(folder: Path, *lines: str) -> Recorded:
    (folder / "telemetry-00000001.jsonl").write_text("".join(lines))
    return Recorded(folder)


def mib(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value) / MIB) for value in values]


def test_used_is_hot_and_cache_is_cold(tmp_path: Path) -> None:
    lines = [moment(5.0 * k, stats_available_bytes=(1536 - k) * MIB) for k in range(24)]
    trace = recorded(tmp_path, *lines).read("web")
    assert trace.nominal_bytes == 2 * GIB and trace.step_s == 60.0
    assert mib(trace.active) == [512 + 6, 512 + 18]  # 5.5 and 17.5, rounded to even
    assert mib(trace.granted) == [774, 786]


def test_a_sample_counts_once_and_at_its_own_time(tmp_path: Path) -> None:
    frozen = [moment(60.0 + k, stats_age_s=5.0 + k, stats_available_bytes=0) for k in range(50)]
    trace = recorded(tmp_path, moment(0.0), *frozen).read("web")
    assert mib(trace.active) == [512 + 768, None], "read at 60 s and later, answered at 55 s"


@pytest.mark.parametrize(
    ("squeeze", "censored"),
    [
        ({"stats_available_bytes": 60 * MIB}, True),
        ({"stats_available_bytes": 600 * MIB, "stats_swap_in_bytes": MIB}, True),
        ({"stats_available_bytes": 600 * MIB, "stats_alloc_stalls": 3}, True),
        ({"stats_available_bytes": 600 * MIB}, False),
        ({"stats_available_bytes": 60 * MIB, "current_bytes": 2 * GIB}, False),
    ],
)
def test_who_is_squeezed_may_want_more_than_is_seen(
    tmp_path: Path, squeeze: dict[str, Any], censored: bool
) -> None:
    small = {"current_bytes": GIB, "stats_total_bytes": GIB} | squeeze
    free = [moment(5.0 * k, stats_available_bytes=100 * MIB) for k in range(12)]
    tight = [moment(60.0, **small), moment(119.0, **small, stats_minor_faults=1)]
    if "stats_swap_in_bytes" in squeeze:
        tight[1] = moment(119.0, **small | {"stats_swap_in_bytes": 2 * MIB})
    elif "stats_alloc_stalls" in squeeze:
        tight[1] = moment(119.0, **small | {"stats_alloc_stalls": 9})
    found = recorded(tmp_path, *free, *tight)
    seen = 1024 - squeeze["stats_available_bytes"] // MIB
    if not censored and "current_bytes" in squeeze:
        seen = 1024 - 60
    assert found.censored == (0.5 if censored else 0.0)
    assert mib(found.read("web").active)[1] == (max(1948, seen) if censored else seen)


def test_absence_is_off_and_silence_of_the_daemon_is_a_gap(tmp_path: Path) -> None:
    lines = [
        moment(0.0),
        moment(60.0, present=False),
        moment(120.0),
        # nobody records for a minute, then the host is started anew after another
        moment(7.0, wall_s=1e9 + 240.0),
    ]
    trace = recorded(tmp_path, *lines).read("web")
    assert mib(trace.granted) == [768, 0, 768, None, 768]
    assert mib(trace.active) == [512, None, 512, None, 512]


def test_one_name_is_one_machine_and_a_cut_last_line_is_no_harm(tmp_path: Path) -> None:
    lines = [moment(0.0), moment(60.0, name="db"), moment(120.0, guest_id=[[7]], name="db")]
    found = recorded(tmp_path, *lines[:2], lines[2][:-30])
    assert found.machines == ("db", "web") and found.steps == 2


def test_what_is_wrong_names_the_place(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"00000001\.jsonl, line 1"):
        recorded(tmp_path, "{}\n", moment(0.0))
    with pytest.raises(TraceError, match="expected guests that answered"):
        recorded(tmp_path, moment(0.0, stats_age_s=np.nan))
    with pytest.raises(TraceError, match="expected one of web"):
        recorded(tmp_path, moment(0.0)).read("db")


def test_a_folder_or_a_file_of_recordings_is_a_data_set(tmp_path: Path) -> None:
    recorded(tmp_path, moment(0.0))
    for place in (tmp_path, tmp_path / "telemetry-00000001.jsonl"):
        (found,) = datasets.measured(place)
        assert found.machines == ("web",) and found.step_s == 60.0
