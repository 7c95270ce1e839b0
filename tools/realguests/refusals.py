"""What of the scenario language real guests can do; all else is refused by the name of its field.

Known fields are listed, so that whatever the language learns is refused until someone says
otherwise.  Of the known ones those that describe hardware are for the simulator alone, because a
machine is what it is: the host's page, ram, cores, kernel, devices and the like, a guest's
emulator, its work's kernel, where it lies, used, reserved and booted, and the cost of an access.
"""

from collections.abc import Iterator

from configs.loading import Config, ConfigError
from scenarios import check, schema, work
from scenarios.machine import AsyncFaults, CgroupConfig, Host
from scenarios.schema import Guest, Mechanisms, Scenario
from scenarios.work import Phase, Work, walk

MIB = 1 << 20
LOWEST = 96 * MIB  # [bytes] a guest that boots at all
PATTERNS = ("uniform", "sequential", "loop")
FILES, PROGRAMS = "file", "anon"  # kinds of region
TIMED = "do at after"
BOOTED = "kernel kernel_spread kernel_used reserved booted"
KNOWN: dict[type[Config], str] = {
    Scenario: "name description host profiles guests timeline sensors warm_up length",
    Host: (
        "page ram cores tick emulation fast kernel huge_pages reserved devices guest_disk readahead"
        " swap cgroups"
    ),
    CgroupConfig: "max",
    Guest: (
        "name profile work count size min weight vcpus start start_every on_demand stop boot"
        " mechanisms emulator emulator_used cgroup"
    ),
    Mechanisms: "async_faults hinting resize deflate_on_oom",
    Work: f"{BOOTED} regions curves streams tasks",
    work.Profile: f"{BOOTED} regions curves streams tasks description vcpus",
    work.Region: "kind size locality",
    work.Task: "phases count starts",
    work.Touch: "op region pattern count bytes seconds cost write",
    work.Read: "op region pattern count bytes seconds cost",
    work.Allocate: "op region bytes cost",
    work.Free: "op region bytes",
    work.Compute: "op seconds",
    work.Sleep: "op seconds",
    work.DropCaches: "op",
    work.Wait: "op event",
    work.Signal: "op event",
    work.Exit: "op",
    work.Repeat: "op times phases",
    schema.StartGuest: f"{TIMED} guest",
    schema.StopGuest: f"{TIMED} guest",
    schema.LimitCgroup: f"{TIMED} cgroup max",
    schema.SetTarget: f"{TIMED} guest size",
    schema.AwaitTarget: f"{TIMED} guest",
    schema.AwaitEvent: f"{TIMED} guest event times",
    schema.SignalEvent: f"{TIMED} guest event",
    schema.Mark: f"{TIMED} name",
}


def refusals(scenario: Scenario) -> Iterator[str]:
    """What real guests cannot do: field, value and reason each."""
    yield from _unknown(scenario, "")
    yield from _unknown(scenario.host, "host.")
    for name, cgroup in scenario.host.cgroups.items():
        yield from _unknown(cgroup, f"host.cgroups.{name}.")
    for number, guest in enumerate(scenario.guests):
        yield from _guest(scenario, guest, f"guests.{number}.")
    for number, entry in enumerate(scenario.timeline):
        yield from _unknown(entry, f"timeline.{number}.", f"do: {entry.do}")


def _unknown(part: Config, path: str, called: str = "") -> Iterator[str]:
    """Fields that are set and not known; all of a part that is not known itself."""
    if type(part) not in KNOWN:
        yield f"{path}{called}: real guests do not know it"
        return
    known = KNOWN[type(part)].split()
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        if name not in known and value != field.get_default(call_default_factory=True):
            yield f"{path}{name}: {value}: real guests do not know it; leave it out"


def _guest(scenario: Scenario, guest: Guest, path: str) -> Iterator[str]:
    yield from _unknown(guest, path)
    yield from _unknown(guest.mechanisms, f"{path}mechanisms.")
    if guest.mechanisms.async_faults != AsyncFaults.OFF:
        yield (
            f"{path}mechanisms.async_faults: {guest.mechanisms.async_faults}: software emulation"
            " has none; expected off"
        )
    if guest.size % MIB or guest.size < LOWEST:
        yield f"{path}size: {guest.size}: expected whole MiB, at least {LOWEST // MIB}"
    try:
        yield from _work(check.work_of(scenario, guest), f"{path}work.")
    except ConfigError as error:
        yield f"{path}profile: {error}"


def _work(found: Work, path: str) -> Iterator[str]:
    yield from _unknown(found, path)
    for name, region in found.regions.items():
        yield from _unknown(region, f"{path}regions.{name}.")
        if region.kind not in (FILES, PROGRAMS):
            yield f"{path}regions.{name}.kind: {region.kind}: the agent has anon and file only"
    for name, task in found.tasks.items():
        yield from _unknown(task, f"{path}tasks.{name}.")
        for place, phase in walk(task.phases):
            yield from _phase(found, phase, f"{path}tasks.{name}.{place}.")


def _phase(found: Work, phase: Phase, path: str) -> Iterator[str]:
    yield from _unknown(phase, path, f"op: {phase.op}")
    if not isinstance(phase, work.Touch | work.Read | work.Free):
        return
    wanted = FILES if isinstance(phase, work.Read) else PROGRAMS
    if found.regions[phase.region].kind != wanted:
        yield f"{path}region: {phase.region}: a real guest does {phase.op} on kind {wanted} only"
    if isinstance(phase, work.Touch | work.Read) and phase.pattern not in PATTERNS:
        yield f"{path}pattern: {phase.pattern}: expected one of {', '.join(PATTERNS)}"
