"""The guest's flusher: dirty pages of the cache are written back after a while."""

from memsim.emulator import start_io
from memsim.guest import write_back
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.params import FLUSH_S, FLUSH_SHARE, PSI_PERIOD_S
from memsim.state import FILE, G_BACK, G_DIRTY, G_IO, NOBODY

BACKGROUND_RATIO = 0.1  # dirty_background_ratio: above it all that is dirty is written


@kernel
def flush(m: Machine, g: int, t: float) -> None:
    """Write a share of the dirty pages, so that they are written after 30 s on average."""
    gs = m.guest[g]
    if gs.dirty_pages == 0:
        return
    n = int(gs.dirty_pages * FLUSH_SHARE * PSI_PERIOD_S / FLUSH_S) + 1
    if gs.dirty_pages > BACKGROUND_RATIO * (gs.free_pages + gs.file_pages):
        n = gs.dirty_pages
    for _ in range(gs.pages):
        if n <= 0:
            return
        p = gs.page0 + gs.flush_hand
        gs.flush_hand = gs.flush_hand + 1 if gs.flush_hand + 1 < gs.pages else 0
        flags = m.page[p].gflags
        if m.page[p].gstate != FILE or not flags & G_DIRTY or flags & (G_BACK | G_IO):
            continue
        r = write_back(m, g, m.page[p].vpn)
        if r == NOBODY:
            return
        n -= m.request[r].count
        start_io(m, r, 1.0, False, t)
