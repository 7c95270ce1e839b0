"""The host's swap area: slots with a reverse map, allocated by clusters in order of reclaim."""

import numpy as np

from memsim.disk import ROTATING, ZRAM
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.params import SLOT_CLUSTER
from memsim.state import NOBODY


@kernel
def _free_run(m: Machine) -> int:
    # Where seeking is dear, the lowest run of free slots as long as a cluster, wherever it begins:
    # so the used part of the area stays short, and writes near to reads.
    hs = m.host[0]
    run = 0
    for s in range(hs.swap_pages):
        run = run + 1 if m.slot[s] == NOBODY else 0
        if run == SLOT_CLUSTER:
            return s + 1 - SLOT_CLUSTER
    return NOBODY


@kernel
def _free_cluster(m: Machine) -> int:
    # Where it is not, the next cluster that is free as a whole, so that wear is spread.
    hs = m.host[0]
    clusters = hs.swap_pages // SLOT_CLUSTER
    if clusters == 0:
        return NOBODY
    start = hs.slot_next // SLOT_CLUSTER
    for i in range(clusters):
        c = (start + i) % clusters
        if m.cluster[c] == 0:
            return c * SLOT_CLUSTER
    return NOBODY


@kernel
def _next_slot(m: Machine) -> int:
    # Where to look for the next free slot (scan_swap_map of mm/swapfile.c).
    hs = m.host[0]
    s = hs.slot_next if hs.slot_next < hs.swap_pages else 0
    if m.device[hs.swap_device].kind == ROTATING:
        if hs.slots_left > 0:
            hs.slots_left -= 1
            return s
        hs.slots_left = SLOT_CLUSTER - 1
        return max(0, _free_run(m))
    if s % SLOT_CLUSTER == 0 and m.cluster[s // SLOT_CLUSTER] != 0:
        free = _free_cluster(m)
        return s if free == NOBODY else free
    return s


@kernel
def alloc_slot(m: Machine, p: int) -> int:
    """Give a page a slot: the next of the current cluster, else of a free one, else any."""
    hs = m.host[0]
    if hs.swap_used_pages >= hs.swap_pages:
        return NOBODY
    s = _next_slot(m)
    while m.slot[s] != NOBODY:
        s = s + 1 if s + 1 < hs.swap_pages else 0
    take_slot(m, p, s)
    return s


@kernel
def _starts_run(m: Machine, s: int, n: int) -> bool:
    # Whether slot s begins a run of n free ones: clusters that are free as a whole, or inside one.
    for c in range(s // SLOT_CLUSTER, (s + n - 1) // SLOT_CLUSTER + 1):
        if n >= SLOT_CLUSTER and m.cluster[c] > 0:
            return False
        if m.cluster[c] + n > SLOT_CLUSTER and n < SLOT_CLUSTER:
            return False
    if n < SLOT_CLUSTER:
        for i in range(s, s + n):
            if m.slot[i] != NOBODY:
                return False
    return True


@kernel
def find_run(m: Machine, n: int) -> int:
    """Return the first of n free slots in a row, aligned to n, or NOBODY (swap_alloc_cluster)."""
    hs = m.host[0]
    runs = hs.swap_pages // n
    if hs.swap_used_pages + n > hs.swap_pages:
        return NOBODY
    start = (hs.slot_next + n - 1) // n
    for i in range(runs):
        s = (start + i) % runs * n
        if _starts_run(m, s, n):
            return int(s)
    return NOBODY


@kernel
def take_slot(m: Machine, p: int, s: int) -> None:
    """Give a page a free slot."""
    hs = m.host[0]
    m.slot[s] = p
    m.cluster[s // SLOT_CLUSTER] += 1
    hs.slot_next = s + 1
    hs.swap_used_pages += 1
    m.page[p].slot = s


@kernel
def free_slot(m: Machine, p: int) -> None:
    """Give a page's slot back, if it has one."""
    pg = m.page[p]
    if pg.slot == NOBODY:
        return
    m.slot[pg.slot] = NOBODY
    m.cluster[pg.slot // SLOT_CLUSTER] -= 1
    m.host[0].swap_used_pages -= 1
    pg.slot = NOBODY


@kernel
def size_zram(m: Machine) -> None:
    """Let compressed memory take the frames that its pages need."""
    hs = m.host[0]
    need = np.int64(np.ceil(hs.zram_stored / hs.zram_ratio))
    hs.free_pages -= need - hs.zram_pages
    hs.zram_pages = need


@kernel
def leave_swap(m: Machine, p: int) -> None:
    """Forget the swapped-out copy of a page."""
    hs = m.host[0]
    if m.page[p].slot == NOBODY:
        return
    free_slot(m, p)
    if m.device[hs.swap_device].kind == ZRAM:
        hs.zram_stored -= 1
        size_zram(m)
