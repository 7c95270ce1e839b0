"""One simulated host from a scenario and a key.

What is drawn for the host depends on the key; what is drawn for a guest depends on the key and
the guest's number.  So hosts with more guests begin with the same guests, and arms of an
experiment differ in their mechanisms alone.
"""

import math
from dataclasses import dataclass, replace

from memsim import spec
from scenarios import check, recordings
from scenarios.curves import Recorded
from scenarios.machine import DevicePreset, Kernel
from scenarios.occupants import GuestFacts, Place, guests_of
from scenarios.randomness import Key, as_key, pick, seed_of, stream, uniform
from scenarios.schema import Scenario
from scenarios.timeline import timeline_of

__all__ = ["DrawnHost", "GuestFacts", "draw"]


@dataclass(frozen=True)
class DrawnHost:
    """One host: what the simulator runs and what its operator knows."""

    key: Key
    spec: spec.HostSpec
    guests: tuple[GuestFacts, ...]  # slot by slot
    kernel: Kernel
    swap_device: DevicePreset | None  # None: no swap
    marks: tuple[str, ...]  # names of the timeline's marks, by number
    trace: str = ""  # which trace it replays, or its guests follow, from when on; empty: none


def draw(scenario: Scenario, key: Key | int) -> DrawnHost:
    """The host that belongs to a key (seed, episode); always the same one."""
    key = as_key(key)
    arm, rng = scenario.arm, stream(key, "kernel")
    kernel = pick(scenario.randomise.kernels, rng, scenario.host.kernel)
    place = Place(scenario, key, arm.kernel or kernel, arm)
    guests, extra, trace = guests_of(place)
    facts = tuple(item for _, item in guests)
    specs = _protected(place, tuple(item for item, _ in guests), facts)
    timeline, marks = timeline_of(scenario, facts)
    if extra:  # in a replay every entry has a time of its own
        timeline = tuple(sorted(timeline + extra, key=lambda entry: entry.at_s))
    host = _host(place, specs, timeline)
    swap = host.swap_pages and list(scenario.host.devices.values())[host.swap_device].preset
    trace = trace or _followed(place)
    return DrawnHost(key, host, facts, place.kernel, swap or None, marks, trace)


def _followed(place: Place) -> str:
    """The window of a recording that guests of the host share; empty: none."""
    scenario = place.scenario
    for work in check.works_of(scenario):
        for curve in work.curves.values():
            if isinstance(curve, Recorded) and curve.shared is not None:
                rng = stream(place.key, f"shared curve {curve.shared}")
                minutes = recordings.window(curve, scenario.recordings, rng, scenario.end_s)
                return f"{curve.trace} from minute {minutes.start}"
    return ""


def _host(
    place: Place, guests: tuple[spec.GuestSpec, ...], timeline: tuple[spec.Entry, ...]
) -> spec.HostSpec:
    scenario, host = place.scenario, place.scenario.host
    drawn = scenario.randomise
    names = list(host.devices)
    swap_name = host.swap.device if host.swap else names[0]
    swap_name = pick(drawn.swap_devices, stream(place.key, "swap device"), swap_name)
    cores = pick(drawn.cores, stream(place.key, "cores"), str(host.cores))
    old = place.kernel == Kernel.OLD
    rotating = host.devices[swap_name].preset == DevicePreset.HDD
    return spec.HostSpec(
        page_bytes=host.page,
        ram_pages=_ram_pages(place, guests),
        guests=guests,
        devices=tuple(device.spec() for device in host.devices.values()),
        seed=seed_of(place.key),
        cores=int(cores),
        swap_device=names.index(swap_name),
        swap_pages=host.swap.size // host.page if host.swap else 0,
        reserved_pages=host.reserved // host.page,
        cgroups=tuple(
            spec.Cgroup(
                -1 if group.max is None else group.max // host.page,
                -1 if group.high is None else group.high // host.page,
                group.low // host.page,
            )
            for group in host.cgroups.values()
        ),
        slice_low_pages=-1 if host.protection is None else host.protection // host.page,
        global_lru=old,
        lru_2011=old,
        huge_pages=host.huge_pages
        and stream(place.key, "huge pages").random() < drawn.host_huge_pages,
        swappiness=-1 if host.swappiness is None else host.swappiness,
        ept_dirty_bits=not old,
        slots_kept=host.swap is not None and host.swap.slots == "kept",
        readahead_adapts=not old,
        readahead_virtual=not (old or rotating),
        readahead_bytes=host.readahead,
        tick_s=host.tick,
        sample_every_s=scenario.sensors.sampling,
        emulation=host.emulation,
        fast=host.fast,
        ksm=_ksm(place),
        timeline=timeline,
    )


def _protected(
    place: Place, guests: tuple[spec.GuestSpec, ...], facts: tuple[GuestFacts, ...]
) -> tuple[spec.GuestSpec, ...]:
    """Guests with their shares of the host's protection.

    What neither cgroups nor guests claim is shared by weight among guests in cgroups of their
    own, as memory.low, at most as much as a guest and its emulator may use.  So the kernel's
    reclaim spares each in proportion to its weight, and what a guest does not use of its share
    floats to the others.
    """
    host = place.scenario.host
    if host.protection is None:
        return guests
    claims = [group.low for group in host.cgroups.values()]
    claims += [known.low for known in facts if known.low is not None]
    left = max(0, host.protection - sum(claims)) // host.page
    sharing = [g.cgroup < 0 and known.low is None for g, known in zip(guests, facts, strict=True)]
    total = sum(known.weight for known, shares in zip(facts, sharing, strict=True) if shares)
    return tuple(
        replace(
            one, low_pages=min(one.pages + one.emulator_pages, left * known.weight // max(total, 1))
        )
        if shares
        else one
        for one, known, shares in zip(guests, facts, sharing, strict=True)
    )


def _ksm(place: Place) -> spec.Ksm | None:
    ksm = place.scenario.host.ksm
    if ksm is None:
        return None
    runs = stream(place.key, "ksm").random() < place.scenario.randomise.ksm
    return ksm.spec() if runs else replace(ksm.spec(), run=0)


def _ram_pages(place: Place, guests: tuple[spec.GuestSpec, ...]) -> int:
    """RAM as given, or so that the guests' sizes are `overcommit` times what is left for them."""
    host, ratios = place.scenario.host, place.scenario.randomise.overcommit
    if ratios is None:
        return (host.ram or 0) // host.page
    ratio = uniform(ratios, stream(place.key, "overcommit"))
    fixed = host.reserved // host.page + sum(guest.emulator_pages for guest in guests)
    return fixed + math.ceil(sum(guest.pages for guest in guests) / ratio)
