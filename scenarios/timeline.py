"""A scenario's timeline in the simulator's terms: slots, pages and numbers instead of names."""

from collections.abc import Sequence

from memsim import spec
from scenarios import check
from scenarios.occupants import GuestFacts
from scenarios.schema import LimitCgroup, OfCgroup, Scenario


def timeline_of(
    scenario: Scenario, guests: Sequence[GuestFacts]
) -> tuple[tuple[spec.Entry, ...], tuple[str, ...]]:
    """The scenario's own timeline, and the names of its marks by number."""
    slots = {guest.name: slot for slot, guest in enumerate(guests)}
    cgroups = list(scenario.host.cgroups)
    events = {
        name: check.events(check.work_of(scenario, guest))
        for guest in scenario.guests
        for name in guest.names
    }

    def group(entry: OfCgroup) -> int:
        if entry.guest is not None:  # guests' own ones follow, slot by slot
            return len(cgroups) + slots[entry.guest]
        return cgroups.index(str(entry.cgroup))

    marks: list[str] = []
    lines: list[spec.Entry] = []
    for entry in scenario.timeline:
        at_s = -1.0 if entry.at is None else entry.at
        after_s = entry.after or 0.0
        act, slot, index, value = spec.Act.MARK, -1, -1, 0.0
        if entry.do == "start" or entry.do == "stop":
            act = spec.Act.START_GUEST if entry.do == "start" else spec.Act.STOP_GUEST
            slot = slots[entry.guest]
        elif entry.do == "limit":
            index = group(entry)
            for limit, pages in _limits(entry, scenario.host.page):
                lines.append(spec.Entry(limit, at_s, after_s, -1, index, pages))
                after_s = 0.0
            continue
        elif entry.do == "cores":
            act, value = spec.Act.CORES, float(entry.cores)
        elif entry.do == "target":
            act, slot = spec.Act.TARGET, slots[entry.guest]
            value = float(entry.size // scenario.host.page)
        elif entry.do == "wait_target":
            act, slot = spec.Act.WAIT_TARGET, slots[entry.guest]
        elif entry.do == "wait_limit":
            act, index = spec.Act.WAIT_LIMIT, group(entry)
        elif entry.do == "wait_event":
            act, slot, value = spec.Act.WAIT_EVENT, slots[entry.guest], float(entry.times)
            index = events[entry.guest].index(entry.event)
        elif entry.do == "signal":
            act, slot = spec.Act.SIGNAL, slots[entry.guest]
            index = events[entry.guest].index(entry.event)
        else:
            value = float(len(marks))
            marks.append(entry.name)
        lines.append(spec.Entry(act, at_s, after_s, slot, index, value))
    return tuple(lines), tuple(marks)


def _limits(entry: LimitCgroup, page: int) -> list[tuple[spec.Act, float]]:
    """What a limit entry sets, in pages, -1 for none."""
    acts: list[tuple[spec.Act, float]] = []
    if entry.low is not None:
        acts.append((spec.Act.CGROUP_LOW, entry.low / page))
    if entry.high is not None:
        acts.append((spec.Act.CGROUP_HIGH, _pages(entry.high, page)))
    if entry.max is not None or not acts:
        acts.append((spec.Act.CGROUP_MAX, _pages(entry.max, page)))
    return acts


def _pages(limit: int | str | None, page: int) -> float:
    return limit / page if isinstance(limit, int) else -1.0
