"""What memory is worth to each guest, seen by living its life alone at several sizes.

Each guest of a host lives once at each size, on an ample host of its own, from its minimum to its
maximum: same work, same draws, nobody else, and the size is in force from the beginning.  What it
gets done and what it loses in any span of time, and how much of the size it touches, are then
known, future included.  What moving from one size to another costs is not.
"""

from typing import NamedTuple

import numpy as np

from contract.arrays import Floats, Ints
from memsim.account import FIRST_LOST, NOMINAL
from memsim.fleet import Fleet
from scenarios.hosts import SimulatedHosts
from scenarios.solo import alone


class Worth(NamedTuple):
    """Of H hosts' G guests at L sizes, at S times; sums since the beginning."""

    time_s: Floats  # (S,)
    size_bytes: Ints  # (H, G, L) rising; 0 in slots that nobody has
    useful_s: Floats  # (S, H, G, L) of all tasks
    lost_s: Floats  # (S, H, G, L)
    kills: Ints  # (S, H, G, L)
    resident_bytes: Ints  # (S, H, G, L) that the host backs, the emulator's own included


def look(hosts: SimulatedHosts, sizes: int, every_s: float, end_s: float) -> Worth:
    """Live the lives of all guests alone.

    Args:
        hosts: as reset; they stay as they are.
        sizes: L, 2 at least.
        every_s: [s] between samples.
        end_s: [s] when lives end.
    """
    slots = [(h, g) for h, host in enumerate(hosts.drawn) for g in range(len(host.guests))]
    specs = [alone(hosts.drawn[h].spec, g, resized=True) for h, g in slots]
    page_bytes = np.array([spec.page_bytes for spec in specs])
    largest = np.array([spec.guests[0].pages for spec in specs])
    smallest = np.array([max(spec.guests[0].min_pages, 1) for spec in specs])
    steps = np.linspace(0.0, 1.0, sizes)
    pages = (smallest[:, None] + (largest - smallest)[:, None] * steps).astype(np.int64)
    time_s = np.append(np.arange(0.0, end_s, every_s), end_s)
    found = [np.zeros((len(time_s), len(slots), sizes)) for _ in range(4)]
    fleet = Fleet(len(slots), hosts.threads)
    for level in range(sizes):
        fleet.reset(specs)
        for sample, until_s in enumerate(time_s):
            fleet.advance(np.full(len(slots), until_s))
            fleet.set_targets(pages[:, level, None])  # again: who boots has forgotten it
            for values, column in zip(found, _standing(fleet, page_bytes), strict=True):
                values[sample, :, level] = column
    return Worth(
        time_s,
        _by_slot((pages * page_bytes[:, None])[None], slots, hosts)[0].astype(np.int64),
        _by_slot(found[0], slots, hosts),
        _by_slot(found[1], slots, hosts),
        _by_slot(found[2], slots, hosts).astype(np.int64),
        _by_slot(found[3], slots, hosts).astype(np.int64),
    )


def _standing(fleet: Fleet, page_bytes: Ints) -> tuple[Floats, Floats, Ints, Ints]:
    """(N,) useful and lost seconds, kills and resident bytes of the only guest of N hosts."""
    guest = fleet.guest[:, 0]
    account = fleet.account[:, 0].sum(axis=1)
    return (
        account[:, NOMINAL],
        account[:, FIRST_LOST:].sum(axis=1),
        guest["oom_kills"] + guest["host_kills"],
        guest["resident_pages"] * page_bytes,
    )


def _by_slot(values: Floats, slots: list[tuple[int, int]], hosts: SimulatedHosts) -> Floats:
    """(S, N, L) to (S, H, G, L)."""
    samples, _, sizes = values.shape
    placed = np.zeros((samples, hosts.hosts, hosts.guests, sizes))
    rows, columns = np.array(slots).T
    placed[:, rows, columns] = values
    return placed
