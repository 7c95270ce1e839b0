"""How the host learns which guest pages are free: one interface for every mechanism.

The talk's bitmap is pulled: the guest sets a page's bit when it frees the page, and the host looks
only when it is about to pay for the content.  Allocation touches the page while the bit is still
set (so that a swapped page needs no I/O), clears the bit, then fills.
"""

import numpy as np

from memsim.jit import kernel
from memsim.machine import Machine
from memsim.state import G_BITS, G_HINT

NONE, BITMAP = 0, 1


@kernel
def on_free(m: Machine, p: int) -> None:
    """Tell that the guest's allocator, or the owner of the page, has no use for its content."""
    pg = m.page[p]
    if m.guest[pg.guest].hinting == BITMAP:
        pg.gflags |= np.uint16(G_HINT)


@kernel
def on_alloc(m: Machine, p: int) -> None:
    """Tell that the page, just touched, is about to be filled."""
    pg = m.page[p]
    pg.gflags &= np.uint16(G_BITS - G_HINT)


@kernel
def is_free(m: Machine, p: int) -> bool:
    """Ask, from the host, whether the page's content may be thrown away."""
    return (m.page[p].gflags & G_HINT) != 0


@kernel
def checks(m: Machine, p: int) -> bool:
    """Tell whether the host has a bit to look at, which costs it a little."""
    return m.guest[m.page[p].guest].hinting == BITMAP
