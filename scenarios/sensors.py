"""What stands between the truth of a simulated host and what a policy reads.

Balloon statistics are made by the guest itself at every poll and freeze when it is stuck; here
they become known after a delay, get their noise, and become bytes.  All arrays are (H, G).
"""

from typing import NamedTuple

import numpy as np

from contract.arrays import UNKNOWN, Bools, Floats, Ints

GRAIN = 4096  # [bytes] that memory is reported in

# names of memsim's fields for what a guest answers: pages, and counts or pages since its boot
GAUGES = ("stats_free", "stats_total", "stats_available", "stats_disk_caches")
COUNTERS = (
    *("stats_swap_in", "stats_swap_out", "stats_major", "stats_minor"),
    *("stats_oom_kills", "stats_alloc_stalls", "stats_async_scan", "stats_direct_scan"),
    *("stats_async_reclaim", "stats_direct_reclaim"),
)
AGENT = (
    *("swap_used_pages", "anon_pages", "refaults", "psi_some_s", "psi_full_s", "wm_high"),
    "committed_pages",
)


class Answers(NamedTuple):
    """What guests last said of themselves, as far as it is known yet."""

    time_s: Floats  # (H, G) host clock, -1 never
    gauges: Ints  # (H, G, 4) GAUGES [pages]
    counters: Ints  # (H, G, 10) COUNTERS
    agent: Floats  # (H, G, 7) AGENT, as of the same moment


def no_answers(hosts: int, guests: int) -> Answers:
    """Nobody has answered yet."""
    return Answers(
        np.full((hosts, guests), -1.0),
        np.full((hosts, guests, len(GAUGES)), UNKNOWN, np.int64),
        np.full((hosts, guests, len(COUNTERS)), UNKNOWN, np.int64),
        np.full((hosts, guests, len(AGENT)), np.nan),
    )


def collect(guest: np.ndarray, kept: Answers, with_agent: bool) -> Answers:
    """Take what is new among the guests' answers.

    Args:
        guest: (H, G) records of memsim, fields as in GAUGES, COUNTERS and AGENT.
        kept: what was taken before.
        with_agent: read the agents' fields too.  An agent needs the same processors as the
            balloon driver and reports when that does: its values freeze with the statistics.
    """
    time_s = np.array(guest["stats_time_s"])
    gauges = np.stack([guest[name] for name in GAUGES], axis=-1)
    counters = np.stack([guest[name] for name in COUNTERS], axis=-1)
    if not with_agent:
        return Answers(time_s, gauges, counters, kept.agent)
    agent = np.stack([guest[name].astype(float) for name in AGENT], axis=-1)
    anew = (time_s != kept.time_s)[..., None]
    return Answers(time_s, gauges, counters, np.where(anew, agent, kept.agent))


def noise(keys: np.ndarray, guest_id: Ints, time_s: Floats, columns: int) -> Floats:
    """Standard normal draws that depend on the host's key, the guest and the moment alone.

    Args:
        keys: (H,) uint64 of the hosts.
        guest_id: (H, G).
        time_s: (H, G) moments of the samples; to the microsecond they are one.
        columns: C draws for each.

    Returns:
        (H, G, C) float64.
    """
    moment = np.round(np.nan_to_num(time_s) * 1e6).astype(np.int64).astype(np.uint64)
    mixed = _mix(keys[:, None] ^ _mix(guest_id.astype(np.uint64) ^ _mix(moment)))
    numbers = np.arange(2 * columns, dtype=np.uint64)
    bits = _mix(mixed[..., None] + numbers * np.uint64(0x9E3779B97F4A7C15))
    uniform = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53
    radius = np.sqrt(-2 * np.log(uniform[..., :columns]))
    return np.asarray(radius * np.cos(2 * np.pi * uniform[..., columns:]))


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014), elementwise on uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def blurred(values: Ints, most: Ints, relative: Floats, draws: Floats) -> Ints:
    """Gauges [bytes] with a relative error, still between 0 and `most`; unknown stays unknown.

    Args:
        values: (H, G) [bytes].
        most: (H, G) [bytes] what the value cannot exceed.
        relative: (H, 1) standard deviation over the value.
        draws: (H, G) standard normal.
    """
    moved = np.clip(values * (1 + relative * draws), 0, np.maximum(most, 0))
    return np.where(values >= 0, moved.astype(np.int64) // GRAIN * GRAIN, UNKNOWN)


def known_or(values: Ints, known: Bools) -> Ints:
    """The values where they are known, elsewhere -1."""
    return np.where(known, values, UNKNOWN)
