"""Laws of requests and devices: everything under way is in one place, and will end."""

import numpy as np

from memsim import state
from memsim.disk import ZRAM
from memsim.law import Broken, equal, need
from memsim.machine import Machine
from memsim.state import NOBODY


def _disk_pages(m: Machine, rq: np.record) -> list[int]:
    if rq["swap"]:
        pages = [int(rq["page"])]
        while len(pages) < rq["count"]:
            pages.append(int(m.page[pages[-1]]["gnext"]))
        return pages
    return [int(p) for p in m.vpage["page"][rq["head"] : rq["head"] + rq["count"]]]


def check_io(m: Machine, where: str) -> None:
    """Check that what is locked or under write-back is some request's, and what is pinned too."""
    hs = m.host[0]
    under_io: list[int] = []
    pinned: list[int] = []
    for rq in m.request[: hs["requests"]]:
        disk = rq["kind"] in (state.DISK_READ, state.DISK_WRITE)
        if rq["state"] != state.R_FREE and disk and not rq["zapped"]:
            pages = _disk_pages(m, rq)
            under_io += pages
            pinned += pages[: rq["cursor"]]
    page = m.page[: hs["pages"]]
    flagged = np.flatnonzero(page["gflags"] & (state.G_IO | state.G_BACK))
    equal(sorted(under_io), flagged.tolist(), where, "guest pages under I/O")
    flagged = np.flatnonzero(page["hflags"] & state.H_PINNED)
    equal(sorted(pinned), flagged.tolist(), where, "pinned pages")


def check_queues(m: Machine, where: str) -> None:
    """Check that each device's queues hold what waits for it, once, and what counts them."""
    hs = m.host[0]
    requests = m.request[: hs["requests"]]
    for d, dev in enumerate(m.device[: hs["devices"]]):
        at = f"{where} device {d}"
        reads, writes = (_queue(m, int(dev[name])) for name in ("read_head", "write_head"))
        for queue, tail in ((reads, "read_tail"), (writes, "write_tail")):
            equal(int(dev[tail]), queue[-1] if queue else NOBODY, at, tail)
        here = requests["device"] == d
        queued = np.flatnonzero(here & (requests["state"] == state.R_QUEUED))
        equal(sorted(reads + writes), queued.tolist(), at, "queued requests")
        equal(len(queued), int(dev["waiting"]), at, "waiting")
        served = here & (requests["state"] == state.R_SERVED)
        equal(int(served.sum()), int(dev["busy"]), at, "busy")
        onward = {NOBODY, *(writes if dev["writing"] else reads)}
        need(int(dev["latter"]) in onward, at, "goes on with what is not in the queue it serves")
    in_zram = hs["swap_pages"] > 0 and m.device[hs["swap_device"]]["kind"] == ZRAM
    used = int((m.slot[: hs["swap_pages"]] != NOBODY).sum()) if in_zram else 0
    equal(used, int(hs["zram_stored"]), where, "pages stored in zram")


def _queue(m: Machine, r: int) -> list[int]:
    found: list[int] = []
    while r != NOBODY:
        found.append(r)
        if len(found) > len(m.request):
            raise Broken("a device's queue runs in a circle")
        r = int(m.request[r]["next"])
    return found


def check_requests(m: Machine, where: str) -> None:
    """Check that whatever is under way will end: something happens to it, or to what it awaits."""
    hs = m.host[0]
    first = int(hs["cpus"]) + int(hs["tasks"])
    requests = m.request[: hs["requests"]]
    equal(int((requests["state"] != state.R_FREE).sum()), int(hs["requests_used"]), where, "used")
    for r, rq in enumerate(requests):
        kind = {state.R_PAGE: state.SWAP_READ, state.R_CODE: state.CODE_READ}.get(int(rq["state"]))
        if rq["state"] in (state.R_FREE, state.R_QUEUED) or m.event[first + r]["pos"] != NOBODY:
            continue
        on = requests[rq["parent"]]
        good = kind is not None and on["state"] != state.R_FREE and on["kind"] == kind
        need(bool(good), where, f"request {r} in state {rq['state']} waits for nothing")
    # Each guest knows of the one request that fetches what it always uses.
    under_way = (requests["state"] != state.R_FREE) & (requests["kind"] == state.UPKEEP)
    found = {int(requests[r]["guest"]): int(r) for r in np.flatnonzero(under_way)}
    known = {g: int(r) for g, r in enumerate(m.guest["upkeep"][: hs["guests"]]) if r != NOBODY}
    equal(found, known, where, "requests of upkeep")
    # Who keeps others from taking frames is on its way to the device itself.
    for g, first_r in enumerate(m.guest["io_first"][: hs["guests"]]):
        rq = requests[first_r]
        done = rq["state"] in (state.R_FREE, state.R_QUEUED, state.R_SERVED)
        good = first_r == NOBODY or (rq["guest"] == g and not done)
        need(bool(good), where, f"request {first_r} keeps guest {g} from frames for nothing")
