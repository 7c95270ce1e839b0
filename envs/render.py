"""The memory of a host and its guests as the talk draws it: used, cached, free, swapped."""

from typing import NamedTuple

import numpy as np

from contract.arrays import GIB, MIB
from envs import font
from scenarios.hosts import SimulatedHosts

MODES = ("ansi", "rgb_array")

Colour = tuple[int, int, int]
Part = tuple[str, int]  # what it is, bytes

WIDTH = 640  # [pixels] of a picture
MARGIN = 12
LABEL = 19 * font.ADVANCE  # room for a guest's name, left of its bars
BAR, THIN, GAP = 18, 6, 10  # heights of a guest's bar, of the host's view of it, and between
COLUMNS = 48  # characters of a bar

PAPER: Colour = (255, 255, 255)
INK: Colour = (40, 44, 52)
COLOURS: dict[str, Colour] = {
    "used": (38, 84, 140),
    "cache": (120, 180, 226),
    "free": (222, 228, 232),
    "ballooned": (246, 190, 92),
    "resident": (104, 118, 134),
    "swapped": (200, 60, 70),
    "unbacked": (242, 244, 246),
    "guests": (104, 118, 134),
    "host": (60, 66, 76),
}
LETTERS = {"used": "#", "cache": "+", "free": ".", "ballooned": "~", "guests": "#", "host": "="}


class GuestMemory(NamedTuple):
    """What a guest does with its memory, and what the host has of it; both add up to its size."""

    name: str
    size: int  # [bytes]
    inside: tuple[Part, ...]
    outside: tuple[Part, ...]


class HostMemory(NamedTuple):
    """Who has the host's memory, and its guests; slots without a guest are None."""

    time_s: float
    ram: int  # [bytes]
    swap_used: int  # [bytes]
    parts: tuple[Part, ...]  # add up to ram
    guests: tuple[GuestMemory | None, ...]


def look(hosts: SimulatedHosts, row: int) -> HostMemory:
    """The memory of one host, now."""
    truth = hosts.truth()
    page, host, guests = int(truth.page_bytes[row]), truth.host[row], truth.guest[row]
    names = [known.name for known in hosts.drawn[row].guests]
    found = [
        _guest(names[slot], guests[slot], page)
        if slot < len(names) and guests[slot]["state"]
        else None
        for slot in range(hosts.guests)
    ]
    resident = int(guests["resident_pages"].sum())
    free = int(host["free_pages"])
    rest = int(host["ram_pages"]) - resident - free
    parts = (("guests", resident * page), ("host", rest * page), ("free", free * page))
    return HostMemory(
        float(host["time_s"]),
        int(host["ram_pages"]) * page,
        int(host["swap_used_pages"]) * page,
        parts,
        tuple(found),
    )


def _guest(name: str, guest: np.void, page: int) -> GuestMemory:
    size, taken = int(guest["pages"]), int(guest["taken_pages"])
    used = int(guest["anon_pages"] + guest["kernel_pages"])
    cache = int(guest["file_pages"])
    inside = {"used": used, "cache": cache, "free": size - used - cache - taken, "ballooned": taken}
    resident, swapped = int(guest["resident_pages"]), int(guest["host_swapped_pages"])
    outside = {"resident": resident, "swapped": swapped, "unbacked": size - resident - swapped}
    return GuestMemory(
        name,
        size * page,
        tuple((what, pages * page) for what, pages in inside.items()),
        tuple((what, pages * page) for what, pages in outside.items()),
    )


def render(mode: str, hosts: SimulatedHosts, row: int) -> str | np.ndarray:
    """A host as text or as a picture (height, WIDTH, 3) uint8."""
    memory = look(hosts, row)
    return text(memory) if mode == "ansi" else picture(memory)


def text(memory: HostMemory) -> str:
    """One line for the host and one for each guest."""
    lines = [
        f"{'host':<18} [{_letters(memory.parts, memory.ram)}] {_heading(memory)}",
    ]
    for guest in memory.guests:
        if guest is not None:
            swapped = dict(guest.outside)["swapped"]
            told = f"{_size(guest.size)}, {_size(swapped)} swapped"
            lines.append(f"{guest.name[:18]:<18} [{_letters(guest.inside, guest.size)}] {told}")
    shown = "guests: # used  + cache  . free  ~ ballooned;  host: # guests  = its own  . free"
    return "\n".join([*lines, shown]) + "\n"


def _letters(parts: tuple[Part, ...], whole: int) -> str:
    return "".join(
        LETTERS[what] * (end - begin) for what, begin, end in _places(parts, whole, COLUMNS)
    )


def _places(parts: tuple[Part, ...], whole: int, length: int) -> list[tuple[str, int, int]]:
    """Where each part begins and ends on a bar of `length` that stands for `whole` bytes."""
    ends = np.rint(np.cumsum([0, *(size for _, size in parts)]) * (length / whole)).astype(int)
    return [
        (what, int(begin), int(end))
        for (what, _), begin, end in zip(parts, ends[:-1], ends[1:], strict=True)
    ]


def _size(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / MIB:.0f} MiB"


def _heading(memory: HostMemory) -> str:
    free = dict(memory.parts)["free"] / memory.ram
    return (
        f"{_size(memory.ram)} RAM, {free:.0%} free, {_size(memory.swap_used)} in swap,"
        f" at {memory.time_s:.0f} s"
    )


def picture(memory: HostMemory) -> np.ndarray:
    """Bars: all that was sold against the host's memory, then guest by guest.

    The upper bar of a guest is its own view, the lower one what the host has of it; its length is
    its size over that of the largest.
    """
    row = BAR + THIN + GAP
    height = 2 * MARGIN + font.HEIGHT + GAP + (2 + len(memory.guests)) * row + font.HEIGHT
    image = np.full((height, WIDTH, 3), PAPER, np.uint8)
    _write(image, MARGIN, MARGIN, _heading(memory))
    top = MARGIN + font.HEIGHT + GAP
    top = _overview(image, memory, top)
    largest = max((guest.size for guest in memory.guests if guest is not None), default=1)
    left = MARGIN + LABEL
    for guest in memory.guests:
        if guest is not None:
            width = round((WIDTH - MARGIN - left) * guest.size / largest)
            _write(image, MARGIN, top + (BAR - font.HEIGHT) // 2, guest.name[:18])
            _bar(image, left, top, width, BAR, guest.inside, guest.size)
            _bar(image, left, top + BAR, width, THIN, guest.outside, guest.size)
        top += row
    _legend(image, height - MARGIN - font.HEIGHT)
    return image


def _overview(image: np.ndarray, memory: HostMemory, top: int) -> int:
    """RAM, and below it the guests end to end, on one scale; returns where it ends."""
    left = MARGIN + LABEL
    guests = [guest for guest in memory.guests if guest is not None]
    sold = sum(guest.size for guest in guests)
    scale = (WIDTH - MARGIN - left) / max(memory.ram, sold, 1)
    _write(image, MARGIN, top + (BAR - font.HEIGHT) // 2, "HOST")
    _bar(image, left, top, round(memory.ram * scale), BAR, memory.parts, memory.ram)
    top += BAR + THIN
    _write(image, MARGIN, top + (BAR - font.HEIGHT) // 2, "SOLD")
    begin = 0
    for guest in guests:
        place, end = left + round(begin * scale), left + round((begin + guest.size) * scale)
        _bar(image, place, top, end - place, BAR, guest.inside, guest.size)
        _bar(image, place, top + BAR, end - place, THIN, guest.outside, guest.size)
        image[top : top + BAR + THIN, place] = PAPER
        begin += guest.size
    edge = min(left + round(memory.ram * scale), WIDTH - 2)
    image[top - THIN : top + BAR + THIN + 3, edge : edge + 2] = INK
    return top + BAR + THIN + 2 * GAP


def _bar(
    image: np.ndarray,
    left: int,
    top: int,
    width: int,
    height: int,
    parts: tuple[Part, ...],
    whole: int,
) -> None:
    for what, begin, end in _places(parts, whole, width):
        image[top : top + height, left + begin : left + end] = COLOURS[what]


def _write(image: np.ndarray, left: int, top: int, words: str) -> None:
    ink = font.stencil(words)[:, : image.shape[1] - left]
    image[top : top + ink.shape[0], left : left + ink.shape[1]][ink] = INK


def _legend(image: np.ndarray, top: int) -> None:
    left = MARGIN
    for what in ("used", "cache", "free", "ballooned", "resident", "swapped", "host"):
        image[top : top + font.HEIGHT, left : left + font.HEIGHT] = COLOURS[what]
        _write(image, left + font.HEIGHT + 4, top, what)
        left += font.HEIGHT + 4 + (len(what) + 2) * font.ADVANCE
