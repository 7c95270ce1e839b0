"""Families: guest pages that share one frame of KSM, and later the one slot that it was swapped to.

The head of a family has the frame or the slot, is on the LRU list and is charged; its state is the
family's.  The others follow it (FOLLOWS), without frame, slot or list of their own: `ksm.node` of
each names the head, and they are a ring by `hnext` and `hprev`.  The head's `ksm.node` names the
first of them, or itself if there is none, and its `ksm.sum` counts all of them with the head: that
is the frame's map count and the slot's swap count.  H_UNMAPPED of a member says that only a fault
maps it again.

    MERGED   a stable frame, mapped read-only by whoever is not H_UNMAPPED: stores copy it
    WRITING  the same, unmapped everywhere and under write-back
    SWAPPED  all of them refer to one slot (mm/rmap.c try_to_unmap, through rmap_walk_ksm)
    READING, CACHED  somebody has it read back; as a page of the swap cache it is nobody's yet
    LENT     the first one mapped it and has it for its own, read-only; the others will copy it,
             or read the slot again (ksm_might_need_to_copy of mm/ksm.c, do_swap_page)

Only frames that are MERGED or WRITING are known by their content, in a hash table chained by
`ksm.chain`; a frame that was swapped out never is again (get_ksm_page finds it gone).
"""

import numpy as np

from memsim.content import NOTHING, UNIQUE
from memsim.frames import give_frame, group_of, over_limit
from memsim.jit import kernel
from memsim.lists import host_push, host_remove, lru_of
from memsim.machine import Machine
from memsim.quiet import stirred
from memsim.state import (
    CACHED,
    FOLLOWS,
    G_BITS,
    G_HOST,
    H_BACK,
    H_DIRTY,
    H_EVER,
    H_ISOLATED,
    H_PINNED,
    H_REF,
    H_UNMAPPED,
    LENT,
    MERGED,
    NOBODY,
    RESIDENT,
    SEEN,
    SWAPPED,
    WRITING,
)
from memsim.swap import leave_swap

# ksm.node, if of no family
NO_ITEM = -1  # ksmd does not know the page
VOLATILE = -2  # it has taken a checksum, which the page has not kept yet
UNSHARED = -3  # in the unstable table
ZERO_PAGE = -4  # follows the kernel's zero page, which is no guest's
STOP, RUN, UNMERGE = range(3)  # /sys/kernel/mm/ksm/run
_HELD = H_PINNED | H_ISOLATED
_OF_FRAME = H_DIRTY | H_BACK


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
def is_shared(m: Machine, p: int) -> bool:
    """Tell whether a page is of a family; a frame of KSM may have one sharer left."""
    if not m.host[0].ksm:
        return False
    return m.ksm[p].node >= 0 or m.ksm[p].node == ZERO_PAGE


@kernel
def head_of(m: Machine, p: int) -> int:
    """Return the page that has the frame or slot of a page: itself, its head, or ZERO_PAGE."""
    return int(m.ksm[p].node) if m.page[p].hstate == FOLLOWS else p


@kernel
def others(m: Machine, head: int) -> int:
    """Return how many pages follow this one."""
    if m.page[head].hstate == FOLLOWS or not is_shared(m, head):
        return 0
    return int(np.int64(m.ksm[head].sum)) - 1


@kernel
def is_locked(m: Machine, p: int) -> bool:
    """Tell whether a reclaimer, or ksmd, has unmapped a page (or ZERO_PAGE) to look again."""
    lock = H_ISOLATED | H_UNMAPPED
    return p != ZERO_PAGE and m.page[p].hflags & lock == lock


@kernel
def is_stable(m: Machine, head: int) -> bool:
    """Tell whether the frame of a head is one of KSM."""
    return m.page[head].hstate == MERGED or m.page[head].hstate == WRITING


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
def _count(m: Machine, p: int, stable: bool, n: int) -> None:
    # A follower is in memory with a stable frame, else its page table has a swap entry.
    if stable:
        m.guest[m.page[p].guest].merged_pages += n
        m.host[0].ksm_sharing += n
    else:
        m.guest[m.page[p].guest].host_swapped_pages += n


@kernel
def _link(m: Machine, p: int, head: int) -> None:
    # Let a page follow, as the last one of the ring.
    first = m.ksm[head].node
    pg = m.page[p]
    if first == head:
        m.ksm[head].node = p
        pg.hnext = pg.hprev = p
    else:
        last = m.page[first].hprev
        pg.hprev, pg.hnext = last, first
        m.page[last].hnext = p
        m.page[first].hprev = p
    pg.hstate = FOLLOWS
    set_item(m, p, head)
    m.ksm[head].sum += np.uint32(1)


@kernel
def _unlink(m: Machine, p: int) -> None:
    # Let a page follow no more; the caller gives it another state.
    pg = m.page[p]
    head = m.ksm[p].node
    if pg.hnext == p:
        m.ksm[head].node = head
    elif m.ksm[head].node == p:
        m.ksm[head].node = pg.hnext
    m.page[pg.hprev].hnext = pg.hnext
    m.page[pg.hnext].hprev = pg.hprev
    m.ksm[head].sum -= np.uint32(1)


@kernel
def _dissolve(m: Machine, p: int) -> None:
    # A page without a stable frame that nobody follows any more is one like any other.
    hs = m.host[0]
    set_item(m, p, NO_ITEM)
    m.ksm[p].sum = np.uint32(NOTHING)
    if m.page[p].hstate == LENT:
        m.page[p].hstate = RESIDENT
        if not hs.ept_dirty or 2 * hs.swap_used_pages > hs.swap_pages:  # as `host.map_page`
            leave_swap(m, p)
            m.page[p].hflags |= np.uint8(H_DIRTY)


@kernel
def found(m: Machine, p: int) -> None:
    """Make the frame of a resident page, which is not in swap, a stable one.

    It stays on its LRU list, and that counts as a use (mark_page_accessed).
    """
    pg = m.page[p]
    if pg.gflags & SEEN and pg.hlist == 1:
        host_remove(m, p)
        host_push(m, lru_of(m, pg.guest), 1, p)
        pg.gflags &= np.uint16(G_BITS - SEEN)
    else:
        pg.gflags |= np.uint16(SEEN)
    pg.hstate = MERGED
    pg.hflags |= np.uint8(H_DIRTY)
    set_item(m, p, p)
    m.ksm[p].sum = np.uint32(1)
    _chain(m, p)
    m.host[0].ksm_shared += 1
    stirred(m, pg.guest)


@kernel
def join(m: Machine, p: int, head: int) -> None:
    """Map a page, which is on no list and not in swap, to a stable frame; its own comes free.

    The new entry of its page table has the accessed bit set (replace_page, by mk_pte).
    """
    pg = m.page[p]
    give_frame(m, pg.guest)
    _link(m, p, head)
    _count(m, p, True, 1)
    pg.hflags |= np.uint8(H_REF)
    stirred(m, pg.guest)


@kernel
def join_zero(m: Machine, p: int) -> None:
    """Map a page of zeros, which is on no list and not in swap, to the kernel's zero page."""
    give_frame(m, m.page[p].guest)
    m.host[0].ksm_zero += 1
    m.page[p].hstate = FOLLOWS
    set_item(m, p, ZERO_PAGE)
    stirred(m, m.page[p].guest)


@kernel
def _move_charge(m: Machine, was: int, now: int) -> None:
    m.group[group_of(m, was)].usage -= 1
    m.guest[was].resident_pages -= 1
    m.group[group_of(m, now)].usage += 1
    m.guest[now].resident_pages += 1


@kernel
def _trade(m: Machine, old: int, p: int) -> None:
    # Hand over what is the frame's or the slot's, not the mapping's.
    a, b = m.page[old], m.page[p]
    b.hstate = a.hstate
    b.slot, a.slot = a.slot, NOBODY
    if b.slot != NOBODY:
        m.slot[b.slot] = p
    b.hflags = (b.hflags & np.uint8(255 - _OF_FRAME)) | (a.hflags & np.uint8(_OF_FRAME))
    a.hflags &= np.uint8(255 - _OF_FRAME)
    b.gflags = (b.gflags & np.uint16(G_BITS - G_HOST)) | (a.gflags & np.uint16(G_HOST))
    a.gflags &= np.uint16(G_BITS - G_HOST)
    if b.hstate == LENT:  # who had it mapped is not its head any more
        b.hstate = CACHED
    if b.hstate != MERGED:  # that is unmapped by its state, and the old head from now on as well
        b.hflags &= np.uint8(255 - H_UNMAPPED - H_REF)
        a.hflags |= np.uint8(H_UNMAPPED)
        stirred(m, a.guest)


@kernel
def lead(m: Machine, p: int) -> None:
    """Make a follower the head of its family, with frame, slot, charge; the old one follows it."""
    old = head_of(m, p)
    stable = is_stable(m, old)
    a, b = m.page[old], m.page[p]
    active = a.hlist == 2
    host_remove(m, old)
    if stable:
        _unchain(m, old)
    _unlink(m, p)
    _count(m, p, stable, -1)
    q = int(m.ksm[old].node) if others(m, old) > 0 else p
    for _ in range(others(m, old)):
        m.ksm[q].node = p
        q = m.page[q].hnext
    set_item(m, p, q)
    m.ksm[p].sum = m.ksm[old].sum
    shadow, request = a.hnext, a.hprev
    m.ksm[old].sum = np.uint32(NOTHING)
    _trade(m, old, p)
    _link(m, old, p)
    _count(m, old, stable, 1)
    b.hnext, b.hprev = shadow, request
    if b.hstate == SWAPPED:
        m.guest[a.guest].host_swapped_pages -= 1
        m.guest[b.guest].host_swapped_pages += 1
    else:
        _move_charge(m, a.guest, b.guest)
    if stable:
        _chain(m, p)
    if (b.hstate == MERGED or b.hstate == CACHED) and not b.hflags & H_ISOLATED:
        host_push(m, lru_of(m, b.guest), active, p)


@kernel
def _heir(m: Machine, head: int) -> int:
    # Who leads when the head goes.  Linux leaves the charge where it is until the frame goes: so
    # one of the same cgroup, or else one whose cgroup may be charged, if there is any.
    first = int(m.ksm[head].node)
    group = group_of(m, m.page[head].guest)
    found, q = first, first
    for _ in range(others(m, head)):
        g = m.page[q].guest
        if group_of(m, g) == group:
            return q
        if over_limit(m, m.page[found].guest) and not over_limit(m, g):
            found = q
        q = int(np.int64(m.page[q].hnext))
    return found


@kernel
def part(m: Machine, p: int) -> None:
    """Take a page out of its family, without frame or slot: the caller gives it another state.

    These go to the next one if it was the head, and come free if it was alone.
    """
    hs = m.host[0]
    pg = m.page[p]
    if m.ksm[p].node == ZERO_PAGE:
        hs.ksm_zero -= 1
        set_item(m, p, NO_ITEM)
        return
    if pg.hstate != FOLLOWS:
        if others(m, p) == 0:
            _unchain(m, p)
            hs.ksm_shared -= 1
            hs.writing_pages -= 1 if pg.hstate == WRITING else 0
            host_remove(m, p)
            give_frame(m, pg.guest)
            leave_swap(m, p)
            _dissolve(m, p)
            return
        lead(m, _heir(m, p))
    head = head_of(m, p)
    _count(m, p, is_stable(m, head), -1)
    _unlink(m, p)
    set_item(m, p, NO_ITEM)
    m.ksm[p].sum = np.uint32(NOTHING)
    if m.ksm[head].sum == 1 and not is_stable(m, head):
        _dissolve(m, head)


@kernel
def unshare(m: Machine, p: int) -> None:
    """Copy a shared page into a frame of its own, which the caller has charged.

    Also if it is the last sharer: Linux has copied then too since 5.9 (do_wp_page).
    """
    pg = m.page[p]
    part(m, p)
    pg.hstate = RESIDENT
    pg.hflags = (pg.hflags & np.uint8(_HELD)) | np.uint8(H_REF | H_DIRTY | H_EVER)
    if not pg.hflags & H_ISOLATED:  # else whoever holds it puts it on its list
        host_push(m, lru_of(m, pg.guest), m.host[0].lru_2011, p)
    m.guest[pg.guest].unshared += 1


@kernel
def flags_of(m: Machine, p: int) -> int:
    """Return H_REF, H_PINNED and H_BACK as any sharer of a page's frame has them.

    A follower that ksmd holds counts as pinned.
    """
    flags = int(np.int64(m.page[p].hflags))
    q = int(m.ksm[p].node) if others(m, p) > 0 else NOBODY
    for _ in range(others(m, p)):
        flag = int(np.int64(m.page[q].hflags))
        flags |= flag | (H_PINNED if flag & H_ISOLATED else 0)
        q = m.page[q].hnext
    return flags & (H_REF | H_PINNED | H_BACK)


@kernel
def clear_refs(m: Machine, p: int) -> None:
    """Clear the host bit of a page, and of all that share its frame."""
    m.page[p].hflags &= np.uint8(255 - H_REF)
    stirred(m, m.page[p].guest)
    q = int(m.ksm[p].node) if others(m, p) > 0 else NOBODY
    for _ in range(others(m, p)):
        m.page[q].hflags &= np.uint8(255 - H_REF)
        stirred(m, m.page[q].guest)
        q = m.page[q].hnext


@kernel
def unmap_all(m: Machine, p: int) -> None:
    """Unmap a page, and all that share its frame."""
    m.page[p].hflags |= np.uint8(H_UNMAPPED)
    stirred(m, m.page[p].guest)
    q = int(m.ksm[p].node) if others(m, p) > 0 else NOBODY
    for _ in range(others(m, p)):
        m.page[q].hflags |= np.uint8(H_UNMAPPED)
        stirred(m, m.page[q].guest)
        q = m.page[q].hnext


@kernel
def map_all(m: Machine, p: int) -> None:
    """Map a page again that could not be swapped, and all that share a stable frame with it."""
    m.page[p].hflags &= np.uint8(255 - H_UNMAPPED)
    if m.page[p].hstate != MERGED:
        return
    q = int(m.ksm[p].node) if others(m, p) > 0 else NOBODY
    for _ in range(others(m, p)):
        m.page[q].hflags &= np.uint8(255 - H_UNMAPPED)
        q = m.page[q].hnext


@kernel
def swapped_out(m: Machine, p: int, was: int) -> None:
    """Note that the frame of a page went from state `was`: all that shared it refer to its slot.

    A stable frame is known no more.
    """
    if not is_shared(m, p):
        return
    if was == MERGED or was == WRITING:
        _unchain(m, p)
        m.host[0].ksm_shared -= 1
        q = int(m.ksm[p].node)
        for _ in range(others(m, p)):
            _count(m, q, True, -1)
            _count(m, q, False, 1)
            q = m.page[q].hnext
    if others(m, p) == 0:
        _dissolve(m, p)
