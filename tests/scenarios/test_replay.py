"""Replayed machines: sizes, power, resident and hot memory as in the trace, scaled."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest

import scenarios
from memsim import spec
from scenarios import datasets, fitting, traces
from scenarios.curves import value_at
from scenarios.draw import draw
from scenarios.hosts import SimulatedHosts
from scenarios.quantities import GIB
from scenarios.replay import machines_of_host, steps
from scenarios.schema import Replay, Scenario
from scenarios.traces import TraceError

MIB = 2**20
END_S = 4200.0


def write_machines(
    path: Path, machines: int = 6, steps: int = 200, granted_share: float = 0.6, hot: float = 0.1
) -> None:
    """Machines of 16 GiB, so much of it granted and hot; the last one is off in the middle."""
    rows = machines * steps
    granted = np.full((machines, steps), granted_share * 16 * GIB, np.float32)
    granted[-1, steps // 2 : steps // 2 + 10] = 0
    columns = {
        "vm_id": np.repeat(np.arange(1, machines + 1, dtype=np.int32), steps),
        "time_s": np.tile(np.arange(steps, dtype=np.int32) * 300, machines),
        "nominal_bytes": np.full(rows, 16 * GIB),
        "granted_bytes": granted.ravel(),
        "active_bytes": np.full(rows, hot * 16 * GIB, np.float32),
        "cpu_percent": np.zeros(rows, np.float32),
        "disk_read_bytes_per_s": np.full(rows, 1e5, np.float32),
        "disk_write_bytes_per_s": np.zeros(rows, np.float32),
    }
    parquet.write_table(pyarrow.table(columns), path)


def replay(folder: Path, **changes: object) -> Replay:
    usual = {"source": "folder", "folder": str(folder), "guests": (4, 4), "bursts": 0.0}
    return Replay.model_validate(usual | changes)


def test_memory_is_as_in_the_trace(tmp_path: Path) -> None:
    write_machines(tmp_path / "t.parquet", machines=4)
    for machine in machines_of_host(replay(tmp_path), (0, 0), END_S, MIB, first_id=0):
        assert machine.size == GIB  # a sixteenth
        held, hot = (machine.built.curves[index].value for index in (0, 1))
        cached = machine.built.curves[2].value
        assert hot == pytest.approx(0.1 * 1024, rel=0.01)
        total = held + cached + machine.built.kernel_pages
        assert total == pytest.approx(0.6 * 1024, rel=0.01)
        share = (held - hot) / (held + cached - hot)
        assert share.min() >= 0.4 and share.max() <= 0.9
        rate = machine.built.curves[3].value
        assert rate == pytest.approx(hot / 2.0)


@pytest.mark.parametrize("page", ["256KiB", "1MiB"])
def test_a_machine_that_used_all_it_had_is_not_killed_for_it(tmp_path: Path, page: str) -> None:
    write_machines(tmp_path / "t.parquet", machines=4, granted_share=1.0, hot=0.97)
    source = ["replay.source=folder", f'replay.folder="{tmp_path}"', "replay.guests=[4, 4]"]
    ample = ["randomise.overcommit=[0.5, 0.5]", f"host.page={page}", "replay.anon=[1.0, 1.0]"]
    scenario = scenarios.load("replay", source + ample)
    hosts = SimulatedHosts(scenario, 1, 1)
    hosts.reset([0], [(0, 0)])
    hosts.advance(np.array([900.0]))
    guest = hosts.truth().guest[0]
    assert (guest["anon_pages"] > 0.85 * guest["pages"]).any()
    assert not guest["oom_kills"].any()


def test_a_machine_that_is_off_is_stopped_and_started(tmp_path: Path) -> None:
    write_machines(tmp_path / "t.parquet", machines=1)
    asked = replay(tmp_path, guests=(1, 1), compression=12, hold=5)
    (machine,) = machines_of_host(asked, (0, 3), END_S, MIB, 0)
    (first, off), (on, end) = machine.on
    assert first == 0 and end == math.inf
    assert 0 < off < on < END_S
    assert on - off == pytest.approx(10 * 300 / 12, abs=2 * 300 / 12)


def test_power_becomes_the_timeline_of_the_host(tmp_path: Path) -> None:
    write_machines(tmp_path / "t.parquet", machines=1)
    overrides = [
        "replay.source=folder",
        f"replay.folder={tmp_path}",
        "replay.guests=[1, 1]",
        "replay.compression=12",
        "replay.hold=5",
    ]
    host = draw(scenarios.load("replay", overrides), (0, 3)).spec
    acts = [(entry.act, entry.guest) for entry in host.timeline]
    assert acts == [(spec.Act.STOP_GUEST, 0), (spec.Act.START_GUEST, 0)]
    assert host.timeline[0].at_s < host.timeline[1].at_s
    assert host.guests[0].start_s == 0


def test_guests_are_the_same_whoever_comes_after_them() -> None:
    few = scenarios.load("replay", ["replay.guests=[3, 3]"])
    many = scenarios.load("replay", ["replay.guests=[9, 9]"])
    for key in range(4):
        short, long = draw(few, key), draw(many, key)
        assert short.guests == long.guests[:3]
        for one, other in zip(short.spec.guests, long.spec.guests, strict=False):
            assert one.tasks == other.tasks
            for mine, theirs in zip(one.curves, other.curves, strict=True):
                assert np.array_equal(mine.value, theirs.value)


def test_no_machine_is_on_a_host_twice() -> None:
    for key in range(10):
        sources = [guest.source for guest in draw(scenarios.load("replay"), key).guests]
        assert len(set(sources)) == 8


def test_splits_replay_other_machines() -> None:
    seen = {}
    for split in ("train", "validation", "test"):
        scenario = scenarios.load("replay", [f"replay.split={split}", "replay.guests=[4, 4]"])
        hosts = [draw(scenario, key) for key in range(8)]
        seen[split] = {guest.source for host in hosts for guest in host.guests}
    assert not seen["train"] & seen["validation"]
    assert not seen["train"] & seen["test"] and not seen["validation"] & seen["test"]


def test_each_guest_has_a_phase_of_its_own() -> None:
    """Were rows of all guests aligned, changes would come together."""
    host = draw(scenarios.load("replay"), 1).spec
    starts = [set(np.round(guest.curves[0].time_s, 6)) - {0.0} for guest in host.guests]
    for one, other in pairwise(starts):
        assert not one & other


def test_the_replay_explains_what_it_misses(tmp_path: Path) -> None:
    write_machines(tmp_path / "t.parquet", machines=2, steps=50)
    with pytest.raises(TraceError, match=r"t: split all has 50 steps; expected 86"):
        machines_of_host(replay(tmp_path), (0, 0), END_S, MIB, 0)
    (tmp_path / "long").mkdir()
    write_machines(tmp_path / "long" / "t.parquet", machines=2)
    wanted = replay(tmp_path / "long", nominal=["1GiB", "2GiB"], guests=(1, 1))
    with pytest.raises(TraceError, match=r"split all: none of 2 machines .* 1 to 2 GiB; replay"):
        machines_of_host(wanted, (0, 0), END_S, MIB, 0)
    with pytest.raises(TraceError, match="there is no such folder or file"):
        machines_of_host(replay(tmp_path / "no"), (0, 0), END_S, MIB, 0)


def test_holds_must_leave_rows_their_freedom() -> None:
    with pytest.raises(ValueError, match=r"at most a quarter of a row, 12\.5 s"):
        Replay.model_validate({"hold": 20, "compression": 6})


def test_steps_begin_at_zero_with_what_is_there() -> None:
    curve = steps(np.array([-5.0, -1.0, 3.0, 7.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    assert curve.time_s[0] == 0
    at = value_at(curve.time_s, curve.value, np.array([0.0, 2.99, 3.01, 6.9, 7.1, 99.0]))
    assert at.tolist() == [2, 2, 3, 3, 4, 4]


MEASURED = traces.folder(None)


@pytest.mark.skipif(not datasets.available(), reason=f"no measured traces: {MEASURED} has none")
def test_the_measured_machines_make_possible_hosts() -> None:
    scenario: Scenario = scenarios.load("bitbrains")
    for key in range(4):
        host = draw(scenario, key)
        assert len({guest.source for guest in host.guests}) == 8
        for guest in host.spec.guests:
            assert guest.kernel_pages <= guest.min_pages <= guest.pages
            for phase in (phase for task in guest.tasks for phase in task.phases):
                if phase.size >= 0:
                    most = guest.curves[phase.size].value.max()
                    assert most <= guest.regions[phase.region].pages


def test_windows_of_a_trace_are_one_and_the_same_or_apart(tmp_path: Path) -> None:
    write_machines(tmp_path / "t.parquet", machines=4, steps=400)
    asked = replay(tmp_path, guests=(1, 1))
    where = fitting.span(asked, datasets.measured(tmp_path)[0], 600.0, END_S)
    begins = {machines_of_host(asked, (0, key), END_S, MIB, 0)[0].begin for key in range(40)}
    assert begins == {where.low + where.rows * window for window in range(4)}
    assert max(begins) + where.rows <= where.high
