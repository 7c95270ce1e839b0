"""Which pages of a guest that runs are in use all the time: of its kernel and of its emulator."""

from memsim.jit import kernel
from memsim.machine import Machine
from memsim.state import CACHED, KERNEL, NOBODY, SWAPPED, WRITING


@kernel
def places(m: Machine, g: int) -> int:
    """Return how many places there are to look at for `page_in_use`."""
    gs = m.guest[g]
    return int((gs.kernel_spread if gs.kernel_used else 0) + gs.emulator_used)


@kernel
def page_in_use(m: Machine, g: int, i: int) -> int:
    """Return the page in use at place i, or NOBODY.

    They lie evenly among those that the kernel booted with; the emulator's are its first.
    """
    gs = m.guest[g]
    spread = gs.kernel_spread if gs.kernel_used else 0
    if i >= spread:
        return int(gs.page0 + gs.pages + i - spread)
    before = i * gs.kernel_size // spread
    ordinal = (i + 1) * gs.kernel_size // spread
    used = ordinal * gs.kernel_used // gs.kernel_size > before * gs.kernel_used // gs.kernel_size
    pg = m.page[gs.page0 + i]
    return int(gs.page0 + i) if used and pg.gstate == KERNEL and pg.vpn == NOBODY else NOBODY


@kernel
def is_away(m: Machine, p: int) -> bool:
    """Tell whether a page has to be fetched before it can be used."""
    state = m.page[p].hstate
    return bool(state == SWAPPED or state == CACHED or state == WRITING)
