import lzma
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.loading import ConfigError
from reports.settings import Evaluation
from reports.workloads import prepare
from scenarios.traces import TraceError


def config(**changes: object) -> Evaluation:
    settings = {"scenarios": [{"scenario": "replay"}, {"scenario": "small"}], **changes}
    return Evaluation.model_validate(
        {"name": "t", "title": "T", "policies": ["static"], **settings}, strict=False
    )


def write_trace(folder: Path) -> None:
    rows = 500
    table = {
        "vm_id": np.ones(rows, np.int32),
        "time_s": np.arange(rows, dtype=np.int32) * 300,
        "nominal_bytes": np.full(rows, 2**32),
        **{
            name: np.ones(rows, np.float32)
            for name in (
                "granted_bytes",
                "active_bytes",
                "cpu_percent",
                "disk_read_bytes_per_s",
                "disk_write_bytes_per_s",
            )
        },
    }
    pq.write_table(pa.table(table), folder / "mine.parquet")


def test_lengths_and_split_are_the_evaluations() -> None:
    found = prepare(config(traces="synthetic", split="test", warm_up=60.0, scored=120.0))
    replay, small = found.scenarios
    assert replay.replay is not None
    assert (replay.replay.source, replay.replay.split) == ("synthetic", "test")
    assert (small.warm_up, small.length) == (60, 120)
    assert found.traces == ("Replays the synthetic traces that ship (split test).",)


def test_measured_traces_are_used_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_trace(tmp_path)
    monkeypatch.setenv("OVERCOMMIT_TRACES", str(tmp_path))
    found = prepare(config())
    about = f"Replays measured traces: mine, from {tmp_path} (split validation)."
    assert found.traces[0] == about
    assert "hosts have 1 guest instead of 8" in found.traces[1]
    assert "mine.parquet" in found.content
    assert found.scenarios[0].replay is not None
    assert found.scenarios[0].replay.source == "folder"


@pytest.mark.parametrize("wanted", ["auto", "measured"])
def test_without_measured_traces_the_synthetic_ones_serve_and_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.setenv("OVERCOMMIT_TRACES", str(tmp_path / "none"))
    found = prepare(config(traces=wanted))
    assert "synthetic traces that ship" in found.traces[0]
    assert f"no measured traces in {tmp_path / 'none'}" in found.traces[0]
    assert found.scenarios[0].replay is not None
    assert found.scenarios[0].replay.source == "synthetic"


def test_a_folder_that_was_named_must_hold_traces(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=str(tmp_path)):
        prepare(config(traces="measured", traces_folder=str(tmp_path)))


def test_without_a_replay_no_trace_is_mentioned() -> None:
    found = prepare(config(scenarios=[{"scenario": "small"}]))
    assert found.traces == ("Workloads are synthetic; no trace is replayed.",)


def test_recordings_are_followed_where_they_are_and_stand_ins_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "intensity").mkdir()
    with lzma.open(tmp_path / "intensity/worldcup98_requests.csv.xz", "wt") as file:
        file.write("period,count\n" + "\n".join(f"{i},{i}" for i in range(9000)) + "\n")
    uses = [{"scenario": "crowds"}, {"scenario": "pagecache"}]
    found = prepare(config(scenarios=uses, traces_folder=str(tmp_path)))
    assert [one.recordings.source for one in found.scenarios] == ["folder", "synthetic"]
    assert {one.recordings.split for one in found.scenarios} == {"validation"}
    assert "Guests of crowds follow recordings: worldcup98, from" in found.traces[0]
    assert "Guests of pagecache follow synthetic stand-ins" in found.traces[1]
    assert "no page_refs/arc_P2, page_refs/arc_P3" in found.traces[1]

    asked = prepare(config(scenarios=uses, traces="synthetic"))
    assert {one.recordings.source for one in asked.scenarios} == {"synthetic"}
    assert len(asked.traces) == 1 and "no page_refs" not in asked.traces[0]


def test_nobody_is_judged_on_what_belongs_to_another_split() -> None:
    with pytest.raises(ConfigError, match="profile 'desktop' belongs to the split validation"):
        prepare(config(scenarios=[{"scenario": "unseen"}], split="test"))
