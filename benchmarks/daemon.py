"""What the daemon costs: a decision for many guests, its memory, its CPU while nothing happens.

    python -m benchmarks.daemon --guests 200

`core` is a decision and the guard on a reading of random guests; `turn` is a whole turn on a host
that costs nothing to read: decision, record, state file and metrics too.  `idle` runs the daemon as
a process against emulators that only speak QMP, in mode shadow at a period of 5 s, and reads what
/proc says of it: resident memory, and CPU time over the clock's.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from tqdm import tqdm

from contract.arrays import GIB
from contract.decision import Decision
from contract.guard import GuardConfig
from contract.telemetry import Telemetry, unknown
from overcommitd import core, policies
from overcommitd.config import DaemonConfig
from overcommitd.core import Plan
from overcommitd.service import Service
from tests.overcommitd.fake_qemu import FakeQemu

TURNS = 1000
WARM = 20


def reading(guests: int, rng: np.random.Generator, time_s: float) -> Telemetry:
    """A full host whose guests' statistics vary."""
    blank = unknown(1, guests)
    size = np.full((1, guests), 4 * GIB)
    current = rng.integers(GIB, 4 * GIB, (1, guests))
    available = (current * rng.random((1, guests)) * 0.5).astype(np.int64)
    return blank._replace(
        time_s=np.array([time_s]),
        total_bytes=np.array([256 * GIB]),
        available_bytes=rng.integers(4 * GIB, 64 * GIB, 1),
        swap_total_bytes=np.array([64 * GIB]),
        swap_used_bytes=np.array([GIB]),
        swap_out_bytes=np.array([0]),
        guest_id=np.arange(guests)[None],
        present=np.ones((1, guests), bool),
        state=np.full((1, guests), 2),
        min_bytes=size // 4,
        max_bytes=size,
        weight=np.full((1, guests), 1000),
        current_bytes=current,
        resident_bytes=current,
        stats_age_s=np.ones((1, guests)),
        stats_total_bytes=size,
        stats_available_bytes=available,
        stats_free_bytes=available // 2,
        stats_swap_in_bytes=np.zeros((1, guests), np.int64),
        stats_major_faults=np.zeros((1, guests), np.int64),
        deflate_on_oom=np.ones((1, guests), np.int64),
        applied_target_bytes=current,
        applied_age_s=np.full((1, guests), 5.0),
    )


class Costless:
    """A backend that is read and commanded in no time."""

    simulated = True
    supports = frozenset({"target_bytes"})
    incarnation = "benchmark"

    def __init__(self, guests: int) -> None:
        """Store the number of guests."""
        self.guests, self.time_s, self._rng = guests, 0.0, np.random.default_rng(1)

    def read(self) -> Telemetry:
        """A reading."""
        return reading(self.guests, self._rng, self.time_s)

    def apply(self, decision: Decision) -> None:
        """Nothing is sent."""

    def now_s(self) -> float:
        """The clock."""
        return self.time_s

    def wait_until(self, time_s: float, interrupt: Event) -> None:
        """Time passes at once."""
        self.time_s = time_s

    def names(self) -> dict[int, str]:
        """Guests by number."""
        return {number: f"guest-{number}" for number in range(self.guests)}

    def as_dict(self) -> dict[str, Any]:
        """Nothing is kept."""
        return {}

    def load(self, data: Mapping[str, Any]) -> None:
        """Nothing was kept."""

    def examine(self) -> Any:  # noqa: ANN401
        """Nothing to test."""
        return iter(())

    def close(self) -> None:
        """Nothing to end."""


def decisions(policy: str, guests: int) -> np.ndarray:
    """(N,) [ms] a decision and the guard."""
    made = policies.open_policy(policy, {})
    plan = Plan(made, policies.open_policy("slides", {}), GuardConfig("full"))
    state, rng, took = core.start(plan, guests), np.random.default_rng(1), []
    for turn in range(TURNS + WARM):
        telemetry = reading(guests, rng, 1e4 * turn)  # every policy is due
        began = time.perf_counter()
        _, state = core.turn(plan, telemetry, state)
        took.append(1e3 * (time.perf_counter() - began))
    return np.array(took[WARM:])


def turns(policy: str, guests: int, folder: Path) -> np.ndarray:
    """(N,) [ms] a whole turn, the backend's share left out."""
    fields = {"mode": "act", "policy": policy, "backend": {"kind": "simulated"}}
    places = {"state_dir": str(folder / "state"), "runtime_dir": str(folder), "metrics": None}
    config = DaemonConfig.model_validate(fields | places)
    backend, took = Costless(guests), []
    service = Service(config, backend, policies.plan(config))
    for _ in range(TURNS // 5 + WARM):
        began = time.perf_counter()
        service.turn()
        took.append(1e3 * (time.perf_counter() - began))
        backend.time_s += 1e4
    service.close()
    return np.array(took[WARM:])


def idle(policy: str, guests: int, folder: Path, seconds: float) -> tuple[float, float]:
    """Resident memory [MiB] and share of a core of a daemon in mode shadow."""
    with ExitStack() as stack:
        for number in range(guests):
            stack.enter_context(closing(FakeQemu(folder, f"g{number}")))
        config = folder / "daemon.yaml"
        config.write_text(
            f"policy: {policy}\nbackend: {{kind: qmp, options: {{sockets: {folder}/*.qmp}}}}\n"
            f"state_dir: {folder}/idle\nruntime_dir: {folder}/run\nmetrics: {{port: 0}}\n"
        )
        line = [
            sys.executable,
            "-m",
            "overcommitd",
            "--config",
            str(config),
            "--log-level",
            "error",
        ]
        daemon = subprocess.Popen(line)
        stack.callback(daemon.wait)
        stack.callback(daemon.terminate)
        time.sleep(12)
        before = cpu_s(daemon.pid)
        for _ in tqdm(range(round(seconds)), desc=f"idle, {guests} guests", unit="s"):
            time.sleep(1)
        share = (cpu_s(daemon.pid) - before) / round(seconds)
        status = Path(f"/proc/{daemon.pid}/status").read_text()
        resident = int(status.split("VmRSS:")[1].split()[0]) / 1024
        return resident, share


def cpu_s(pid: int) -> float:
    """[s] CPU time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--guests", type=int, default=200)
    parser.add_argument("--policies", default="slides,mom,proxmox,esx", help="and run folders")
    parser.add_argument("--seconds", type=float, default=60.0, help="of idling; 0: leave it out")
    options = parser.parse_args(arguments)
    print(f"{options.guests} guests, ms: median and 99th percentile")
    with tempfile.TemporaryDirectory() as folder:
        for policy in options.policies.split(","):
            core_ms = decisions(policy, options.guests)
            turn_ms = turns(policy, options.guests, Path(folder, Path(policy).name))
            low, high = np.percentile(core_ms, (50, 99))
            slow, slower = np.percentile(turn_ms, (50, 99))
            name = Path(policy).name
            print(f"{name:<14} core {low:6.2f} {high:6.2f}   turn {slow:6.2f} {slower:6.2f}")
        if options.seconds:
            for guests in (2, options.guests):
                place = Path(folder, f"idle-{guests}")
                place.mkdir()
                first = options.policies.split(",")[0]
                resident, share = idle(first, guests, place, options.seconds)
                print(f"idle, {guests} guests: {resident:.0f} MiB resident, {share:.2%} of a core")


if __name__ == "__main__":
    main()
