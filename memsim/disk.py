"""Devices: queues, positioning, transfer (model section 7).

A request waits in its device's read or write queue.  What stands for many small requests (a coarse
page read at random) is served in shares of 32 KiB, and others may come between.  Reads go before
writes, but a waiting write starves for two reads at most (mq-deadline).  Adjacent queued swap
writes merge.
"""

from memsim.account import HOST_SWAP, NOMINAL, QUEUED
from memsim.events import request_entity, schedule
from memsim.jit import kernel
from memsim.machine import Machine
from memsim.params import ROTATION_S, SHARE_BYTES, WRITES_STARVED
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
    rq.why = HOST_SWAP
    rq.asked = NOBODY
    rq.coded = 0
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
def submit(m: Machine, r: int, t: float) -> None:
    """Queue a request at its device."""
    rq = m.request[r]
    dev = m.device[rq.device]
    book_waiters(m, r, t)
    integrate_device(m, rq.device, t)
    rq.state = R_QUEUED
    rq.next = NOBODY
    dev.waiting += 1
    if is_write(rq.kind):
        if dev.write_tail == NOBODY:
            dev.write_head = r
        else:
            m.request[dev.write_tail].next = r
        dev.write_tail = r
    else:
        if dev.read_tail == NOBODY:
            dev.read_head = r
        else:
            m.request[dev.read_tail].next = r
        dev.read_tail = r
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
def _take(m: Machine, d: int) -> int:
    dev = m.device[d]
    writes = dev.write_head != NOBODY
    if dev.read_head != NOBODY and not (writes and dev.starved >= WRITES_STARVED):
        r = dev.read_head
        dev.read_head = m.request[r].next
        if dev.read_head == NOBODY:
            dev.read_tail = NOBODY
        dev.starved = dev.starved + 1 if writes else 0
    else:
        r = dev.write_head
        dev.write_head = m.request[r].next
        if dev.write_head == NOBODY:
            dev.write_tail = NOBODY
        dev.starved = 0
    dev.waiting -= 1
    return r


@kernel
def _service_end(m: Machine, d: int, r: int, ops: float, size: float, t: float) -> float:
    dev = m.device[d]
    rq = m.request[r]
    if dev.kind == ROTATING:
        away = abs(rq.sector - dev.head) * m.host[0].page_bytes
        near = min(dev.near_s + ROTATION_S, dev.latency_s)
        first = 0.0 if away == 0 else (near if away < NEAR_BYTES else dev.latency_s)
        if rq.begun and ops > 0.0:  # one more of many small ones: not where the last one ended
            first = min(1.0, ops) * dev.latency_s
        return t + first + max(0.0, ops - 1.0) * dev.latency_s + size / dev.bytes_per_s
    # Latencies overlap, transfers share one path.
    start = max(t + ops * dev.latency_s, dev.bus_s)
    dev.bus_s = start + size / dev.bytes_per_s
    return dev.bus_s


@kernel
def serve(m: Machine, d: int, t: float) -> None:
    """Start as many shares as the device can serve at once."""
    dev = m.device[d]
    hs = m.host[0]
    while dev.busy < dev.parallel and dev.waiting > 0:
        integrate_device(m, d, t)
        r = _take(m, d)
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
        dev.head = rq.sector
        submit(m, r, t)
        return False
    dev.head = rq.sector + rq.count
    return True
