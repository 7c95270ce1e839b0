"""Values of the feature table in their own units, unknown as NaN, from a reading and memory."""

from typing import NamedTuple

import numpy as np

from contract import rates
from contract.arrays import PAGE, UNKNOWN, Bools, Floats, Ints, floats
from contract.descriptors import AsyncMode, GuestState, Hinting, ResizeMechanism, SwapClass
from contract.feature_table import GUEST_FEATURES
from contract.rates import Counters
from contract.telemetry import Telemetry, column, used_bytes

STATS = (  # counters of the balloon statistics
    "swap_in_bytes",
    "swap_out_bytes",
    "major_faults",
    "minor_faults",
    "oom_kills",
    "alloc_stalls",
    "async_scan_bytes",
    "direct_scan_bytes",
    "async_reclaim_bytes",
    "direct_reclaim_bytes",
)
_NEVER_S = next(entry.high for entry in GUEST_FEATURES if entry.name == "oom_age_s")


class GuestCounters(NamedTuple):
    """Counters about guests, by who samples them; (H, G) and (H, G, C)."""

    stats: Counters  # the balloon: STATS
    host: Counters  # the host: emulator's major faults, cgroup some and full
    agent: Counters  # the agent: refaults, some, full


def blank_counters(hosts: int, guests: int) -> GuestCounters:
    """Counters that were never sampled."""
    return GuestCounters(
        rates.reset(len(STATS), hosts, guests),
        rates.reset(3, hosts, guests),
        rates.reset(3, hosts, guests),
    )


def sample_guests(telemetry: Telemetry, kept: GuestCounters) -> GuestCounters:
    """Sample all counters about guests."""
    now_s = np.where(telemetry.present, telemetry.time_s[:, None], np.nan)
    stats = np.stack([getattr(telemetry, f"stats_{name}") for name in STATS], axis=-1)
    host = np.stack(
        [
            floats(telemetry.host_major_faults),
            telemetry.cgroup_psi_some_s,
            telemetry.cgroup_psi_full_s,
        ],
        axis=-1,
    )
    agent = kept.agent
    if telemetry.agent_age_s is not None:
        counts = np.stack(
            [
                floats(column(telemetry, "agent_refaults")),
                column(telemetry, "agent_psi_some_s"),
                column(telemetry, "agent_psi_full_s"),
            ],
            axis=-1,
        )
        agent = rates.sample(agent, now_s - telemetry.agent_age_s, counts)
    return GuestCounters(
        rates.sample(kept.stats, now_s - telemetry.stats_age_s, floats(stats)),
        rates.sample(kept.host, now_s, host),
        agent,
    )


def sample_host(telemetry: Telemetry, kept: Counters) -> Counters:
    """Sample the host's counters: bytes swapped in and out, stalled some and full."""
    counts = np.stack(
        [
            floats(telemetry.swap_in_bytes),
            floats(telemetry.swap_out_bytes),
            telemetry.psi_some_s,
            telemetry.psi_full_s,
        ],
        axis=-1,
    )
    return rates.sample(kept, telemetry.time_s, counts)


def ratio(part: Floats, whole: Floats) -> Floats:
    """Divide part by whole, NaN where the whole is not positive or either is unknown."""
    quotient = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=quotient, where=whole > 0)
    return quotient


def of_guests(
    telemetry: Telemetry,
    counters: GuestCounters,
    asked: Ints,
    seen_since_s: Floats,
    oom_at_s: Floats,
) -> dict[str, Floats]:
    """Values (H, G) of the guest features but the moving averages, by name."""
    largest = floats(telemetry.max_bytes)
    now_s = telemetry.time_s[:, None]
    stats = dict(zip(STATS, np.moveaxis(counters.stats.per_s, -1, 0), strict=True))
    faults, some, full = np.moveaxis(counters.host.per_s, -1, 0)
    refaults, agent_some, agent_full = np.moveaxis(counters.agent.per_s, -1, 0)
    size = floats(telemetry.current_bytes)
    answered = floats(telemetry.stats_current_bytes)
    answered = np.where(np.isnan(answered), size, answered)
    oom_age_s = np.where(np.isnan(oom_at_s), _NEVER_S, now_s - oom_at_s)
    working_set = floats(column(telemetry, "agent_working_set_bytes"))

    def of_max(name: str) -> Floats:
        return ratio(floats(column(telemetry, name)), largest)

    return {
        "max_of_ram": ratio(largest, floats(telemetry.total_bytes)[:, None]),
        "min_of_max": of_max("min_bytes"),
        "size_of_max": ratio(size, largest),
        **_last_target(telemetry, asked, size, largest),
        "resident_of_max": of_max("resident_bytes"),
        "swapped_of_max": of_max("swapped_bytes"),
        "host_faults_per_s": faults,
        "cgroup_of_max": of_max("cgroup_current_bytes"),
        "cgroup_high_of_max": of_max("cgroup_high_bytes"),
        "cgroup_some": some,
        "cgroup_full": full,
        "stats_age_s": telemetry.stats_age_s,
        "free_of_size": ratio(floats(telemetry.stats_free_bytes), answered),
        "available_of_size": ratio(floats(telemetry.stats_available_bytes), answered),
        "caches_of_size": ratio(floats(telemetry.stats_caches_bytes), answered),
        "used_of_max": ratio(floats(used_bytes(telemetry)), largest),
        "swap_in_per_s": stats["swap_in_bytes"],
        "swap_out_per_s": stats["swap_out_bytes"],
        "major_faults_per_s": stats["major_faults"],
        "minor_faults_per_s": stats["minor_faults"],
        "oom_age_s": np.where(telemetry.stats_oom_kills < 0, np.nan, oom_age_s),
        "alloc_stalls_per_s": stats["alloc_stalls"],
        "async_scan_per_s": stats["async_scan_bytes"],
        "direct_scan_per_s": stats["direct_scan_bytes"],
        "async_reclaim_per_s": stats["async_reclaim_bytes"],
        "direct_reclaim_per_s": stats["direct_reclaim_bytes"],
        "weight": floats(telemetry.weight),
        "seen_s": now_s - seen_since_s,
        **_descriptions(telemetry),
        "active_of_size": ratio(floats(column(telemetry, "active_bytes")), size),
        "agent_age_s": column(telemetry, "agent_age_s"),
        "committed_of_max": of_max("agent_committed_bytes"),
        "reserve_of_max": of_max("agent_reserve_bytes"),
        "guest_swap_of_max": of_max("agent_swap_used_bytes"),
        "anonymous_of_max": of_max("agent_anonymous_bytes"),
        "load": column(telemetry, "agent_load"),
        "refaults_per_s": refaults,
        "agent_some": agent_some,
        "agent_full": agent_full,
        "working_set_1min_of_max": ratio(working_set[..., 0], largest),
        "working_set_10min_of_max": ratio(working_set[..., 9], largest),
        "working_set_60min_of_max": ratio(working_set[..., 59], largest),
    }


def _last_target(
    telemetry: Telemetry, asked: Ints, size: Floats, largest: Floats
) -> dict[str, Floats]:
    """The target in force, and whether it is there because it was asked for.

    A guard, an operator or a refusal may have made it another one; the difference to what was
    asked last tells, so that no channel but telemetry is needed.
    """
    applied = floats(telemetry.applied_target_bytes)
    change = applied - floats(asked)
    return {
        "applied_of_max": ratio(applied, largest),
        "pending_of_max": ratio(applied - size, largest),
        "applied_age_s": telemetry.applied_age_s,
        "cut_of_max": ratio(change, largest),
        "applied_as_asked": _yes(np.abs(change) < PAGE),
        "applied_below": _yes(change <= -PAGE),
        "applied_above": _yes(change >= PAGE),
    }


def _yes(true: Bools) -> Floats:
    return true.astype(np.float64)


def _descriptions(telemetry: Telemetry) -> dict[str, Floats]:
    state, resize = telemetry.state, telemetry.resize_mechanism
    hinting, mode = telemetry.hinting, telemetry.async_mode
    return {
        "booting": _yes(state == GuestState.BOOTING),
        "running": _yes(state == GuestState.RUNNING),
        "migrating": _yes(state == GuestState.MIGRATING),
        "paused": _yes(state == GuestState.PAUSED),
        "resize_none": _yes(resize == ResizeMechanism.NONE),
        "resize_balloon": _yes(resize == ResizeMechanism.BALLOON),
        "resize_free_target": _yes(resize == ResizeMechanism.FREE_TARGET),
        "resize_virtio_mem": _yes(resize == ResizeMechanism.VIRTIO_MEM),
        "hinting_bitmap": _yes(hinting == Hinting.BITMAP),
        "hinting_reporting": _yes(hinting == Hinting.REPORTING),
        "async_halt": _yes(mode == AsyncMode.HALT),
        "async_user": _yes(mode == AsyncMode.USER),
        "async_any": _yes(mode == AsyncMode.ANY),
        "deflates_on_oom": _yes(telemetry.deflate_on_oom == 1),
    }


def of_hosts(telemetry: Telemetry, counters: Counters) -> dict[str, Floats]:
    """Values (H,) of the host features but the moving averages, by name."""
    ram = floats(telemetry.total_bytes)
    swap_in, swap_out, some, full = np.moveaxis(counters.per_s, -1, 0)
    cached = floats(telemetry.cached_bytes) + floats(telemetry.buffers_bytes)

    def of_ram(values: Ints) -> Floats:
        return ratio(floats(values), ram)

    def total(values: Ints) -> Floats:
        lacking = (telemetry.present & (values < 0)).any(axis=1)
        whole = np.where(telemetry.present, values, 0).sum(axis=1)
        return of_ram(np.where(lacking, UNKNOWN, whole))

    return {
        "ram_bytes": ram,
        "free_of_ram": of_ram(telemetry.free_bytes),
        "cached_of_ram": ratio(cached, ram),
        "available_of_ram": of_ram(telemetry.available_bytes),
        "swap_of_ram": of_ram(telemetry.swap_total_bytes),
        "swap_used_of_ram": of_ram(telemetry.swap_used_bytes),
        "swap_in_per_s": swap_in,
        "swap_out_per_s": swap_out,
        "psi_some": some,
        "psi_full": full,
        "psi_some_avg10": telemetry.psi_some_avg10,
        "psi_some_avg60": telemetry.psi_some_avg60,
        "psi_some_avg300": telemetry.psi_some_avg300,
        "psi_full_avg10": telemetry.psi_full_avg10,
        "psi_full_avg60": telemetry.psi_full_avg60,
        "psi_full_avg300": telemetry.psi_full_avg300,
        "ksm_runs": _yes(telemetry.ksm_run == 1),
        "ksm_across_nodes": _yes(telemetry.ksm_merge_across_nodes == 1),
        "ksm_scan_per_s": ratio(floats(telemetry.ksm_pages_to_scan), telemetry.ksm_sleep_s),
        "ksm_shared_of_ram": of_ram(telemetry.ksm_shared_bytes),
        "ksm_shareable_of_ram": of_ram(telemetry.ksm_shareable_bytes),
        "swap_none": _yes(telemetry.swap_class == SwapClass.NONE),
        "swap_rotating": _yes(telemetry.swap_class == SwapClass.ROTATING),
        "swap_solid": _yes(telemetry.swap_class == SwapClass.SOLID),
        "swap_zram": _yes(telemetry.swap_class == SwapClass.ZRAM),
        "guests": telemetry.present.sum(axis=1, dtype=np.float64),
        "sum_max_of_ram": total(telemetry.max_bytes),
        "sum_min_of_ram": total(telemetry.min_bytes),
        "sum_size_of_ram": total(telemetry.current_bytes),
        "sum_applied_of_ram": total(telemetry.applied_target_bytes),
        "sum_resident_of_ram": total(telemetry.resident_bytes),
        "sum_swapped_of_ram": total(telemetry.swapped_bytes),
    }
