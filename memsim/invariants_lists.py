"""Laws of the lists: every page is where it thinks it is, and nobody holds one for ever."""

import numpy as np

from memsim import state
from memsim.law import Broken, equal, need
from memsim.machine import Machine
from memsim.state import NOBODY

LISTED = (state.RESIDENT, state.CACHED, state.MERGED, state.LENT)  # on the host's LRU lists


def walk(m: Machine, row: int, forward: str) -> list[int]:
    """Return the pages of a list in order, by the links of that name.

    Raises:
        Broken: the list runs in a circle.
    """
    seen: list[int] = []
    p = int(m.lists[row]["head"])
    while p != NOBODY:
        seen.append(p)
        if len(seen) > len(m.page):
            raise Broken(f"list {row}: runs in a circle")
        p = int(m.page[p][forward])
    return seen


def _pages_of(m: Machine, entries: list[int], level: str) -> int:
    # Pages that the entries of a list stand for.
    huge = {int(bl["first"]): int(bl["pages"]) for bl in m.block if bl[level]}
    return sum(huge.get(p, 1) for p in entries)


def _check_list(m: Machine, row: int, side: str, which: int, where: str) -> list[int]:
    # Its count, its links both ways, and what its pages think; `side` is "g" or "h".
    pages = walk(m, row, side + "next")
    level = "guest_huge" if side == "g" else "host_huge"
    equal(_pages_of(m, pages, level), int(m.lists[row]["count"]), where, "count")
    good = bool((m.page[side + "list"][pages] == 1 + which).all())
    need(good, where, "a page thinks it is elsewhere")
    back = m.page[side + "prev"][pages].tolist()
    need(back == [NOBODY, *pages[:-1]][: len(pages)], where, "links back")
    equal(int(m.lists[row]["tail"]), pages[-1] if pages else NOBODY, where, "tail")
    return pages


def check_lists(m: Machine, where: str) -> None:
    """Check the guests' lists, then the host's, and that no resident page is on none of these."""
    hs = m.host[0]
    first = int(hs["guests"]) * state.GUEST_LISTS
    for row in range(first):
        which = row % state.GUEST_LISTS
        _check_list(m, row, "g", which, f"{where} guest list {row}")
    listed = np.zeros(len(m.page), bool)
    for row in range(first, first + 2 * (1 + int(hs["groups"]))):
        pages = _check_list(m, row, "h", (row - first) % 2, f"{where} host list {row}")
        good = bool(np.isin(m.page["hstate"][pages], LISTED).all())
        need(good, f"{where} host list {row}", "holds a page that is not resident")
        listed[pages] = True
    within = np.zeros(len(m.page), bool)  # a huge page but its first part
    for bl in m.block[m.block["host_huge"] != 0]:
        within[bl["first"] + 1 : bl["first"] + bl["pages"]] = True
    isolated = m.page["hflags"] & state.H_ISOLATED != 0
    lost = np.isin(m.page["hstate"], LISTED) & ~listed & ~within & ~isolated
    need(not lost[: hs["pages"]].any(), where, f"{int(lost.sum())} resident pages on no list")


def check_held(m: Machine, where: str) -> None:
    """Check that what is isolated or unmapped is in somebody's hands."""
    hs = m.host[0]
    flags = m.page["hflags"][: hs["pages"]]
    isolated = flags & state.H_ISOLATED != 0
    held = [m.iso[e, : m.cpu[e]["iso_n"]] for e in range(int(hs["cpus"]))]
    inhand = np.sort(np.concatenate(held))
    good = np.array_equal(inhand, np.flatnonzero(isolated))
    need(good, where, f"{int(isolated.sum())} pages isolated, {len(inhand)} in hand")
    unmapped = (flags & state.H_UNMAPPED != 0) & ~isolated
    if hs["ksm"]:  # a sharer is unmapped until it faults
        unmapped &= m.ksm["node"][: hs["pages"]] < 0
    need(not unmapped.any(), where, f"{int(unmapped.sum())} pages unmapped for nobody")
