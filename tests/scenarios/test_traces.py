"""Reading traces: both formats say the same, quirks are handled, broken files are named."""

import csv
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest

from scenarios import datasets, traces
from scenarios.gwa import GwaFolder, nominal, read_rows
from scenarios.quantities import GIB
from scenarios.tidy import MEASURED, TidyFile
from scenarios.traces import Trace, TraceError, hold_last, hot_set

HEADER = (
    "Timestamp [ms];\tCPU cores;\tCPU capacity provisioned [MHZ];\tCPU usage [MHZ];\t"
    "CPU usage [%];\tMemory capacity provisioned [KB];\tMemory usage [KB];\t"
    "Disk read throughput [KB/s];\t"
    "Disk write throughput [KB/s];\tNetwork received throughput [KB/s];\t"
    "Network transmitted throughput [KB/s]"
)
START = 1_376_314_846
NAN = np.nan


def line(time_s: int, granted: float = 4096.0, active: float = 512.0) -> str:
    fields = [time_s, 1, 2600.0, 26.0, 1.5, granted, active, 7.0, 3.0, 0.0, 0.0]
    return ";\t".join(str(field) for field in fields)


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    if path.suffix == ".xz":
        path.write_bytes(lzma.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def trace(granted: list[float], active: list[float], size: int = 1000) -> Trace:
    blank = np.zeros(len(granted), np.float32)
    columns = np.array(granted, np.float32), np.array(active, np.float32)
    return Trace("1", size, 300.0, *columns, blank, blank, blank)


# The original format.


def test_numbers_are_read_in_every_notation(tmp_path: Path) -> None:
    path = write(tmp_path / "1.csv", HEADER, line(START, 6.7108864e7), line(START + 300, 67108864))
    text = path.read_text().replace("67108864.0;", "6.7108864E7;", 1)
    path.write_text(text)
    assert "6.7108864E7" in text
    rows = read_rows(path)
    assert rows[:, 5].tolist() == [67108864, 67108864]


@pytest.mark.parametrize("suffix", [".csv", ".csv.xz"])
def test_samples_are_put_on_the_grid(tmp_path: Path, suffix: str) -> None:
    times = [0, 300, 300, 1050, 1349, 1351]  # repeated; two for step 4, one just past its end
    lines = [line(START + t, active=t + 1) for t in times]
    write(tmp_path / f"7{suffix}", HEADER, *lines)
    found = GwaFolder(tmp_path)
    assert found.machines == ("7",) and found.steps == 6
    active = found.read("7").active / 1024
    # 1050 is half a step from 900 and from 1200: it belongs to the later; 1349 and 1351 are
    # nearest to 1200 and 1500
    assert active[:2].tolist() == [1, 301]
    assert np.isnan(active[2:4]).all()
    assert active[4] == 1350 and active[5] == 1352


def test_the_nearest_of_several_samples_counts(tmp_path: Path) -> None:
    lines = [line(START, active=1), line(START + 200, active=2), line(START + 290, active=3)]
    write(tmp_path / "1.csv", HEADER, *lines)
    assert (GwaFolder(tmp_path).read("1").active / 1024).tolist() == [1, 3]


def test_kib_become_bytes_and_active_fits_the_size(tmp_path: Path) -> None:
    write(tmp_path / "1.csv", HEADER, line(START, granted=2**20, active=2**19))
    read = GwaFolder(tmp_path).read("1")
    assert read.granted[0] == GIB and read.active[0] == GIB / 2
    assert read.disk_read[0] == 7 * 1024 and read.disk_write[0] == 3 * 1024
    assert read.cpu_percent[0] == np.float32(1.5)


def test_machines_of_one_folder_share_a_grid(tmp_path: Path) -> None:
    write(tmp_path / "1.csv", HEADER, line(START), line(START + 300))
    write(tmp_path / "2.csv", HEADER, line(START + 310, active=9))
    active = GwaFolder(tmp_path).read("2").active / 1024
    assert np.isnan(active[0]) and active[1] == 9


BROKEN = [
    ("no header", [line(START), line(START + 300)], r"line 1: .*expected the header"),
    ("empty", [], r"line 1: '': expected the header"),
    ("header only", [HEADER], r"line 2: expected at least one row"),
    ("cut", [HEADER, line(START), line(START + 300)[:30]], r"line 3: .*expected 11 numbers"),
    ("word", [HEADER, line(START).replace("1.5", "off")], r"line 2: .*expected 11 numbers"),
    ("more", [HEADER, line(START), line(START) + ";\t5"], r"line 3: .*expected 11 numbers"),
    ("commas", [HEADER, line(START).replace(";", ",")], r"line 2: .*expected 11 numbers"),
    ("blank line", [HEADER, line(START), "", line(START)], r"line 3: ''.*expected 11 numbers"),
]


@pytest.mark.parametrize("lines, message", [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_a_broken_file_is_named_with_its_line(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    path = write(tmp_path / "12.csv", *lines)
    if not lines:
        path.write_text("")
    with pytest.raises(TraceError, match=message) as error:
        GwaFolder(tmp_path)
    assert "12.csv" in str(error.value)


def test_a_truncated_archive_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "1.csv.xz", HEADER, *[line(START + 300 * n) for n in range(50)])
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(TraceError, match=r"1\.csv\.xz: cannot be read"):
        GwaFolder(tmp_path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TraceError, match=r"1\.csv: cannot be read"):
        GwaFolder(tmp_path)


# The configured size.


@pytest.mark.parametrize("gib", [1, 2, 3.5, 4, 16, 64, 512])
def test_the_size_is_seen_in_the_resolution_of_active(gib: float) -> None:
    rng = np.random.default_rng(5)
    quantum = gib * GIB / 1500
    active = np.floor(rng.integers(1, 400, 500) * quantum / 1024) * 1024
    granted = np.full(500, 0.2 * gib * GIB)
    assert nominal(granted, active) == gib * GIB


def test_the_size_is_guessed_from_the_grant_otherwise() -> None:
    rng = np.random.default_rng(5)
    active = rng.random(500) * 2 * GIB
    assert nominal(np.full(500, 5.9 * GIB), active) == 6 * GIB
    assert nominal(np.full(3, 5.9 * GIB), np.zeros(3)) == 6 * GIB
    assert nominal(np.array([]), np.array([])) > 0


# The tidy format.


def tidy_table(vms: list[int], steps: int) -> pyarrow.Table:
    rng = np.random.default_rng(1)
    rows = len(vms) * steps
    columns = {
        "vm_id": np.repeat(np.array(vms, np.int32), steps),
        "time_s": np.tile(np.arange(steps, dtype=np.int32) * 300, len(vms)),
        "nominal_bytes": np.full(rows, 4 * GIB),
    }
    columns |= {name: rng.random(rows).astype(np.float32) for name in MEASURED}
    return pyarrow.table(columns).replace_schema_metadata({"step_s": "300"})


def test_a_tidy_machine_is_found_in_its_row_groups(tmp_path: Path) -> None:
    table = tidy_table([3, 5, 11], 20)
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=25)  # 5 spans two groups
    found = TidyFile(tmp_path / "t.parquet")
    assert found.machines == ("3", "5", "11") and found.steps == 20 and found.name == "t"
    wanted = table.filter(pyarrow.compute.equal(table["vm_id"], 5))
    read = found.read("5")
    assert np.array_equal(read.active, wanted["active_bytes"].to_numpy())
    assert np.array_equal(read.disk_write, wanted["disk_write_bytes_per_s"].to_numpy())
    assert read.nominal_bytes == 4 * GIB
    with pytest.raises(TraceError, match=r"machine '4': expected one of 3"):
        found.read("4")


def test_missing_columns_and_cut_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table = tidy_table([1], 20)
    parquet.write_table(table.drop_columns(["active_bytes"]), path)
    with pytest.raises(TraceError, match=r"t\.parquet: expected the columns active_bytes too"):
        TidyFile(path)
    parquet.write_table(table, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TraceError, match=r"t\.parquet: expected a whole parquet file"):
        TidyFile(path)


BAD_TABLES = [
    ("no rows", lambda t: t.slice(0, 0), "has no rows"),
    ("names", lambda t: t.set_column(0, "vm_id", [["a"] * 20]), r"vm_id is of string.*whole numb"),
    ("text", lambda t: t.set_column(3, MEASURED[0], [["x"] * 20]), r"granted_bytes is of string"),
    ("hole", lambda t: t.set_column(1, "time_s", [[None, *range(1, 20)]]), r"time_s has empty"),
    ("minutes", lambda t: t.replace_schema_metadata({"step_s": "60"}), r"step_s .*'60'; expected"),
]


@pytest.mark.parametrize("change, message", [b[1:] for b in BAD_TABLES], ids=lambda v: "")
def test_a_table_of_another_kind_is_named(
    tmp_path: Path, change: Callable[[pyarrow.Table], pyarrow.Table], message: str
) -> None:
    parquet.write_table(change(tidy_table([1], 20)), tmp_path / "t.parquet")
    with pytest.raises(TraceError, match=message) as error:
        TidyFile(tmp_path / "t.parquet")
    assert str(error.value).startswith(str(tmp_path / "t.parquet"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [0, -1])
def test_a_machine_must_have_a_size(tmp_path: Path, size: int) -> None:
    table = tidy_table([1], 20).set_column(2, "nominal_bytes", [[size] * 20])
    parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(TraceError, match=r"t\.parquet: machine 1: nominal_bytes: .*positive"):
        TidyFile(tmp_path / "t.parquet").read("1")


def test_a_later_part_of_a_trace_begins_where_it_begins(tmp_path: Path) -> None:
    table = tidy_table([1], 40)
    parquet.write_table(table.slice(30), tmp_path / "t.parquet")
    found = TidyFile(tmp_path / "t.parquet")
    assert found.steps == 10
    assert np.array_equal(found.read("1").active, table["active_bytes"].to_numpy()[30:])


def test_empty_cells_are_missing_samples(tmp_path: Path) -> None:
    table = tidy_table([1], 3).set_column(4, MEASURED[1], [[1.0, None, 3.0]])
    parquet.write_table(table, tmp_path / "t.parquet")
    assert np.isnan(TidyFile(tmp_path / "t.parquet").read("1").active).tolist() == [0, 1, 0]


def test_one_file_is_a_data_set(tmp_path: Path) -> None:
    parquet.write_table(tidy_table([1], 20), tmp_path / "t.parquet")
    path = write(tmp_path / "7.csv.xz", HEADER, line(START))
    assert datasets.measured(tmp_path / "t.parquet")[0].machines == ("1",)
    assert datasets.measured(path)[0].machines == ("7",)
    with pytest.raises(TraceError, match=r"machine\.csv: expected files such as 1\.csv"):
        datasets.measured(write(tmp_path / "machine.csv", HEADER, line(START)))


def test_a_folder_of_other_tables_says_what_they_lack(tmp_path: Path) -> None:
    parquet.write_table(tidy_table([1], 20).select(["vm_id"]), tmp_path / "t.parquet")
    with pytest.raises(TraceError, match=r"t\.parquet: expected the columns time_s, nominal"):
        datasets.measured(tmp_path)


def test_a_folder_is_searched_for_traces(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="there is no such folder or file"):
        datasets.measured(tmp_path / "nowhere")
    with pytest.raises(TraceError, match=r"expected tidy \.parquet files"):
        datasets.measured(tmp_path)
    write(tmp_path / "rnd" / "2013-7" / "1.csv", HEADER, line(START))
    write(tmp_path / "rnd" / "2013-7" / "notes.csv", "not a machine")
    (found,) = datasets.measured(tmp_path / "rnd")
    assert found.machines == ("1",) and found.name == "rnd/2013-7"
    assert datasets.available(tmp_path / "rnd") and not datasets.available(tmp_path / "none")
    with pytest.raises(TraceError, match=r"datasets: 'x': expected one of rnd/2013-7"):
        datasets.chosen("folder", str(tmp_path / "rnd"), ("x",))


# Splits.


def test_splits_share_neither_machines_nor_time() -> None:
    (synthetic,) = datasets.chosen("synthetic", None, ())
    parts = [set(traces.machines_of(synthetic, split)) for split in ("train", "validation", "test")]
    assert set.union(*parts) == set(synthetic.machines)
    assert sum(map(len, parts)) == len(synthetic.machines)
    assert 0.45 < len(parts[0]) / len(synthetic.machines) < 0.75
    times = [traces.steps_of(synthetic, split) for split in ("train", "validation", "test")]
    assert times[0][0] == 0 and times[2][1] == synthetic.steps
    assert times[0][1] == times[1][0] and times[1][1] == times[2][0]


def test_a_machine_is_in_the_same_split_in_every_file() -> None:
    assert traces.place("5") == traces.place("5")
    places = np.array([traces.place(str(vm)) for vm in range(2000)])
    assert np.histogram(places, bins=10, range=(0, 1))[0].min() > 150


# Cleaning.


def test_the_hot_set_is_a_centred_mean_while_on() -> None:
    active = [0.0] * 36
    active[12] = 130.0
    hot = hot_set(trace([500.0] * 36, active), smooth_s=3600, settle_s=0)
    assert hot[12] == pytest.approx(10.0) and hot[6] == pytest.approx(10.0)
    assert hot[5] == 0 and hot[18] == pytest.approx(10.0) and hot[19] == 0


def test_the_estimate_after_power_on_is_no_demand() -> None:
    granted = [0.0] * 4 + [600.0] * 20
    active = [0.0] * 4 + [750.0, 400.0, 200.0, 90.0, 50.0, 40.0] + [40.0] * 14
    hot = hot_set(trace(granted, active), smooth_s=3600, settle_s=1800)
    assert (hot[:4] == 0).all()
    assert hot[10:] == pytest.approx(40.0)
    assert np.nanmax(hot) == pytest.approx(40.0)


def test_what_is_reported_while_off_is_ignored() -> None:
    hot = hot_set(trace([500.0] * 10 + [0.0] * 14, [40.0] * 24), smooth_s=3600, settle_s=0)
    assert hot[:10] == pytest.approx(40.0) and (hot[10:] == 0).all()


def test_a_gap_is_no_power_on_and_is_bridged() -> None:
    granted = [500.0] * 12 + [NAN] * 2 + [500.0] * 10
    active = [40.0] * 12 + [NAN] * 2 + [40.0] * 10
    hot = hot_set(trace(granted, active), smooth_s=3600, settle_s=1800)
    assert hot == pytest.approx(40.0)


def test_gaps_hold_the_last_value() -> None:
    assert hold_last(np.array([NAN, 1, NAN, NAN, 2, NAN])).tolist() == [1, 1, 1, 1, 2, 2]
    assert hold_last(np.array([NAN, NAN])).tolist() == [0, 0]


# The measured traces, where they are.

MEASURED_FOLDER = traces.folder(None) / "vm_memory"
needs_measured = pytest.mark.skipif(
    not MEASURED_FOLDER.is_dir(), reason=f"no measured traces: {MEASURED_FOLDER} is not there"
)
PAIRS = [
    ("bitbrains_rnd_2013-07.parquet", "rnd/2013-7"),
    ("bitbrains_faststorage_odd_2013-08.parquet", "fastStorage/2013-8"),
]


@needs_measured
@pytest.mark.parametrize("file, folder", PAIRS)
def test_both_formats_say_the_same_of_a_machine(file: str, folder: str) -> None:
    tidy = TidyFile(MEASURED_FOLDER / file)
    original = GwaFolder(MEASURED_FOLDER / "raw_gwa_samples" / folder)
    both = sorted(set(tidy.machines) & set(original.machines))
    assert len(both) >= 4
    for vm in both:
        one, other = tidy.read(vm), original.read(vm)
        assert one.nominal_bytes == other.nominal_bytes, vm
        for mine, theirs in zip(one[3:], other[3:], strict=True):
            assert np.array_equal(mine, theirs, equal_nan=True), vm


@needs_measured
@pytest.mark.parametrize("file, folder", PAIRS)
def test_sizes_are_inferred_as_published(file: str, folder: str) -> None:
    path = MEASURED_FOLDER / file
    with path.with_suffix(".vms.csv").open() as table:
        published = {row["vm_id"]: float(row["nominal_gib"]) for row in csv.DictReader(table)}
    tidy = TidyFile(path)
    inferred = {}
    for vm in tidy.machines:
        read = tidy.read(vm)
        inferred[vm] = nominal(read.granted.astype(float), read.active.astype(float)) / GIB
    wrong = [vm for vm in tidy.machines if inferred[vm] != published[vm]]
    assert not wrong
