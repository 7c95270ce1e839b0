"""The daemon beside real guests: a process, as an operator starts it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.document import write
from configs.loading import write_atomic
from tools.realguests.modes import Mode
from tools.realguests.plan import Plan
from tools.realguests.pressure import Pressure
from tools.realguests.problems import Failed

STOP_S = 20.0  # [s] it may take to end


@contextmanager
def running(mode: Mode, made: Pressure, plan: Plan, folder: Path) -> Iterator[None]:
    """Run the daemon for a mode that has one; guests are found by their second QMP sockets.

    Raises:
        Failed: it ended before it was told to.
    """
    if not mode.by_daemon:
        yield
        return
    config = folder / "daemon.yaml"
    write_atomic(config, write(configuration(mode, made, plan, folder)))
    line = [sys.executable, "-m", "overcommitd", "--config", str(config)]
    with (folder / "daemon.log").open("wb") as log:
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
        if process.poll() is not None:
            said = (folder / "daemon.log").read_text(errors="replace")[-500:]
            raise Failed(f"the daemon ended ({process.returncode}), saying {said}")
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def configuration(mode: Mode, made: Pressure, plan: Plan, folder: Path) -> dict[str, object]:
    """What the daemon is told."""
    limited = [made.folders[name] for name, limit in plan.limits.items() if limit]
    options: dict[str, object] = {"sockets": f"{folder}/*.daemon", "stats_period": 1}
    if limited:
        options["cgroup"] = str(limited[0])
    return {
        "mode": "act",
        "policy": str(mode),
        "backend": {"kind": "qmp", "options": options},
        "guests": {
            "by_name": {
                guest.name: {"min": guest.spec.min.of(guest.spec.size)} for guest in plan.guests
            }
        },
        "state_dir": str(folder / "state"),
        "runtime_dir": str(folder / "run"),
        "host_lock": str(folder),
        "metrics": None,
        "record": None,
    }
