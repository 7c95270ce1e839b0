"""What is in use all the time: parts of each guest's kernel and of its emulator's own memory.

Timers, interrupts and the emulator's main loop refer to it whatever the guest's programs do.  It
is looked at every `PSI_PERIOD_S`.  What of it is away then is fetched by a request of kind UPKEEP,
one of a guest at a time, page by page as the emulator's other threads do: it waits for frames and
swap, and that is pressure on its cgroup, but nobody in the guest waits for it.
"""

import numpy as np

from memsim.account import NOMINAL
from memsim.disk import new_request
from memsim.emulator import start_upkeep
from memsim.in_use import is_away, page_in_use, places
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.state import H_REF, H_UNMAPPED, NOBODY, READING, UNBACKED, UPKEEP


@kernel
def use_in_passing(m: Machine, g: int, t: float) -> None:
    """Let a guest that runs, and its emulator, refer to what they always use."""
    gs = m.guest[g]
    away = False
    for i in range(places(m, g)):
        p = page_in_use(m, g, i)
        if p == NOBODY:
            continue
        pg = m.page[p]
        if is_away(m, p):
            away = True
        elif pg.hstate != UNBACKED and pg.hstate != READING and not pg.hflags & H_UNMAPPED:
            pg.hflags |= np.uint8(H_REF)
    if away and gs.upkeep == NOBODY:
        r = new_request(m, UPKEEP, gs.disk, g, NOMINAL)
        if r != NOBODY:
            gs.upkeep = r
            start_upkeep(m, r, t)
