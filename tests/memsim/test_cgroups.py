"""memory.low and memory.high: the kernel's arithmetic, and what it does to guests."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsim import cgroups
from memsim.account import CLASSES
from memsim.fleet import Fleet
from memsim.spec import (
    Act,
    Async,
    Cgroup,
    Defrag,
    Entry,
    GuestSpec,
    Hinting,
    HostSpec,
    Pattern,
    Region,
    RegionKind,
    Reporting,
    Start,
)
from memsim.state import COLLAPSER
from tests.memsim.hosts import (
    SLOW,
    SSD,
    again,
    allocate,
    anon,
    compute,
    file,
    free,
    guest,
    host,
    machine,
    read,
    run,
    seconds,
    sleep,
    swapped_out,
    task,
    touch,
)

# Kernels run as Python where nothing but numbers goes in.
effective_protection: Any = cgroups.effective_protection.py_func  # type: ignore[attr-defined]
scan_target: Any = cgroups.scan_target.py_func  # type: ignore[attr-defined]
throttle_s: Any = cgroups.throttle_s.py_func  # type: ignore[attr-defined]

MIB = 256  # [pages]


# The table in mm/memcontrol.c: milliseconds for 100, 101, 102, ... MiB with a high of 100 MiB.
TABLE_MS = (0, 6, 25, 57, 102, 159, 230, 313, 409, 518, 639, 774, 921, 1081, 1254, 1439, 1638, 1849)


@pytest.mark.parametrize(
    ("over", "milliseconds"), [*enumerate(TABLE_MS), (18, 2000), (100, 2000), (10**5, 2000)]
)
def test_the_sleep_above_high_is_the_table_in_the_source(over: int, milliseconds: int) -> None:
    assert throttle_s((100 + over) * MIB, 100 * MIB, 32) == milliseconds / 1000


def test_the_sleep_is_shared_by_pages_and_bounded() -> None:
    assert throttle_s(105 * MIB, 100 * MIB, 64) == 0.318  # 159 jiffies * 64 / 32
    assert throttle_s(105 * MIB, 100 * MIB, 16) == 0.079  # rounded down
    assert throttle_s(10**9, 0, 1024) == 2.0  # no overflow, no division by zero


@pytest.mark.parametrize(
    ("size", "low", "usage", "expected"),
    [
        (1000, 0, 4000, 1000),
        (1000, 2000, 4000, 501),  # 1000 - 1000 * 2000 / 4001 = 1000 - 499
        (1000, 3999, 4000, 32),  # 1000 - 999 = 1, at least SWAP_CLUSTER_MAX
        (1000, 3000, 4000, 251),  # 1000 - 749
        (1000, 5000, 4000, 32),  # the protection may have overtaken the usage: 1000 - 999
        (10, 5, 4000, 32),
    ],
)
def test_what_is_scanned_above_low(size: int, low: int, usage: int, expected: int) -> None:
    assert scan_target(size, low, usage, 32) == expected


@pytest.mark.parametrize(
    ("usage", "setting", "parent", "siblings", "expected"),
    [
        # The example in mm/memcontrol.c: A has low 2G and children B 3G, C 1G, D 0, E 10G that
        # use 2G, 2G, 2G, 0: siblings_protected = 2 + 1 + 0 + 0, in units of 2^18 pages.
        (2 << 18, 3 << 18, 2 << 18, 3 << 18, (4 << 18) // 3),  # B: 1.3G
        (2 << 18, 1 << 18, 2 << 18, 3 << 18, (2 << 18) // 3),  # C: 0.6G
        (2 << 18, 0, 2 << 18, 3 << 18, 0),  # D
        (0, 10 << 18, 2 << 18, 3 << 18, 0),  # E
        (100, 60, 1000, 60, 60 + 940 * 40 // 940),  # what nobody claims floats, by usage
        (100, 60, 160, 60, 60 + 100 * 40 // 940),
    ],
)
def test_overcommitted_protection_is_shared_by_protected_usage(
    usage: int, setting: int, parent: int, siblings: int, expected: int
) -> None:
    parent_usage = 6 << 18 if usage > 1000 or setting > 1000 else 1000
    assert effective_protection(usage, parent_usage, setting, parent, siblings) == expected


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=20))
def test_no_more_is_protected_than_the_slice_has(members: list[tuple[int, int]]) -> None:
    most = 10**6
    total = sum(usage for usage, _ in members)
    claimed = sum(min(usage, low) for usage, low in members)
    shares = [effective_protection(u, total, low, most, claimed) for u, low in members]
    assert sum(shares) <= most


def idle(pages: int, guest_id: int, **fields: Any) -> GuestSpec:  # noqa: ANN401
    """A guest that fills its memory and does nothing more."""
    return guest(
        task(allocate(0), sleep(1000.0)),
        pages=pages + 200,
        regions=[anon(pages)],
        guest_id=guest_id,
        **fields,
    )


def grower(pages: int, guest_id: int, start_s: float = 2.0, **fields: Any) -> GuestSpec:  # noqa: ANN401
    return idle(pages, guest_id, start_s=start_s, **fields)


def crowd(*guests: GuestSpec, ram: int, **fields: Any) -> HostSpec:  # noqa: ANN401
    return host(*guests, ram_pages=ram, **fields)


def test_a_protected_guest_loses_nothing_while_others_have_something() -> None:
    protected = idle(3000, 1, low_pages=3500)
    plain = idle(3000, 2)
    fleet = run(crowd(protected, plain, grower(4000, 3), ram=8000), 2.0, 20.0)
    a, b, c = fleet.guest[0]
    assert a["host_swap_out"] == 0
    assert b["host_swap_out"] + c["host_swap_out"] > 1500
    assert fleet.group[0, 1 + a["cgroup"]]["low_events"] == 0
    assert fleet.group[0, 1 + a["cgroup"]]["scanned"] == 0


def test_without_protection_it_would_have_lost_its_share() -> None:
    one = idle(3000, 1)
    fleet = run(crowd(one, idle(3000, 2), grower(4000, 3), ram=8000), 20.0)
    assert fleet.guest[0, 0]["host_swap_out"] > 500


def test_where_all_is_protected_protection_gives_way_and_is_counted() -> None:
    guests = [idle(3000, n, low_pages=10_000) for n in (1, 2)]
    late = grower(4000, 3, low_pages=10_000)
    fleet = run(crowd(*guests, late, ram=8000), 2.0, 20.0)
    seen = fleet.guest[0]
    assert seen["resident_pages"].sum() <= 8000
    assert seen["host_swap_out"].sum() > 1500
    assert fleet.group[0]["low_events"].sum() > 0
    assert fleet.host[0]["oom_kills"] == 0
    assert seen[2]["anon_pages"] == 4000  # it got its memory all the same


def test_a_guest_above_its_low_is_scanned_for_the_rest() -> None:
    # Both have 10,000 pages that nobody touched yet, half of one's is protected.
    resting: dict[str, Any] = {"start": Start.RESIDENT, "pages": 10_000}
    half = guest(task(sleep(1000.0)), guest_id=1, low_pages=5000, **resting)
    whole = guest(task(sleep(1000.0)), guest_id=2, **resting)
    fleet = run(crowd(half, whole, grower(1500, 3), ram=21_000), 2.0, 10.0)
    a, b = (fleet.group[0, 1 + g["cgroup"]] for g in fleet.guest[0, :2])
    assert b["scanned"] > 300
    assert a["scanned"] / b["scanned"] == pytest.approx(0.5, abs=0.05)


def test_high_reclaims_in_the_vcpu_and_stays_near() -> None:
    # Swap takes what is above high as fast as it comes: the vCPU pays in reclaim.
    one = idle(3000, 1, high_pages=1000, emulator_pages=0)
    fleet = run(host(one), 5.0, 60.0)
    group = fleet.group[0, 1 + fleet.guest[0, 0]["cgroup"]]
    assert group["high_events"] > 0
    assert group["usage"] <= 1064  # a batch or two
    spent = seconds(fleet)
    assert spent["host_reclaim"] > 0
    assert fleet.guest[0, 0]["anon_pages"] == 3000


def test_high_that_cannot_be_met_throttles() -> None:
    # Nothing can be swapped: charges above high cost a sleep each 32 pages, up to 2 s.
    one = idle(1300, 1, high_pages=1000)
    fleet = run(host(one, swap_pages=0), 100.0)
    group = fleet.group[0, 1 + fleet.guest[0, 0]["cgroup"]]
    spent = seconds(fleet)
    assert spent["throttle"] == pytest.approx(group["throttled_s"], rel=1e-9)
    # The table, for each batch of 32 pages from 1000 on: an integral of 6 to 2000 ms.
    expected = sum(s for used in range(1032, 1301, 32) if (s := throttle_s(used, 1000, 32)) > 0.01)
    assert spent["throttle"] == pytest.approx(expected, rel=0.3)
    seen = fleet.group[0, 1 + fleet.guest[0, 0]["cgroup"]]
    # Asleep above high is pressure of the cgroup and of the host.
    assert seen["psi_some_s"] >= spent["throttle"] * 0.999
    assert fleet.host[0]["psi_some_s"] >= spent["throttle"] * 0.999


def test_an_emulator_that_charges_above_high_sleeps_as_a_vcpu_does() -> None:
    # The same memory, filled by reading a file: what cannot be reclaimed is paid for by sleep.
    one = guest(
        task(sleep(1.0), read(0, count=1300, pattern=Pattern.SEQUENTIAL)),
        regions=[file(1300)],
        pages=2048,
        high_pages=1000,
        emulator_pages=0,
    )
    fleet = run(host(one, swap_pages=0), 100.0)
    group = fleet.group[0, 1 + fleet.guest[0, 0]["cgroup"]]
    assert fleet.guest[0, 0]["file_pages"] == 1300
    assert group["high_events"] > 0
    # Its own code can go, that data cannot: a worker sleeps 2 s for each 32 pages above, and less
    # after the request that first came there.
    requests = (1300 - 1000) / 32
    assert 2.0 * (requests - 2) < group["throttled_s"] < 2.0 * (requests + 1)
    # Two requests are ahead of the reader at most: it waits for them together, under pressure.
    assert group["throttled_s"] * 0.49 <= seconds(fleet)["throttle"] <= group["throttled_s"] * 1.01
    assert group["psi_some_s"] >= seconds(fleet)["throttle"] * 0.999
    # That is long over, and so is the pressure.
    assert group["psi_stalled"] == 0 == fleet.host[0]["psi_stalled"]
    assert group["psi_some_s"] <= group["throttled_s"] * 1.01


def test_what_a_kernel_task_charges_above_high_it_pays_itself() -> None:
    # khugepaged fills blocks that the host dropped; the program sleeps and pays nothing.
    size = 6 * 512
    regions = [file(size), file(size), anon(12 * 512)]
    in_order: dict[str, Any] = {"count": size, "pattern": Pattern.SEQUENTIAL, "cost_s": 1e-5}
    one = guest(
        task(sleep(2.0), allocate(2), free(1)),
        task(read(0, **in_order), free(0)),
        task(read(1, **in_order)),
        regions=regions,
        pages=20 * 512,
        vcpus=3,
        huge_pages=True,
        emulator_pages=0,
        defrag=Defrag.NEVER,
        lru_2011=True,
        hinting=Hinting.REPORTING,
        reporting=Reporting(order=0),
    )
    fleet = run(host(one, swap_pages=0), 9.0)
    resident = int(fleet.guest[0, 0]["resident_pages"])
    fleet.set_cgroups(np.array([[-1]]), np.array([[resident - 50]]))
    fleet.advance(np.array([31.0]))
    fleet.check()
    assert fleet.guest[0, 0]["thp_collapse_alloc"] > 0
    m = machine(fleet)
    throttle = CLASSES.index("throttle")
    kinds = m.task["kind"][: m.host[0]["tasks"]]
    slept = m.book[: len(kinds), throttle]
    assert slept[kinds == COLLAPSER].sum() > 0
    assert slept.sum() == slept[kinds == COLLAPSER].sum()
    assert not m.cpu["owed"].any()


def test_lowering_high_reclaims_without_charges_and_is_no_pressure() -> None:
    one = idle(3000, 1)
    fleet = run(host(one), 5.0)
    fleet.set_cgroups(np.array([[-1]]), np.array([[1500]]))
    fleet.advance(np.array([20.0]))
    fleet.check()
    group = fleet.group[0, 1 + fleet.guest[0, 0]["cgroup"]]
    assert group["usage"] <= 1500
    assert group["usage"] > 1300
    assert group["psi_some_s"] == 0.0
    fleet.set_cgroups(np.array([[-1]]), np.array([[10**9]]))
    assert fleet.group[0, 1 + fleet.guest[0, 0]["cgroup"]]["high"] == -1


def test_the_timeline_sets_low_and_high() -> None:
    squeeze = (
        Entry(Act.CGROUP_LOW, at_s=1.0, index=0, value=77),
        Entry(Act.CGROUP_HIGH, at_s=1.0, index=0, value=900),
    )
    one = idle(2000, 1, cgroup=0)
    fleet = run(host(one, cgroups=(Cgroup(),), timeline=squeeze), 0.9, 10.0)
    group = fleet.group[0, 1]
    assert (group["low"], group["high"]) == (77, 900)
    assert group["usage"] <= 900


def test_a_slice_shares_its_protection_by_what_is_protected() -> None:
    # The slice gives 4000 pages to claims of 3000 and 1000 that are used: each is protected whole.
    big = idle(4000, 1, low_pages=3000)
    small = idle(4000, 2, low_pages=1000)
    fleet = run(crowd(big, small, grower(3000, 3), ram=9000, slice_low_pages=4000), 2.0, 30.0)
    a, b, _ = fleet.guest[0]
    assert a["host_swap_out"] < b["host_swap_out"]
    assert a["resident_pages"] >= 3000


def test_one_lru_for_all_knows_neither_low_nor_high() -> None:
    for spec in (
        host(idle(100, 1, low_pages=50), global_lru=True),
        host(idle(100, 1, high_pages=50), global_lru=True),
        host(idle(100, 1), global_lru=True, slice_low_pages=50),
        host(idle(100, 1, cgroup=0), global_lru=True, cgroups=(Cgroup(50, low_pages=50),)),
    ):
        with pytest.raises(ValueError, match="need lists of each cgroup's own"):
            Fleet(1).reset([spec])
    fleet = run(host(idle(100, 1), global_lru=True), 1.0)
    with pytest.raises(ValueError, match="no cgroups with lists"):
        fleet.set_cgroups(np.array([[5]]), np.array([[-1]]))


def test_low_and_high_of_a_shared_cgroup_are_the_cgroups() -> None:
    with pytest.raises(ValueError, match="a group of its own"):
        Fleet(1).reset([host(idle(100, 1, cgroup=0, low_pages=5), cgroups=(Cgroup(),))])


@pytest.mark.parametrize(
    ("mode", "counts"),
    [(Async.OFF, True), (Async.HALT, False), (Async.USER, False), (Async.ANY, False)],
)
def test_an_asynchronous_fault_is_no_pressure_of_the_guests_cgroup(
    mode: Async, counts: bool
) -> None:
    toucher = task(allocate(0), sleep(2.5), touch(0, count=20))
    one = guest(toucher, regions=[anon(20)], cgroup=0, async_mode=mode)
    fleet = run(
        swapped_out(host(one, devices=(SLOW, SSD), cgroups=(Cgroup(),), lru_2011=True)), 2.4, 4.0
    )
    waited = float(fleet.host[0]["psi_some_s"])
    assert waited > 0.05
    seen = fleet.group[0, 1]
    assert seen["psi_some_s"] == pytest.approx(waited if counts else 0.0)
    assert seen["psi_full_s"] == pytest.approx(waited if counts else 0.0)


def test_dma_into_swapped_pages_is_pressure_of_the_guests_cgroup() -> None:
    # The guest drops its cache and reads again into pages that the host has swapped out.
    reader = task(
        read(0, count=64, pattern=Pattern.SEQUENTIAL),
        sleep(2.5),
        read(1, count=500, pattern=Pattern.SEQUENTIAL),
    )
    one = guest(reader, pages=300, regions=[file(64), file(500)], cgroup=0, async_mode=Async.ANY)
    fleet = run(
        swapped_out(host(one, devices=(SLOW, SSD), cgroups=(Cgroup(),), lru_2011=True)), 2.4, 20.0
    )
    assert fleet.guest[0, 0]["host_swap_in"] > 0
    assert fleet.group[0, 1]["psi_some_s"] > 0


def test_kswapd_is_pressure_of_the_host_alone() -> None:
    fleet = run(crowd(idle(3000, 1), grower(3000, 2), ram=5000), 2.0, 10.0)
    assert fleet.host[0]["kswapd_s"] > 0
    # Half of it at least: as much as others' work beside it leaves.
    assert fleet.host[0]["psi_some_s"] >= 0.5 * fleet.host[0]["kswapd_s"]
    assert fleet.group[0, 1 + fleet.guest[0, 0]["cgroup"]]["psi_some_s"] == 0.0


def test_one_of_four_vcpus_stalled_on_four_cpus() -> None:
    # Three compute, one waits for swap by itself all the time: some = full = 25 %.
    toucher = task(allocate(0), sleep(2.5), touch(0, pattern=Pattern.LOOP), again(2))
    work = [task(compute(math.inf)) for _ in range(3)]
    one = guest(
        toucher,
        *work,
        regions=[Region(RegionKind.ANON, 2000)],
        pages=4096,
        vcpus=4,
        cgroup=0,
    )
    spec = swapped_out(host(one, devices=(SLOW, SSD), cgroups=(Cgroup(),), lru_2011=True, cores=4))
    fleet = run(spec, 3.0)
    before = fleet.group[0, 1].copy(), fleet.host[0].copy()
    fleet.advance(np.array([13.0]))
    for record, was in zip((fleet.group[0, 1], fleet.host[0]), before, strict=True):
        for kind in ("some", "full"):
            share = (record[f"psi_{kind}_s"] - was[f"psi_{kind}_s"]) / 10.0
            assert share == pytest.approx(0.25, abs=1e-3), kind
