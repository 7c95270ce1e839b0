"""Runs in several processes: nothing goes on when who asked for it is gone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LASTING = """
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from validation.running import end_with

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, end_with, (os.getpid(),)) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600).result()
"""


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_run_that_was_killed(sign: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "lasting.py"
    script.write_text(LASTING)
    here = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=here) as run:
        assert run.stdout is not None
        worker = int(run.stdout.readline())
        run.send_signal(sign)
    until = time.monotonic() + 20.0
    while _lives(worker) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _lives(worker)


def _lives(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
