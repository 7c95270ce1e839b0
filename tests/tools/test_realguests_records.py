"""Records of runs: files, what is refused in them, and the comparison of two."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tools.realguests import compare, record
from tools.realguests.record import Mark, Operation, Record, RecordError, Sample, Side

MIB = 1 << 20


def made(
    side: Side = "real",
    mode: str = "nothing",
    swapped_in: int = 1000,
    swapped_out: int = 1600,
    allocation_s: float = 2.0,
    scenario: str = "a",
) -> Record:
    """A run between 10 s and 20 s, with traffic [MiB] and one allocation of 300 MiB."""
    return Record(
        side=side,
        scenario=scenario,
        mode=mode,
        settings=(),
        note="",
        guests=("vm",),
        marks=(
            Mark("begin", 10.0, 5 * MIB, 7 * MIB, 0),
            Mark("end", 20.0, (5 + swapped_in) * MIB, (7 + swapped_out) * MIB, 3),
        ),
        operations=(
            Operation("vm", "job", "allocate", "heap", 5.0, 99.0, 76800),  # before the first mark
            Operation("vm", "job", "allocate", "heap", 11.0, allocation_s, 76800),
            Operation("vm", "job", "touch", "heap", 13.0, 2.0, 5_000_000),
        ),
        samples=(
            Sample("vm", 12.0, 300 * MIB, 0, 0),
            Sample("vm", 14.0, 500 * MIB, 0, -1),
            Sample("vm", 25.0, 900 * MIB, 0, 0),
        ),
    )


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    records = [made(), made("simulated", "both")]
    record.write(tmp_path / "runs.json", records)
    assert record.read(tmp_path / "runs.json") == records


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": 1}',
        '{"format": 2, "runs": []}',
        '{"format": 1, "runs": [{"side": "real"}]}',
        "[" * 100_000,
    ],
)
def test_what_holds_no_records_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "runs.json").write_text(text)
    with pytest.raises(RecordError, match=r"runs\.json"):
        record.read(tmp_path / "runs.json")


@pytest.mark.parametrize("value", ["7", True, None, math.nan])
def test_a_counter_is_a_number(tmp_path: Path, value: object) -> None:
    record.write(tmp_path / "runs.json", [made()])
    document = json.loads((tmp_path / "runs.json").read_text())
    document["runs"][0]["marks"][0]["time_s"] = value
    (tmp_path / "runs.json").write_text(json.dumps(document))
    with pytest.raises(RecordError, match="expected a"):
        record.read(tmp_path / "runs.json")


def test_measures_cover_what_lies_between_the_marks() -> None:
    one = made()
    assert compare.swap_in_mib(one) == 1000
    assert compare.swap_out_mib(one) == 1600
    assert compare.allocation_s(one) == 2.0
    assert compare.touches_per_s(one) == 2.5
    assert compare.resident_mib(one) == 400


def test_runs_of_a_mode_become_their_mean() -> None:
    real = [made(swapped_in=900), made(swapped_in=1100)]
    rows = compare.rows(real, [made("simulated", swapped_in=500)])
    row = next(row for row in rows if row.measure.of is compare.swap_in_mib)
    assert (row.real, row.simulated, row.ratio) == (1000, 500, 0.5)
    assert "| nothing | swapped in, MiB | 1,000 | 500 | 0.50 |" in compare.text(rows)
    assert not any(row.measure.of is compare.reads_mib_per_s for row in rows)


def test_runs_that_share_no_mode_cannot_be_compared() -> None:
    with pytest.raises(compare.NotComparable, match=r"a nothing .* a both"):
        compare.rows([made()], [made("simulated", "both")])


def test_each_side_is_what_it_is_taken_for() -> None:
    with pytest.raises(compare.NotComparable, match="real side: nothing is not real"):
        compare.check_sides([made("simulated")], [made("simulated")])
    with pytest.raises(compare.NotComparable, match="simulated side: both is not simulated"):
        compare.check_sides([made()], [made("simulated"), made("real", "both")])


def test_what_only_one_side_has_is_named() -> None:
    real, simulated = [made(), made(mode="both")], [made("simulated")]
    assert compare.left_out(real, simulated) == ["real only: a both"]
    assert compare.left_out(real[:1], [*simulated, made("simulated", "balloon")]) == [
        "simulated only: a balloon"
    ]
    assert compare.left_out(real[:1], simulated) == []


def test_other_settings_are_another_experiment() -> None:
    other = replace(made("simulated"), settings=("host.cores=1",))
    with pytest.raises(compare.NotComparable):
        compare.rows([made()], [other])


def test_an_order_that_differs_is_named() -> None:
    real = [made(mode="nothing", allocation_s=2.2), made(mode="reporting", allocation_s=1.4)]
    same = [made("simulated", "nothing", allocation_s=3.0), made("simulated", "reporting")]
    other = [made("simulated", "nothing", allocation_s=1.0), made("simulated", "reporting")]
    assert compare.orders_that_differ(compare.rows(real, same)) == []
    assert compare.orders_that_differ(compare.rows(real, other)) == [
        "time to allocate: nothing against reporting"
    ]


def test_a_simulator_in_which_nothing_matters_has_no_order_right() -> None:
    real = [made(mode="nothing", allocation_s=2.2), made(mode="reporting", allocation_s=1.4)]
    flat = [made("simulated", "nothing"), made("simulated", "reporting")]
    for rows in (compare.rows(real, flat), compare.rows(flat, real)):
        assert compare.orders_that_differ(rows) == ["time to allocate: nothing against reporting"]
    near = [made(mode="nothing", allocation_s=2.2), made(mode="reporting", allocation_s=1.8)]
    assert compare.orders_that_differ(compare.rows(near, flat)) == []
    silent = [made("simulated", "nothing", 0, 0, math.nan), made("simulated", "reporting", 0, 0)]
    more = [made(mode="nothing"), made(mode="reporting", swapped_in=0, swapped_out=160)]
    assert compare.orders_that_differ(compare.rows(more, silent)) == [
        "swapped in: nothing against reporting",
        "swapped out: nothing against reporting",
    ]


def test_little_traffic_is_no_traffic() -> None:
    real = [made(mode="reporting", swapped_in=6, swapped_out=200)]
    simulated = [made("simulated", "reporting", swapped_in=0, swapped_out=450)]
    rows = compare.rows(real, simulated)
    assert compare.beyond(rows) == ["swapped out, reporting: 2.2 times the real one"]
    assert compare.beyond(rows, factor=3) == []
