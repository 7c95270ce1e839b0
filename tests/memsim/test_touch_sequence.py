"""What a guest touches, one page after the other: the same under any policy, alone or in company.

Kernels run without the compiler, in a process of their own, where every choice of a page can be
listened to.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from memsim import touch as touching
from memsim.fleet import Fleet
from memsim.machine import Machine
from memsim.spec import GuestSpec, Hinting, Pattern
from tests.memsim.hosts import again, allocate, anon, file, guest, host, read, task, touch, write

ROOT = Path(__file__).parents[2]
LISTENED = 7  # id of the guest
PERIOD_S = 0.05
POLICIES = {
    "alone": (False, (256,)),
    "alone, shrunk and grown": (False, (120, 256, 110, 130)),
    "in company": (True, (256,)),
    "in company, shrunk and grown": (True, (150, 220, 110, 130)),
}


def several() -> GuestSpec:
    """Closed and open loops of every pattern, all of them ended by their counts."""
    scripts = (
        task(allocate(0, count=60), touch(0, count=150, write=0.5), write(1, count=40)),
        task(
            read(1, pattern=Pattern.ZIPF, count=60),
            touch(0, pattern=Pattern.LOOP, count=30),
            touch(0, pattern=Pattern.SEQUENTIAL, count=20),
            again(1, count=3),
        ),
        task(touch(0, rate=20.0, count=40, per_arrival=2, write=0.3)),
    )
    return guest(
        *scripts,
        pages=256,
        vcpus=2,
        regions=[anon(120, block_pages=8), file(150, block_pages=8)],
        guest_id=LISTENED,
        hinting=Hinting.BITMAP,
    )


def life(crowd: bool, targets: tuple[int, ...]) -> dict[str, Any]:
    """Each task's touches (region, page, whether it stores) in its order, and what it cost."""
    heard: list[list[tuple[int, int, bool]]] = [[], [], []]
    choose = touching._target

    def listen(m: Machine, k: int, ph: np.record, size: int, n: np.uint64) -> int:
        page = choose(m, k, ph, size, n)
        gs = m.guest[m.task[k].guest]
        if gs.guest_id == LISTENED:
            store = touching._stores(m, k, ph, n)
            heard[k - gs.task0].append((int(ph.region - gs.region0), int(page), bool(store)))
        return page

    touching._target = listen
    busy = task(allocate(0), touch(0, write=1.0, cost_s=1e-3))
    other = guest(busy, pages=400, regions=[anon(300)], guest_id=3)
    if crowd:
        spec = host(other, several(), seed=9, cores=2, ram_pages=420)
    else:
        spec = host(several(), seed=9)
    g = len(spec.guests) - 1
    fleet = Fleet(1)
    fleet.reset([spec])
    period = 0
    while np.isnan(fleet.task["finished_s"][0, g, :3]).any():
        fleet.set_targets(np.array([[-1] * g + [targets[period % len(targets)]]]))
        period += 1
        fleet.advance(np.array([period * PERIOD_S]))
    fleet.check()
    touching._target = choose
    row = fleet.guest[0, g]
    return {
        "heard": heard,
        "dropped": int(fleet.task["dropped"][0, g].sum()),
        "inflated": int(row["inflated"]),
        "swapped": int(row["host_swap_in"]),
        "ends_s": fleet.task["finished_s"][0, g, :3].tolist(),
    }


def test_a_guest_touches_the_same_pages_in_the_same_order() -> None:
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.memsim.test_touch_sequence"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    lives = json.loads(done.stdout)
    plain = lives["alone"]
    assert [len(touches) for touches in plain["heard"]] == [250, 210, 80]
    for name, each in lives.items():
        assert each["heard"] == plain["heard"], name
    # And it was not the same life otherwise.
    assert lives["alone, shrunk and grown"]["inflated"] > 100
    assert lives["in company"]["swapped"] > 50
    assert len({str((each["ends_s"], each["inflated"])) for each in lives.values()}) == len(lives)


if __name__ == "__main__":
    print(json.dumps({name: life(*policy) for name, policy in POLICIES.items()}))
