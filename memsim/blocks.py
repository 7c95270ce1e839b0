"""A guest's memory by blocks of 2 MiB: the list of wholly free ones, and free pieces inside one.

A piece is an aligned run of free pages, what the buddy allocator keeps together.  Free memory is
listed by pages and by whole blocks; pieces in between are found when somebody asks.
"""

from memsim.jit import kernel
from memsim.machine import Machine
from memsim.state import FREE, NOBODY


@kernel
def block_of(m: Machine, p: int) -> int:
    """Return the block that a guest page is part of."""
    gs = m.guest[m.page[p].guest]
    return int(gs.block0 + (p - gs.page0) // m.host[0].block_pages)


@kernel
def guest_weight(m: Machine, p: int) -> int:
    """Return how many pages an entry of the guest's lists stands for: a huge page for its all."""
    if m.guest[m.page[p].guest].thp_blocks == 0:
        return 1
    bl = m.block[block_of(m, p)]
    return int(bl.pages) if bl.guest_huge else 1


@kernel
def host_weight(m: Machine, p: int) -> int:
    """Return how many pages an entry of the host's lists stands for."""
    if m.guest[m.page[p].guest].host_thp_blocks == 0:
        return 1
    bl = m.block[block_of(m, p)]
    return int(bl.pages) if bl.host_huge else 1


@kernel
def block_push(m: Machine, g: int, b: int) -> None:
    """Add a wholly free block at the head of the guest's list."""
    gs = m.guest[g]
    bl = m.block[b]
    bl.prev = NOBODY
    bl.next = gs.block_head
    if gs.block_head == NOBODY:
        gs.block_tail = b
    else:
        m.block[gs.block_head].prev = b
    gs.block_head = b
    gs.free_blocks += 1


@kernel
def block_remove(m: Machine, g: int, b: int) -> None:
    """Take a block off the list."""
    gs = m.guest[g]
    bl = m.block[b]
    if bl.prev == NOBODY:
        gs.block_head = bl.next
    else:
        m.block[bl.prev].next = bl.next
    if bl.next == NOBODY:
        gs.block_tail = bl.prev
    else:
        m.block[bl.next].prev = bl.prev
    gs.free_blocks -= 1


@kernel
def block_to_tail(m: Machine, g: int, b: int) -> None:
    """Move a block of the list to its tail: it is used last."""
    gs = m.guest[g]
    if gs.block_tail == b:
        return
    block_remove(m, g, b)
    bl = m.block[b]
    bl.next = NOBODY
    bl.prev = gs.block_tail
    m.block[gs.block_tail].next = b
    gs.block_tail = b
    gs.free_blocks += 1


@kernel
def piece(m: Machine, p: int) -> tuple[int, int]:
    """Return first page and length of the largest aligned free run around a free page."""
    bl = m.block[block_of(m, p)]
    if bl.free == bl.pages:
        return int(bl.first), int(bl.pages)
    first, n = p - bl.first, 1
    while 2 * n <= bl.free:
        buddy = first ^ n
        if buddy + n > bl.pages:
            break
        for q in range(bl.first + buddy, bl.first + buddy + n):
            if m.page[q].gstate != FREE:
                return int(bl.first + first), n
        first = min(first, buddy)
        n *= 2
    return int(bl.first + first), n
