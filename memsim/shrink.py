"""Guest reclaim: kswapd and direct reclaim take memory from the guest's LRU lists."""

from memsim.emulator import start_io
from memsim.guest import (
    choose_type,
    deactivate,
    drop_file,
    look_at_tail,
    start_write,
)
from memsim.jit import kernel
from memsim.lists import guest_push, guest_remove, guest_row
from memsim.machine import Machine
from memsim.params import DEF_PRIORITY
from memsim.state import NOBODY


@kernel
def shrink(m: Machine, g: int, t: float) -> tuple[float, int, int]:
    """Scan one batch; returns (CPU seconds, pages freed, pages put under write-back)."""
    hs = m.host[0]
    inactive = choose_type(m, g)
    cost = deactivate(m, g, inactive) * hs.c_gscan
    freed = 0
    wrote = 0
    row = guest_row(g, inactive)
    gs = m.guest[g]
    n = m.lists[row].count
    for _ in range(min(n, max(hs.batch, n >> max(0, DEF_PRIORITY - gs.fails)))):
        p = m.lists[row].tail
        if p == NOBODY or freed + wrote >= hs.batch:
            break
        cost += hs.c_gscan
        verdict = look_at_tail(m, g, inactive)
        if verdict == 1:
            drop_file(m, g, p)
            cost += hs.c_greclaim
            freed += 1
        elif verdict == 2:
            guest_remove(m, g, p)
            guest_push(m, g, inactive, p)
            r = start_write(m, g, p)
            if r != NOBODY:
                cost += hs.c_greclaim
                wrote += m.request[r].count
                start_io(m, r, 1.0, False, t)
    if freed > 0:
        gs.fails = 0
        gs.rounds = 0
    elif wrote == 0:
        gs.fails += 1
        if gs.fails > DEF_PRIORITY:
            gs.fails = 0
            gs.rounds += 1
    return max(cost, hs.c_gscan), freed, wrote
