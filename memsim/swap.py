"""The host's swap area: slots with a reverse map, allocated by clusters in order of reclaim."""

from memsim.jit import kernel
from memsim.machine import Machine
from memsim.params import SLOT_CLUSTER
from memsim.state import NOBODY


@kernel
def _free_cluster(m: Machine) -> int:
    hs = m.host[0]
    clusters = hs.swap_pages // SLOT_CLUSTER
    if clusters == 0:
        return NOBODY
    start = hs.slot_next // SLOT_CLUSTER
    for i in range(clusters):
        c = (start + i) % clusters
        if m.cluster[c] == 0:
            return c
    return NOBODY


@kernel
def alloc_slot(m: Machine, p: int) -> int:
    """Give a page a slot: the next of the current cluster, else of a free one, else any."""
    hs = m.host[0]
    if hs.swap_used_pages >= hs.swap_pages:
        return NOBODY
    s = hs.slot_next
    if s >= hs.swap_pages:
        s = 0
    if s % SLOT_CLUSTER == 0 and m.cluster[s // SLOT_CLUSTER] != 0:
        c = _free_cluster(m)
        if c != NOBODY:
            s = c * SLOT_CLUSTER
    while m.slot[s] != NOBODY:
        s = s + 1 if s + 1 < hs.swap_pages else 0
    m.slot[s] = p
    m.cluster[s // SLOT_CLUSTER] += 1
    hs.slot_next = s + 1
    hs.swap_used_pages += 1
    m.page[p].slot = s
    return s


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
