"""Which memory a guest touches, sampled by the host as ESX does.

Waldspurger, "Memory Resource Management in VMware ESX Server" (OSDI 2002), section 5.3: of each
guest 100 pages at random lose their mappings, so that the next touch of one faults; when the period
(30 s) is over, the touched share of them is what is active.  Nothing else is disturbed, unlike
where all accessed bits are cleared.  A sample of 100 has a standard error of at most .05.

A sample ends with the first tick (2 s) after its period, and the next one begins.  Pages that the
balloon holds or that were unplugged are not drawn, and leave the sample if they go untouched.  A
page that is touched away from vCPUs, by the emulator's DMA, counts as idle; of the guest kernel's
own what is always in use counts as touched.  Assumed: a huge mapping stays whole, and a touch of
one of its pages is seen like any other.  What is told is the last sample alone; the averages that
ESX takes of several are the policy's (`agents.baselines.esx`).
"""

import numpy as np

from memsim.in_use import page_in_use
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.quiet import stirred
from memsim.rng import SAMPLE, below, derive, draw
from memsim.state import BALLOON, G_BITS, G_WATCHED, NOBODY

SAMPLE_PAGES = 100  # Mem.SamplePages of ESX
_MOST_DRAWS = 4 * SAMPLE_PAGES  # a guest may have little left that can be drawn


@kernel
def _drawn(m: Machine, g: int, key: np.uint64, i: int) -> int:
    # The page that draw i of a sample hits: drawn anew when the sample ends, so none is kept.
    gs = m.guest[g]
    return int(gs.page0 + below(draw(key, np.uint64(i)), gs.pages))


@kernel
def _always_used(m: Machine, g: int, p: int) -> bool:
    gs = m.guest[g]
    i = p - gs.page0
    return bool(gs.kernel_used > 0 and i < gs.kernel_spread and page_in_use(m, g, i) != NOBODY)


@kernel
def _begin(m: Machine, g: int, key: np.uint64) -> None:
    gs = m.guest[g]
    gs.sample_draws = gs.sampled = 0
    while gs.sampled < SAMPLE_PAGES and gs.sample_draws < _MOST_DRAWS:
        p = _drawn(m, g, key, gs.sample_draws)
        gs.sample_draws += 1
        if m.page[p].gstate == BALLOON:
            continue
        gs.sampled += 1
        if not _always_used(m, g, p):
            m.page[p].gflags |= np.uint16(G_WATCHED)
    stirred(m, g)


@kernel
def _end(m: Machine, g: int, key: np.uint64, t: float) -> None:
    gs = m.guest[g]
    idle = 0
    for i in range(gs.sample_draws):
        pg = m.page[_drawn(m, g, key, i)]
        if pg.gflags & G_WATCHED:
            gone = pg.gstate == BALLOON
            idle += not gone
            gs.sampled -= gone
    for i in range(gs.sample_draws):  # a page may have been drawn twice
        m.page[_drawn(m, g, key, i)].gflags &= np.uint16(G_BITS - G_WATCHED)
    if gs.sampled > 0:
        gs.active_pages = (gs.pages - gs.balloon_pages) * (gs.sampled - idle) // gs.sampled
        gs.active_s = t


@kernel
def _key(m: Machine, g: int, number: np.uint64) -> np.uint64:
    own = derive(m.host[0].seed, np.uint64(m.guest[g].guest_id), number, SAMPLE)
    return np.uint64(own)


@kernel
def sample_all(m: Machine, t: float) -> None:
    """End the samples of all guests that run, and begin the next ones."""
    hs = m.host[0]
    for g in range(hs.guests):
        if m.guest[g].state == 2:
            _end(m, g, _key(m, g, hs.samples), t)
            _begin(m, g, _key(m, g, hs.samples + np.uint64(1)))
    hs.samples += np.uint64(1)
    hs.sample_at = t + hs.sample_every_s
