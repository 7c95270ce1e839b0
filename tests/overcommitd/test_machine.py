"""The host side, read from a recorded tree; what is missing is unknown, never zero."""

import math
from pathlib import Path

import pytest

from contract.descriptors import SwapClass
from overcommitd.machine import Machine

KIB = 1024
FILES = {
    "proc/meminfo": "MemTotal: 16 kB\nMemFree: 4 kB\nBuffers: 1 kB\nCached: 2 kB\n"
    "MemAvailable: 6 kB\nSwapTotal: 8 kB\nSwapFree: 5 kB\nHugePages_Total: 3\n",
    "proc/vmstat": "nr_free_pages 7\npswpin 3\npswpout 5\n",
    "proc/swaps": "Filename Type Size Used Priority\n/dev/zram0 partition 8 3 100\n",
    "proc/pressure/memory": "some avg10=1.50 avg60=0.30 avg300=0.00 total=2500000\n"
    "full avg10=0.50 avg60=0.10 avg300=0.00 total=1000000\n",
    "sys/kernel/mm/ksm/run": "1\n",
    "sys/kernel/mm/ksm/sleep_millisecs": "20\n",
    "sys/kernel/mm/ksm/pages_shared": "2\n",
    "proc/7/status": "Name:\tqemu\nVmRSS:\t  10 kB\nVmSwap:\t  2 kB\n",
    "proc/7/stat": "7 (a name) with) S 1 2 3 4 5 6 7 8 42 10 11 12 13 14 15 16 17 18 300 20\n",
    "proc/7/cgroup": "0::/machine/vm7\n",
    "proc/7/cmdline": "qemu-system-x86_64\0-uuid\0abc-def\0",
    "proc/8/status": "Name:\tqemu\n",
    "proc/8/cgroup": "5:memory:/old\n3:cpu:/\n",
    "sys/fs/cgroup/machine/vm7/memory.current": "4096\n",
    "sys/fs/cgroup/machine/vm7/memory.high": "max\n",
    "sys/fs/cgroup/machine/vm7/memory.pressure": "some avg10=0 avg60=0 avg300=0 total=5000000\n",
    "sys/fs/cgroup/memory/old/memory.usage_in_bytes": "8192\n",
    "sys/fs/cgroup/slice/memory.max": "1000000\n",
    "sys/fs/cgroup/slice/memory.current": "600000\n",
    "sys/fs/cgroup/slice/memory.stat": "anon 1\nfile 50000\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_host_in_the_units_of_the_contract(root: Path) -> None:
    found = Machine(root=root).host()
    assert found["total_bytes"] == 16 * KIB and found["available_bytes"] == 6 * KIB
    assert found["swap_used_bytes"] == 3 * KIB and found["swap_out_bytes"] == 5 * 4096
    assert found["psi_some_avg10"] == pytest.approx(0.015) and found["psi_full_s"] == 1.0
    assert found["ksm_sleep_s"] == 0.02 and found["ksm_shared_bytes"] == 2 * 4096
    assert found["ksm_pages_to_scan"] == -1, "no such file: unknown"
    assert found["swap_class"] == SwapClass.ZRAM


def test_nothing_readable_is_nothing_known(tmp_path: Path) -> None:
    found = Machine(root=tmp_path).host()
    assert all(value == -1 for value in found.values())
    gone = Machine(root=tmp_path).process(7)
    assert gone.resident_bytes == -1 and math.isnan(gone.psi_some_s)
    assert math.isnan(Machine(root=tmp_path).started_at_s(7))


def test_an_emulator_in_a_cgroup_of_either_version(root: Path) -> None:
    machine = Machine(root=root)
    new, old = machine.process(7), machine.process(8)
    assert (new.resident_bytes, new.swapped_bytes, new.major_faults) == (10 * KIB, 2 * KIB, 42)
    assert (new.cgroup_current_bytes, new.cgroup_high_bytes) == (4096, -1)
    assert new.psi_some_s == 5.0 and math.isnan(new.psi_full_s)
    assert (old.resident_bytes, old.cgroup_current_bytes) == (-1, 8192)
    assert machine.started_at_s(7) == pytest.approx(3.0)
    assert machine.emulators() == {"abc-def": 7}
    assert machine.cgroup_file(7, "memory.high") is not None
    assert machine.cgroup_file(8, "memory.high") is None


def test_a_limit_may_stand_for_the_host(root: Path) -> None:
    found = Machine(root / "sys/fs/cgroup/slice", root).host()
    assert (found["total_bytes"], found["free_bytes"]) == (1_000_000, 400_000)
    assert found["available_bytes"] == 450_000
