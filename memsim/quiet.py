"""The fast path: jump over touches that change nothing (model section 12).

A page is quiet for a phase if the phase's next touch of it would only let time pass: it is mapped
and resident, and all bits that the touch would set are set.  All others are loud.  A phase keeps
the set of its region's loud pages, a bit a page, and a Fenwick tree over blocks of pages with the
probability that a touch goes to a loud page of the block.  The number of quiet touches up to the
next loud one is geometric; which one that is, is drawn from the tree.  Where pages come in order
the next loud page is looked up, and nothing is drawn.

The set is taken by a look at all pages, and is good until something makes a quiet page of the
guest loud: whoever does that counts `guest.version` up.  Pages that became quiet in another way
stay in the set until they are drawn; drawing them does no harm.  Under pressure versions change
all the time, and the phase executes every touch; it looks again after as many as it has pages,
and less often if that was in vain.

Draws differ from those of the plain way, except in phases that touch in order; so the fast path
is a switch of the host, off unless asked for.
"""

from math import log

import numpy as np

from memsim.jit import kernel
from memsim.machine import Machine
from memsim.params import FAST_BELOW, FAST_PATIENCE
from memsim.rng import GOLDEN, below, draw, mix, uniform
from memsim.state import (
    ACTIVE_ANON,
    ACTIVE_FILE,
    FILE,
    G_DIRTY,
    G_HUGE,
    G_REF,
    G_SEEN,
    G_SLOW,
    H_DIRTY,
    H_REF,
    H_UNMAPPED,
    H_WROTE,
    MERGED,
    NOBODY,
    RESIDENT,
)

READ, WRITE = 1, 2  # memsim.spec.Op
UNIFORM, ZIPF = 0, 1  # memsim.spec.Pattern
UNKNOWN = -1  # task.quiet_left
_EVER = np.int64(1) << np.int64(61)
_WORD = 64
_STORED = H_DIRTY | H_WROTE


@kernel
def stirred(m: Machine, g: int) -> None:
    """Say that a quiet page of the guest may have become loud."""
    m.guest[g].version += 1


@kernel
def is_quiet(m: Machine, v: int, op: int, stores: bool) -> bool:
    """Tell whether an access to virtual page v, which may store, would change nothing."""
    p = m.vpage[v].page
    if p < 0:
        return False
    pg = m.page[p]
    if pg.hstate != RESIDENT and (stores or pg.hstate < MERGED):
        return False
    if pg.gflags & G_SLOW or pg.hflags & H_UNMAPPED or not pg.hflags & H_REF:
        return False
    if stores and pg.hflags & _STORED != _STORED:
        return False
    if stores and pg.gstate == FILE and not pg.gflags & G_DIRTY:
        return False
    if op == READ or op == WRITE:
        active = pg.glist == 1 + ACTIVE_FILE or pg.glist == 1 + ACTIVE_ANON
        return active and (pg.gflags & G_SEEN) != 0
    if m.guest[pg.guest].huge_pages and not pg.gflags & G_HUGE:  # it takes more than its time
        return False
    return (pg.gflags & G_REF) != 0


@kernel
def may_store(ph: np.record) -> bool:
    """Tell whether accesses of a phase may store."""
    return ph.write > 0.0 or ph.op == WRITE


@kernel
def _page_weight(m: Machine, ph: np.record, b: int) -> float:
    # Probability that a touch goes to one given page of block b; of a uniform phase, times size.
    return m.share[ph.share + b] if ph.pattern == ZIPF else 1.0


@kernel
def _add(m: Machine, ph: np.record, b: int, weight: float) -> None:
    i = b + 1
    while i <= ph.loud_blocks:
        m.loud_tree[ph.loud_block0 + i - 1] += weight
        i += i & -i


@kernel
def _look(m: Machine, ph: np.record) -> None:
    # Take the set anew.
    rg = m.region[ph.region]
    stores = may_store(ph)
    ph.loud_n = 0
    for b in range(ph.loud_blocks):
        m.loud_tree[ph.loud_block0 + b] = 0.0
    for b in range(ph.loud_blocks):
        first = b * ph.loud_pages
        end = min(first + ph.loud_pages, rg.pages)
        n = 0
        word = np.uint64(0)
        for i in range(first, end):
            bit = (i - first) % _WORD
            if not is_quiet(m, rg.vpage0 + i, ph.op, stores):
                word |= np.uint64(1) << np.uint64(bit)
                n += 1
            if bit == _WORD - 1 or i == end - 1:
                m.loud[ph.loud0 + b * ph.loud_words + (i - first) // _WORD] = word
                word = np.uint64(0)
        m.loud_count[ph.loud_block0 + b] = n
        ph.loud_n += n
        _add(m, ph, b, n * _page_weight(m, ph, b))


@kernel
def _weight_below(m: Machine, ph: np.record, size: int) -> float:
    # Weight of the loud pages among the first `size`.
    whole = size // ph.loud_pages
    i = min(whole, ph.loud_blocks)
    total = 0.0
    while i > 0:
        total += m.loud_tree[ph.loud_block0 + i - 1]
        i -= i & -i
    rest = size - whole * ph.loud_pages
    if rest > 0 and whole < ph.loud_blocks:
        total += _loud_among(m, ph, whole, rest) * _page_weight(m, ph, whole)
    return total


@kernel
def _is_loud(m: Machine, ph: np.record, b: int, i: int) -> bool:
    word = m.loud[ph.loud0 + b * ph.loud_words + i // _WORD]
    return (word >> np.uint64(i % _WORD)) & np.uint64(1) != np.uint64(0)


@kernel
def _loud_among(m: Machine, ph: np.record, b: int, first: int) -> int:
    n = 0
    for i in range(first):
        n += 1 if _is_loud(m, ph, b, i) else 0
    return n


@kernel
def ready(m: Machine, ph: np.record) -> bool:
    """Tell whether a phase can jump, and take its set of loud pages anew if that is due."""
    if ph.loud0 == NOBODY:
        return False
    gs = m.guest[m.region[ph.region].guest]
    if ph.loud_version == gs.version and ph.loud_good:
        return True
    ph.loud_plain += 1
    pages = m.region[ph.region].pages
    if ph.loud_plain < pages * ph.loud_wait:
        return False
    # The last look was in vain if it was of no use for as long as it took.
    ph.loud_wait = min(FAST_PATIENCE, 2 * ph.loud_wait) if ph.loud_jumped < pages else 1
    ph.loud_plain = 0
    ph.loud_jumped = 0
    ph.loud_version = gs.version
    _look(m, ph)
    weight = _weight_below(m, ph, pages)
    ph.loud_good = weight <= FAST_BELOW * (1.0 if ph.pattern == ZIPF else pages)
    return ph.loud_good != 0


@kernel
def _ordered_ahead(m: Machine, ph: np.record, at: int, size: int) -> int:
    # Touches in order from page `at` on up to the first loud page, wrapping round once.
    i, n = at, 0
    while n < size:
        b = i // ph.loud_pages
        within = i - b * ph.loud_pages
        end = min((b + 1) * ph.loud_pages, size)
        if m.loud_count[ph.loud_block0 + b] == 0:
            n += end - i
            i = end
        elif _is_loud(m, ph, b, within):
            return n
        else:
            n += 1
            i += 1
        if i >= size:
            i = 0
    return n


@kernel
def ahead(m: Machine, k: int, ph: np.record, at: int, size: int, n: np.uint64) -> int:
    """Return how many quiet touches come before the next loud one.

    `at` is the page that comes next if pages come in order, `n` the number of the next draw.
    """
    tk = m.task[k]
    if ph.pattern > ZIPF:
        return _ordered_ahead(m, ph, at, size)
    if tk.quiet_left != UNKNOWN and tk.quiet_size == size:
        return int(tk.quiet_left)
    p = _weight_below(m, ph, size) / (1.0 if ph.pattern == ZIPF else size)
    tk.quiet_size = size
    if ph.loud_n == 0 or p <= 0.0:
        tk.quiet_left = _EVER
    elif p >= 1.0:
        tk.quiet_left = 0
    else:
        u = uniform(draw(mix(tk.page_key ^ GOLDEN), n))
        tk.quiet_left = min(_EVER, int(log(1.0 - u) / log(1.0 - p)))
    return int(tk.quiet_left)


@kernel
def jump(m: Machine, k: int, ph: np.record, n: int) -> None:
    """Note that n quiet touches were jumped over."""
    if n == 0:
        return
    tk = m.task[k]
    if ph.pattern <= ZIPF:
        tk.quiet_left -= n
    elif ph.pattern == 2:  # SEQUENTIAL
        tk.cursor += n
    else:
        ph.place += n
    ph.loud_jumped += n


@kernel
def _with_loud(m: Machine, ph: np.record, b: int, size: int) -> int:
    # The nearest block with a loud page among the first `size`: sums of weights are rounded.
    last = (size - 1) // ph.loud_pages
    for away in range(last + 1):
        for c in (b - away, b + away):
            if c < 0 or c > last:
                continue
            if _loud_among(m, ph, c, min(ph.loud_pages, size - c * ph.loud_pages)) > 0:
                return int(c)
    return b


@kernel
def loud_page(m: Machine, k: int, ph: np.record, size: int, n: np.uint64) -> int:
    """Draw the loud page, as an index inside the region, that the next touch goes to."""
    tk = m.task[k]
    tk.quiet_left = UNKNOWN
    bits = draw(tk.page_key, n)
    left = uniform(bits) * _weight_below(m, ph, size)
    b = 0
    step = 1
    while 2 * step <= ph.loud_blocks:
        step *= 2
    while step > 0:
        if b + step <= ph.loud_blocks and m.loud_tree[ph.loud_block0 + b + step - 1] <= left:
            left -= m.loud_tree[ph.loud_block0 + b + step - 1]
            b += step
        step //= 2
    b = _with_loud(m, ph, min(b, (size - 1) // ph.loud_pages), size)
    end = min(ph.loud_pages, size - b * ph.loud_pages)
    rank = below(mix(bits), _loud_among(m, ph, b, end))
    for i in range(end):
        if _is_loud(m, ph, b, i):
            if rank == 0:
                return int(b * ph.loud_pages + i)
            rank -= 1
    return int(b * ph.loud_pages)


@kernel
def hushed(m: Machine, ph: np.record, i: int) -> None:
    """Take a page that was just touched out of the set, if it is quiet now."""
    rg = m.region[ph.region]
    b = i // ph.loud_pages
    within = i - b * ph.loud_pages
    if not _is_loud(m, ph, b, within) or not is_quiet(m, rg.vpage0 + i, ph.op, may_store(ph)):
        return
    word = ph.loud0 + b * ph.loud_words + within // _WORD
    m.loud[word] &= ~(np.uint64(1) << np.uint64(within % _WORD))
    m.loud_count[ph.loud_block0 + b] -= 1
    ph.loud_n -= 1
    _add(m, ph, b, -_page_weight(m, ph, b))
