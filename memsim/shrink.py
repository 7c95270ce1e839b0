"""Guest reclaim: kswapd and direct reclaim take memory from the guest's LRU lists.

Each task that reclaims keeps its own count: how far its scan priority has fallen (`fails`), and
how many rounds through all priorities brought nothing (`rounds`).
"""

from memsim.account import BALLOON, GUEST_RECLAIM
from memsim.account import KSWAPD as BY_KSWAPD
from memsim.balance import choose_kind, end_run, is_low, note_cost
from memsim.emulator import start_io
from memsim.free_memory import kswapd_of
from memsim.guest import drop_clean, start_write
from memsim.guest_lru import count_reclaim, count_scan, deactivate, look_at_tail
from memsim.jit import kernel
from memsim.lists import guest_push, guest_remove, guest_row
from memsim.machine import Machine
from memsim.params import DEF_PRIORITY
from memsim.state import ASYNC, BALLOONER, DIRECT, INACTIVE_ANON, INACTIVE_FILE, KSWAPD, NOBODY


@kernel
def _judge(m: Machine, k: int, freed: int, wrote: int, scanned: int) -> None:
    tk = m.task[k]
    if freed > 0:
        tk.fails = 0
        tk.rounds = 0
        m.task[kswapd_of(m, tk.guest)].rounds = 0  # direct reclaim revives it
    elif wrote == 0:
        tk.fails += 1
        if tk.fails > DEF_PRIORITY or scanned == 0:  # no priority finds anything on an empty list
            tk.fails = 0
            tk.rounds += 1


@kernel
def _cause(m: Machine, k: int) -> int:
    # The class of what a task's reclaim does to others (model section 2).
    kind = m.task[k].kind
    if kind == KSWAPD:
        return BY_KSWAPD
    return BALLOON if kind == BALLOONER else GUEST_RECLAIM


@kernel
def shrink(m: Machine, k: int, t: float) -> tuple[float, int, int]:
    """Scan one batch for task k; returns (CPU seconds, pages freed, pages put under write-back)."""
    hs = m.host[0]
    g = m.task[k].guest
    inactive = choose_kind(m, g, m.task[k].fails)
    force = m.task[k].rounds > 0
    cost = deactivate(m, g, inactive, force) * hs.c_gscan
    if inactive == INACTIVE_FILE and m.guest[g].gslots > 0 and is_low(m, g, INACTIVE_ANON):
        # Anonymous memory ages while only files are taken (age_active_anon).
        cost += deactivate(m, g, INACTIVE_ANON, force) * hs.c_gscan
    freed = 0
    wrote = 0
    row = guest_row(g, inactive)
    n = m.lists[row].count
    who = ASYNC if m.task[k].kind == KSWAPD else DIRECT
    scanned = 0
    for _ in range(min(n, max(hs.batch, n >> max(0, DEF_PRIORITY - m.task[k].fails)))):
        p = m.lists[row].tail
        if p == NOBODY or freed + wrote >= hs.batch:
            break
        cost += hs.c_gscan
        scanned += 1
        verdict = look_at_tail(m, g, inactive)
        if verdict == 1:
            drop_clean(m, g, p)
            cost += hs.c_greclaim
            freed += 1
        elif verdict == 2:
            guest_remove(m, g, p)
            guest_push(m, g, inactive, p)
            r = start_write(m, g, p, _cause(m, k))
            if r != NOBODY:
                m.request[r].wanted = who
                cost += hs.c_greclaim
                wrote += m.request[r].count
                note_cost(m, g, inactive == INACTIVE_FILE, m.request[r].count)
                start_io(m, r, 1.0, False, t)
    if m.guest[g].free_pages >= m.guest[g].wm_target_high or (who == DIRECT and freed > 0):
        end_run(m, g)
    count_scan(m, g, who, scanned)
    count_reclaim(m, g, who, freed)
    _judge(m, k, freed, wrote, n)
    return max(cost, hs.c_gscan), freed, wrote
