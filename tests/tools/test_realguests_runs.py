"""The same small scenario simulated, and on a guest that boots where that is possible."""

from pathlib import Path

import pytest

from scenarios import Scenario, load
from tools.realguests import compare, experiment, image, record, simulated
from tools.realguests.modes import Mode
from tools.realguests.problems import Unavailable

TEXT = """
name: small
host: {page: 64KiB, ram: 4GiB, cores: 2}
guests:
  - name: vm
    size: 256MiB
    min: 96MiB
    boot: 3s
    emulator: 104MiB
    mechanisms: {async_faults: "off", hinting: none, resize: none}
    work:
      kernel: 48MiB
      regions: {heap: {kind: anon, size: 96MiB}, data: {kind: file, size: 16MiB}}
      tasks:
        job:
          phases:
            - {op: allocate, region: heap, cost: 22us}
            - {op: signal, event: ready}
            - {op: touch, region: heap, write: 1.0, seconds: 1s, cost: 0.4us}
            - {op: free, region: heap}
            - {op: sleep, seconds: 5s}
            - {op: exit}
        reader:
          phases:
            - {op: wait, event: ready}
            - {op: read, region: data, pattern: sequential, bytes: 100%}
            - {op: exit}
timeline:
  - {at: 1s, do: mark, name: begin}
  - {at: 13s, do: mark, name: end}
warm_up: 0s
length: 14s
"""
MIB = 1 << 20


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    (tmp_path / "small.yaml").write_text(TEXT)
    return load(tmp_path / "small.yaml")


def test_a_simulated_run_is_recorded(scenario: Scenario) -> None:
    found = simulated.run(scenario, Mode.NOTHING, ())
    assert [mark.name for mark in found.marks] == ["begin", "end"]
    (allocation,) = found.done("allocate")
    assert allocation.accesses == 96 * MIB // 4096
    assert allocation.begin_s == pytest.approx(3.0, abs=0.05)
    # 22 us of the program for each 4 KiB, and the fault of each
    assert 0.54 < allocation.seconds < 0.75
    (touch,) = found.done("touch")
    assert touch.seconds == pytest.approx(1.0, abs=0.05)
    assert touch.accesses == pytest.approx(1 / 0.4e-6, rel=0.2)  # the reader has the vCPU at first
    (read,) = found.done("read")
    assert read.accesses == 16 * MIB // 4096
    resident = [sample.resident_bytes for sample in found.samples]
    assert resident[-1] >= (104 + 96) * MIB  # nothing tells the host what was freed


def test_a_simulated_balloon_follows_the_policy(scenario: Scenario) -> None:
    found = simulated.run(scenario, Mode.BALLOON, ())
    given = [sample.taken_bytes for sample in found.samples]
    assert max(given) > 32 * MIB


@pytest.mark.slow
def test_a_real_guest_does_the_same_work(scenario: Scenario, tmp_path: Path) -> None:
    try:
        image.require("qemu-system-x86_64")
        booted = image.prepare(print)
    except Unavailable as error:
        pytest.skip(f"no real guests here: {error}")
    found = experiment.run(scenario, Mode.REPORTING, (), booted, tmp_path, print)
    (allocation,) = found.done("allocate")
    (touch,) = found.done("touch")
    (read,) = found.done("read")
    assert allocation.accesses == 96 * MIB // 4096
    assert read.accesses == 16 * MIB // 4096
    assert touch.seconds >= 1.0
    after = [one for one in found.samples if one.time_s > touch.begin_s + touch.seconds]
    during = [one for one in found.samples if one.time_s <= touch.begin_s + touch.seconds]
    held = max(one.resident_bytes for one in during)
    assert min(one.resident_bytes for one in after) < held - 48 * MIB, "nothing was reported"
    record.write(tmp_path / "real.json", [found])
    assert record.read(tmp_path / "real.json") == [found]
    ours = simulated.run(scenario, Mode.NOTHING, ())
    with pytest.raises(compare.NotComparable):
        compare.rows([found], [ours])
