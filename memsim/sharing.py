"""Stable frames of KSM: one frame for guest pages of equal content, which nobody may write to.

The sharers of a frame are a ring (`hnext`, `hprev`; a merged page is on no LRU list).  The first
of them is its head: by its page the frame is known, `ksm.node` of every sharer names it, and its
guest is charged.  When it leaves, the next one takes its place, with the charge.  Heads are found
by content through a hash table, chained by `ksm.chain`.
"""

import numpy as np

from memsim.content import NOTHING, UNIQUE
from memsim.frames import give_frame, group_of
from memsim.jit import kernel
from memsim.lists import host_push, lru_of
from memsim.machine import Machine
from memsim.quiet import stirred
from memsim.state import (
    H_DIRTY,
    H_EVER,
    H_ISOLATED,
    H_PINNED,
    H_REF,
    MERGED,
    NOBODY,
    RESIDENT,
)

# ksm.node, if not a head
NO_ITEM = -1  # ksmd does not know the page
VOLATILE = -2  # it has taken a checksum, which the page has not kept yet
UNSHARED = -3  # in the unstable table
ZERO_PAGE = -4  # mapped to the kernel's zero page
_HELD = H_PINNED | H_ISOLATED


@kernel
def set_item(m: Machine, p: int, node: int) -> None:
    """Set what ksmd knows of a page, and the counts of that."""
    hs = m.host[0]
    was = m.ksm[p].node
    hs.ksm_volatile += (1 if node == VOLATILE else 0) - (1 if was == VOLATILE else 0)
    hs.ksm_unshared += (1 if node == UNSHARED else 0) - (1 if was == UNSHARED else 0)
    m.ksm[p].node = node


@kernel
def forget(m: Machine, p: int) -> None:
    """Forget a page of a guest that is off, or about to boot: nothing is known of its content."""
    set_item(m, p, NO_ITEM)
    m.ksm[p].content = np.uint32(UNIQUE)
    m.ksm[p].sum = np.uint32(NOTHING)


@kernel
def bucket_of(m: Machine, number: int) -> int:
    """Return the row of the hash tables for a content; numbers are hashes already."""
    return number % m.host[0].ksm_buckets


@kernel
def shared_frame(m: Machine, number: int) -> int:
    """Return the head of a stable frame of this content that may get one more sharer."""
    most = m.host[0].ksm_max_sharing
    head = m.bucket[bucket_of(m, number)].stable
    while head != NOBODY:
        if m.ksm[head].content == number and m.ksm[head].sum < most:
            return int(head)
        head = m.ksm[head].chain
    return NOBODY


@kernel
def _chain(m: Machine, head: int) -> None:
    b = bucket_of(m, int(np.int64(m.ksm[head].content)))
    m.ksm[head].chain = m.bucket[b].stable
    m.bucket[b].stable = head


@kernel
def _unchain(m: Machine, head: int) -> None:
    b = bucket_of(m, int(np.int64(m.ksm[head].content)))
    following = m.ksm[head].chain
    before = m.bucket[b].stable
    if before == head:
        m.bucket[b].stable = following
        return
    while m.ksm[before].chain != head:
        before = m.ksm[before].chain
    m.ksm[before].chain = following


@kernel
def _protect(m: Machine, p: int, node: int) -> None:
    # The page is mapped read-only from now on; the caller took it off its list and out of swap.
    pg = m.page[p]
    pg.hstate = MERGED
    pg.hflags |= np.uint8(H_DIRTY)
    set_item(m, p, node)
    stirred(m, pg.guest)


@kernel
def found(m: Machine, p: int) -> None:
    """Make the frame of a page, which is on no list and not in swap, a stable one."""
    _protect(m, p, p)
    pg = m.page[p]
    pg.hnext = pg.hprev = p
    m.ksm[p].sum = np.uint32(1)
    _chain(m, p)
    m.host[0].ksm_shared += 1


@kernel
def join(m: Machine, p: int, head: int) -> None:
    """Map a page, which is on no list and not in swap, to a stable frame; its own comes free."""
    pg = m.page[p]
    give_frame(m, pg.guest)
    m.guest[pg.guest].merged_pages += 1
    m.host[0].ksm_sharing += 1
    _protect(m, p, head)
    last = m.page[head].hprev
    pg.hprev, pg.hnext = last, head
    m.page[last].hnext = p
    m.page[head].hprev = p
    m.ksm[head].sum += np.uint32(1)


@kernel
def join_zero(m: Machine, p: int) -> None:
    """Map a page of zeros, which is on no list and not in swap, to the kernel's zero page."""
    give_frame(m, m.page[p].guest)
    m.host[0].ksm_zero += 1
    _protect(m, p, ZERO_PAGE)


@kernel
def _succeed(m: Machine, head: int, heir: int) -> None:
    # The next sharer becomes the head, and its guest is charged for the frame.
    _unchain(m, head)
    m.ksm[heir].sum = m.ksm[head].sum
    _chain(m, heir)
    q = heir
    for _ in range(m.ksm[heir].sum):
        m.ksm[q].node = heir
        q = m.page[q].hnext
    was, now = m.page[head].guest, m.page[heir].guest
    m.group[group_of(m, was)].usage -= 1
    m.guest[was].resident_pages -= 1
    m.group[group_of(m, now)].usage += 1
    m.guest[now].resident_pages += 1
    m.guest[now].merged_pages -= 1
    m.host[0].ksm_sharing -= 1


@kernel
def leave(m: Machine, p: int) -> None:
    """Take a merged page away from its frame, which goes with the last sharer.

    The caller gives the page another state.
    """
    hs = m.host[0]
    head = m.ksm[p].node
    set_item(m, p, NO_ITEM)
    if head == ZERO_PAGE:
        hs.ksm_zero -= 1
        return
    pg = m.page[p]
    heir = pg.hnext
    m.ksm[head].sum -= np.uint32(1)
    m.page[pg.hprev].hnext = heir
    m.page[heir].hprev = pg.hprev
    if p != head:
        m.guest[pg.guest].merged_pages -= 1
        hs.ksm_sharing -= 1
    elif heir != p:
        _succeed(m, p, heir)
    else:
        _unchain(m, p)
        give_frame(m, pg.guest)
        hs.ksm_shared -= 1
    m.ksm[p].sum = np.uint32(NOTHING)


@kernel
def unshare(m: Machine, p: int) -> None:
    """Copy a merged page into a frame of its own, which the caller has charged.

    Also if it is the last sharer: Linux has copied then too since 5.9 (do_wp_page).
    """
    pg = m.page[p]
    leave(m, p)
    pg.hstate = RESIDENT
    pg.hflags = (pg.hflags & np.uint8(_HELD)) | np.uint8(H_REF | H_DIRTY | H_EVER)
    if not pg.hflags & H_ISOLATED:  # else whoever holds it puts it on its list
        host_push(m, lru_of(m, pg.guest), m.host[0].lru_2011, p)
    m.guest[pg.guest].unshared += 1
