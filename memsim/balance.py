"""Which kind of memory a guest's reclaim takes from: the balance of get_scan_count (mm/vmscan.c).

Modern: each kind's pressure falls with what reclaiming it was seen to cost, in writes and in pages
of the workingset read again; `swappiness` is the relative cost of file I/O.  2011: it falls with
the share of scanned pages that were in use (recent_rotated / recent_scanned, 2.6.28 to 5.7).
"""

from memsim.jit import kernel
from memsim.lists import guest_row, inactive_is_low
from memsim.machine import Machine
from memsim.params import DEF_PRIORITY
from memsim.state import FILE, INACTIVE_ANON, INACTIVE_FILE

WHOLE = 1 << 16  # of guest.scan_credit


@kernel
def fractions(swappiness: int, anon_cost: int, file_cost: int) -> tuple[int, int]:
    """Return the modern pressure on anonymous and on file memory: at least a third each at 100."""
    total = anon_cost + file_cost
    anon, file = total + anon_cost, total + file_cost
    total = anon + file
    return swappiness * (total + 1) // (anon + 1), (200 - swappiness) * (total + 1) // (file + 1)


@kernel
def fractions_2011(
    swappiness: int, anon_scanned: int, anon_rotated: int, file_scanned: int, file_rotated: int
) -> tuple[int, int]:
    """Return the pressure of get_scan_ratio on anonymous and on file memory."""
    anon = (swappiness + 1) * (anon_scanned + 1) // (anon_rotated + 1)
    return anon, (200 - swappiness + 1) * (file_scanned + 1) // (file_rotated + 1)


@kernel
def pages_of(m: Machine, g: int, inactive: int) -> int:
    """Pages on both lists of a kind of memory, given by its inactive one."""
    return m.lists[guest_row(g, inactive)].count + m.lists[guest_row(g, inactive + 1)].count


@kernel
def note_cost(m: Machine, g: int, file: bool, pages: int) -> None:
    """Note what reclaim of a kind of memory cost; halved whenever it is a quarter of the lists."""
    gs = m.guest[g]
    if file:
        gs.file_cost += pages
    else:
        gs.anon_cost += pages
    if (
        gs.anon_cost + gs.file_cost
        > (pages_of(m, g, INACTIVE_ANON) + pages_of(m, g, INACTIVE_FILE)) // 4
    ):
        gs.anon_cost //= 2
        gs.file_cost //= 2


@kernel
def note_scan(m: Machine, g: int, p: int, scanned: int, rotated: int) -> None:
    """Note, for 2011, a page that was looked at or came (scanned), and whether it was in use."""
    gs = m.guest[g]
    if m.page[p].gstate == FILE:
        gs.file_scanned += scanned
        gs.file_rotated += rotated
    else:
        gs.anon_scanned += scanned
        gs.anon_rotated += rotated


@kernel
def is_low(m: Machine, g: int, inactive: int) -> bool:
    """Tell whether an inactive list is low; until 4.7 of file memory half had to be inactive."""
    small = m.lists[guest_row(g, inactive)].count
    large = m.lists[guest_row(g, inactive + 1)].count
    if m.guest[g].lru_2011 and inactive == INACTIVE_FILE:
        return small < large
    return inactive_is_low(small, large, (small + large) * m.host[0].page_bytes / 1073741824.0)


@kernel
def may_deactivate(m: Machine, g: int, inactive: int) -> bool:
    """Tell whether reclaim may take from an active list.

    It may if the inactive one is low or, modern, if pages came back within the workingset's reach
    since the last run: then what is active may not be worth it any more.
    """
    gs = m.guest[g]
    if is_low(m, g, inactive):
        return True
    if inactive == INACTIVE_FILE:
        return gs.file_activated != gs.file_activated_seen
    return gs.anon_activated != gs.anon_activated_seen


@kernel
def end_run(m: Machine, g: int) -> None:
    """A run of reclaim has what it wanted (snapshot_refaults)."""
    gs = m.guest[g]
    gs.anon_activated_seen = gs.anon_activated
    gs.file_activated_seen = gs.file_activated


@kernel
def _decay_2011(m: Machine, g: int) -> None:
    gs = m.guest[g]
    if gs.anon_scanned > pages_of(m, g, INACTIVE_ANON) // 4:
        gs.anon_scanned //= 2
        gs.anon_rotated //= 2
    if gs.file_scanned > pages_of(m, g, INACTIVE_FILE) // 4:
        gs.file_scanned //= 2
        gs.file_rotated //= 2


@kernel
def _only(m: Machine, g: int, priority: int) -> int:
    # The one list to scan, or -1 if it is a matter of balance.
    gs = m.guest[g]
    if gs.swap_used_pages >= gs.gslots or pages_of(m, g, INACTIVE_ANON) == 0:
        return INACTIVE_FILE
    files = pages_of(m, g, INACTIVE_FILE)
    if files == 0:
        return INACTIVE_ANON
    tiny = files + gs.free_pages <= gs.wm_target_high
    if gs.lru_2011:
        return INACTIVE_ANON if tiny else -1
    if priority <= 0 and gs.swappiness > 0:
        return -1
    inactive = m.lists[guest_row(g, INACTIVE_ANON)].count
    if tiny and inactive >> priority > 0 and not may_deactivate(m, g, INACTIVE_ANON):
        return INACTIVE_ANON
    # cache_trim_mode: there is plenty of cache that nobody uses
    inactive = m.lists[guest_row(g, INACTIVE_FILE)].count
    if inactive >> priority > 0 and not may_deactivate(m, g, INACTIVE_FILE):
        return INACTIVE_FILE
    return -1


@kernel
def _pressure(m: Machine, g: int, priority: int) -> tuple[int, int]:
    gs = m.guest[g]
    if gs.lru_2011:
        _decay_2011(m, g)
        if priority <= 0:
            return 1, 1
        return fractions_2011(
            gs.swappiness, gs.anon_scanned, gs.anon_rotated, gs.file_scanned, gs.file_rotated
        )
    if priority <= 0 and gs.swappiness > 0:
        return 1, 1
    return fractions(gs.swappiness, gs.anon_cost, gs.file_cost)


@kernel
def choose_kind(m: Machine, g: int, fails: int) -> int:
    """Choose the inactive list that the next batch is taken from: anonymous or file memory.

    Linux scans both in one go, each list's size times its pressure; here they take turns, batch by
    batch, in that proportion.  `fails` is how far the scan priority has fallen.
    """
    priority = max(0, DEF_PRIORITY - fails)
    only = _only(m, g, priority)
    if only >= 0:
        return only
    anon, file = _pressure(m, g, priority)
    anon *= max(1, m.lists[guest_row(g, INACTIVE_ANON)].count)
    file *= max(1, m.lists[guest_row(g, INACTIVE_FILE)].count)
    gs = m.guest[g]
    gs.scan_credit += int(WHOLE * (anon / max(1, anon + file)))
    if gs.scan_credit >= WHOLE:
        gs.scan_credit -= WHOLE
        return INACTIVE_ANON
    return INACTIVE_FILE
