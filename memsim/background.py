"""What is in use all the time: parts of each guest's kernel and of its emulator's own memory.

Timers, interrupts and the emulator's main loop refer to it whatever the guest's programs do.  It
is looked at every `PSI_PERIOD_S`; what of it was swapped is read back then.  That reading takes
frames and the device's time, but nobody is said to wait for it.
"""

import numpy as np

from memsim.cpu import wake_thread
from memsim.frames import limiter
from memsim.host import NEED_FRAME, fault
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.state import (
    CACHED,
    H_REF,
    H_UNMAPPED,
    KERNEL,
    NOBODY,
    READING,
    SWAPPED,
    UNBACKED,
    WRITING,
)


@kernel
def _use(m: Machine, p: int, t: float) -> None:
    pg = m.page[p]
    away = pg.hstate == SWAPPED or pg.hstate == CACHED or pg.hstate == WRITING
    if away:
        need, _, _ = fault(m, p, False, False, t)
        if need == NEED_FRAME:
            wake_thread(m, limiter(m, pg.guest), t)
    elif pg.hstate != UNBACKED and pg.hstate != READING and not pg.hflags & H_UNMAPPED:
        pg.hflags |= np.uint8(H_REF)


@kernel
def use_in_passing(m: Machine, g: int, t: float) -> None:
    """Let a guest that runs, and its emulator, refer to what they always use."""
    gs = m.guest[g]
    seen = used = 0
    for p in range(gs.page0, gs.page0 + gs.kernel_spread):
        if used == gs.kernel_used:
            break
        if m.page[p].gstate == KERNEL and m.page[p].vpn == NOBODY:
            seen += 1
            if seen * gs.kernel_used // gs.kernel_size > used:  # evenly
                used += 1
                _use(m, p, t)
    own = gs.page0 + gs.pages
    for p in range(own, own + gs.emulator_used):
        _use(m, p, t)
