"""Whether what is to be simulated fits into the memory of the machine that simulates it."""

from collections.abc import Sequence
from pathlib import Path

from configs.loading import ConfigError
from memsim import state
from memsim.spec import HostSpec
from scenarios.schema import Scenario

GIB = 2**30
SLOT_BYTES = 4  # of a slot of swap, its owner
TWICE = 2  # a host is built, then put into its batch


class TooLarge(ConfigError):
    """More would have to be simulated than there is memory for."""


def check_scenario(scenario: Scenario, hosts: int) -> None:
    """Refuse what cannot fit before anything of it is drawn.

    Raises:
        TooLarge: naming what it needs and what there is.
    """
    host, guests = scenario.host, scenario.guests
    sizes = sum((guest.size + guest.emulator) * guest.count for guest in guests)
    swap = host.swap.size if host.swap else 0
    swap += sum(guest.own_swap.of(guest.size) * guest.count for guest in guests if guest.own_swap)
    needed = (sizes * state.page_dtype.itemsize + swap * SLOT_BYTES) // host.page
    _check(scenario.name, needed * hosts, host.page)


def check_specs(names: Sequence[str], specs: Sequence[HostSpec], hosts: int) -> None:
    """Refuse hosts as drawn; all of a batch have room for the largest.

    Raises:
        TooLarge: naming the largest, what all need and what there is.
    """
    needs = [_bytes(spec) for spec in specs]
    worst = needs.index(max(needs))
    _check(names[worst], TWICE * needs[worst] * hosts, specs[worst].page_bytes)


def _bytes(spec: HostSpec) -> int:
    """Of one host's largest arrays: pages of guests, of their programs and files, and of swap."""
    page = state.page_dtype.itemsize + (state.ksm_dtype.itemsize if spec.ksm else 0)
    own = sum(guest.pages + guest.emulator_pages for guest in spec.guests)
    used = sum(region.pages for guest in spec.guests for region in guest.regions)
    slots = spec.swap_pages + sum(guest.swap_pages for guest in spec.guests)
    return own * page + used * state.vpage_dtype.itemsize + slots * SLOT_BYTES


def _check(name: str, needed: int, page: int) -> None:
    available = available_bytes()
    if needed > available:
        raise TooLarge(
            f"{name}: needs about {needed / GIB:.1f} GiB to be simulated, and this machine has"
            f" {available / GIB:.1f} GiB available; expected smaller or fewer guests, fewer hosts"
            f" at a time, or a host.page above {page}"
        )


def available_bytes() -> int:
    """What this process may still take: MemAvailable, or what is left of its cgroup's limit."""
    table = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(table["MemAvailable"].split()[0]) * 1024
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text()
    except OSError:  # cgroup v1, or the root cgroup
        return available
    return available if limit == "max" else min(available, int(limit) - int(used))
