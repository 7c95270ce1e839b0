"""What an operator knows of simulated hosts and guests before any reading, as arrays."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from contract.arrays import UNKNOWN, Bools, Floats, Ints
from contract.descriptors import AsyncMode, Hinting, ResizeMechanism, SwapClass
from memsim import spec
from scenarios.draw import DrawnHost
from scenarios.machine import DevicePreset, Kernel
from scenarios.randomness import stream
from scenarios.schema import Scenario

_SWAP = {
    None: SwapClass.NONE,
    DevicePreset.HDD: SwapClass.ROTATING,
    DevicePreset.SSD: SwapClass.SOLID,
    DevicePreset.NVME: SwapClass.SOLID,
    DevicePreset.ZRAM: SwapClass.ZRAM,
}
_RESIZE = {
    spec.Resize.NONE: ResizeMechanism.NONE,
    spec.Resize.BALLOON: ResizeMechanism.BALLOON,
    spec.Resize.BALLOON_HUGE: ResizeMechanism.BALLOON,
    spec.Resize.VIRTIO_MEM: ResizeMechanism.VIRTIO_MEM,
    spec.Resize.FREE_TARGET_2011: ResizeMechanism.FREE_TARGET,
    spec.Resize.FREE_TARGET: ResizeMechanism.FREE_TARGET,
}
_HINTING = {
    spec.Hinting.NONE: Hinting.NONE,
    spec.Hinting.BITMAP: Hinting.BITMAP,
    spec.Hinting.REPORTING: Hinting.REPORTING,
}
_ASYNC = {mode: AsyncMode(int(mode)) for mode in spec.Async}


@dataclass(frozen=True)
class Facts:
    """Of H hosts with G slots; unknown is -1."""

    page_bytes: Ints  # (H, 1)
    noise_key: np.ndarray  # (H,) uint64
    noise: Floats  # (H, 1) relative error of balloon statistics
    delay_s: Floats  # (H,) until statistics are known
    psi: Bools  # (H,) pressure is reported
    told_group: Ints  # (H,) row of the cgroup that is told as the host, 0 none
    cgroup2: Bools  # (H,) cgroups have memory.high and report pressure
    reclaim_statistics: Bools  # (H,) statistics have the tags 10 to 15
    swap_class: Ints  # (H,) SwapClass
    max_bytes: Ints  # (H, G)
    min_bytes: Ints  # (H, G)
    weight: Ints  # (H, G)
    resizes: Bools  # (H, G) follows targets at all
    balloons: Bools  # (H, G) by a balloon
    resize_mechanism: Ints  # (H, G) ResizeMechanism, as far as it is told
    hinting: Ints  # (H, G) Hinting
    async_mode: Ints  # (H, G) AsyncMode
    deflate_on_oom: Ints  # (H, G)
    agent: Bools  # (H, G) an agent inside reports
    stop_s: Floats  # (H, G) when it is switched off for good, inf never
    is_job: Bools  # (H, G, T) tasks that come to an end

    @staticmethod
    def put(old: "Facts", rows: Ints, part: "Facts") -> "Facts":
        """The facts with some hosts replaced."""
        columns = {}
        for field in fields(Facts):
            before, after = getattr(old, field.name), getattr(part, field.name)
            if before.ndim == 3 and before.shape[2] != after.shape[2]:  # more tasks than before
                most = max(before.shape[2], after.shape[2])
                before, after = _widened(before, most), _widened(after, most)
            new = before.copy()
            new[rows] = after
            columns[field.name] = new
        return Facts(**columns)


def _widened(values: np.ndarray, most: int) -> np.ndarray:
    wide = np.zeros((*values.shape[:2], most), values.dtype)
    wide[:, :, : values.shape[2]] = values
    return wide


def blank(hosts: int, guests: int, tasks: int = 1) -> Facts:
    """Hosts without guests."""

    def ints() -> Ints:
        return np.full((hosts, guests), UNKNOWN, np.int64)

    def no() -> Bools:
        return np.zeros((hosts, guests), bool)

    return Facts(
        page_bytes=np.full((hosts, 1), 4096, np.int64),
        noise_key=np.zeros(hosts, np.uint64),
        noise=np.zeros((hosts, 1)),
        delay_s=np.zeros(hosts),
        psi=np.ones(hosts, bool),
        told_group=np.zeros(hosts, np.int64),
        cgroup2=np.zeros(hosts, bool),
        reclaim_statistics=np.zeros(hosts, bool),
        swap_class=np.full(hosts, UNKNOWN, np.int64),
        max_bytes=ints(),
        min_bytes=ints(),
        weight=ints(),
        resizes=no(),
        balloons=no(),
        resize_mechanism=ints(),
        hinting=ints(),
        async_mode=ints(),
        deflate_on_oom=ints(),
        agent=no(),
        stop_s=np.full((hosts, guests), math.inf),
        is_job=np.zeros((hosts, guests, tasks), bool),
    )


def describe(drawn: Sequence[DrawnHost], scenarios: Sequence[Scenario], guests: int) -> Facts:
    """The facts about drawn hosts, one scenario each."""
    tasks = max((len(g.tasks) for one in drawn for g in one.spec.guests), default=1)
    facts = blank(len(drawn), guests, tasks)
    for row, (one, scenario) in enumerate(zip(drawn, scenarios, strict=True)):
        told = scenario.sensors.descriptors
        facts.page_bytes[row] = one.spec.page_bytes
        facts.noise_key[row] = stream(one.key, "sensor noise").integers(2**63)
        facts.noise[row] = scenario.sensors.noise
        facts.delay_s[row] = scenario.sensors.delay
        facts.psi[row] = scenario.sensors.psi
        if scenario.sensors.cgroup is not None:
            facts.told_group[row] = 1 + list(scenario.host.cgroups).index(scenario.sensors.cgroup)
        facts.cgroup2[row] = one.kernel == Kernel.MODERN
        facts.reclaim_statistics[row] = scenario.sensors.reclaim_statistics and facts.cgroup2[row]
        facts.swap_class[row] = _SWAP[one.swap_device] if told else UNKNOWN
        for slot in range(len(one.guests)):
            _describe_guest(facts, row, slot, one, told)
    return facts


def _describe_guest(facts: Facts, row: int, slot: int, drawn: DrawnHost, told: bool) -> None:
    guest, known = drawn.spec.guests[slot], drawn.guests[slot]
    here = (row, slot)
    facts.max_bytes[here] = guest.pages * drawn.spec.page_bytes
    facts.min_bytes[here] = known.min
    facts.weight[here] = known.weight
    facts.resizes[here] = guest.resize != spec.Resize.NONE
    facts.balloons[here] = guest.resize == spec.Resize.BALLOON
    if told:
        facts.resize_mechanism[here] = _RESIZE[guest.resize]
        facts.hinting[here] = _HINTING[guest.hinting]
        facts.async_mode[here] = _ASYNC[guest.async_mode]
        # of a balloon; with a free target the total is what the guest may use
        balloon = guest.resize in (spec.Resize.BALLOON, spec.Resize.BALLOON_HUGE)
        facts.deflate_on_oom[here] = balloon and guest.deflate_on_oom
    facts.agent[here] = known.agent
    facts.stop_s[here] = guest.stop_s
    for number, task in enumerate(guest.tasks):
        facts.is_job[row, slot, number] = ends(task)


def ends(task: spec.Task) -> bool:
    """Whether a task comes to an end by itself, however long it takes."""
    for phase in task.phases:
        if phase.op == spec.Op.EXIT:
            return True
        limited = phase.count >= 0 or phase.seconds < math.inf
        if phase.op == spec.Op.REPEAT and phase.count < 0:
            return False
        accesses = phase.op in (spec.Op.TOUCH, spec.Op.READ, spec.Op.WRITE, spec.Op.FOLLOW)
        if accesses and not limited:
            return False
    return True
