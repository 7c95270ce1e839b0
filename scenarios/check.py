"""What a scenario's parts must hold together: names that exist, sizes that fit each other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from configs.loading import ConfigError, parse_bytes
from memsim.state import GUESTS
from scenarios import profiles
from scenarios.work import Profile, Signal, Wait, Work, expected_one_of, walk

if TYPE_CHECKING:
    from scenarios.schema import Guest, OfCgroup, Scenario


HUGE_GRAIN = 65536  # [bytes] the coarsest pages that a block of 2 MiB is modelled with


def problems(scenario: Scenario) -> Iterator[str]:
    """Everything that cannot be: field path, value and expectation each."""
    yield from _names_differ(scenario)
    for number, guest in enumerate(scenario.guests):
        for problem in _guest(scenario, guest):
            yield f"guests.{number}.{problem}"
    if scenario.sensors.cgroup is not None and scenario.sensors.cgroup not in scenario.host.cgroups:
        expected = expected_one_of(list(scenario.host.cgroups))
        yield f"sensors.cgroup: {scenario.sensors.cgroup!r}: {expected}"
    yield from _timeline(scenario)
    yield from _kernel(scenario)
    yield from _drawn(scenario)
    yield from _reporting(scenario)
    yield from _ram(scenario)
    yield from _slots(scenario)


def work_of(scenario: Scenario, guest: Guest) -> Work:
    """What the guest runs.

    Raises:
        ConfigError: its profile does not exist.
    """
    if guest.work is not None:
        return guest.work
    return profiles.find(str(guest.profile), scenario.profiles)


def works_of(scenario: Scenario) -> Iterator[Work]:
    """Everything that some guest of the scenario may run, replays left out.

    Raises:
        ConfigError: a profile does not exist.
    """
    for guest in scenario.guests:
        yield work_of(scenario, guest)
    for name in scenario.randomise.profiles:
        yield profiles.find(name, scenario.profiles)


def _names_differ(scenario: Scenario) -> Iterator[str]:
    names = sorted(name for guest in scenario.guests for name in guest.names)
    for name, following in pairwise(names):
        if name == following:
            yield f"guests: two are called {name!r}; expected names that differ"


def _guest(scenario: Scenario, guest: Guest) -> Iterator[str]:
    host = scenario.host
    if guest.size % host.page:
        yield f"size: {guest.size}: expected a multiple of host.page, {host.page}"
    if not guest.min.relative and guest.min.size % host.page:
        yield f"min: {guest.min.size}: expected a multiple of host.page, {host.page}"
    if (used := guest.emulator_used) is not None and used > guest.emulator:
        yield f"emulator_used: {used}: expected at most emulator, {guest.emulator}"
    if guest.emulator % host.page:
        yield f"emulator: {guest.emulator}: expected a multiple of host.page, {host.page}"
    for field in ("max", "high", "low"):
        size = getattr(guest, field)
        if size is not None and size % host.page:
            yield f"{field}: {size}: expected a multiple of host.page, {host.page}"
        if size is not None and guest.cgroup is not None:
            yield f"{field}: {size}: expected none here, but in host.cgroups.{guest.cgroup}"
    if guest.max is not None and guest.emulator >= guest.max:
        yield f"max: {guest.max}: expected more than its emulator, {guest.emulator}"
    if guest.mechanisms.huge_pages and host.page > HUGE_GRAIN:
        yield f"mechanisms.huge_pages: true: {_fine(host.page)}"
    if guest.cgroup is not None:
        if guest.cgroup not in host.cgroups:
            yield f"cgroup: {guest.cgroup!r}: {expected_one_of(list(host.cgroups))}"
        elif (limit := host.cgroups[guest.cgroup].max) is not None and guest.emulator >= limit:
            yield f"emulator: {guest.emulator}: expected less than its cgroup's max, {limit}"
    if guest.disk is not None and guest.disk not in host.devices:
        yield f"disk: {guest.disk!r}: {expected_one_of(list(host.devices))}"
    try:
        work = work_of(scenario, guest)
    except ConfigError as error:
        yield str(error)
        return
    yield from _fits(work, guest, host.page)
    yield from _never_signalled(work, _signalled_by_host(scenario, guest))


def _fine(page: int) -> str:
    return f"expected false, or host.page of at most {HUGE_GRAIN}, not {page}"


def _fits(work: Work, guest: Guest, page: int) -> Iterator[str]:
    kernel = work.kernel.of(guest.size)
    if kernel >= guest.size:
        yield f"work.kernel: {kernel}: expected less than size, {guest.size}"
    if (used := work.kernel_used.of(guest.size)) > kernel:
        yield f"work.kernel_used: {used}: expected at most kernel, {kernel}"
    if (reserved := work.reserved.of(guest.size)) > kernel:
        yield f"work.reserved: {reserved}: expected at most kernel, {kernel}"
    if (spread := work.kernel_spread.of(guest.size)) and not kernel <= spread <= guest.size:
        yield f"work.kernel_spread: {spread}: expected from kernel, {kernel}, to size, {guest.size}"
    if (booted := work.booted.of(guest.size)) > guest.size:
        yield f"work.booted: {booted}: expected at most size, {guest.size}"
    if guest.min.of(guest.size) < kernel:
        yield (
            f"min: {guest.min.of(guest.size)}: expected at least what its kernel"
            f" cannot give back, {kernel}"
        )
    own_swap = guest.own_swap.of(guest.size) if guest.own_swap is not None else 0
    if isinstance(work, Profile) and guest.own_swap is None:
        own_swap = work.own_swap.of(guest.size)
    for name, region in work.regions.items():
        size = region.size.of(guest.size)
        if size == 0:
            yield f"work.regions.{name}.size: 0: expected more"
        if not region.size.relative and size % page:
            yield f"work.regions.{name}.size: {size}: expected a multiple of host.page, {page}"
        if region.kind == "kernel" and size > guest.size - kernel:
            yield (
                f"work.regions.{name}.size: {size}: expected at most size less kernel,"
                f" {guest.size - kernel}"
            )
        if region.kind == "anon" and size > guest.size - kernel + own_swap:
            yield (
                f"work.regions.{name}.size: {size}: expected at most size less kernel plus"
                f" own_swap, {guest.size - kernel + own_swap}"
            )


def _timeline(scenario: Scenario) -> Iterator[str]:
    guests = {name: guest for guest in scenario.guests for name in guest.names}
    last_s = 0.0
    for number, entry in enumerate(scenario.timeline):
        path = f"timeline.{number}"
        if entry.at is not None:
            if entry.at < last_s:
                yield f"{path}.at: {entry.at}: expected at least {last_s}, the entry before it"
            last_s = entry.at
        name = getattr(entry, "guest", None)
        if name is not None and name not in guests:
            yield f"{path}.guest: {name!r}: {expected_one_of(list(guests))}"
            continue
        if entry.do == "limit" or entry.do == "wait_limit":
            for problem in _limit(scenario, entry, guests):
                yield f"{path}.{problem}"
        if entry.do == "target" and not 0 < entry.size <= guests[entry.guest].size:
            size = guests[entry.guest].size
            yield f"{path}.size: {entry.size}: expected at most the guest's size, {size}"
        if entry.do == "wait_event" or entry.do == "signal":
            known = events(work_of(scenario, guests[entry.guest]))
            if entry.event not in known:
                yield f"{path}.event: {entry.event!r}: {expected_one_of(known)}"


def ignored(scenario: Scenario) -> Iterator[str]:
    """What the timeline asks for in vain; an experiment may want that in one of its arms."""
    guests = {name: guest for guest in scenario.guests for name in guest.names}
    for number, entry in enumerate(scenario.timeline):
        if entry.do == "target" and not _resizes(scenario, guests[entry.guest]):
            yield (
                f"timeline.{number}: target: {entry.guest} ignores it, as its mechanisms.resize is"
                " none"
            )


def resizes(scenario: Scenario) -> bool:
    """Whether some guest of the scenario may follow a target."""
    if any(_resizes(scenario, guest) for guest in scenario.guests):
        return True
    drawn = scenario.most_guests > sum(guest.count for guest in scenario.guests)
    ways = {scenario.arm.resize} if scenario.arm.resize else set(scenario.randomise.resize)
    return drawn and ways != {"none"}


def _resizes(scenario: Scenario, guest: Guest) -> bool:
    return (scenario.arm.resize or guest.mechanisms.resize) != "none"


def _limit(scenario: Scenario, entry: OfCgroup, guests: dict[str, Guest]) -> Iterator[str]:
    cgroups = list(scenario.host.cgroups)
    if entry.cgroup is not None and entry.cgroup not in cgroups:
        yield f"cgroup: {entry.cgroup!r}: {expected_one_of(cgroups)}"
    if entry.guest is not None and (shared := guests[entry.guest].cgroup) is not None:
        yield f"guest: {entry.guest!r}: expected cgroup: {shared}, which it is in"
    for field in ("max", "high", "low"):
        size = getattr(entry, field, None)
        if isinstance(size, int) and size % scenario.host.page:
            yield f"{field}: {size}: expected a multiple of host.page"


def _kernel(scenario: Scenario) -> Iterator[str]:
    """A host of 2011 has cgroup v1: limits alone."""
    host, arm = scenario.host, scenario.arm
    kernels = {host.kernel, *scenario.randomise.kernels, *([arm.kernel] if arm.kernel else [])}
    if "2011" not in kernels:
        return
    protects = host.protection is not None
    protects |= any(part.low or part.high is not None for part in host.cgroups.values())
    protects |= any(part.low or part.high is not None for part in scenario.guests)
    protects |= bool(scenario.randomise.low or scenario.randomise.high)
    protects |= any(
        entry.low is not None or entry.high is not None
        for entry in scenario.timeline
        if entry.do == "limit"
    )
    if protects:
        yield "host.kernel: 2011 has no memory.low, memory.high or protection; expected modern"


def _reporting(scenario: Scenario) -> Iterator[str]:
    """Numbers of free page reporting are for guests that report."""
    expected, drawn, arm = "expected hinting: reporting", scenario.randomise, scenario.arm
    for number, guest in enumerate(scenario.guests):
        own = guest.mechanisms
        if own.reporting is not None and (arm.hinting or own.hinting) != "reporting":
            yield f"guests.{number}.mechanisms.reporting: {expected} beside it, not {own.hinting}"
    hinting = (
        {arm.hinting} if arm.hinting else {part.mechanisms.hinting for part in scenario.guests}
    )
    drawn_hinting = {arm.hinting} if arm.hinting else {*drawn.hinting}
    if arm.reporting is not None and "reporting" not in hinting | drawn_hinting:
        yield f"arm.reporting: {expected} beside it or of some guest"
    if drawn.reporting_order and "reporting" not in drawn_hinting:
        yield "randomise.reporting_order: expected reporting among randomise.hinting"


def events(work: Work) -> list[str]:
    """The events that the tasks of a guest signal or wait for, in order of their first mention."""
    found = (
        phase.event
        for task in work.tasks.values()
        for _, phase in walk(task.phases)
        if isinstance(phase, Signal | Wait)
    )
    return list(dict.fromkeys(found))


def _signalled_by_host(scenario: Scenario, guest: Guest) -> set[str]:
    """Events that the timeline signals to a guest; to all of them if there are several alike."""
    by_name: dict[str, set[str]] = {name: set() for name in guest.names}
    for entry in scenario.timeline:
        if entry.do == "signal" and entry.guest in by_name:
            by_name[entry.guest].add(entry.event)
    return set.intersection(*by_name.values())


def _never_signalled(work: Work, by_host: set[str]) -> Iterator[str]:
    """Waits for events that nobody signals."""
    phases = [
        (f"work.tasks.{name}.{path}", phase)
        for name, task in work.tasks.items()
        for path, phase in walk(task.phases)
    ]
    known = {phase.event for _, phase in phases if isinstance(phase, Signal)} | by_host
    for path, phase in phases:
        if isinstance(phase, Wait) and phase.event not in known:
            yield (
                f"{path}.event: {phase.event!r}: of the events that are signalled,"
                f" {expected_one_of(known)}"
            )


def _drawn(scenario: Scenario) -> Iterator[str]:
    drawn, host = scenario.randomise, scenario.host
    if scenario.arm.huge_pages and host.page > HUGE_GRAIN:
        yield f"arm.huge_pages: true: {_fine(host.page)}"
    if drawn.huge_pages and host.page > HUGE_GRAIN:
        yield f"randomise.huge_pages: {drawn.huge_pages}: {_fine(host.page)}"
    for name in drawn.profiles:
        try:
            work = profiles.find(name, scenario.profiles)
        except ConfigError as error:
            yield f"randomise.profiles: {error}"
            continue
        for problem in _never_signalled(work, set()):
            yield f"randomise.profiles: {name}: {problem}"
    for size in drawn.sizes:
        if parse_bytes(int(size) if size.isdecimal() else size) % host.page:
            yield f"randomise.sizes: {size!r}: expected a multiple of host.page, {host.page}"
    if drawn.emulator % host.page:
        yield f"randomise.emulator: {drawn.emulator}: expected a multiple of host.page"
    for device in drawn.swap_devices:
        if device not in host.devices:
            yield f"randomise.swap_devices: {device!r}: {expected_one_of(list(host.devices))}"
    if drawn.swap_devices and host.swap is None:
        yield "randomise.swap_devices: expected host.swap, which gives the size"
    if scenario.replay is not None and any(entry.at is None for entry in scenario.timeline):
        yield "timeline: in a replay guests come and go by the trace; expected only entries with at"


def _ram(scenario: Scenario) -> Iterator[str]:
    host, guests = scenario.host, scenario.guests
    if host.ram is None:
        if scenario.randomise.overcommit is None:
            yield "host.ram: expected a size, or a range in randomise.overcommit"
        return
    if scenario.randomise.overcommit is not None:
        yield f"host.ram: {host.ram}: expected none, because randomise.overcommit gives it"
    emulators = sum(guest.emulator * guest.count for guest in guests)
    if host.reserved + emulators >= host.ram:
        yield (
            f"host.ram: {host.ram}: expected more than the host and its emulators need,"
            f" {host.reserved + emulators}"
        )
    held = sum(guest.size * guest.count for guest in guests if guest.memory != "fresh")
    room = host.ram - host.reserved - emulators + (host.swap.size if host.swap else 0)
    if held > room:
        yield (
            f"guests: {held} bytes of them are resident or reclaimed at the start; expected at"
            f" most what RAM and swap hold, {room}"
        )


def _slots(scenario: Scenario) -> Iterator[str]:
    if scenario.most_guests == 0:
        yield "guests: expected at least one, here, in randomise or in replay"
    if scenario.most_guests > GUESTS:
        yield f"guests: {scenario.most_guests} of them: expected at most {GUESTS} on a host"
