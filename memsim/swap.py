"""The host's swap area: slots with a reverse map, allocated by clusters in order of reclaim."""

import numpy as np

from memsim.disk import ROTATING, ZRAM
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.state import NOBODY


@kernel
def _free_run(m: Machine) -> int:
    # Where seeking is dear, the lowest run of free slots as long as a cluster, wherever it begins:
    # so the used part of the area stays short, and writes near to reads.
    hs = m.host[0]
    run = 0
    for s in range(hs.swap_pages):
        run = run + 1 if m.slot[s] == NOBODY else 0
        if run == hs.cluster_slots:
            return s + 1 - run
    return NOBODY


@kernel
def _free_cluster(m: Machine) -> int:
    # Where it is not, the next cluster that is free as a whole, so that wear is spread.
    hs = m.host[0]
    if hs.clusters_free == 0:
        return NOBODY
    clusters = hs.swap_pages // hs.cluster_slots
    c = hs.slot_next // hs.cluster_slots % clusters
    while m.cluster[c] != 0:
        c = c + 1 if c + 1 < clusters else 0
    return int(c * hs.cluster_slots)


@kernel
def _next_slot(m: Machine) -> int:
    # Where to look for the next free slot (scan_swap_map of mm/swapfile.c).
    hs = m.host[0]
    s = hs.slot_next if hs.slot_next < hs.swap_pages else 0
    if m.device[hs.swap_device].kind == ROTATING:
        if hs.slots_left > 0:
            hs.slots_left -= 1
            return s
        hs.slots_left = hs.cluster_slots - 1
        return max(0, _free_run(m))
    if s % hs.cluster_slots == 0 and m.cluster[s // hs.cluster_slots] != 0:
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
def find_run(m: Machine, n: int) -> int:
    """Return the first of n slots in a row for a huge page: a free cluster, which is as long.

    NOBODY if there is none (swap_alloc_cluster of mm/swapfile.c), or if clusters are shorter.
    """
    return _free_cluster(m) if n <= m.host[0].cluster_slots else NOBODY


@kernel
def _note_used(m: Machine, s: int, change: int) -> None:
    # A slot comes to be used (+1) or free (-1); a part of a cluster at the end counts as none.
    hs = m.host[0]
    c = s // hs.cluster_slots
    m.cluster[c] += change
    if c < hs.swap_pages // hs.cluster_slots and m.cluster[c] == max(0, change):
        hs.clusters_free -= change


@kernel
def take_slot(m: Machine, p: int, s: int) -> None:
    """Give a page a free slot."""
    hs = m.host[0]
    m.slot[s] = p
    _note_used(m, s, 1)
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
    _note_used(m, int(pg.slot), -1)
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
