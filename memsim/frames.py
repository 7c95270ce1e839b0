"""The host's frames, and the cgroups that they are charged to."""

from memsim.cpu import first_thread, wake_kswapd
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.state import CACHED, FOLLOWS, H_UNMAPPED, LENT, MERGED, NOBODY, RESIDENT


@kernel
def group_of(m: Machine, g: int) -> int:
    """Row of a guest's cgroup."""
    return 1 + m.guest[g].cgroup


@kernel
def over_limit(m: Machine, g: int) -> bool:
    """Tell whether one more page of the guest would exceed its cgroup's limit."""
    gr = m.group[group_of(m, g)]
    return gr.max != NOBODY and gr.usage + 1 > gr.max


@kernel
def take_frame(m: Machine, g: int, t: float) -> bool:
    """Charge and take a free frame; False if the toucher has to reclaim first."""
    hs = m.host[0]
    if over_limit(m, g):
        return False
    if hs.free_pages <= hs.min_pages:
        wake_kswapd(m, t)
        return False
    hs.free_pages -= 1
    gr = m.group[group_of(m, g)]
    gr.usage += 1
    gr.charged += 1
    m.guest[g].resident_pages += 1
    if hs.free_pages < hs.low_pages:
        wake_kswapd(m, t)
    return True


@kernel
def give_frame(m: Machine, g: int) -> None:
    """Give a guest page's frame back to the host."""
    m.host[0].free_pages += 1
    m.group[group_of(m, g)].usage -= 1
    m.guest[g].resident_pages -= 1


@kernel
def in_memory(m: Machine, p: int) -> bool:
    """Tell whether the host would have to drop a guest page from memory to be rid of it."""
    state = m.page[p].hstate
    if state == FOLLOWS:
        return not m.page[p].hflags & H_UNMAPPED
    return state == RESIDENT or state == CACHED or state == MERGED or state == LENT


@kernel
def limiter(m: Machine, g: int) -> int:
    """Return the thread that reclaims inside a guest's cgroup on behalf of its emulator."""
    return first_thread(m) + 1 + m.guest[g].cgroup
