"""What pages hold, for KSM: zeros, an image that others have too, repetitions, or nothing alike.

`content` of a region or an `allocate` phase is one kind or a mix of shares of kinds:

- `zero`: pages of zeros;
- `shared:NAME`: page i is page i of NAME, in every guest of the host that names it;
- `repeated:N`: one of N contents of 4 KiB of this guest, in turn;
- `unique`: like no other page, as the rest of a mix is.

Kinds of a mix are spread evenly over the pages, the same in every guest, so that clones agree.
"""

import hashlib
from typing import Annotated

import numpy as np
from pydantic import BeforeValidator

from memsim.content import UNIQUE, ZERO
from memsim.params import SMALL_PAGE

GOLDEN_SHARE = 0.6180339887498949  # multiples of it, modulo 1, are spread most evenly
NUMBERS = 0xFFFFFFFD  # numbers of content beside zero: 1 to this


def _mix(content: object) -> object:
    mix = {content: 1.0} if isinstance(content, str) else content
    if not isinstance(mix, dict):
        return mix
    for kind, share in mix.items():
        name, _, rest = str(kind).partition(":")
        plain = name in ("zero", "unique") and not rest
        named = name == "shared" and rest
        counted = name == "repeated" and rest.isdecimal() and int(rest) > 0
        if not (plain or named or counted):
            raise ValueError(f"{kind!r}: expected zero, unique, shared:NAME or repeated:N")
        if not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ValueError(f"{kind}: {share!r}: expected a share from 0 to 1")
    if sum(mix.values()) > 1 + 1e-9:
        raise ValueError(f"shares add up to {sum(mix.values()):g}: expected at most 1")
    return mix


Content = Annotated[dict[str, float], BeforeValidator(_mix)]


def _numbers(name: str, index: np.ndarray) -> np.ndarray:
    # (N,) hashes of the index-th content of that name; two in 4 billion are equal by chance.
    key = np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))
    z = key + index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z % np.uint64(NUMBERS)).astype(np.uint32) + np.uint32(1)


def content_numbers(mix: Content, pages: int, page: int, guest_id: int) -> np.ndarray | None:
    """What the pages of a region hold first, as `memsim.content` numbers it.

    Args:
        mix: kinds and shares.
        pages: of the region.
        page: [bytes] of the host's pages.
        guest_id: whose region it is.

    Returns:
        (pages,) uint32, None if nothing is like anything else.
    """
    if not any(share for kind, share in mix.items() if kind != "unique"):
        return None
    index = np.arange(pages)
    place = (index + 0.5) * GOLDEN_SHARE % 1.0
    numbers = np.full(pages, UNIQUE, np.uint32)
    first = 0.0
    for kind, share in mix.items():
        chosen = index[(place >= first) & (place < first + share)]
        first += share
        name, _, rest = kind.partition(":")
        if name == "zero":
            numbers[chosen] = ZERO
        elif name == "shared":
            numbers[chosen] = _numbers(kind, chosen)
        elif name == "repeated":
            period = max(1, int(rest) * SMALL_PAGE // page)
            numbers[chosen] = _numbers(f"guest:{guest_id}", np.arange(len(chosen)) % period)
    return numbers
