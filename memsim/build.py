"""From a `HostSpec` to the arrays of one host at time 0."""

from collections.abc import Sequence
from math import ceil, sqrt
from typing import Any

import numpy as np

from memsim import params, rng, state
from memsim.account import N_CLASSES
from memsim.content import NOTHING, UNIQUE
from memsim.costs import costs
from memsim.machine import Machine
from memsim.popularity import alias_table, popularity
from memsim.spec import (
    Cgroup,
    GuestSpec,
    HostSpec,
    Op,
    Pattern,
    Phase,
    Region,
    RegionKind,
    Task,
)
from memsim.spec_check import ON_REGION, check
from memsim.state import NOBODY

LOUD_BLOCK = 1024  # pages in a block of the fast path where popularity sets no other
FIRST_HITS = 4  # what swap readahead begins with (mm/swap_state.c)
PAGES_A_BUCKET = 16  # of KSM's hash tables
REQUESTS = 256  # outstanding requests of a host, as nr_requests of its queues


def watermarks(pages: int, sub: float) -> tuple[int, int, int]:
    """Return min, low and high watermark [pages]; distinct after rounding.

    min = sqrt(16 * kB) kB, clamped to 128 kB - 256 MB; low and high one and two of
    max(min / 4, 0.1 %) above (mm/page_alloc.c).
    """
    small = pages * sub
    kilobytes = min(max(sqrt(16 * small * 4), 128.0), 262144.0)
    lowest = kilobytes / 4
    distance = max(lowest / 4, small / 1000)
    low = max(1, round(lowest / sub))
    step = max(1, round(distance / sub))
    return low, low + step, low + 2 * step


_GIVEN = (  # fields of a guest that are as its spec has them
    "guest_id",
    "pages",
    "min_pages",
    "vcpus",
    "cpu_weight",
    "hinting",
    "async_mode",
    "resize",
    "deflate_on_oom",
    "movable_balloon",
    "huge_pages",
    "defrag",
    "stuck",
    "resize_delay_s",
    "lru_exact",
    "lru_2011",
    "swappiness",
    "start",
    "start_s",
    "stop_s",
    "boot_s",
    "stats_period_s",
    "booted_pages",
    "emulator_pages",
    "disk",
)
_NOBODY = (  # fields of a guest that begin with none
    "target_pages",
    "goal_pages",
    "upkeep",
    "io_first",
    "block_head",
    "block_tail",
    "gone_head",
    "resize_block",
    "collapse_block",
    "source_block",
)


class _Builder:
    """Collects the rows of one host."""

    def __init__(self, spec: HostSpec) -> None:
        check(spec)
        self.spec = spec
        self.sub = spec.page_bytes / params.SMALL_PAGE
        self.block_pages = max(1, (1 << 21) // spec.page_bytes)
        self.tasks: list[dict[str, Any]] = []
        self.phases: list[dict[str, Any]] = []
        self.regions: list[dict[str, Any]] = []
        self.curves: list[dict[str, Any]] = []
        self.points: list[tuple[float, float]] = []
        self.alias: list[np.ndarray] = []
        self.alias_rows = 0
        self.streams: list[np.ndarray] = []
        self.stream_rows = 0
        self.shares: list[np.ndarray] = []
        self.share_rows = 0
        self.loud_words = self.loud_blocks = 0
        self.events = 0
        self.guests: list[dict[str, Any]] = []
        self.cpus: list[dict[str, Any]] = []
        self.pages = self.vpages = self.gslots = self.blocks = 0
        self.sectors = [0] * len(spec.devices)
        self.sectors[spec.swap_device] = spec.swap_pages  # images lie behind the swap area
        self.images: list[np.ndarray] = []  # of regions, then of phases
        self.phase_images: list[np.ndarray] = []

    def guest(self, g: int, guest: GuestSpec) -> None:
        """Add a guest's rows."""
        row = self._guest_row(g, guest)
        curve0 = len(self.curves)
        for curve in guest.curves:
            self.curves.append(
                {"first": len(self.points), "points": len(curve.time_s), "at": len(self.points)}
            )
            self.points += list(zip(curve.time_s, curve.value, strict=True))
        self._regions(g, guest, row)
        stream0 = [self.stream_rows]
        for stream in guest.streams:
            self.streams.append(np.asarray(stream, np.int32))
            self.stream_rows += len(stream)
            stream0.append(self.stream_rows)
        for j, task in enumerate(guest.tasks):
            self._task(g, guest, j, task, row, curve0, stream0)
        for kind in range(1, 1 + state.KERNEL_TASKS):
            self.tasks.append({"kind": kind, "guest": g, "weight": 1024})
        self.events += row["signals"]
        self.cpus += [{"guest": g, "weight": guest.cpu_weight}] * guest.vcpus
        whole = guest.pages + guest.emulator_pages
        self.pages += whole
        self.blocks += ceil(whole / self.block_pages)  # none of the emulator's is ever huge
        self.gslots += guest.swap_pages
        row["vpages"] = self.vpages - row["vpage0"]
        self.guests.append(row)

    def _guest_row(self, g: int, guest: GuestSpec) -> dict[str, Any]:
        spec, sub = self.spec, self.sub
        low, mid, high = watermarks(guest.pages, sub)
        fixed = {
            "ra_hits": FIRST_HITS,
            "swap_ra_hits": FIRST_HITS,
            "stats_time_s": -1.0,
            "kernel_size": guest.kernel_pages,
            "kernel_spread": max(guest.kernel_pages, guest.kernel_spread),
            "reserved_pages": guest.reserved_pages,
            "kernel_used": guest.kernel_used,
            "cgroup": guest.cgroup if guest.cgroup >= 0 else len(spec.cgroups) + g,
            "code_pages": max(1, round(params.EMULATOR_CODE_PAGES / sub)),
            "emulator_used": _emulator_used(guest, sub),
            "wm_min": low,
            "wm_low": mid,
            "wm_high": high,
            "tlb_share": guest.tlb_share if guest.huge_pages else 0.0,
            "report_pages": max(1, round(2**guest.reporting.order / sub)),
            "report_every_s": guest.reporting.every_s,
            "report_batch": guest.reporting.batch,
        }
        given = {name: getattr(guest, name) for name in _GIVEN}
        return given | dict.fromkeys(_NOBODY, NOBODY) | fixed | self._places(guest)

    def _places(self, guest: GuestSpec) -> dict[str, Any]:
        # Where the guest's part of each table begins, and how much it is.
        events = (phase.event for task in guest.tasks for phase in task.phases)
        return {
            "page0": self.pages,
            "block0": self.blocks,
            "blocks": ceil(guest.pages / self.block_pages),
            "vpage0": self.vpages,
            "region0": len(self.regions),
            "regions": len(guest.regions),
            "task0": len(self.tasks),
            "tasks": len(guest.tasks),
            "cpu0": len(self.cpus),
            "gslot0": self.gslots,
            "gslots": guest.swap_pages,
            "sector0": self.sectors[guest.disk],
            "event0": self.events,
            "signals": 1 + max(events, default=NOBODY),
        }

    def _regions(self, g: int, guest: GuestSpec, row: dict[str, Any]) -> None:
        sector = guest.swap_pages
        for i, region in enumerate(guest.regions):
            owner = next(
                (
                    row["task0"] + j
                    for j, task in enumerate(guest.tasks)
                    if any(p.op in ON_REGION and p.region == i for p in task.phases)
                ),
                NOBODY,
            )
            self.regions.append(
                {
                    "kind": region.kind,
                    "guest": g,
                    "vpage0": self.vpages,
                    "pages": region.pages,
                    "block_pages": max(1, region.block_pages),
                    "owner": owner,
                    "followed": any(
                        p.op == Op.FOLLOW and p.region == i for t in guest.tasks for p in t.phases
                    ),
                    "sector": sector if region.kind == RegionKind.FILE else NOBODY,
                }
            )
            self.vpages += region.pages
            self.images.append(self._image(region.content, region.pages))
            if region.kind == RegionKind.FILE:
                sector += region.pages
        self.sectors[guest.disk] += sector

    def _image(self, numbers: np.ndarray | None, pages: int) -> np.ndarray:
        if self.spec.ksm is None:
            return np.zeros(0, np.uint32)
        if numbers is None:
            return np.full(pages, UNIQUE, np.uint32)
        if numbers.shape != (pages,) or (numbers == NOTHING).any():
            raise ValueError(f"content: {numbers.shape} numbers, ({pages},) expected, no {NOTHING}")
        return numbers.astype(np.uint32)

    def _task(
        self,
        g: int,
        guest: GuestSpec,
        j: int,
        task: Task,
        row: dict[str, Any],
        curve0: int,
        stream0: Sequence[int],
    ) -> None:
        ids = np.uint64(self.spec.seed), np.uint64(guest.guest_id), np.uint64(j)
        self.tasks.append(
            {
                "guest": g,
                "phase0": len(self.phases),
                "phases": len(task.phases),
                "phase": len(self.phases),
                "weight": task.weight,
                "page_key": rng.derive(*ids, rng.PAGE),
                "store_key": rng.derive(*ids, rng.STORE),
                "gap_key": rng.derive(*ids, rng.ARRIVAL),
                "started_s": np.nan,
                "finished_s": np.nan,
            }
        )
        outermost = max(
            (i for i, p in enumerate(task.phases) if p.op == Op.REPEAT and p.count < 0),
            default=NOBODY,
        )
        for phase in task.phases:
            self._phase(guest, phase, row, curve0, stream0, ids)
        if outermost != NOBODY:
            first = len(self.phases) - len(task.phases)
            self.phases[first + outermost]["outer"] = True
            self.phases[first + task.phases[outermost].jump]["lap"] = True

    def _phase(
        self,
        guest: GuestSpec,
        phase: Phase,
        row: dict[str, Any],
        curve0: int,
        stream0: Sequence[int],
        ids: tuple[np.uint64, np.uint64, np.uint64],
    ) -> None:
        on_region = phase.op in ON_REGION
        count = phase.count
        if phase.op == Op.ALLOCATE and count < 0:
            count = guest.regions[phase.region].pages
        out: dict[str, Any] = {
            name: getattr(phase, name)
            for name in [
                "op",
                "pattern",
                "kernel",
                "write",
                "seconds",
                "rate",
                "per_arrival",
                "backlog_s",
                "interval_s",
                "jump",
                "huge_only",
            ]
        }
        out |= {
            "pattern": Pattern.SEQUENTIAL if phase.op == Op.ALLOCATE else phase.pattern,
            "cost_s": phase.cost_s,
            "count": count,
            "region": row["region0"] + phase.region if on_region else NOBODY,
            "size": curve0 + phase.size if phase.size >= 0 else NOBODY,
            "rate_curve": curve0 + phase.rate_curve if phase.rate_curve >= 0 else NOBODY,
            "event": row["event0"] + phase.event if phase.event >= 0 else NOBODY,
        }
        if on_region and phase.pattern == Pattern.ZIPF:
            region = guest.regions[phase.region]
            blocks = ceil(region.pages / max(1, region.block_pages))
            # The layout belongs to the region, so that all tasks agree on what is popular.
            layout = rng.derive(ids[0], ids[1], np.uint64(1000 + phase.region), rng.LAYOUT)
            key = np.uint64(layout)  # kernels return plain integers
            out |= {"alias": self.alias_rows, "blocks": blocks}
            weights = popularity(blocks, phase.zipf_s, key)
            self.alias.append(alias_table(weights))
            self.alias_rows += blocks
            self._shares(region, weights, out)
        if on_region:
            out["image"] = self.regions[out["region"]]["vpage0"]
        if phase.content is not None and self.spec.ksm is not None:
            out["own_image"] = len(self.phase_images)
            pages = guest.regions[phase.region].pages
            self.phase_images.append(self._image(phase.content, pages))
        if phase.stream >= 0:
            out |= {
                "stream": stream0[phase.stream],
                "stream_n": len(guest.streams[phase.stream]),
            }
        self.phases.append(out | self._loud(guest, phase))

    def _shares(self, region: Region, weights: np.ndarray, out: dict[str, Any]) -> None:
        # Probability of each page of a block.
        if not self.spec.fast:
            return
        pages = np.full(len(weights), max(1, region.block_pages))
        pages[-1] = region.pages - (len(weights) - 1) * pages[0]
        out["share"] = self.share_rows
        self.shares.append(weights / weights.sum() / pages)
        self.share_rows += len(weights)

    def _loud(self, guest: GuestSpec, phase: Phase) -> dict[str, Any]:
        # Room for the set of loud pages of a phase that can jump.
        access = phase.op in (Op.TOUCH, Op.READ, Op.WRITE)
        sized = phase.size >= 0 and phase.pattern == Pattern.ZIPF
        if not (self.spec.fast and access) or sized or phase.pattern >= Pattern.STREAM:
            return {"loud0": NOBODY}
        region = guest.regions[phase.region]
        pages = max(1, region.block_pages) if phase.pattern == Pattern.ZIPF else LOUD_BLOCK
        blocks, words = ceil(region.pages / pages), ceil(pages / 64)
        out = {
            "loud0": self.loud_words,
            "loud_block0": self.loud_blocks,
            "loud_blocks": blocks,
            "loud_pages": pages,
            "loud_words": words,
            "loud_version": NOBODY,
            "loud_wait": 1,
        }
        self.loud_words += blocks * words
        self.loud_blocks += blocks
        return out

    def place_images(self) -> None:
        """Let phases with content of their own know its rows, which are behind the regions'."""
        ends = np.cumsum([self.vpages, *(len(image) for image in self.phase_images)])
        for phase in self.phases:
            if "own_image" in phase:
                phase["image"] = int(ends[phase["own_image"]])

    def host(self) -> dict[str, Any]:
        """Return the host's own row."""
        spec, sub = self.spec, self.sub
        low, mid, high = watermarks(spec.ram_pages, sub)
        device = spec.devices[spec.swap_device]
        cluster = cluster_slots(spec)
        return costs(spec) | {
            "guests": len(self.guests),
            "tasks": len(self.tasks),
            "cpus": len(self.cpus),
            "pages": self.pages,
            "groups": len(spec.cgroups) + len(self.guests),
            "requests": REQUESTS,
            "devices": len(spec.devices),
            "entries": len(spec.timeline),
            "block_pages": self.block_pages,
            "sub": sub,
            "page_bytes": spec.page_bytes,
            "ram_pages": spec.ram_pages,
            "reserved_pages": spec.reserved_pages,
            "swap_pages": spec.swap_pages,
            "swap_device": spec.swap_device,
            "cluster_slots": cluster,
            "clusters_free": spec.swap_pages // cluster,
            "seed": spec.seed,
            "tick_s": spec.tick_s,
            "sample_every_s": spec.sample_every_s,
            "sample_at": spec.sample_every_s,
            "batch": max(1, round(params.RECLAIM_BATCH / sub)),
            "global_lru": spec.global_lru,
            "lru_2011": spec.lru_2011,
            "ept_dirty": spec.ept_dirty_bits,
            "swappiness": spec.swappiness,
            "slots_kept": spec.slots_kept,
            "ra_adapts": spec.readahead_adapts,
            "ra_hits": FIRST_HITS,
            "huge_pages": spec.huge_pages,
            "ra_virtual": spec.readahead_virtual,
            "ra_small": spec.readahead_bytes / params.SMALL_PAGE,
            "file_ra": max(1, round(params.FILE_READAHEAD / sub)),
            "min_pages": low,
            "low_pages": mid,
            "high_pages": high,
            "slice_low": spec.slice_low_pages,
            "cores": spec.cores,
            "cores_most": spec.cores,
            "free_pages": spec.ram_pages - spec.reserved_pages,
            "zram_ratio": device.ratio,
        }

    def ksm(self) -> dict[str, Any]:
        """Return the part of the host's row that is about KSM."""
        ksm = self.spec.ksm
        if ksm is None:
            return {}
        return {
            "ksm": 1,
            "ksm_run": ksm.run,
            "ksm_pages_to_scan": ksm.pages_to_scan,
            "ksm_sleep_s": ksm.sleep_s,
            "ksm_max_sharing": ksm.max_page_sharing,
            "ksm_use_zero": ksm.use_zero_pages,
            "ksm_buckets": max(1, self.pages // PAGES_A_BUCKET),
        }

    def groups(self) -> list[dict[str, Any]]:
        """Return the rows of all cgroups, row 0 standing for the global list."""
        own = [
            Cgroup(guest.max_pages, guest.high_pages, guest.low_pages) for guest in self.spec.guests
        ]
        return [
            {
                "max": group.max_pages,
                "high": group.high_pages,
                "low": group.low_pages,
                "own": group.max_pages != NOBODY or not self.spec.global_lru or i == 0,
            }
            for i, group in enumerate([Cgroup(), *self.spec.cgroups, *own])
        ]


def _emulator_used(guest: GuestSpec, sub: float) -> int:
    usual = max(1, round(params.EMULATOR_USED_PAGES / sub))
    return min(guest.emulator_pages, usual if guest.emulator_used < 0 else guest.emulator_used)


def cluster_slots(spec: HostSpec) -> int:
    """Return how many slots of swap are given out in a row; with huge pages one takes them all."""
    small = params.SLOT_CLUSTER_2011 if spec.lru_2011 else params.SLOT_CLUSTER
    return max(1, small * params.SMALL_PAGE // spec.page_bytes)


def _rows(kind: np.dtype, rows: Sequence[dict[str, Any]], least: int = 1) -> np.ndarray:
    table = np.zeros(max(len(rows), least), kind)
    for name in table.dtype.names or ():
        if (rows and name in rows[0]) or any(name in row for row in rows):
            table[name][: len(rows)] = [row.get(name, 0) for row in rows]
    return table


def _pages(builder: _Builder) -> np.ndarray:
    page = np.zeros(max(builder.pages, 1), state.page_dtype)
    for name in ("gnext", "gprev", "hnext", "hprev", "vpn", "slot"):
        page[name] = NOBODY
    for g, row in enumerate(builder.guests):
        own = row["page0"] + row["pages"]
        page["guest"][row["page0"] : own + row["emulator_pages"]] = g
        page["gstate"][own : own + row["emulator_pages"]] = state.EMULATOR
    return page


def _contents(builder: _Builder) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # What KSM needs: pages, images, buckets.
    on = builder.spec.ksm is not None
    ksm = np.zeros(max(builder.pages, 1) if on else 1, state.ksm_dtype)
    ksm["content"], ksm["sum"] = UNIQUE, NOTHING
    ksm["node"] = ksm["chain"] = NOBODY
    bucket = np.zeros(max(1, builder.pages // PAGES_A_BUCKET) if on else 1, state.bucket_dtype)
    bucket["stable"] = bucket["unstable"] = NOBODY
    empty = np.zeros(1, np.uint32)
    return ksm, np.concatenate([*builder.images, *builder.phase_images, empty]), bucket


def _blocks(builder: _Builder) -> np.ndarray:
    block = np.zeros(max(builder.blocks, 1), state.block_dtype)
    for row in builder.guests:
        first = row["page0"] + builder.block_pages * np.arange(row["blocks"])
        end = np.minimum(first + builder.block_pages, row["page0"] + row["pages"])
        part = block[row["block0"] : row["block0"] + row["blocks"]]
        part["first"], part["pages"] = first, end - first
    block["next"] = block["prev"] = NOBODY
    return block


def _devices(spec: HostSpec) -> np.ndarray:
    device = _rows(
        state.device_dtype,
        [
            {name: getattr(d, name) for name in state.device_dtype.names or () if hasattr(d, name)}
            for d in spec.devices
        ],
    )
    for name in ("read_head", "read_tail", "write_head", "write_tail", "latter"):
        device[name] = NOBODY
    return device


def _threads(spec: HostSpec) -> list[dict[str, Any]]:
    # The host's own: kswapd, one for each cgroup's limit, ksmd, khugepaged.
    thread = {"guest": NOBODY, "thread": state.RECLAIMER, "weight": 1024}
    groups = range(1, 1 + len(spec.cgroups) + len(spec.guests))
    found = [thread | {"group": NOBODY}, *(thread | {"group": group} for group in groups)]
    if spec.ksm is not None:
        found.append(thread | {"thread": state.KSMD, "group": NOBODY})
    if spec.huge_pages:
        found.append(thread | {"thread": state.HOST_COLLAPSER, "group": NOBODY})
    return found


def _tasks(builder: _Builder) -> np.ndarray:
    task = _rows(state.task_dtype, builder.tasks)
    for name in ("cpu", "request", "page", "async_cpu"):
        task[name] = NOBODY
    task["next_s"] = -1.0
    return task


def _points(builder: _Builder) -> np.ndarray:
    point = np.zeros(max(len(builder.points), 1), state.point_dtype)
    if builder.points:
        point["t"], point["v"] = np.array(builder.points).T
    return point


def _entries(spec: HostSpec) -> np.ndarray:
    names = ("act", "at_s", "after_s", "guest", "index", "value")
    rows = [{name: getattr(entry, name) for name in names} for entry in spec.timeline]
    return _rows(state.entry_dtype, rows)


def build(spec: HostSpec) -> Machine:
    """Make the arrays of one host at time 0, nothing scheduled yet.

    Raises:
        ValueError: naming the field that is impossible.
    """
    builder = _Builder(spec)
    for g, guest in enumerate(spec.guests):
        builder.guest(g, guest)
    thread0 = len(builder.cpus)
    builder.cpus += _threads(spec)
    builder.place_images()
    host = builder.host() | builder.ksm() | {"thread0": thread0}
    cpu = _rows(state.cpu_dtype, builder.cpus)
    cpu["task"] = NOBODY
    task = _tasks(builder)
    request = np.zeros(REQUESTS, state.request_dtype)
    request["head"] = request["parent"] = request["next"] = NOBODY
    lists = np.zeros(
        len(spec.guests) * state.GUEST_LISTS + 2 * (1 + host["groups"]), state.list_dtype
    )
    lists["head"] = lists["tail"] = NOBODY
    entities = len(cpu) + len(task) + REQUESTS + 2 + len(spec.guests)
    event = np.zeros(entities, state.event_dtype)
    event["pos"] = NOBODY
    rows = state.book_rows(len(task), len(spec.guests), len(spec.devices))
    vpage = np.zeros(max(builder.vpages, 1), state.vpage_dtype)
    vpage["page"] = state.NEVER
    empty32 = np.zeros(1, np.int32)
    return Machine(
        _rows(state.host_dtype, [host]),
        _rows(state.guest_dtype, builder.guests),
        task,
        cpu,
        _pages(builder),
        *_contents(builder),
        vpage,
        _blocks(builder),
        np.full(max(spec.swap_pages, 1), NOBODY, np.int32),
        np.zeros(spec.swap_pages // cluster_slots(spec) + 1, np.int32),
        np.full(max(builder.gslots, 1), NOBODY, np.int32),
        lists,
        _rows(state.group_dtype, builder.groups()),
        _devices(spec),
        request,
        _rows(state.phase_dtype, builder.phases),
        _rows(state.region_dtype, builder.regions),
        _rows(state.curve_dtype, builder.curves),
        _points(builder),
        np.concatenate([*builder.alias, np.zeros(1, state.alias_dtype)]),
        np.concatenate([*builder.streams, empty32]),
        np.zeros(max(builder.loud_words, 1), np.uint64),
        np.zeros(max(builder.loud_blocks, 1), np.int32),
        np.zeros(max(builder.loud_blocks, 1)),
        np.concatenate([*builder.shares, np.zeros(1)]),
        np.zeros(max(builder.events, 1), state.signal_dtype),
        _entries(spec),
        event,
        np.zeros((len(cpu), params.RECLAIM_BATCH), np.int32),
        np.zeros((rows, N_CLASSES)),
    )
