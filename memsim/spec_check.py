"""What a `HostSpec` must not be: every error names the field, the value and what was expected."""

import numpy as np

from memsim import params, state
from memsim.params import PSI_PERIOD_S
from memsim.spec import (
    Act,
    Cgroup,
    Defrag,
    DeviceKind,
    GuestSpec,
    HostSpec,
    Op,
    Pattern,
    Phase,
    RegionKind,
    Task,
)
from memsim.state import NOBODY

KSM_PAGE_BYTES = 65536  # coarser pages would hardly ever be equal


def check(spec: HostSpec) -> None:
    """Refuse a host that makes no sense.

    Raises:
        ValueError: which field, and why.
    """

    def need(good: bool, what: str) -> None:
        if not good:
            raise ValueError(f"HostSpec.{what}")

    size = spec.page_bytes
    need(4096 <= size <= 1 << 22 and size & (size - 1) == 0, f"page_bytes: {size} is no power of 2")
    need(spec.ram_pages > spec.reserved_pages, "ram_pages: no more than reserved_pages")
    _check_ksm(spec)
    need(-1 <= spec.swappiness <= 200, f"swappiness: {spec.swappiness}, -1 to 200 expected")
    need(spec.cores >= 1, f"cores: {spec.cores}, at least 1 expected")
    need(spec.tick_s > 0, f"tick_s: {spec.tick_s}, more than 0 expected")
    need(
        spec.sample_every_s == 0 or spec.sample_every_s >= PSI_PERIOD_S,
        f"sample_every_s: {spec.sample_every_s}, 0 or at least {PSI_PERIOD_S:g} expected",
    )
    need(len(spec.devices) > 0, "devices: none")
    need(0 <= spec.swap_device < len(spec.devices), f"swap_device: {spec.swap_device}")
    need(len(spec.guests) <= state.GUESTS, f"guests: more than {state.GUESTS}")
    huge = spec.huge_pages or any(guest.huge_pages for guest in spec.guests)
    need(not huge or size <= 65536, f"page_bytes: {size}, at most 65536 with huge pages")
    ids = [guest.guest_id for guest in spec.guests]
    need(len(ids) == len(set(ids)), "guests: two have the same guest_id")
    if spec.global_lru:  # cgroup v1: neither protection nor throttling
        groups: tuple[Cgroup | GuestSpec, ...] = (*spec.cgroups, *spec.guests)
        plain = all(group.low_pages <= 0 and group.high_pages == NOBODY for group in groups)
        plain &= spec.slice_low_pages == NOBODY
        plain &= all(e.act not in (Act.CGROUP_LOW, Act.CGROUP_HIGH) for e in spec.timeline)
        need(plain, "global_lru: memory.low and memory.high need lists of each cgroup's own")
    for i, guest in enumerate(spec.guests):
        _check_guest(spec, guest, f"guests[{i}]")


def _check_ksm(spec: HostSpec) -> None:
    def need(good: bool, what: str) -> None:
        if not good:
            raise ValueError(f"HostSpec.{what}")

    ksm = spec.ksm
    if ksm is None:
        return
    size = spec.page_bytes
    need(size <= KSM_PAGE_BYTES, f"page_bytes: {size}, at most {KSM_PAGE_BYTES} expected with KSM")
    need(ksm.run in (0, 1, 2), f"ksm.run: {ksm.run}, 0, 1 or 2 expected")
    need(ksm.pages_to_scan >= 0, f"ksm.pages_to_scan: {ksm.pages_to_scan}")
    least = params.KSM_SLEEP_LEAST_S
    need(ksm.sleep_s >= least, f"ksm.sleep_s: {ksm.sleep_s}, at least {least} expected")
    need(ksm.max_page_sharing >= 2, f"ksm.max_page_sharing: {ksm.max_page_sharing}")


def _check_guest(spec: HostSpec, guest: GuestSpec, at: str) -> None:
    def need(good: bool, what: str) -> None:
        if not good:
            raise ValueError(f"HostSpec.{at}.{what}")

    need(0 < guest.pages < 1 << 30, f"pages: {guest.pages}")
    need(0 <= guest.min_pages <= guest.pages, f"min_pages: {guest.min_pages}")
    need(guest.kernel_pages < guest.pages, f"kernel_pages: {guest.kernel_pages} leave nothing")
    need(
        -1 <= guest.emulator_used <= guest.emulator_pages,
        f"emulator_used: {guest.emulator_used}, at most emulator_pages expected",
    )
    need(0 <= guest.kernel_spread <= guest.pages, f"kernel_spread: {guest.kernel_spread}")
    need(
        0 <= guest.kernel_used <= guest.kernel_pages,
        f"kernel_used: {guest.kernel_used}, at most kernel_pages expected",
    )
    need(
        0 <= guest.reserved_pages <= guest.kernel_pages,
        f"reserved_pages: {guest.reserved_pages}, at most kernel_pages expected",
    )
    need(0 <= guest.booted_pages <= guest.pages, f"booted_pages: {guest.booted_pages}")
    need(0 <= guest.swappiness <= 200, f"swappiness: {guest.swappiness}, 0 to 200 expected")
    need(not (guest.huge_pages and guest.lru_exact), "lru_exact: not with huge pages")
    need(not (guest.lru_2011 and guest.defrag == Defrag.DEFER), "defrag: DEFER, not before 4.6")
    need(0 <= guest.tlb_share <= 1, f"tlb_share: {guest.tlb_share}, 0 to 1 expected")
    need(guest.vcpus >= 1, f"vcpus: {guest.vcpus}")
    need(0 <= guest.disk < len(spec.devices), f"disk: {guest.disk}")
    need(
        spec.devices[guest.disk].kind != DeviceKind.ZRAM, f"disk: {guest.disk} is compressed memory"
    )
    report = guest.reporting
    need(0 <= report.order <= 9, f"reporting.order: {report.order}, 0 to 9 expected")
    need(report.every_s > 0, f"reporting.every_s: {report.every_s}, more than 0 expected")
    need(report.batch >= 1, f"reporting.batch: {report.batch}, at least 1 expected")
    need(NOBODY <= guest.cgroup < len(spec.cgroups), f"cgroup: {guest.cgroup}")
    limits = guest.max_pages != NOBODY or guest.low_pages > 0 or guest.high_pages != NOBODY
    need(
        guest.cgroup == NOBODY or not limits,
        f"cgroup: {guest.cgroup}: max_pages, low_pages, high_pages are those of a group of its own",
    )
    need(
        guest.max_pages == NOBODY or guest.max_pages > guest.emulator_pages,
        f"max_pages: {guest.max_pages}, more than emulator_pages expected",
    )
    for j, task in enumerate(guest.tasks):
        for i, phase in enumerate(task.phases):
            _check_phase(guest, task, phase, f"{at}.tasks[{j}].phases[{i}]")


ON_REGION = (Op.TOUCH, Op.READ, Op.WRITE, Op.ALLOCATE, Op.FREE, Op.HINT_FREE, Op.FOLLOW)


def _check_phase(guest: GuestSpec, task: Task, phase: Phase, at: str) -> None:
    def need(good: bool, what: str) -> None:
        if not good:
            raise ValueError(f"HostSpec.{at}.{what}")

    if phase.op in ON_REGION:
        need(0 <= phase.region < len(guest.regions), f"region: {phase.region}")
        kind = guest.regions[phase.region].kind
        memory = (Op.ALLOCATE, Op.HINT_FREE, Op.FOLLOW)
        need(kind != RegionKind.FILE or phase.op not in memory, f"op: {phase.op.name} of a file")
        user = (Op.READ, Op.WRITE, Op.HINT_FREE)
        only = phase.op == Op.ALLOCATE and phase.rate <= 0.0 and phase.rate_curve < 0
        need(only or not phase.huge_only, "huge_only: of a closed-loop ALLOCATE")
        need(kind != RegionKind.KERNEL or phase.op not in user, f"op: {phase.op.name} of a kernel")
        if phase.op in (Op.TOUCH, Op.READ, Op.WRITE):
            need(phase.cost_s > 0, f"cost_s: {phase.cost_s}, more than 0 expected")
        need(phase.cost_s >= 0, f"cost_s: {phase.cost_s}, at least 0 expected")
    if phase.op == Op.REPEAT:
        need(0 <= phase.jump < len(task.phases), f"jump: {phase.jump}")
    if phase.pattern == Pattern.STREAM and phase.op in (Op.TOUCH, Op.READ, Op.WRITE):
        need(0 <= phase.stream < len(guest.streams), f"stream: {phase.stream}")
        pages = guest.regions[phase.region].pages
        need(int(np.max(guest.streams[phase.stream])) < pages, "stream: leaves its region")
    for name, curve in (("size", phase.size), ("rate_curve", phase.rate_curve)):
        need(NOBODY <= curve < len(guest.curves), f"{name}: {curve}")
    need(0 <= phase.per_arrival < 1 << 16, f"per_arrival: {phase.per_arrival}")
