"""The guest's flusher and its dirty limits (mm/page-writeback.c).

Dirty pages of the cache are written after a while; all of them, at once, when they are more than
the background share of what could be dirty.  Above the limit who would make one more waits.
"""

from memsim.account import NOMINAL
from memsim.emulator import start_io
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.page_cache import write_back
from memsim.params import BACKGROUND_RATIO, DIRTY_RATIO, FLUSH_S, FLUSH_SHARE, PSI_PERIOD_S
from memsim.state import FILE, G_BACK, G_DIRTY, G_IO, NOBODY


@kernel
def _share(m: Machine, g: int, ratio: float) -> float:
    # Of the memory that could be dirty, at least one page [pages].
    return max(1.0, ratio * (m.guest[g].free_pages + m.guest[g].file_pages))


@kernel
def _write(m: Machine, g: int, n: int, t: float) -> None:
    # Start to write n dirty pages, on from where the flusher's hand stands.
    hs = m.host[0]
    gs = m.guest[g]
    for _ in range(gs.pages):
        if n <= 0:
            return
        if gs.writeback_pages > 0 and hs.requests_used >= hs.requests // 4:
            return  # the rest of the queue is for those who wait for their data
        p = gs.page0 + gs.flush_hand
        flags = m.page[p].gflags
        if m.page[p].gstate == FILE and flags & G_DIRTY and not flags & (G_BACK | G_IO):
            r = write_back(m, g, m.page[p].vpn, NOMINAL)
            if r == NOBODY:
                return
            n -= m.request[r].count
            start_io(m, r, 1.0, False, t)
        gs.flush_hand = gs.flush_hand + 1 if gs.flush_hand + 1 < gs.pages else 0


@kernel
def flush_some(m: Machine, g: int, t: float) -> None:
    """Write a share of the dirty pages, so that they are written after 30 s on average."""
    dirty = m.guest[g].dirty_pages
    if dirty > 0:
        _write(m, g, int(dirty * FLUSH_SHARE * PSI_PERIOD_S / FLUSH_S) + 1, t)


@kernel
def flush_excess(m: Machine, g: int, t: float) -> None:
    """Wake the flusher if more than the background share is dirty: then it writes it all."""
    if m.guest[g].dirty_pages > _share(m, g, BACKGROUND_RATIO):
        _write(m, g, m.guest[g].dirty_pages, t)


@kernel
def too_dirty(m: Machine, g: int, t: float) -> bool:
    """Tell whether a writer has to wait; write-back is started if none is under way."""
    gs = m.guest[g]
    if gs.dirty_pages + gs.writeback_pages <= _share(m, g, DIRTY_RATIO):
        return False
    if gs.writeback_pages == 0:
        _write(m, g, gs.dirty_pages, t)
    return True
