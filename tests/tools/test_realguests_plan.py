"""What real guests take of a scenario, and what they refuse by name."""

from pathlib import Path

import pytest

from scenarios import Scenario, load
from tools.realguests.plan import plan
from tools.realguests.problems import Refused
from tools.realguests.refusals import refusals
from tools.realguests.worker import command

TEXT = """
name: mine
host: {ram: 4GiB, swap: {device: disk, size: 1GiB}, cgroups: {all: {max: 300MiB}}}
guests:
  - name: vm
    count: 2
    start_every: 5s
    size: 256MiB
    min: 96MiB
    emulator: 64MiB
    cgroup: all
    mechanisms: {async_faults: "off"}
    work:
      kernel: 40MiB
      regions:
        data: {kind: file, size: 8MiB}
        heap: {kind: anon, size: 50%}
        more: {kind: file, size: 4MiB}
      tasks:
        job:
          starts: [1s, [2s, 4s]]
          phases:
            - {op: allocate, region: heap, bytes: 25%}
            - {op: touch, region: heap, write: 0.5, seconds: 3s}
            - {op: read, region: more, pattern: sequential, bytes: 50%}
            - {op: free, region: heap, bytes: 96MiB}
            - {op: exit}
"""
MIB = 1 << 20


def scenario(tmp_path: Path, *changes: str) -> Scenario:
    file = tmp_path / "mine.yaml"
    file.write_text(TEXT)
    return load(file, changes)


def test_guests_regions_and_tasks_are_counted_out(tmp_path: Path) -> None:
    found = plan(scenario(tmp_path))
    assert [(guest.name, guest.start_s) for guest in found.guests] == [("vm-1", 0.0), ("vm-2", 5.0)]
    assert found.limits == {"all": 300 * MIB}
    assert found.swap == 1024 * MIB
    vm = found.guests[0]
    assert vm.disk == 12 * MIB
    assert [(r.number, r.kind, r.bytes, r.offset) for r in vm.regions.values()] == [
        (0, "file", 8 * MIB, 0),
        (1, "anon", 128 * MIB, 8 * MIB),
        (2, "file", 4 * MIB, 8 * MIB),
    ]
    assert [(task.name, task.delay_s) for task in vm.tasks] == [("job-1", 1.0), ("job-2", 3.0)]


def test_each_phase_is_a_line_to_the_agent(tmp_path: Path) -> None:
    vm = plan(scenario(tmp_path)).guests[0]
    assert [command(phase, vm) for phase in vm.tasks[0].phases[:4]] == [
        f"allocate 1 {32 * MIB}",
        "touch 1 uniform 0.5 0 3.000000",
        "read 2 sequential 512 0.000000",
        f"free 1 {32 * MIB}",
    ]


def test_experiment_a_runs_on_real_guests() -> None:
    found = plan(load("experiment_a"))
    assert len(found.guests) == 3
    assert {guest.tasks[0].name for guest in found.guests} == {"turn"}


PHASE = "guests.0.work.tasks.job.phases"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("guests.0.mechanisms.async_faults=halt", "guests.0.mechanisms.async_faults: halt"),
        ("guests.0.own_swap=1GiB", "guests.0.own_swap"),
        ("guests.0.memory=reclaimed", "guests.0.memory: reclaimed"),
        ("guests.0.lru=exact", "guests.0.lru: exact"),
        ("guests.0.cooperation.stuck=true", "guests.0.cooperation"),
        ("guests.0.cpu_weight=100", "guests.0.cpu_weight: 100"),
        (f"{PHASE}.1={{op: touch, region: heap, pattern: zipf}}", f"{PHASE}.1.pattern: zipf"),
        (f"{PHASE}.1={{op: touch, region: heap, count: 9, rate: 5}}", f"{PHASE}.1.rate"),
        (f"{PHASE}.1={{op: touch, region: data, count: 9}}", f"{PHASE}.1.region: data"),
        (f"{PHASE}.1={{op: touch, region: heap, count: 9, context: kernel}}", f"{PHASE}.1.context"),
        (f"{PHASE}.2={{op: write, region: more, count: 9}}", f"{PHASE}.2.op: write"),
        (f"{PHASE}.3={{op: hint_free, region: heap}}", f"{PHASE}.3.op: hint_free"),
        ("timeline=[{at: 1s, do: cores, cores: 1}]", "timeline.0.do: cores"),
        ("timeline=[{at: 1s, do: limit, cgroup: all, low: 1MiB}]", "timeline.0.low"),
        ("host.protection=1MiB", "host.protection"),
        ("host.cgroups.all.high=1MiB", "host.cgroups.all.high"),
        ("timeline=[{at: 1s, do: limit, cgroup: all, high: 100MiB}]", "timeline.0.high"),
        ("host.cgroups.all.low=100MiB", "host.cgroups.all.low"),
        ("replay={}", "replay"),
        (
            "guests.0.mechanisms={hinting: reporting, reporting: {order: 0}}",
            "guests.0.mechanisms.reporting",
        ),
        ("guests.0.work.regions.heap.own=true", "guests.0.work.regions.heap.own"),
        (
            "guests.0.work.regions.slab={kind: kernel, size: 1MiB}",
            "guests.0.work.regions.slab.kind",
        ),
        ("guests.0.work.tasks.job.weight=2", "guests.0.work.tasks.job.weight: 2"),
    ],
)
def test_what_they_cannot_do_is_refused_by_its_field(
    tmp_path: Path, change: str, field: str
) -> None:
    if "touch" in change:  # an endless phase may not have others behind it
        change = change.replace("heap, pattern: zipf", "heap, pattern: zipf, count: 9")
    with pytest.raises(Refused, match=f"^mine: {field}"):
        plan(scenario(tmp_path, change))


def test_all_refusals_come_at_once(tmp_path: Path) -> None:
    changed = scenario(tmp_path, "guests.0.own_swap=1GiB", "guests.0.lru=exact")
    assert len(list(refusals(changed))) == 2
