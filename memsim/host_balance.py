"""Whether host reclaim takes guest memory or the emulators' code: swappiness, as in `balance`.

To the host guest memory is anonymous; its only files are the emulators' code, mapped and executed:
all of an emulator's is active while it does I/O (VM_EXEC in shrink_active_list), inactive when it
did none since the last look.  Without a swappiness files go first, as VSwapper saw.
"""

from memsim.balance import WHOLE, fractions, fractions_2011
from memsim.jit import kernel
from memsim.lists import host_row, inactive_is_low, lru_of
from memsim.machine import Machine
from memsim.params import DEF_PRIORITY
from memsim.state import NOBODY


@kernel
def code_on(m: Machine, lru: int) -> tuple[int, int]:
    """Return the pages of code of a pair of lists: inactive and active ones."""
    inactive = active = 0
    for g in range(m.host[0].guests):
        gs = m.guest[g]
        if gs.code_resident == 0 or lru_of(m, g) != lru:
            continue
        if gs.code_used:
            active += gs.code_resident
        else:
            inactive += gs.code_resident
    return inactive, active


@kernel
def _anon_on(m: Machine, lru: int) -> int:
    row = host_row(m, lru, 0)
    return m.lists[row].count + m.lists[row + 1].count


@kernel
def note_host_cost(m: Machine, lru: int, file: bool, pages: int) -> None:
    """Note what reclaim cost (lru_note_cost): writes, and what of the workingset is read again."""
    if m.host[0].swappiness == NOBODY:
        return
    gr = m.group[lru]
    if file:
        gr.file_cost += pages
    else:
        gr.anon_cost += pages
    inactive, active = code_on(m, lru)
    if gr.anon_cost + gr.file_cost > (_anon_on(m, lru) + inactive + active) // 4:
        gr.anon_cost //= 2
        gr.file_cost //= 2


@kernel
def note_host_scan(m: Machine, lru: int, file: bool, scanned: int, rotated: int) -> None:
    """Note, for 2011, pages that were looked at or came (scanned), and how many were in use."""
    if m.host[0].swappiness == NOBODY:
        return
    gr = m.group[lru]
    if file:
        gr.file_scanned += scanned
        gr.file_rotated += rotated
    else:
        gr.anon_scanned += scanned
        gr.anon_rotated += rotated


@kernel
def _pressure_2011(m: Machine, lru: int, anon: int, file: int) -> tuple[int, int]:
    gr = m.group[lru]
    if gr.anon_scanned > anon // 4:
        gr.anon_scanned //= 2
        gr.anon_rotated //= 2
    if gr.file_scanned > file // 4:
        gr.file_scanned //= 2
        gr.file_rotated //= 2
    swappiness = m.host[0].swappiness
    return fractions_2011(
        swappiness, gr.anon_scanned, gr.anon_rotated, gr.file_scanned, gr.file_rotated
    )


@kernel
def _only_code(m: Machine, lru: int, limited: bool, priority: int, idle: int, all_: int) -> int:
    # Whether it is the only kind to scan: 1, 0 if the other is, -1 if it is a matter of balance.
    hs = m.host[0]
    row = host_row(m, lru, 0)
    inactive, active = m.lists[row].count, m.lists[row + 1].count
    if hs.swap_used_pages >= hs.swap_pages or inactive + active == 0:
        return 1
    if limited and hs.swappiness == 0:
        return 1
    tiny = not limited and all_ + hs.free_pages <= hs.high_pages
    if hs.lru_2011:
        return 0 if tiny else -1
    if priority <= 0 and hs.swappiness > 0:
        return -1
    gib = (inactive + active) * hs.page_bytes / 1073741824.0
    if tiny and inactive >> priority > 0 and not inactive_is_low(inactive, active, gib):
        return 0
    # cache_trim_mode: there is plenty of code that nobody runs
    small = inactive_is_low(idle, all_ - idle, all_ * hs.page_bytes / 1073741824.0)
    return 1 if idle >> priority > 0 and not small else -1


@kernel
def takes_code(m: Machine, lru: int, limited: bool, fails: int) -> bool:
    """Tell whether a batch begins with code rather than with guest memory (get_scan_count).

    The two take turns as `balance.choose_kind` does.  `limited`: reclaim inside of a cgroup;
    `fails`: how far the scan priority has fallen.
    """
    hs = m.host[0]
    if hs.swappiness == NOBODY:
        return True
    idle, used = code_on(m, lru)
    if idle + used == 0:
        return False
    priority = max(0, DEF_PRIORITY - fails)
    only = _only_code(m, lru, limited, priority, idle, idle + used)
    if only >= 0:
        return only == 1
    gr = m.group[lru]
    if priority == 0 and (hs.lru_2011 or hs.swappiness > 0):
        return True
    if hs.lru_2011:
        anon, file = _pressure_2011(m, lru, _anon_on(m, lru), idle + used)
    else:
        anon, file = fractions(hs.swappiness, gr.anon_cost, gr.file_cost)
    file *= idle + used  # what is used grows old in its turns
    anon *= max(1, m.lists[host_row(m, lru, 0)].count)
    gr.scan_credit += int(WHOLE * (file / max(1, anon + file)))
    if gr.scan_credit < WHOLE:
        return False
    gr.scan_credit -= WHOLE
    return True
