"""From the simulator's pages to the contract's telemetry.

The meaning of every column is the contract's; here is only where its value comes from.  Memory of
a host is as /proc/meminfo has it; a guest's is as its emulator, its cgroup and its balloon driver
report it.
"""

from functools import lru_cache

import numpy as np

from contract import telemetry as contract_telemetry
from contract.arrays import UNKNOWN, Bools, Floats, Ints
from contract.descriptors import GuestState
from contract.telemetry import Telemetry
from scenarios import sensors
from scenarios.facts import Facts
from scenarios.sensors import Answers

Columns = dict[str, np.ndarray]

PRESSURE = (
    *(f"psi_{kind}_avg{window}" for kind in ("some", "full") for window in (10, 60, 300)),
    "psi_some_s",
    "psi_full_s",
)


def telemetry(
    host: np.ndarray,
    guest: np.ndarray,
    group: np.ndarray,
    facts: Facts,
    answers: Answers,
    applied: tuple[Ints, Floats],
    *,
    with_agents: bool,
    with_samples: bool,
) -> Telemetry:
    """A reading of all hosts.

    Args:
        host: (H,) records of memsim.
        guest: (H, G) records of memsim.
        group: (H, C) records of memsim, a guest's cgroup at 1 + its field `cgroup`.
        facts: what is known of them anyway.
        answers: the guests' own statistics, as far as known.
        applied: (H, G) targets sent [bytes] and their age [s].
        with_agents: the columns of agents are there, known or not.
        with_samples: so are those of sampled memory.
    """
    present = guest["state"] > 0
    blank = _nothing_known(*present.shape)
    columns = _host(host, guest, facts) | _guest(guest, facts, present, applied)
    columns |= _limit_as_host(columns, group, facts)
    columns |= _cgroups(guest, group, facts, present)
    columns |= _statistics(host, guest, facts, answers)
    if with_agents:
        columns |= _agent(host, facts, present, answers)
    if with_samples:
        columns |= _sampled(host, guest, facts)
    return blank._replace(**columns)


@lru_cache(maxsize=64)
def _nothing_known(hosts: int, guests: int) -> Telemetry:
    """What all readings begin with; nobody changes its arrays."""
    return contract_telemetry.unknown(hosts, guests)


def _ksm(host: np.ndarray, guest: np.ndarray, facts: Facts) -> Columns:
    # A host without KSM tells that it does not run, and no more.
    there, page = host["ksm"] > 0, facts.page_bytes[:, 0]
    whole = (guest["pages"] + guest["emulator_pages"]) * (guest["state"] > 0)

    def known(values: Ints) -> Ints:
        return np.where(there, values, UNKNOWN)

    return {
        "ksm_run": host["ksm_run"].astype(np.int64),
        "ksm_pages_to_scan": known(host["ksm_pages_to_scan"]),
        "ksm_sleep_s": np.where(there, host["ksm_sleep_s"], np.nan),
        "ksm_shared_bytes": known(host["ksm_shared"] * page),
        "ksm_shareable_bytes": known(whole.sum(axis=1) * page),
        "ksm_merge_across_nodes": known(np.ones(len(host), np.int64)),  # it has one node
    }


def _host(host: np.ndarray, guest: np.ndarray, facts: Facts) -> Columns:
    page = facts.page_bytes[:, 0]
    free, cached = host["free_pages"], host["cached_pages"]
    # MemAvailable: free less reserves, and the page cache but for what the low watermark keeps
    droppable = cached - np.minimum(cached // 2, host["low_pages"])
    available = np.maximum(free - host["high_pages"] + droppable, 0)
    columns = {
        "time_s": np.array(host["time_s"]),
        "total_bytes": host["ram_pages"] * page,
        "free_bytes": free * page,
        "buffers_bytes": np.zeros(len(host), np.int64),  # block device cache: not modelled
        "cached_bytes": cached * page,
        "available_bytes": available * page,
        "swap_total_bytes": host["swap_pages"] * page,
        "swap_used_bytes": host["swap_used_pages"] * page,
        "swap_in_bytes": host["swap_in_pages"] * page,
        "swap_out_bytes": host["swap_out_pages"] * page,
        "swap_class": facts.swap_class,
    }
    columns |= _ksm(host, guest, facts)
    for name in PRESSURE:
        columns[name] = np.where(facts.psi, host[name.replace("avg", "")], np.nan)
    return columns


def _limit_as_host(columns: Columns, group: np.ndarray, facts: Facts) -> Columns:
    """Where a cgroup's limit is told as the host's memory: that, and what it leaves."""
    page = facts.page_bytes[:, 0]
    mine = group[np.arange(len(page)), np.minimum(facts.told_group, group.shape[1] - 1)]
    within = (facts.told_group > 0) & (mine["max"] >= 0)
    left = np.maximum(mine["max"] - mine["usage"], 0) * page
    told = {"total_bytes": mine["max"] * page, "free_bytes": left, "available_bytes": left}
    return {name: np.where(within, value, columns[name]) for name, value in told.items()}


def _guest(
    guest: np.ndarray, facts: Facts, present: Bools, applied: tuple[Ints, Floats]
) -> Columns:
    page = facts.page_bytes
    resident = guest["resident_pages"]

    def known(values: np.ndarray) -> Ints:
        return np.where(present, values, UNKNOWN)

    target, age = applied
    current = (guest["pages"] - guest["taken_pages"]) * page
    # a balloon moves in small pages: within one of ours it is where it was asked to be
    reached = facts.balloons & (target >= 0) & (np.abs(current - target) < page)
    state = np.where(guest["state"] == 1, GuestState.BOOTING, GuestState.RUNNING)
    return {
        "guest_id": known(guest["guest_id"]),
        "present": present,
        "state": known(state),
        "min_bytes": known(facts.min_bytes),
        "max_bytes": known(facts.max_bytes),
        "weight": known(facts.weight),
        "current_bytes": known(np.where(reached, target, current)),
        "resident_bytes": known((resident + guest["merged_pages"]) * page),
        "swapped_bytes": known(guest["host_swapped_pages"] * page),
        "host_major_faults": known(guest["host_major"]),
        "applied_target_bytes": target,
        "applied_age_s": age,
        "resize_mechanism": known(facts.resize_mechanism),
        "hinting": known(facts.hinting),
        "async_mode": known(facts.async_mode),
        "deflate_on_oom": known(facts.deflate_on_oom),
    }


def _cgroups(guest: np.ndarray, group: np.ndarray, facts: Facts, present: Bools) -> Columns:
    """What each guest's cgroup reports, others in it included."""
    mine = np.take_along_axis(group, np.where(present, 1 + guest["cgroup"], 0), axis=1)
    modern = present & facts.cgroup2[:, None]
    told = modern & facts.psi[:, None]
    high = np.where(mine["high"] >= 0, mine["high"] * facts.page_bytes, UNKNOWN)
    return {
        "cgroup_current_bytes": np.where(present, mine["usage"] * facts.page_bytes, UNKNOWN),
        "cgroup_high_bytes": np.where(modern, high, UNKNOWN),
        "cgroup_psi_some_s": np.where(told, mine["psi_some_s"], np.nan),
        "cgroup_psi_full_s": np.where(told, mine["psi_full_s"], np.nan),
    }


def _statistics(host: np.ndarray, guest: np.ndarray, facts: Facts, answers: Answers) -> Columns:
    answered = (guest["state"] > 0) & (answers.time_s >= 0)
    page = facts.page_bytes
    free, total, available, caches = (
        np.where(answered, answers.gauges[..., column] * page, UNKNOWN) for column in range(4)
    )
    if facts.noise.any():
        draws = sensors.noise(facts.noise_key, guest["guest_id"], answers.time_s, 3)
        free = sensors.blurred(free, total, facts.noise, draws[..., 0])
        available = sensors.blurred(available, total, facts.noise, draws[..., 1])
        caches = sensors.blurred(caches, total, facts.noise, draws[..., 2])
    counters = dict(zip(sensors.COUNTERS, np.moveaxis(answers.counters, -1, 0), strict=True))

    def count(name: str, scale: Ints | int = 1, told: Bools | bool = True) -> Ints:
        return np.where(answered & told, counters[f"stats_{name}"] * scale, UNKNOWN)

    new = facts.reclaim_statistics[:, None]
    # without deflate-on-oom the total is the size at that moment
    shrinks = answered & (facts.deflate_on_oom == 0)
    age = host["time_s"][:, None] - answers.time_s
    return {
        "stats_age_s": np.where(answered, age, np.nan),
        "stats_current_bytes": np.where(shrinks, total, UNKNOWN),
        "stats_free_bytes": free,
        "stats_total_bytes": total,
        "stats_available_bytes": available,
        "stats_caches_bytes": caches,
        "stats_swap_in_bytes": count("swap_in", page),
        "stats_swap_out_bytes": count("swap_out", page),
        "stats_major_faults": count("major"),
        "stats_minor_faults": count("minor"),
        "stats_oom_kills": count("oom_kills", told=new),
        "stats_alloc_stalls": count("alloc_stalls", told=new),
        "stats_async_scan_bytes": count("async_scan", page, new),
        "stats_direct_scan_bytes": count("direct_scan", page, new),
        "stats_async_reclaim_bytes": count("async_reclaim", page, new),
        "stats_direct_reclaim_bytes": count("direct_reclaim", page, new),
    }


def _sampled(host: np.ndarray, guest: np.ndarray, facts: Facts) -> Columns:
    """Accessed memory, where the host samples it and a first sample is complete."""
    known = (guest["state"] > 0) & (host["sample_every_s"] > 0)[:, None]
    known &= guest["active_pages"] >= 0
    age = host["time_s"][:, None] - guest["active_s"]
    return {
        "active_bytes": np.where(known, guest["active_pages"] * facts.page_bytes, UNKNOWN),
        "active_age_s": np.where(known, age, np.nan),
    }


def _agent(host: np.ndarray, facts: Facts, present: Bools, answers: Answers) -> Columns:
    """What an agent inside reports; columns it would need more for stay absent."""
    there = present & facts.agent & (answers.time_s >= 0)
    page = facts.page_bytes
    values = dict(zip(sensors.AGENT, np.moveaxis(answers.agent, -1, 0), strict=True))

    def whole(name: str, scale: Ints | int) -> Ints:
        numbers = np.where(there, np.nan_to_num(values[name]), 0.0).astype(np.int64)
        return np.where(there, numbers * scale, UNKNOWN)

    return {
        "agent_age_s": np.where(there, host["time_s"][:, None] - answers.time_s, np.nan),
        "agent_committed_bytes": whole("committed_pages", page),
        "agent_reserve_bytes": whole("wm_high", page),
        "agent_swap_used_bytes": whole("swap_used_pages", page),
        "agent_anonymous_bytes": whole("anon_pages", page),
        "agent_refaults": whole("refaults", 1),
        "agent_psi_some_s": np.where(there, values["psi_some_s"], np.nan),
        "agent_psi_full_s": np.where(there, values["psi_full_s"], np.nan),
    }
