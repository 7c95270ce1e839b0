"""Who lives on a host: the guests of a scenario, those drawn at random and those of traces.

What is drawn for a guest depends on the host's key and the guest's number alone, and each trait
has a stream of its own, so that hosts with more guests begin with the same guests.
"""

import math
from dataclasses import dataclass

import numpy as np

from configs.loading import parse_bytes
from memsim import spec
from scenarios import check, profiles
from scenarios.build import Built, Owner, build_work
from scenarios.machine import (
    Defragment,
    Hints,
    Kernel,
    Reporting,
    async_mode,
    defrag_mode,
    resize_mode,
)
from scenarios.quantities import Amount, parse_amount
from scenarios.randomise import Randomise
from scenarios.randomness import Key, pick, stream, uniform
from scenarios.replay import Replayed, machines_of_host
from scenarios.schema import Arm, Cooperation, Guest, Mechanisms, Scenario
from scenarios.work import Profile, Work

_START = {
    "fresh": spec.Start.FRESH,
    "resident": spec.Start.RESIDENT,
    "reclaimed": spec.Start.RECLAIMED,
}
_HINTING = {
    Hints.NONE: spec.Hinting.NONE,
    Hints.BITMAP: spec.Hinting.BITMAP,
    Hints.REPORTING: spec.Hinting.REPORTING,
}


@dataclass(frozen=True)
class GuestFacts:
    """What is known of a guest beside its memory: names, sizes and mechanisms."""

    guest_id: int
    name: str
    kind: str  # profile, or "trace"
    size: int  # [bytes] maximum
    min: int  # [bytes]
    weight: int
    mechanisms: Mechanisms
    cooperation: Cooperation
    task_names: tuple[str, ...]
    low: int | None  # [bytes] memory.low that it claims itself
    statistics: bool  # balloon statistics are polled
    agent: bool  # there is an agent inside
    source: str  # which trace it follows; empty: none


@dataclass(frozen=True)
class Place:
    """The host's side of its guests."""

    scenario: Scenario
    key: Key
    kernel: Kernel
    arm: Arm

    @property
    def page(self) -> int:
        """[bytes] of a page of the host."""
        return self.scenario.host.page

    def mechanisms(self, own: Mechanisms) -> Mechanisms:
        """A guest's own mechanisms with what the arm changes."""
        named = {name: getattr(self.arm, name) for name in Mechanisms.model_fields}
        changed = {name: value for name, value in named.items() if value is not None}
        return own.model_copy(update=changed) if changed else own


Occupant = tuple[spec.GuestSpec, GuestFacts]


def guests_of(place: Place) -> tuple[list[Occupant], tuple[spec.Entry, ...], str]:
    """All guests, slot by slot, what the traces add to the timeline, and which trace it is."""
    scenario = place.scenario
    found: list[Occupant] = []
    for guest in scenario.guests:
        for copy, name in enumerate(guest.names):
            start = guest.start + copy * guest.start_every
            found.append(_occupant(place, guest, len(found), name, start))
    bounds = scenario.randomise.guests
    if bounds is not None:
        count = int(stream(place.key, "guests").integers(bounds[0], bounds[1] + 1))
        for _ in range(count):
            guest = _random_guest(place, len(found))
            found.append(_occupant(place, guest, len(found), guest.name, guest.start))
    power: list[spec.Entry] = []
    trace = ""
    if scenario.replay is not None:
        machines = machines_of_host(
            scenario.replay,
            place.key,
            scenario.end_s,
            place.page,
            first_id=len(found),
            begin_s=scenario.warm_up,
        )
        for machine in machines:
            power += _power(machine, len(found))
            found.append(_replayed(place, machine, len(found)))
            trace = f"{machine.dataset} from step {machine.begin}"
    return found, tuple(power), trace


def _replayed(place: Place, machine: Replayed, guest_id: int) -> Occupant:
    """A machine of a trace as a guest; its mechanisms are drawn as those of other guests."""
    drawn, replay = place.scenario.randomise, place.scenario.replay
    share = replay.min.of(machine.size) if replay is not None else 0
    kernel = machine.built.kernel_pages * place.page
    weight = pick(drawn.weights, stream(place.key, "guest weight", guest_id), "1000")
    vcpus = pick(drawn.vcpus, stream(place.key, "guest vcpus", guest_id), "1")
    guest = Guest(
        name=f"vm-{machine.vm}",
        work=Work(),
        size=machine.size,
        min=Amount(size=min(machine.size, max(share, kernel))),
        weight=int(weight),
        boot=uniform(drawn.boot, stream(place.key, "guest boot", guest_id)),
        mechanisms=random_mechanisms(drawn, place.key, guest_id),
        low=random_limit(drawn.low, "low", machine.size, place, guest_id),
        high=random_limit(drawn.high, "high", machine.size, place, guest_id),
        cooperation=random_cooperation(drawn, place.key, guest_id),
        emulator=drawn.emulator,
    )
    source = f"{machine.dataset}/{machine.vm}"
    facts = guest_facts(place, guest, guest_id, guest.name, machine.built, source)
    start = machine.on[0][0]
    own_swap = random_swap(drawn, place.key, guest_id) or Amount()
    swap = own_swap.of(machine.size) // place.page
    made = guest_spec(place, guest, facts, machine.built, start=start, vcpus=int(vcpus), swap=swap)
    return made, facts


def _power(machine: Replayed, slot: int) -> list[spec.Entry]:
    """The times at which a machine is switched off, and on again after the first time."""
    off = [until for _, until in machine.on if until < math.inf]
    again = [start for start, _ in machine.on[1:]]
    return [spec.Entry(spec.Act.STOP_GUEST, at_s=at, guest=slot) for at in off] + [
        spec.Entry(spec.Act.START_GUEST, at_s=at, guest=slot) for at in again
    ]


def _random_guest(place: Place, guest_id: int) -> Guest:
    """A guest drawn from the scenario's mixes; each trait has a stream of its own."""
    drawn, end_s = place.scenario.randomise, place.scenario.end_s
    rng = {
        trait: stream(place.key, f"guest {trait}", guest_id)
        for trait in ("profile", "size", "min", "vcpus", "weight", "time", "boot", "memory")
    }
    profile = pick(drawn.profiles, rng["profile"], "")
    size_text = pick(drawn.sizes, rng["size"], "")
    size = parse_bytes(int(size_text) if size_text.isdecimal() else size_text)
    vcpus = pick(drawn.vcpus, rng["vcpus"], "")
    late, leaves, when, stay = rng["time"].random(4)
    # what comes late comes in the first two thirds; what leaves stays for a fifth at least
    start = end_s * 2 / 3 * when if late < drawn.late else 0.0
    stop = start + 0.2 * end_s + (0.8 * end_s - start) * stay
    kernel = profiles.find(profile, place.scenario.profiles).kernel.of(size)
    least = math.ceil(max(uniform(drawn.min, rng["min"]) * size, kernel) / place.page)
    return Guest(
        name=f"{profile}-{guest_id}",
        profile=profile,
        size=size,
        min=Amount(size=least * place.page),
        vcpus=int(vcpus) if vcpus else None,
        weight=int(pick(drawn.weights, rng["weight"], "1000")),
        start=start,
        stop=stop if leaves < drawn.leave and stop < end_s else None,
        boot=uniform(drawn.boot, rng["boot"]),
        memory="fresh" if start else pick(drawn.memory, rng["memory"], "fresh"),
        mechanisms=random_mechanisms(drawn, place.key, guest_id),
        own_swap=random_swap(drawn, place.key, guest_id),
        low=random_limit(drawn.low, "low", size, place, guest_id),
        high=random_limit(drawn.high, "high", size, place, guest_id),
        cooperation=random_cooperation(drawn, place.key, guest_id),
        emulator=drawn.emulator,
        vary=drawn.vary,
    )


def random_mechanisms(drawn: Randomise, key: Key, guest_id: int) -> Mechanisms:
    """Mechanisms of a guest from the mixes, where there are any."""
    usual = Mechanisms()

    def rng(trait: str) -> np.random.Generator:
        return stream(key, f"guest {trait}", guest_id)

    return Mechanisms(
        async_faults=pick(drawn.async_faults, rng("async_faults"), usual.async_faults),
        hinting=pick(drawn.hinting, rng("hinting"), usual.hinting),
        resize=pick(drawn.resize, rng("resize"), usual.resize),
        deflate_on_oom=bool(rng("deflate_on_oom").random() < drawn.deflate_on_oom),
        huge_pages=bool(rng("huge_pages").random() < drawn.huge_pages),
        defrag=pick(dict[Defragment | None, float](drawn.defrag.items()), rng("defrag"), None),
        reporting=Reporting(
            order=int(pick(drawn.reporting_order, rng("reporting order"), "9")),
            every=uniform(drawn.reporting_every, rng("reporting every")),
        ),
    )


def random_swap(drawn: Randomise, key: Key, guest_id: int) -> Amount | None:
    """A guest's own swap from the mix, None if there is no mix."""
    amount = pick(drawn.own_swap, stream(key, "guest own swap", guest_id), "")
    return parse_amount(amount) if amount else None


def random_limit(
    mix: dict[str, float], name: str, size: int, place: Place, guest_id: int
) -> int | None:
    """[bytes] memory.low or memory.high of a guest, whole pages; None: it has none of its own."""
    amount = pick(mix, stream(place.key, f"guest memory {name}", guest_id), "")
    limit = parse_amount(amount).of(size) // place.page * place.page if amount else 0
    return limit or None


def random_cooperation(drawn: Randomise, key: Key, guest_id: int) -> Cooperation:
    """Whether a guest answers to targets, and how soon."""
    stuck, slow, by = stream(key, "guest cooperation", guest_id).random(3)
    low, high = drawn.slow_by
    delay = low + (high - low) * by if slow < drawn.slow else 0.0
    return Cooperation(stuck=bool(stuck < drawn.stuck), delay=delay)


def _occupant(place: Place, guest: Guest, guest_id: int, name: str, start: float) -> Occupant:
    """One guest for the simulator, and the facts about it."""
    scenario = place.scenario
    work = check.work_of(scenario, guest)
    own_swap = guest.own_swap
    vcpus = guest.vcpus
    if isinstance(work, Profile):
        own_swap = work.own_swap if own_swap is None else own_swap
        vcpus = work.vcpus if vcpus is None else vcpus
    owner = Owner(
        key=place.key,
        guest_id=guest_id,
        size=guest.size,
        page=place.page,
        end_s=scenario.end_s,
        events=tuple(check.events(work)),
        vary=guest.vary,
        jobs=guest.jobs or vcpus or 1,
        recordings=scenario.recordings,
    )
    built = build_work(work, owner)
    facts = guest_facts(place, guest, guest_id, name, built)
    swap_pages = owner.pages(own_swap.of(guest.size)) if own_swap is not None else 0
    return (
        guest_spec(place, guest, facts, built, start=start, vcpus=vcpus or 1, swap=swap_pages),
        facts,
    )


def guest_facts(
    place: Place, guest: Guest, guest_id: int, name: str, built: Built, source: str = ""
) -> GuestFacts:
    """What is known of a guest; which sensors it has is drawn here."""
    sensors = place.scenario.sensors
    missing, agent = stream(place.key, "guest sensors", guest_id).random(2)
    return GuestFacts(
        guest_id=guest_id,
        name=name,
        kind=guest.profile or ("trace" if source else "own"),
        size=guest.size,
        min=-(-guest.min.of(guest.size) // place.page) * place.page,
        weight=guest.weight,
        mechanisms=place.mechanisms(guest.mechanisms),
        cooperation=guest.cooperation,
        task_names=built.task_names,
        low=guest.low,
        statistics=bool(missing >= sensors.missing),
        agent=bool(agent < sensors.agents),
        source=source,
    )


def guest_spec(
    place: Place,
    guest: Guest,
    facts: GuestFacts,
    built: Built,
    *,
    start: float,
    vcpus: int,
    swap: int,
) -> spec.GuestSpec:
    """A guest in pages and seconds."""
    host, mechanisms = place.scenario.host, facts.mechanisms
    disk = guest.disk or host.guest_device
    return spec.GuestSpec(
        guest_id=facts.guest_id,
        pages=guest.size // place.page,
        regions=built.regions,
        tasks=built.tasks,
        curves=built.curves,
        streams=built.streams,
        min_pages=facts.min // place.page,
        vcpus=vcpus,
        cpu_weight=guest.cpu_weight,
        kernel_pages=built.kernel_pages,
        kernel_spread=built.kernel_spread,
        kernel_used=built.kernel_used,
        reserved_pages=built.reserved_pages,
        booted_pages=built.booted_pages,
        emulator_pages=guest.emulator // place.page,
        emulator_used=-1 if guest.emulator_used is None else guest.emulator_used // place.page,
        swap_pages=swap,
        disk=list(host.devices).index(disk),
        max_pages=-1 if guest.max is None else guest.max // place.page,
        high_pages=-1 if guest.high is None else guest.high // place.page,
        low_pages=(guest.low or 0) // place.page,
        cgroup=-1 if guest.cgroup is None else list(host.cgroups).index(guest.cgroup),
        hinting=_HINTING[mechanisms.hinting],
        reporting=(mechanisms.reporting or Reporting()).spec(),
        async_mode=async_mode(place.kernel, mechanisms.async_faults),
        resize=resize_mode(place.kernel, mechanisms.resize),
        deflate_on_oom=mechanisms.deflate_on_oom,
        huge_pages=mechanisms.huge_pages,
        defrag=defrag_mode(place.kernel, mechanisms.defrag),
        tlb_share=mechanisms.tlb_share,
        movable_balloon=mechanisms.movable_balloon,
        stuck=guest.cooperation.stuck,
        resize_delay_s=guest.cooperation.delay,
        lru_exact=guest.lru == "exact",
        lru_2011=place.kernel == Kernel.OLD,
        swappiness=guest.swappiness,
        start=_START[guest.memory],
        start_s=math.inf if guest.on_demand else start,
        stop_s=math.inf if guest.stop is None else guest.stop,
        boot_s=guest.boot,
        stats_period_s=place.scenario.sensors.period if facts.statistics else 0.0,
    )
