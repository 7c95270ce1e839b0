"""The growth rule: no guest is promised memory that the host does not have.

The sum of sizes may exceed RAM, that is overcommit, but whoever grows must be able to use what it
gets.  The size in force is max(current, applied target).  A grant is unbacked until the guest's
resident memory has risen by as much, or the size in force has fallen again; all grants of a call
together are at most what is available beyond a reserve and beyond what is still unbacked.

A cut of the target counts as the size in force falls, not when it is sent: a guest that has not
moved yet may be let back to its size without growth, so until then its memory is not free.  The
part of a fall that came out of resident memory does not count either: it shows up in what is
available, and would count twice.
"""

from typing import NamedTuple

import numpy as np

from contract.arrays import MIB, PAGE, UNKNOWN, Bools, Ints
from contract.state import follow
from contract.telemetry import Telemetry

RESERVE_BYTES = 64 * MIB  # [bytes] least memory that the host keeps for itself
RESERVE_SHARE = 0.02  # of RAM, likewise


class Promises(NamedTuple):
    """What each guest was granted and has not used yet."""

    guest_id: Ints  # (H, G)
    target_bytes: Ints  # (H, G) last target known to be in force, -1 none
    size_bytes: Ints  # (H, G) size in force up to which unbacked memory is accounted, -1 unknown
    resident_bytes: Ints  # (H, G) when last known, -1 never
    unbacked_bytes: Ints  # (H, G) granted, not yet backed


def reset(hosts: int, guests: int) -> Promises:
    """Nothing was promised to anybody."""
    never = np.full((hosts, guests), UNKNOWN, np.int64)
    return Promises(never, never, never, never, np.zeros_like(never))


def reserve_bytes(total_bytes: Ints) -> Ints:
    """What a host keeps for itself: (H,) RAM [bytes] -> (H,) [bytes]."""
    return np.maximum(RESERVE_BYTES, (total_bytes * RESERVE_SHARE).astype(np.int64))


def settle(telemetry: Telemetry, kept: Promises) -> tuple[Promises, Ints]:
    """Bring the account of promises up to date with a reading.

    Returns:
        The promises, and the size in force (H, G) [bytes], -1 where nothing is known of it.
    """
    guest_id = np.where(telemetry.present, telemetry.guest_id, UNKNOWN)
    kept = follow(kept, guest_id, reset)
    applied, current = telemetry.applied_target_bytes, telemetry.current_bytes
    applied = np.where(applied < 0, kept.target_bytes, applied)
    size = np.where(telemetry.present, np.maximum(applied, current), UNKNOWN)
    resident = telemetry.resident_bytes
    both = (resident >= 0) & (kept.resident_bytes >= 0)
    change = np.where(both, resident - kept.resident_bytes, 0)
    fall = np.where((size >= 0) & (kept.size_bytes >= 0), kept.size_bytes - size, 0)
    cut = np.maximum(np.maximum(fall, 0) + np.minimum(change, 0), 0)
    unbacked = kept.unbacked_bytes - np.maximum(change, 0) - cut
    reached = (current >= 0) & (current >= applied - PAGE)
    most = np.where(reached, 0, unbacked)
    most = np.where(resident >= 0, np.where(size >= 0, size - resident, unbacked), most)
    lowest = np.where(kept.size_bytes < 0, size, np.minimum(kept.size_bytes, size))
    settled = Promises(
        guest_id,
        applied,
        np.where(size < 0, kept.size_bytes, lowest),
        np.where(resident < 0, kept.resident_bytes, resident),
        np.maximum(np.minimum(unbacked, most), 0),
    )
    return settled, size


def budget_bytes(telemetry: Telemetry, promises: Promises) -> Ints:
    """(H,) how much all guests of a host together may grow now; 0 if anything is unknown."""
    known = (telemetry.available_bytes >= 0) & (telemetry.total_bytes >= 0)
    left = telemetry.available_bytes - reserve_bytes(telemetry.total_bytes)
    left = left - promises.unbacked_bytes.sum(axis=1)
    return np.where(known, np.maximum(left, 0), 0)


def scaled(budget: Ints, asked: Ints) -> Ints:
    """Grant all asks, or scale them by one factor to the budget, in whole 4 KiB.

    (H,) and (H, G) [bytes] -> (H, G).
    """
    total = asked.sum(axis=1)
    short = total > budget
    if not short.any():
        return asked
    factor = budget / np.maximum(total, 1)
    part = (asked * factor[:, None]).astype(np.int64) // PAGE * PAGE
    return np.where(short[:, None], part, asked)


def queued(budget: Ints, asked: Ints, order: Ints) -> Ints:
    """Grant asks one after another until the budget is used up, in whole 4 KiB where it ends.

    Args:
        budget: (H,) [bytes].
        asked: (H, G) [bytes].
        order: (H, G) slots, first come first.
    """
    in_line = np.take_along_axis(asked, order, axis=1)
    before = np.cumsum(in_line, axis=1) - in_line
    left = np.maximum(budget[:, None] - before, 0)
    served = np.where(in_line <= left, in_line, left // PAGE * PAGE)
    grants = np.zeros_like(asked)
    np.put_along_axis(grants, order, served, axis=1)
    return grants


def promise(settled: Promises, target: Ints, grant: Ints, acted: Bools) -> Promises:
    """Enter what was granted: `target` and `grant` (H, G) [bytes], where `acted` (H, G)."""
    grew = grant > 0
    return settled._replace(
        target_bytes=np.where(acted, target, settled.target_bytes),
        size_bytes=np.where(grew, target, settled.size_bytes),
        unbacked_bytes=settled.unbacked_bytes + grant,
    )
