"""Somebody's own traces: few machines, one day, other sizes, mostly off; what is used is told."""

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest

import scenarios
from scenarios import datasets, traces
from scenarios.adapting import adapt
from scenarios.draw import DrawnHost, draw
from scenarios.quantities import GIB
from scenarios.schema import Replay, Scenario
from scenarios.traces import TraceError

DAY = 288
BEGIN_S, END_S = 600.0, 4200.0
SPLIT = {
    split: [str(vm) for vm in range(200) if low <= traces.place(str(vm)) < high]
    for split, (low, high) in traces.SPLITS.items()
}


def write_granted(path: Path, granted: dict[str, np.ndarray], gib: int = 16) -> None:
    """Machines by name with what they were granted, in shares of their size."""
    steps = len(next(iter(granted.values())))
    rows = steps * len(granted)
    share = np.concatenate(list(granted.values()))
    columns = {
        "vm_id": np.repeat(np.array([int(vm) for vm in granted], np.int32), steps),
        "time_s": np.tile(np.arange(steps, dtype=np.int32) * 300, len(granted)),
        "nominal_bytes": np.full(rows, gib * GIB),
        "granted_bytes": (share * gib * GIB).astype(np.float32),
        "active_bytes": (0.1 * share * gib * GIB).astype(np.float32),
        "cpu_percent": np.zeros(rows, np.float32),
        "disk_read_bytes_per_s": np.full(rows, 1e5, np.float32),
        "disk_write_bytes_per_s": np.zeros(rows, np.float32),
    }
    parquet.write_table(pyarrow.table(columns), path)


def always_on(names: list[str], steps: int) -> dict[str, np.ndarray]:
    return {vm: np.full(steps, 0.6) for vm in names}


def wanted(folder: Path, **changes: object) -> Replay:
    usual = {"source": "folder", "folder": str(folder), "split": "validation"}
    return Replay.model_validate(usual | changes)


def drawn(replay: Replay, keys: range = range(4)) -> list[DrawnHost]:
    whole: Scenario = scenarios.load("replay")
    scenario = whole.model_copy(update={"replay": replay})
    assert (scenario.warm_up, scenario.end_s) == (BEGIN_S, END_S)
    return [draw(scenario, key) for key in keys]


def machines(hosts: list[DrawnHost]) -> list[set[str]]:
    return [{guest.source.split("/")[-1] for guest in host.guests} for host in hosts]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_host_takes_as_many_machines_as_the_split_has(tmp_path: Path, count: int) -> None:
    mine = SPLIT["validation"][:count]
    write_granted(tmp_path / "t.parquet", always_on(mine + SPLIT["train"][:9], 7 * DAY))
    found = adapt(wanted(tmp_path), BEGIN_S, END_S)
    assert found.replay == wanted(tmp_path)
    assert len(found.said) == 1 and "instead of 8" in found.said[0]
    assert ("1 guest " if count == 1 else f"{count} guests ") in found.said[0]
    assert machines(drawn(found.replay)) == [set(mine)] * 4


def test_enough_machines_need_no_words(tmp_path: Path) -> None:
    write_granted(tmp_path / "t.parquet", always_on(SPLIT["validation"][:8], 7 * DAY))
    found = adapt(wanted(tmp_path), BEGIN_S, END_S)
    assert (found.replay, found.said) == (wanted(tmp_path), ())
    assert machines(drawn(found.replay)) == [set(SPLIT["validation"][:8])] * 4


def test_a_split_without_machines_gives_way_to_all_and_it_is_told(tmp_path: Path) -> None:
    mine = SPLIT["train"][:6]
    write_granted(tmp_path / "t.parquet", always_on(mine, 7 * DAY))
    with pytest.raises(TraceError, match=r"split validation: none of 0 machines"):
        drawn(wanted(tmp_path))  # not by itself: only whoever can say so widens the split
    found = adapt(wanted(tmp_path), BEGIN_S, END_S)
    assert found.replay.split == "all"
    assert "split validation has no machine" in found.said[0]
    assert "all machines and times are used" in found.said[0]
    assert "6 guests instead of 8" in found.said[1] and "--set" not in found.said[1]
    assert machines(drawn(found.replay)) == [set(mine)] * 4


def test_one_day_is_used_whole(tmp_path: Path) -> None:
    mine = SPLIT["validation"][:3]
    write_granted(tmp_path / "t.parquet", always_on(mine, DAY))  # a fifth of it is too short
    found = adapt(wanted(tmp_path), BEGIN_S, END_S)
    assert found.replay.split == "all" and "too little time" in found.said[0]
    assert machines(drawn(found.replay)) == [set(mine)] * 4


def test_an_hour_is_too_short_and_what_to_do_is_said(tmp_path: Path) -> None:
    write_granted(tmp_path / "t.parquet", always_on(["1"], 12))
    with pytest.raises(TraceError, match=r"^t: 12 steps of 300 s; expected 86 .* --set scored="):
        adapt(wanted(tmp_path), BEGIN_S, END_S)


def test_other_sizes_are_used_where_there_are_no_others(tmp_path: Path) -> None:
    write_granted(tmp_path / "t.parquet", always_on(SPLIT["validation"][:2], 7 * DAY), gib=1)
    found = adapt(wanted(tmp_path), BEGIN_S, END_S)
    assert "No machine is of 2 to 64 GiB, so those of 1 GiB are used." in found.said
    assert {guest.size for host in drawn(found.replay) for guest in host.guests} == {GIB // 16}


def test_a_window_is_sought_in_which_a_machine_is_on(tmp_path: Path) -> None:
    granted = np.zeros(30 * DAY)
    granted[7000:7100] = 0.6  # of a split of 1728 steps 100
    write_granted(tmp_path / "t.parquet", {"1": granted})
    replay = wanted(tmp_path, split="all")
    assert not any("off" in said for said in adapt(replay, BEGIN_S, END_S).said)
    for host in drawn(replay):
        (guest,) = host.spec.guests
        assert guest.start_s <= END_S / 2 + 100


def test_a_machine_that_is_hardly_ever_on_is_replayed_while_it_counts(tmp_path: Path) -> None:
    granted = np.zeros(10 * DAY)
    granted[100::200] = granted[101::200] = 0.6  # 10 min, every 17 h
    write_granted(tmp_path / "t.parquet", {SPLIT["validation"][0]: granted})
    found = adapt(wanted(tmp_path), BEGIN_S, END_S)
    assert "off most of the time" in found.said[-1]
    for host in drawn(found.replay, range(12)):
        (guest,) = host.spec.guests
        off = [entry.at_s for entry in host.spec.timeline] or [END_S]
        assert guest.start_s < END_S and off[0] > BEGIN_S


def test_machines_that_are_never_on_are_refused(tmp_path: Path) -> None:
    write_granted(tmp_path / "t.parquet", {"1": np.zeros(7 * DAY)})
    with pytest.raises(TraceError, match=r"^t: expected a machine of 2 to 64 GiB that is on"):
        adapt(wanted(tmp_path), BEGIN_S, END_S)


def test_a_data_set_without_machines_is_left_out(tmp_path: Path) -> None:
    write_granted(tmp_path / "a.parquet", always_on(SPLIT["train"][:3], 7 * DAY))
    write_granted(tmp_path / "b.parquet", always_on(SPLIT["validation"][:8], 7 * DAY))
    found = adapt(wanted(tmp_path), BEGIN_S, END_S)
    assert found.replay.datasets == ("b",) and [one.name for one in found.datasets] == ["b"]
    assert found.said == ("a is left out: no machine of its split validation fits a host.",)
    assert {host.trace.split()[0] for host in drawn(found.replay)} == {"b"}


RAW = traces.folder(None) / "vm_memory" / "raw_gwa_samples"


@pytest.mark.skipif(not RAW.is_dir(), reason=f"no measured traces: {RAW} is not there")
@pytest.mark.parametrize("part, most", [(".", 3), ("fastStorage", 3), ("rnd/2013-7", 2)])
def test_the_original_samples_are_replayed(part: str, most: int) -> None:
    found = adapt(wanted(RAW / part), BEGIN_S, END_S)
    assert found.replay.split == "validation"
    sizes = [len(host.guests) for host in drawn(found.replay)]
    assert min(sizes) >= 1 and max(sizes) == most
    assert len(found.datasets) == len(datasets.measured(RAW / part))
