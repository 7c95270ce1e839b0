"""Devices: queues, positioning, transfer (model section 7).

A request waits in its device's read or write queue.  What stands for many small requests (a coarse
page read at random) is served in shares of 32 KiB; they come one by one, so others may come between
and each share waits anew.  A long one in order is served in parts of the largest request, which
were all queued when it was: they keep its place and follow each other.  Reads go before writes, but
a waiting write starves for two batches of reads at most.  Adjacent queued swap writes merge.  Where
a disk rotates, a batch goes up the disk in the order of sectors, as mq-deadline has it
(__dd_dispatch_request of block/mq-deadline.c); elsewhere it is one request.
"""

import numpy as np

from memsim.account import HOST_SWAP, NOMINAL, QUEUED
from memsim.events import request_entity, schedule
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.params import (
    DRIVE_BUFFER_BYTES,
    FIFO_BATCH,
    READ_EXPIRE_S,
    SHARE_BYTES,
    WRITE_EXPIRE_S,
    WRITES_STARVED,
)
from memsim.state import (
    DISK_READ,
    DISK_WRITE,
    NOBODY,
    NOT_WANTED,
    R_FREE,
    R_QUEUED,
    R_SERVED,
    SWAP_WRITE,
)
from memsim.waits import (
    book_waiters,
    count_row,
    device_scope,
    integrate_device,
    resnap_waiters,
)

ROTATING, SOLID, ZRAM = 0, 1, 2
NEAR_BYTES = 1 << 24  # a seek over less is near: a few tracks
MERGE_BYTES = 512 * 1024  # largest merged request, max_sectors_kb as shipped


@kernel
def is_write(kind: int) -> bool:
    """Tell writes from reads."""
    return kind == SWAP_WRITE or kind == DISK_WRITE


@kernel
def new_request(m: Machine, kind: int, device: int, guest: int, cls: int) -> int:
    """Return a free request, filled in so far, or NOBODY if all are in use."""
    hs = m.host[0]
    # Reclaim must always get through, then what reads swap, then disks.
    room = hs.requests - hs.requests_used
    if kind == DISK_READ or kind == DISK_WRITE:
        room -= hs.requests // 2
    elif kind != SWAP_WRITE:
        room -= hs.requests // 4
    if room <= 0:
        return NOBODY
    r = hs.request_next
    while m.request[r].state != R_FREE:
        r = r + 1 if r + 1 < hs.requests else 0
    hs.request_next = r + 1 if r + 1 < hs.requests else 0
    hs.requests_used += 1
    rq = m.request[r]
    rq.kind = kind
    rq.cls = cls
    rq.over = QUEUED
    rq.swap = 0
    rq.owed = 0
    rq.stalls = 0
    rq.pressed = 0
    rq.wanted = NOT_WANTED
    rq.device = device
    rq.guest = guest
    rq.sector = 0
    rq.count = 0
    rq.head = NOBODY
    rq.cursor = 0
    rq.page = NOBODY
    rq.parent = NOBODY
    rq.next = NOBODY
    rq.ops = 1.0
    rq.bytes = 0.0
    rq.nominal_s = 0.0
    rq.begun = 0
    rq.queued_s = 0.0
    rq.why = HOST_SWAP
    rq.asked = NOBODY
    rq.coded = 0
    rq.worked = 0
    rq.returned = 0
    rq.zapped = 0
    rq.waiters = 0
    return r


@kernel
def free_request(m: Machine, r: int) -> None:
    """Give a request back."""
    m.request[r].state = R_FREE
    m.host[0].requests_used -= 1


@kernel
def unloaded_s(m: Machine, d: int, ops: float, size: float, contiguous: bool) -> float:
    """Return the time [s] that an idle device takes for a request."""
    dev = m.device[d]
    seeks = ops - 1.0 if contiguous and dev.kind == ROTATING else ops
    return seeks * dev.latency_s + size / dev.bytes_per_s


@kernel
def _enqueue(m: Machine, d: int, r: int, writing: bool) -> None:
    # Behind all that have waited as long or longer.
    dev = m.device[d]
    rq = m.request[r]
    first = dev.write_head if writing else dev.read_head
    last = dev.write_tail if writing else dev.read_tail
    before = last
    if last != NOBODY and m.request[last].queued_s > rq.queued_s:
        before, i = NOBODY, first
        while m.request[i].queued_s <= rq.queued_s:
            before, i = i, m.request[i].next
    rq.next = first if before == NOBODY else m.request[before].next
    if before != NOBODY:
        m.request[before].next = r
    elif writing:
        dev.write_head = r
    else:
        dev.read_head = r
    if before == last:
        if writing:
            dev.write_tail = r
        else:
            dev.read_tail = r
    dev.waiting += 1


@kernel
def submit(m: Machine, r: int, t: float) -> None:
    """Queue a request, or what is left of it, at its device."""
    rq = m.request[r]
    book_waiters(m, r, t)
    integrate_device(m, rq.device, t)
    rq.state = R_QUEUED
    if not rq.begun or rq.ops > 0.0:
        rq.queued_s = t
    _enqueue(m, rq.device, r, is_write(rq.kind))
    resnap_waiters(m, r)
    serve(m, rq.device, t)


@kernel
def merge_write(m: Machine, d: int, slot: int) -> int:
    """Return the queued swap write that ends just before `slot`, grown by one page, or NOBODY."""
    r = m.device[d].write_tail
    if r == NOBODY:
        return NOBODY
    rq = m.request[r]
    size = m.host[0].page_bytes
    if rq.kind != SWAP_WRITE or rq.sector + rq.count != slot or rq.bytes + size > MERGE_BYTES:
        return NOBODY
    if rq.bytes < rq.count * size:  # partly served already
        return NOBODY
    rq.count += 1
    rq.bytes += size
    return r


@kernel
def _before(m: Machine, first: int, r: int) -> int:
    # The request of a queue that stands before r, NOBODY if r is its first.
    before, i = NOBODY, first
    while i != r:
        before, i = i, m.request[i].next
    return before


@kernel
def _remove(m: Machine, d: int, r: int, writing: bool) -> None:
    dev = m.device[d]
    before = _before(m, dev.write_head if writing else dev.read_head, r)
    after = m.request[r].next
    if before != NOBODY:
        m.request[before].next = after
    elif writing:
        dev.write_head = after
    else:
        dev.read_head = after
    if after == NOBODY:
        if writing:
            dev.write_tail = before
        else:
            dev.read_tail = before
    dev.waiting -= 1


@kernel
def _latter(m: Machine, first: int, r: int) -> int:
    # What follows request r in the order of sectors, of the queue that begins with `first`.
    found, sector, i = NOBODY, m.request[r].sector, first
    while i != NOBODY:
        ahead = m.request[i].sector >= sector
        if ahead and (found == NOBODY or m.request[i].sector < m.request[found].sector):
            found = i
        i = m.request[i].next
    return found


@kernel
def _take(m: Machine, d: int, t: float) -> int:
    # Who is served next (__dd_dispatch_request): the next one of the batch; else reads, unless
    # writes starved, going on from the last one of their kind unless the oldest has expired.
    dev = m.device[d]
    r = dev.latter
    writing = dev.writing == 1
    if r == NOBODY or dev.batch >= FIFO_BATCH:
        writes = dev.write_head != NOBODY
        writing = dev.read_head == NOBODY or (writes and dev.starved >= WRITES_STARVED)
        dev.starved = 0 if writing or not writes else dev.starved + 1
        oldest = dev.write_head if writing else dev.read_head
        expire_s = WRITE_EXPIRE_S if writing else READ_EXPIRE_S
        turned = writing != (dev.writing == 1)
        if r == NOBODY or turned or t >= m.request[oldest].queued_s + expire_s:
            r = oldest
        dev.batch = 0
    dev.batch += 1
    dev.writing = 1 if writing else 0
    _remove(m, d, r, writing)
    dev.latter = NOBODY
    if dev.kind == ROTATING:
        dev.latter = _latter(m, dev.write_head if writing else dev.read_head, r)
    return r


@kernel
def _seek_s(m: Machine, d: int, gap: int) -> float:
    """Return the time [s] to a sector so many bytes away: for long seeks the arm has to speed up.

    C. Ruemmler, J. Wilkes, An introduction to disk drive modeling, 1994: it grows with the root of
    the distance.  Half a turn comes with any of them.
    """
    dev = m.device[d]
    near = min(dev.near_s + dev.half_turn_s, dev.latency_s)
    away = abs(gap)
    if dev.span_bytes <= 0.0:
        return near if away < NEAR_BYTES else dev.latency_s
    third = dev.span_bytes / 3.0  # random sectors are that far apart on average
    return near + (dev.latency_s - near) * min(1.0, (away / third) ** 0.5)


@kernel
def _reached(m: Machine, r: int, left: float) -> int:
    # The sector that a request has come to with so many bytes left of it.
    rq = m.request[r]
    sectors = np.int64(np.ceil(max(0.0, left) / m.host[0].page_bytes))
    return int(rq.sector + rq.count - sectors)


@kernel
def _position_s(m: Machine, d: int, r: int, size: float) -> float:
    """Return the time [s] until the head of a disk is where a share begins, and move it to its end.

    The drive keeps what the head passed over since it last moved (multi-segmented cache; here one
    segment): reads within that leave the head where it is.  One a little ahead comes by itself.
    """
    dev = m.device[d]
    rq = m.request[r]
    page = m.host[0].page_bytes
    reads = not is_write(rq.kind)
    begin = _reached(m, r, rq.bytes) if rq.begun else rq.sector
    end = _reached(m, r, rq.bytes - size)
    if reads and dev.buffer <= begin and end <= dev.head:
        return 0.0
    gap = (begin - dev.head) * page
    cost = 0.0 if gap == 0 else _seek_s(m, d, gap)
    passes = gap >= 0 and gap / dev.bytes_per_s <= cost
    if passes:
        cost = gap / dev.bytes_per_s
    dev.head = end
    if rq.ops > 1.0:  # small ones here and there: the drive has little of what lies between
        dev.buffer = end
    elif reads and (passes or gap == 0):
        dev.buffer = max(dev.buffer, end - int(DRIVE_BUFFER_BYTES // page))
    else:
        dev.buffer = begin if reads else end
    return cost


@kernel
def _service_end(m: Machine, d: int, r: int, ops: float, size: float, t: float) -> float:
    dev = m.device[d]
    rq = m.request[r]
    further_s = max(0.0, ops - 1.0) * dev.latency_s
    if dev.kind == ROTATING:
        if rq.begun and ops > 0.0:  # one more of many small ones: not where the last one ended
            first = min(1.0, ops) * dev.latency_s
            dev.head = dev.buffer = _reached(m, r, rq.bytes - size)
        else:
            first = _position_s(m, d, r, size)
        return t + first + further_s + size / dev.bytes_per_s
    # Latencies overlap, transfers share one path; between small ones it is free for others.
    start = max(t + min(1.0, ops) * dev.latency_s, dev.bus_s)
    dev.bus_s = start + size / dev.bytes_per_s
    return dev.bus_s + further_s


@kernel
def serve(m: Machine, d: int, t: float) -> None:
    """Start as many shares as the device can serve at once."""
    dev = m.device[d]
    hs = m.host[0]
    while dev.busy < dev.parallel and dev.waiting > 0:
        integrate_device(m, d, t)
        r = _take(m, d, t)
        rq = m.request[r]
        book_waiters(m, r, t)
        # Contiguous requests are served whole; what stands for many small ones, one by one.
        most = float(MERGE_BYTES) if rq.ops <= 1.0 else max(SHARE_BYTES, rq.bytes / rq.ops)
        size = min(rq.bytes, most)
        ops = rq.ops if rq.ops <= 1.0 else rq.ops * (size / rq.bytes)
        rq.state = R_SERVED
        rq.from_s = t
        rq.over = QUEUED if dev.last_cls <= QUEUED else dev.last_cls
        end = _service_end(m, d, r, ops, size, t)
        rq.begun = 1
        rq.ops -= ops
        rq.bytes -= size
        dev.busy += 1
        dev.busy_s += end - t
        if d == hs.swap_device:
            hs.io_busy_s += end - t
        m.book[count_row(m, device_scope(m, d)), rq.cls] += 1.0
        schedule(m, request_entity(m, r), end, rq.guest)


@kernel
def end_share(m: Machine, r: int, t: float) -> bool:
    """End the share in service; the request queues again (False) or is all done (True)."""
    rq = m.request[r]
    d = rq.device
    dev = m.device[d]
    book_waiters(m, r, t)
    integrate_device(m, d, t)
    dev.busy -= 1
    dev.last_cls = rq.cls
    m.book[count_row(m, device_scope(m, d)), rq.cls] -= 1.0
    if rq.cls == NOMINAL:
        rq.nominal_s = max(0.0, rq.nominal_s - (t - rq.from_s))
    if rq.bytes > 0.5:
        same_way = is_write(rq.kind) == (dev.writing == 1)  # unless one served beside it turned
        if dev.kind == ROTATING and rq.ops <= 0.0 and same_way:
            dev.latter = r  # the rest of a long one lies right behind
        submit(m, r, t)
        return False
    return True
