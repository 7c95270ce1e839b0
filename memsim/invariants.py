"""The laws: no page, frame, slot or second is created or lost (model section 11)."""

import numpy as np

from memsim import sharing, state
from memsim.account import N_CLASSES
from memsim.content import ZERO
from memsim.invariants_lists import check_held, check_lists, walk
from memsim.invariants_requests import check_io, check_queues, check_requests
from memsim.law import Broken
from memsim.law import equal as _equal
from memsim.law import need as _need
from memsim.machine import Machine
from memsim.spec import Op
from memsim.state import NOBODY


def _check_sampled(m: Machine, g: int, process: np.ndarray, where: str) -> None:
    gs = m.guest[g]
    watched = int((process["gflags"] & state.G_WATCHED != 0).sum())
    sampled = int(gs["sampled"]) if m.host[0]["sample_every_s"] > 0 else 0
    _need(watched <= sampled, where, f"{watched} pages are watched, {sampled} are sampled")
    _need(gs["active_pages"] <= gs["pages"], where, "more is active than there is")


def _check_mapped(m: Machine, g: int, where: str) -> None:
    # What a program has in memory or in swap it has committed; what follows a curve, as it goes.
    gs = m.guest[g]
    for region in m.region[gs["region0"] : gs["region0"] + gs["regions"]]:
        if region["kind"] == 0 and not region["followed"] and not region["mapped"]:
            used = m.vpage["page"][region["vpage0"] : region["vpage0"] + region["pages"]]
            _need((used == state.NEVER).all(), where, "a page in use is not committed")


def _check_guest(m: Machine, g: int, where: str) -> None:
    gs = m.guest[g]
    pages = m.page[gs["page0"] : gs["page0"] + gs["pages"]]
    process = m.page[gs["page0"] : gs["page0"] + gs["pages"] + gs["emulator_pages"]]
    own = process["gstate"][gs["pages"] :]
    _need((own == state.EMULATOR).all(), where, "a page of the emulator's is the guest's")
    if gs["state"] == 0:
        _need(gs["host_thp_blocks"] == 0, where, "absent, but has huge pages")
        _need((process["hstate"] == state.UNBACKED).all(), where, "absent, but has memory")
        return
    for kind, name in (
        (state.FREE, "free_pages"),
        (state.ANON, "anon_pages"),
        (state.FILE, "file_pages"),
        (state.KERNEL, "kernel_pages"),
        (state.BALLOON, "balloon_pages"),
    ):
        _equal(int((pages["gstate"] == kind).sum()), int(gs[name]), where, name)
    dirty = (pages["gstate"] == state.FILE) & (pages["gflags"] & state.G_DIRTY != 0)
    _equal(int(dirty.sum()), int(gs["dirty_pages"]), where, "dirty_pages")
    _check_sampled(m, g, process, where)
    _check_mapped(m, g, where)
    backing = (pages["gflags"] & state.G_BACK != 0).sum()
    _equal(int(backing), int(gs["writeback_pages"]), where, "writeback_pages")
    blocks = m.block[gs["block0"] : gs["block0"] + gs["blocks"]]
    _equal(int(blocks["free"].sum()), int(gs["free_pages"]), where, "free pages of blocks")
    gone, b = 0, int(gs["gone_head"])
    while b != NOBODY:
        gone += int(m.block[b]["pages"])
        b = int(m.block[b]["next"])
    held = int(m.lists[g * state.GUEST_LISTS + state.IN_BALLOON]["count"])
    _equal(gone + held, int(gs["balloon_pages"]), where, "pages taken by resizing")
    # Every owned page is pointed to by its owner, and by nobody else.
    owned = (pages["gstate"] == state.ANON) | (pages["gstate"] == state.FILE)
    owned |= (pages["gstate"] == state.KERNEL) & (pages["vpn"] != NOBODY)
    orphans = owned & (pages["vpn"] == NOBODY)
    under_io = pages["gflags"] & (state.G_IO | state.G_BACK) != 0
    _need(bool((under_io & (pages["glist"] == 0))[orphans].all()), where, "a page of nobody")
    owned &= ~orphans
    vpns = pages["vpn"][owned]
    index = np.flatnonzero(owned) + gs["page0"]
    _need((m.vpage["page"][vpns] == index).all(), where, "a page is not mapped by its owner")
    mapped = m.vpage["page"][gs["vpage0"] : gs["vpage0"] + gs["vpages"]]
    _equal(int((mapped >= 0).sum()), int(owned.sum()), where, "mapped virtual pages")
    swapped = mapped[mapped <= state.SWAPPED_BASE]
    slots = state.SWAPPED_BASE - swapped
    _equal(len(np.unique(slots)), len(slots), where, "virtual pages in one guest slot")
    # Free pages are on the order-0 list, or wait in whole blocks or in the isolated one.
    isolated = np.flatnonzero(blocks["isolated"]) + gs["block0"]
    expected = [] if gs["source_block"] == NOBODY else [gs["source_block"]]
    _equal(isolated.tolist(), expected, where, "isolated blocks")
    waiting = ((blocks["free"] == blocks["pages"]) | (blocks["isolated"] != 0)) * blocks["free"]
    lists = pages["glist"][pages["gstate"] == state.FREE]
    listed = np.isin(lists, (1 + state.ORDER_0, 1 + state.KERNEL_0))
    _check_types(m, gs, blocks, where)
    _equal(int(listed.sum() + waiting.sum()), int(gs["free_pages"]), where, "free pages on lists")
    used = m.gslot[gs["gslot0"] : gs["gslot0"] + gs["gslots"]]
    _equal(int((used != NOBODY).sum()), int(gs["swap_used_pages"]), where, "guest slots")
    # What was read ahead from swap and not used yet has its copy there still.
    ahead = pages[(pages["gflags"] & state.G_AHEAD != 0) & (pages["gstate"] == state.ANON)]
    ahead = ahead[(ahead["gflags"] & state.G_IO == 0) & (ahead["vpn"] != NOBODY)]
    slots = gs["gslot0"] + m.vpage["age"][ahead["vpn"]].astype(np.int64)
    _need(bool((m.gslot[slots] == ahead["vpn"]).all()), where, "read ahead without a copy in swap")
    _check_backing(m, gs, process, where)
    _check_reported(m, gs, pages, where)
    _check_huge(m, gs, where)


def _check_reported(m: Machine, gs: np.record, pages: np.ndarray, where: str) -> None:
    # What was reported is free, in whole pieces, and behind what the host has not heard of.
    told = pages["gflags"] & state.G_REPORTED != 0
    _need((pages["gstate"][told] == state.FREE).all(), where, "a used page is reported as free")
    blocks = m.block[gs["block0"] : gs["block0"] + gs["blocks"]]
    whole = blocks["free"] == blocks["pages"]
    _equal(int(whole.sum()), int(gs["free_blocks"]), where, "free_blocks")
    for bl in blocks[whole]:
        part = told[bl["first"] - gs["page0"] :][: bl["pages"]]
        _need(bool(part.all()) or not part.any(), where, "half a block is reported")
    row = int(np.flatnonzero(m.guest["page0"] == gs["page0"])[0]) * state.GUEST_LISTS
    for which in (state.ORDER_0, state.KERNEL_0):
        listed = m.page["gflags"][walk(m, row + which, "gnext")] & state.G_REPORTED != 0
        _need(bool((np.diff(listed.astype(np.int8)) >= 0).all()), where, "reported pages go first")


def _check_types(m: Machine, gs: np.record, blocks: np.ndarray, where: str) -> None:
    # Free pages are on the list of their block's migrate type; a wholly free block has none.
    whole = blocks["free"] == blocks["pages"]
    _need(not (whole & (blocks["kernel"] != 0)).any(), where, "a free block is the kernel's")
    for bl in blocks[~whole & (blocks["isolated"] == 0)]:
        part = m.page[bl["first"] : bl["first"] + bl["pages"]]
        wanted = 1 + (state.KERNEL_0 if bl["kernel"] else state.ORDER_0)
        found = part["glist"][part["gstate"] == state.FREE]
        _need(bool((found == wanted).all()), where, "a free page on the list of another type")


def _check_huge(m: Machine, gs: np.record, where: str) -> None:
    # A huge page is what it claims to be, at either level, and one entry of a list.
    blocks = m.block[gs["block0"] : gs["block0"] + gs["blocks"]]
    guest, host = blocks["guest_huge"] != 0, blocks["host_huge"] != 0
    both = guest & host
    for name, kind in (("thp", guest), ("host_thp", host), ("both_thp", both)):
        _equal(int(kind.sum()), int(gs[name + "_blocks"]), where, name + "_blocks")
    _need(bool((blocks["both_huge"] == both).all()), where, "both_huge")
    for bl, in_guest, on_host in zip(blocks, guest, host, strict=True):
        pages = m.page[bl["first"] : bl["first"] + bl["pages"]]
        marked = pages["gflags"] & state.G_HUGE != 0
        _need((marked == (in_guest and on_host)).all(), where, "pages wrongly marked as huge")
        if in_guest:
            _check_guest_huge(m, bl, pages, where)
        if on_host:
            good = (pages["hstate"] == state.RESIDENT) & (pages["slot"] == NOBODY)
            busy = state.H_ISOLATED | state.H_UNMAPPED | state.H_BACK
            good &= pages["hflags"] & busy == 0
            good &= (pages["hlist"] != 0) == (np.arange(len(pages)) == 0)
            _need(bool(good.all()), where, "a huge page of the host in parts")


def _check_guest_huge(m: Machine, bl: np.record, pages: np.ndarray, where: str) -> None:
    size = int(m.host[0]["block_pages"])
    _equal(len(pages), size, where, "pages of a huge page")
    good = (pages["gstate"] == state.ANON) & (pages["vpn"] == pages["vpn"][0] + np.arange(size))
    good &= pages["gflags"] & (state.G_IO | state.G_BACK) == 0
    good &= (pages["glist"] != 0) == (np.arange(size) == 0)
    good &= (pages["gflags"] & state.G_FILL != 0) == (np.arange(size) >= bl["filled"])
    _need(bool(good.all()), where, "a huge page of the guest in parts")
    starts = m.region["vpage0"]
    region = int(starts[(starts <= pages["vpn"][0]) & (m.region["pages"] > 0)].max())
    _equal((int(pages["vpn"][0]) - region) % size, 0, where, "offset of a huge page")


FRAMED = (
    state.RESIDENT,
    state.CACHED,
    state.WRITING,
    state.READING,
    state.MERGED,
    state.LENT,
)
STABLE = (state.MERGED, state.WRITING)


def _check_backing(m: Machine, gs: np.record, pages: np.ndarray, where: str) -> None:
    framed = np.isin(pages["hstate"], FRAMED)
    swapped = pages["hstate"] == state.SWAPPED
    _need((pages["slot"][swapped] != NOBODY).all(), where, "a swapped page without a slot")
    if m.host[0]["ksm"]:  # the head has the frame or slot; the others count where they refer to
        first = int(gs["page0"])
        head = m.ksm["node"][first : first + len(pages)]
        follows = (pages["hstate"] == state.FOLLOWS) & (head != sharing.ZERO_PAGE)
        merged = follows & np.isin(m.page["hstate"][head], STABLE)
        _equal(int(merged.sum()), int(gs["merged_pages"]), where, "merged_pages")
        swapped |= follows & ~merged
    _equal(int(framed.sum()), int(gs["resident_pages"]), where, "resident_pages")
    _equal(int(swapped.sum()), int(gs["host_swapped_pages"]), where, "host_swapped_pages")
    # A used page's content is never lost: it is resident, on its way, or in swap.  Only pages
    # that wait for their first fill, or that their owner hinted free, have none.
    used = np.isin(pages["gstate"], (state.ANON, state.FILE, state.KERNEL, state.EMULATOR))
    used &= (pages["gflags"] & (state.G_FILL | state.G_HINT | state.G_IO | state.G_VOID)) == 0
    lost = used & (pages["hstate"] == state.UNBACKED)
    _need(not lost.any(), where, f"{int(lost.sum())} used pages lost their content")
    # What is in the balloon or reported takes nothing from the host, unless the host itself still
    # holds it.
    held = pages["hflags"] & (state.H_ISOLATED | state.H_BACK) != 0
    held |= pages["hstate"] == state.READING
    if m.host[0]["huge_pages"]:  # a fault nearby may back it with the rest of its block
        return
    given = (pages["gstate"] == state.BALLOON) | (pages["gflags"] & state.G_REPORTED != 0)
    kept = given & (pages["hstate"] != state.UNBACKED) & ~held
    _need(not kept.any(), where, f"{int(kept.sum())} pages that were given away are backed")


def _check_host(m: Machine, where: str) -> None:
    hs = m.host[0]
    guests = m.guest[: hs["guests"]]
    framed = int(np.isin(m.page["hstate"][: hs["pages"]], FRAMED).sum())
    used = framed + int(hs["cached_pages"]) + int(hs["zram_pages"]) + int(hs["reserved_pages"])
    _equal(used + int(hs["free_pages"]), int(hs["ram_pages"]), where, "frames used + free")
    _need(int(hs["free_pages"]) >= 0, where, f"free_pages {hs['free_pages']}")
    _equal(int(guests["code_resident"].sum()), int(hs["cached_pages"]), where, "cached_pages")
    slots = m.slot[: hs["swap_pages"]]
    _equal(int((slots != NOBODY).sum()), int(hs["swap_used_pages"]), where, "swap slots used")
    index = np.flatnonzero(slots != NOBODY)
    _need((m.page["slot"][slots[index]] == index).all(), where, "a slot and its page disagree")
    size = int(hs["cluster_slots"])
    full = np.bincount(index // size, minlength=len(m.cluster))
    _need(bool((m.cluster == full).all()), where, "used slots of clusters")
    free = int((full[: int(hs["swap_pages"]) // size] == 0).sum())
    _equal(free, int(hs["clusters_free"]), where, "clusters_free")
    with_slot = m.page["slot"][: hs["pages"]] != NOBODY
    _equal(int(with_slot.sum()), len(index), where, "pages with a slot")
    for g in range(hs["guests"]):
        row = 1 + int(m.guest[g]["cgroup"])
        members = guests["cgroup"] == row - 1
        charged = int((guests["resident_pages"] + guests["code_resident"])[members].sum())
        _equal(charged, int(m.group[row]["usage"]), where, f"usage of cgroup {row - 1}")
    _check_pressure(m, where)
    # What is under write-back keeps its frame and its slot until that is over.
    back = m.page["hflags"][: hs["pages"]] & state.H_BACK != 0
    kept = (state.WRITING, state.RESIDENT, state.MERGED)
    kept = np.isin(m.page["hstate"][: hs["pages"]], kept) & with_slot
    _need(bool(kept[back].all()), where, "a page under write-back without frame or slot")
    _equal(int(back.sum()), int(hs["back_pages"]), where, "back_pages")
    writing = int((m.page["hstate"] == state.WRITING).sum())
    _equal(writing, int(hs["writing_pages"]), where, "writing_pages")
    busy = int((m.cpu["state"][: hs["cpus"]] == state.CPU_RUNNING).sum())
    _equal(busy, int(hs["cores_used"]), where, "cores in use")
    _need(busy <= int(hs["cores_most"]), where, "more cores in use than there ever were")


def _check_pressure(m: Machine, where: str) -> None:
    # Who stalls or works for a cgroup does so for the host; workers and kswapd for the host alone.
    hs = m.host[0]
    groups = m.group[1 : 1 + hs["groups"]]
    alone = int((m.task["stalls"][: hs["tasks"]] == state.OF_WORKER).sum())
    alone += int(m.cpu["stalls"][: hs["cpus"]].sum())
    stalled = int(groups["psi_stalled"].sum()) + alone
    _equal(stalled, int(hs["psi_stalled"]), where, "stalled contexts")
    _equal(int(groups["psi_working"].sum()), int(hs["psi_working"]), where, "working contexts")
    used = m.request[: hs["requests"]]
    used = used[used["state"] != state.R_FREE]
    awaits = np.isin(used["state"], (state.R_PAGE, state.R_FRAME))
    _equal(int(awaits.sum()), int(hs["page_waiters"]), where, "requests that wait for pages")
    tasks = m.task[: hs["tasks"]]
    who = [tasks["guest"][tasks["stalls"] == state.OF_VCPU], used["guest"][used["stalls"] != 0]]
    rows = m.guest["cgroup"][np.concatenate(who)]
    for row in range(hs["groups"]):
        found, counted = int((rows == row).sum()), int(groups[row]["psi_stalled"])
        _equal(found, counted, where, f"contexts that stall for cgroup {row}")
    _check_working(m, where)
    for name in ("psi_stalled", "psi_working"):
        _need(bool((groups[name] >= 0).all()), where, f"a cgroup's {name} below 0")


def _check_working(m: Machine, where: str) -> None:
    # A task at work is a guest's until it stalls there, and its vCPU the host's until that stalls.
    hs = m.host[0]
    tasks, vcpus = m.task[: hs["tasks"]], m.cpu[: hs["thread0"]]
    runs = tasks["state"] == state.RUNNING
    queued = vcpus["guest"][vcpus["state"] == state.CPU_QUEUED]
    busy = np.concatenate([queued, tasks["guest"][runs & (tasks["stalls"] != state.OF_VCPU)]])
    rows = m.guest["cgroup"][busy]
    for row in range(hs["groups"]):
        found, counted = int((rows == row).sum()), int(m.group[1 + row]["psi_working"])
        _equal(found, counted, where, f"working contexts of cgroup {row}")
    ready = (tasks["state"] == state.RUNNABLE) | (runs & (tasks["stalls"] != state.OF_TASK))
    for g in range(hs["guests"]):
        own = tasks["guest"] == g
        _equal(int((ready & own).sum()), int(m.guest[g]["psi_working"]), where, f"guest {g} works")
        stalled = own & (tasks["stalls"] == state.OF_TASK)
        _equal(int(stalled.sum()), int(m.guest[g]["psi_stalled"]), where, f"guest {g} stalls")


def _family(m: Machine, head: int) -> list[int]:
    # The head of a family, then those who follow it.
    family, first = [head], int(m.ksm[head]["node"])
    p = first
    while p != head:
        family.append(p)
        if len(family) > len(m.page):
            raise Broken(f"sharers of {head}: never come back to the first")
        _equal(int(m.page[m.page[p]["hnext"]]["hprev"]), p, f"sharers of {head}", "ring")
        p = int(m.page[p]["hnext"])
        p = head if p == first else p
    return family


def _stable_heads(m: Machine) -> list[int]:
    heads = []
    for p in m.bucket["stable"][: m.host[0]["ksm_buckets"]].tolist():
        while p != NOBODY:
            heads.append(p)
            p = int(m.ksm[p]["chain"])
    return sorted(heads)


def _check_unstable(m: Machine, where: str) -> None:
    # Every page is in the unstable table once at most, and none that has a stable frame.
    seen: set[int] = set()
    for p in m.bucket["unstable"][: m.host[0]["ksm_buckets"]].tolist():
        while p != NOBODY:
            _need(p not in seen, where, f"page {p} is in the unstable table twice")
            seen.add(p)
            p = int(m.ksm[p]["chain"])
    both = seen.intersection(_stable_heads(m))
    _need(not both, where, f"pages {sorted(both)} are in both tables")


def _check_family(m: Machine, head: int, where: str) -> None:
    # All refer to the same frame or slot, and it holds what each of them holds.
    hs = m.host[0]
    family = _family(m, head)
    where = f"{where} family of {head}"
    followers, here = m.page[family[1:]], int(m.page[head]["hstate"])
    _need((followers["hstate"] == state.FOLLOWS).all(), where, "a sharer that does not follow")
    _need((m.ksm["node"][family[1:]] == head).all(), where, "a sharer thinks it is another's")
    _need((followers["slot"] == NOBODY).all(), where, "a sharer has a slot of its own")
    _need((followers["hlist"] == 0).all(), where, "a sharer is on an LRU list")
    _need((followers["hflags"] & state.H_BACK == 0).all(), where, "a sharer under write-back")
    _need((m.page["hflags"][family] & state.H_WROTE == 0).all(), where, "a sharer was stored to")
    _need((m.ksm["content"][family] == m.ksm["content"][head]).all(), where, "contents")
    _equal(len(family), int(m.ksm["sum"][head]), where, "sharers")
    _need(len(family) <= hs["ksm_max_sharing"], where, f"{len(family)} sharers")
    if here == state.MERGED:
        return
    unmapped = followers["hflags"] & state.H_UNMAPPED != 0
    _need(bool(unmapped.all()), where, "a sharer maps what is not there")
    if here == state.WRITING:
        return
    places = (state.SWAPPED, state.READING, state.CACHED, state.LENT)
    _need(here in places, where, f"its head is in state {here}")
    _need(len(family) > 1, where, "nobody shares its slot")
    _need(m.page[head]["slot"] != NOBODY, where, "no slot")


def _check_ksm(m: Machine, where: str) -> None:
    # Every shared page is of one family, and what is counted is there.
    hs = m.host[0]
    states = m.page["hstate"][: hs["pages"]]
    of_families = (state.MERGED, state.FOLLOWS, state.LENT)
    if not hs["ksm"]:
        _need(not np.isin(states, of_families).any(), where, "shared without KSM")
        return
    node = m.ksm["node"][: hs["pages"]]
    follows = states == state.FOLLOWS
    alone = node < 0
    _need(
        not np.isin(states[alone & (node != sharing.ZERO_PAGE)], of_families).any(),
        where,
        "of no family",
    )
    zeros = node == sharing.ZERO_PAGE
    _need(follows[zeros].all(), where, "zeros that are not the zero page's")
    written = m.page["hflags"][: hs["pages"]] & state.H_WROTE != 0
    good = (m.ksm["content"][: hs["pages"]] == ZERO) & ~written
    _need(good[zeros].all(), where, "the zero page stands for what is not zero")
    _check_unstable(m, where)
    heads = np.flatnonzero(~alone & ~follows)
    for head in heads.tolist():
        _check_family(m, head, where)
    shared = int(m.ksm["sum"][heads].sum())
    _equal(shared, int((~alone).sum()), where, "pages of families")
    stable = heads[np.isin(states[heads], STABLE)]
    _equal(_stable_heads(m), stable.tolist(), where, "stable frames that can be found")
    _equal(len(stable), int(hs["ksm_shared"]), where, "ksm_shared")
    sharing_pages = int(m.ksm["sum"][stable].sum()) - len(stable)
    _equal(sharing_pages, int(hs["ksm_sharing"]), where, "ksm_sharing")
    for name, value in (
        ("ksm_zero", sharing.ZERO_PAGE),
        ("ksm_unshared", sharing.UNSHARED),
        ("ksm_volatile", sharing.VOLATILE),
    ):
        _equal(int((node == value).sum()), int(hs[name]), where, name)


def _check_time(m: Machine, where: str) -> None:
    # Every second of every task is booked once: the classes sum to its clock.
    hs = m.host[0]
    for k in range(int(hs["tasks"])):
        tk = m.task[k]
        if tk["kind"] != 0 or np.isnan(tk["started_s"]):
            continue
        booked = float(m.book[k].sum())
        lived = float(tk["clock"] - tk["started_s"])
        if abs(booked - lived) > 1e-6 + 1e-9 * lived:
            raise Broken(f"{where} task {k}: {booked} s booked of {lived} s lived")
        _need(float(m.book[k].min()) >= 0.0, where, f"task {k}: negative time")
        present = m.guest[int(tk["guest"])]["state"] == 2
        ahead = float(tk["clock"] - hs["time_s"])
        if present and tk["state"] != state.TIMER and not -1e-9 <= ahead <= hs["tick_s"] + 60.0:
            raise Broken(f"{where} task {k}: clock {tk['clock']} at {hs['time_s']}")
    counts = 2 * int(hs["tasks"]) + 1 + int(hs["guests"]) + int(hs["devices"])
    holders = m.book[counts : counts + 1 + int(hs["guests"])]
    _need(bool((holders >= 0.0).all()), where, "a negative count of holders")
    _equal(float(holders[0].sum()), float(hs["cores_used"]), where, "holders of cores")


def _check_vcpus(m: Machine, g: int, where: str) -> None:
    # Nobody sleeps through work: an idle vCPU means that others are on their way to what waits.
    gs = m.guest[g]
    first = int(gs["task0"])
    tasks = m.task["state"][first : first + int(gs["tasks"]) + state.KERNEL_TASKS]
    runnable = int((tasks == state.RUNNABLE).sum())
    _equal(runnable, int(gs["runnable"]), where, "runnable tasks")
    vcpus = m.cpu["state"][gs["cpu0"] : gs["cpu0"] + gs["vcpus"]]
    queued = int((vcpus == state.CPU_QUEUED).sum())
    _equal(queued, int(gs["queued"]), where, "vCPUs that wait for a core")
    idle = bool((vcpus == state.CPU_IDLE).any())
    _need(queued >= runnable or not idle, where, f"{runnable} runnable tasks, but a vCPU is idle")


def _loud_pages(m: Machine, ph: np.record, pages: int) -> np.ndarray:
    # (pages,) bool: what the fast path of a phase still executes.
    words = m.loud[ph["loud0"] : ph["loud0"] + ph["loud_blocks"] * ph["loud_words"]]
    bits = np.unpackbits(words.view(np.uint8), bitorder="little")
    blocks = bits.reshape(int(ph["loud_blocks"]), -1)[:, : int(ph["loud_pages"])]
    return np.ascontiguousarray(blocks).reshape(-1)[:pages].astype(bool)


def _is_quiet(m: Machine, ph: np.record, vpages: np.ndarray) -> np.ndarray:
    # (N,) bool: what an access of the phase would leave as it is.
    page = m.page[vpages]
    stores = ph["write"] > 0 or ph["op"] == Op.WRITE
    quiet = page["hstate"] == state.RESIDENT
    shared = (state.MERGED, state.FOLLOWS, state.LENT)
    quiet |= np.isin(page["hstate"], shared) & (not stores)
    quiet &= vpages >= 0
    quiet &= (page["gflags"] & state.G_SLOW == 0) & (page["hflags"] & state.H_UNMAPPED == 0)
    quiet &= page["hflags"] & state.H_REF != 0
    if stores:
        quiet &= (page["hflags"] & state.H_DIRTY != 0) & (page["hflags"] & state.H_WROTE != 0)
        quiet &= (page["gstate"] != state.FILE) | (page["gflags"] & state.G_DIRTY != 0)
    if ph["op"] == Op.TOUCH:
        return quiet & (page["gflags"] & state.G_REF != 0)
    active = np.isin(page["glist"], (1 + state.ACTIVE_ANON, 1 + state.ACTIVE_FILE))
    return quiet & active & (page["gflags"] & state.G_SEEN != 0)


def _check_quiet(m: Machine, where: str) -> None:
    # What the fast path jumps over would change nothing.
    for i, ph in enumerate(m.phase):
        rg = m.region[ph["region"]]
        if ph["loud0"] == NOBODY or not ph["loud_good"]:
            continue
        if ph["loud_version"] != m.guest[rg["guest"]]["version"]:
            continue
        loud = _loud_pages(m, ph, int(rg["pages"]))
        _equal(int(loud.sum()), int(ph["loud_n"]), where, f"loud pages of phase {i}")
        mapped = m.vpage["page"][rg["vpage0"] : rg["vpage0"] + rg["pages"]]
        wrong = ~loud & ~_is_quiet(m, ph, mapped)
        _need(not wrong.any(), where, f"phase {i}: {int(wrong.sum())} loud pages taken for quiet")


def check(m: Machine, where: str) -> None:
    """Check every law on one host's rows.

    Raises:
        Broken: naming the place, the law and the numbers.
    """
    assert m.book.shape[-1] == N_CLASSES
    check_lists(m, where)
    check_held(m, where)
    for g in range(int(m.host[0]["guests"])):
        _check_guest(m, g, f"{where} guest {g}")
        _check_vcpus(m, g, f"{where} guest {g}")
    _check_host(m, where)
    check_io(m, where)
    _check_ksm(m, where)
    check_queues(m, where)
    check_requests(m, where)
    _check_time(m, where)
    _check_quiet(m, where)
