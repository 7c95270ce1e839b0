"""KSM: two looks before a merge, the scan's rate, copies on write, discards, who is charged."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import numpy as np
import pytest

from memsim.content import UNIQUE, ZERO
from memsim.fleet import Fleet
from memsim.law import Broken
from memsim.params import MERGE_S, UNSHARE_S
from memsim.sharing import ZERO_PAGE
from memsim.spec import Cgroup, GuestSpec, Hinting, HostSpec, Ksm, Op, Pattern, Phase

from .hosts import (
    allocate,
    anon,
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
    write,
)

PAGES = 1000
PAIRS = np.arange(PAGES, dtype=np.uint32) % (PAGES // 2) + 1


def _guest(content: np.ndarray, *more: Phase, guest_id: int = 1, **fields: object) -> GuestSpec:
    regions = (anon(len(content), content=content),)
    script = task(allocate(), *more, sleep(1000.0))
    return guest(script, pages=2048, regions=regions, guest_id=guest_id, **fields)


def _host(*guests: GuestSpec, ksm: Ksm = Ksm(), **fields: object) -> HostSpec:  # noqa: B008
    return replace(host(*guests, **fields), ksm=ksm)


def _passes(spec: HostSpec, passes: int) -> Fleet:
    """Start ksmd when all is allocated, and live until it has been over all pages so often."""
    assert spec.ksm is not None
    fleet = run(replace(spec, ksm=replace(spec.ksm, run=0)), 0.1)
    fleet.set_ksm(np.array([1]), np.array([-1]), np.array([-1.0]))
    for step in range(1, 10_000):
        fleet.advance(np.array([0.1 + 0.02 * step]))
        if fleet.host["ksm_full_scans"][0] >= passes:
            fleet.check()
            return fleet
    raise AssertionError("never")


def _counts(fleet: Fleet, *names: str) -> list[int]:
    return [int(fleet.host[f"ksm_{name}"][0]) for name in names]


def test_pages_merge_in_the_second_pass_and_no_sooner() -> None:
    spec = _host(_guest(PAIRS))
    first = _passes(spec, 1)
    assert _counts(first, "shared", "sharing", "volatile") == [0, 0, PAGES]
    second = _passes(spec, 2)
    assert _counts(second, "shared", "sharing", "volatile", "unshared") == [500, 500, 0, 0]
    assert second.guest["resident_pages"][0, 0] == 500
    assert second.guest["merged_pages"][0, 0] == 500
    assert second.host["free_pages"][0] - first.host["free_pages"][0] == 500


def test_it_looks_at_no_more_pages_than_asked_for() -> None:
    fleet = run(_host(_guest(np.full(PAGES, UNIQUE, np.uint32))), 5.0)
    most = 100 * (5.0 / 0.02 + 1)
    assert 0.85 * most < fleet.host["ksm_scanned"][0] <= most


@pytest.mark.parametrize("page_bytes", [4096, 16384, 65536])
def test_the_rate_is_in_small_pages_whatever_the_grain(page_bytes: int) -> None:
    fleet = run(_host(_guest(PAIRS), page_bytes=page_bytes), 2.0)
    small = fleet.host["ksm_scanned"][0] * page_bytes / 4096
    assert small == pytest.approx(5000 * 2.0, rel=0.1)


def test_a_store_copies_and_the_task_pays_for_it() -> None:
    spec = _host(_guest(PAIRS, sleep(2.0), touch(pattern=2, write=1.0, count=PAGES)))
    fleet = run(spec, 1.9, 4.0)
    assert fleet.guest["unshared"][0, 0] == PAGES  # the last sharer copies too
    assert _counts(fleet, "shared", "sharing") == [0, 0]
    assert seconds(fleet)["ksmd"] == pytest.approx(PAGES * UNSHARE_S)
    assert fleet.guest["resident_pages"][0, 0] == PAGES


def test_loads_of_merged_pages_cost_nothing() -> None:
    spec = _host(_guest(PAIRS, sleep(2.0), touch(count=5 * PAGES)))
    fleet = run(spec, 4.0)
    assert fleet.guest["unshared"][0, 0] == 0
    assert _counts(fleet, "sharing") == [500]
    assert "ksmd" not in seconds(fleet)


def test_what_is_written_all_the_time_never_merges() -> None:
    content = np.full(PAGES, 5, np.uint32)
    writer = _guest(content, touch(pattern=2, write=1.0, seconds=100.0, cost_s=1e-5))
    fleet = run(_host(writer), 3.0)
    assert _counts(fleet, "sharing", "unshared") == [0, 0]
    assert _counts(fleet, "volatile") == [PAGES]


def test_a_page_that_is_written_back_to_rest_is_unlike_any_other() -> None:
    spec = _host(_guest(np.full(PAGES, 5, np.uint32), touch(pattern=2, write=1.0, count=PAGES)))
    fleet = run(spec, 3.0)
    assert _counts(fleet, "sharing", "unshared") == [0, PAGES]


@pytest.mark.parametrize("most", [2, 100, 256])
def test_a_frame_has_no_more_sharers_than_allowed(most: int) -> None:
    spec = _host(_guest(np.full(PAGES, 5, np.uint32)), ksm=Ksm(max_page_sharing=most))
    fleet = _passes(spec, 2)
    frames = ceil(PAGES / most)
    assert _counts(fleet, "shared", "sharing") == [frames, PAGES - frames]


def test_zero_pages_take_no_frame_at_all_if_asked_for() -> None:
    zeros = _guest(np.full(PAGES, ZERO, np.uint32))
    fleet = _passes(_host(zeros, ksm=Ksm(use_zero_pages=True)), 2)
    assert _counts(fleet, "zero", "shared", "sharing") == [PAGES, 0, 0]
    assert fleet.guest["resident_pages"][0, 0] == 0
    plain = _passes(_host(zeros), 2)
    assert _counts(plain, "zero", "shared") == [0, ceil(PAGES / 256)]


def test_what_the_zero_page_backs_is_walked_past_and_not_counted_as_scanned() -> None:
    half = np.where(np.arange(PAGES) % 2, ZERO, np.arange(1, PAGES + 1)).astype(np.uint32)
    spec = _host(_guest(half), ksm=Ksm(use_zero_pages=True))
    before, after = _passes(spec, 2), _passes(spec, 3)
    assert _counts(before, "zero") == [PAGES // 2]
    assert after.host["ksm_full_scans"][0] == 3
    last = after.host["ksm_scanned"][0] - before.host["ksm_scanned"][0]
    assert last == PAGES // 2


def test_the_laws_notice_a_zero_page_that_is_none_and_a_page_in_the_table_twice() -> None:
    zeros = _guest(np.full(PAGES, ZERO, np.uint32))
    fleet = _passes(_host(zeros, ksm=Ksm(use_zero_pages=True)), 2)
    m = machine(fleet)
    m.ksm["content"][np.flatnonzero(m.ksm["node"] == ZERO_PAGE)[0]] = 7
    with pytest.raises(Broken, match="not zero"):
        fleet.check()
    alone = _passes(_host(_guest(np.arange(1, PAGES + 1, dtype=np.uint32))), 1)
    alone.advance(alone.time_s + 0.1)
    m = machine(alone)
    p = int(m.bucket["unstable"].max())
    m.ksm["chain"][p] = p
    with pytest.raises(Broken, match="twice"):
        alone.check()


def test_work_of_ksmd_takes_host_cores() -> None:
    fleet = _passes(_host(_guest(PAIRS)), 2)
    assert fleet.host["ksmd_s"][0] > PAGES * MERGE_S


def test_who_waits_behind_ksmd_loses_time_to_it() -> None:
    busy = _guest(PAIRS, touch(cost_s=1e-6, seconds=100.0))
    spec = _host(busy, ksm=Ksm(pages_to_scan=20_000, sleep_s=1e-3), cores=1)
    lost = seconds(run(spec, 2.0))
    assert lost["ksmd"] > 0.1


def test_free_pages_that_were_hinted_are_discarded() -> None:
    spec = _host(_guest(PAIRS, sleep(0.01), free(), hinting=Hinting.BITMAP))
    fleet = run(spec, 2.0)
    assert _counts(fleet, "discarded", "sharing") == [PAGES, 0]
    assert fleet.guest["resident_pages"][0, 0] == 0
    without = run(_host(_guest(PAIRS, sleep(0.01), free())), 2.0)
    assert _counts(without, "discarded", "sharing") == [0, 500]


def test_unmerging_gives_every_page_a_frame() -> None:
    fleet = _passes(_host(_guest(PAIRS)), 2)
    fleet.set_ksm(np.array([2]), np.array([-1]), np.array([-1.0]))
    fleet.advance(fleet.time_s + 1.0)
    fleet.check()
    assert _counts(fleet, "shared", "sharing", "unshared", "volatile") == [0, 0, 0, 0]
    assert fleet.guest["resident_pages"][0, 0] == PAGES
    scanned = _counts(fleet, "scanned")
    fleet.advance(fleet.time_s + 1.0)
    assert _counts(fleet, "scanned") == scanned


def test_a_stopped_ksmd_scans_nothing_until_it_is_started() -> None:
    fleet = run(_host(_guest(PAIRS), ksm=Ksm(run=0)), 1.0)
    assert _counts(fleet, "scanned") == [0]
    fleet.set_ksm(np.array([1]), np.array([1000]), np.array([0.01]))
    fleet.advance(np.array([2.0]))
    fleet.check()
    assert _counts(fleet, "sharing") == [500]


def test_the_next_sharer_is_charged_when_the_first_one_goes() -> None:
    content = np.arange(1, 1 + PAGES, dtype=np.uint32)
    clones = [_guest(content, guest_id=1, stop_s=3.0), _guest(content, guest_id=2)]
    fleet = run(_host(*clones), 2.9)
    assert fleet.guest["resident_pages"][0].tolist() == [PAGES, 0]
    assert fleet.guest["merged_pages"][0].tolist() == [0, PAGES]
    fleet.advance(np.array([3.5]))
    fleet.check()
    assert fleet.guest["resident_pages"][0].tolist() == [0, PAGES]
    assert _counts(fleet, "shared", "sharing") == [PAGES, 0]


def _reader(guest_id: int, *more: Phase) -> GuestSpec:
    image = np.arange(1, 201, dtype=np.uint32)
    script: Sequence[Phase] = (read(pattern=2, count=200), *more, sleep(1000.0))
    return guest(task(*script), regions=(file(200, content=image),), guest_id=guest_id)


def test_a_cgroup_that_is_full_is_not_charged_while_another_has_room() -> None:
    # Three guests share; the first, which pays, stores: the second is at its limit, the third not.
    content = np.arange(PAGES, dtype=np.uint32) + 1
    store = touch(0, count=PAGES, pattern=Pattern.SEQUENTIAL, write=1.0)
    first = _guest(content, sleep(20.0), store, guest_id=1, cgroup=0)
    others = [_guest(content, guest_id=i, cgroup=i - 1, emulator_pages=0) for i in (2, 3)]
    spec = _host(
        first, *others, cgroups=(Cgroup(), Cgroup(), Cgroup()), ksm=Ksm(pages_to_scan=1000)
    )
    fleet = run(spec, 19.0)
    assert fleet.host["ksm_sharing"][0] == 2 * PAGES
    usage = [int(fleet.group[0, 1 + row]["usage"]) for row in range(3)]
    machine(fleet).group[2]["max"] = usage[1] + 10
    fleet.advance(np.array([40.0]))
    fleet.check()
    now = [int(fleet.group[0, 1 + row]["usage"]) for row in range(3)]
    assert now[1] <= usage[1] + 10
    assert now[2] >= usage[2] + PAGES - 20
    assert fleet.host[0]["swap_out_pages"] == 0


def test_clones_share_what_they_read_from_one_image() -> None:
    fleet = run(_host(_reader(1), _reader(2)), 2.0)
    assert _counts(fleet, "sharing") == [200]
    dirty = run(_host(_reader(1), _reader(2, write(pattern=2, count=200))), 2.0)
    assert _counts(dirty, "sharing") == [0]


def test_what_was_written_to_a_file_is_read_back_as_it_was_written() -> None:
    again = (
        write(pattern=2, count=200),
        sleep(40.0),
        Phase(Op.DROP_CACHES),
        read(pattern=2, count=200),
    )
    fleet = run(_host(_reader(1), _reader(2, *again)), 45.0)
    assert fleet.guest["disk_read"][0, 1] == 2 * fleet.guest["disk_read"][0, 0]
    assert _counts(fleet, "sharing") == [0]


def test_dma_into_merged_memory_takes_frames_of_its_own() -> None:
    # What the cache drops is merged as free memory; reading into it again copies.
    drop = (sleep(2.0), Phase(Op.DROP_CACHES), sleep(1.0), read(pattern=2, count=200))
    fleet = run(_host(_reader(1), _reader(2, *drop)), 2.5, 4.0, 6.0)
    assert fleet.guest["unshared"][0, 1] == 200
    assert _counts(fleet, "sharing") == [200]


def test_what_is_swapped_out_and_in_is_still_what_it_was() -> None:
    content = np.full(PAGES, 5, np.uint32)
    stores = touch(pattern=2, write=1.0, count=PAGES // 2)
    loads = touch(pattern=2, count=PAGES)
    spec = swapped_out(_host(_guest(content, stores, sleep(3.0), loads, cgroup=0)))
    squeezed = replace(spec, cgroups=(Cgroup(),), ksm=Ksm(run=0))
    fleet = run(squeezed, 1.8, 5.0)
    assert fleet.guest["host_swap_in"][0, 0] >= PAGES // 2
    fleet.set_ksm(np.array([1]), np.array([-1]), np.array([-1.0]))
    fleet.advance(np.array([7.0]))
    fleet.check()
    frames = ceil(PAGES / 2 / 256)
    assert _counts(fleet, "shared", "sharing") == [frames, PAGES // 2 - frames]


def test_coarse_pages_are_refused() -> None:
    with pytest.raises(ValueError, match="page_bytes"):
        run(_host(_guest(PAIRS), page_bytes=1 << 17), 0.1)


def test_a_host_does_the_same_in_company() -> None:
    spec = _host(_guest(PAIRS, touch(write=0.1, seconds=2.0, cost_s=1e-4)))
    alone, pair = Fleet(1), Fleet(2)
    alone.reset([spec])
    pair.reset([replace(spec, ksm=None), spec])
    alone.advance(np.array([3.0]))
    pair.advance(np.array([3.0, 3.0]))
    assert alone.guest[0].tobytes() == pair.guest[1].tobytes()
    assert alone.host[0].tobytes() == pair.host[1].tobytes()


def test_a_match_splits_a_huge_page_of_the_host_and_a_scan_does_not() -> None:
    block = 512
    content = np.full(2 * block, UNIQUE, np.uint32)
    alone = _host(_guest(content), huge_pages=True)
    fleet = _passes(alone, 3)
    assert fleet.guest["host_thp_blocks"][0, 0] == 2
    assert fleet.guest["host_thp_split"][0, 0] == 0
    content[[5, 7, block + 3]] = 9
    fleet = _passes(_host(_guest(content), huge_pages=True), 3)
    assert _counts(fleet, "shared", "sharing") == [1, 2]
    assert fleet.guest["host_thp_split"][0, 0] == 2


def _racing(at_s: float) -> HostSpec:
    # 8 pages are free and hinted when ksmd comes by; a task takes them again, and no more.
    owner = task(allocate(), sleep(0.01), free(), sleep(1000.0))
    racer = task(sleep(at_s), allocate(1), sleep(1000.0))
    one = guest(owner, racer, pages=64, vcpus=2, regions=(anon(8), anon(8)), hinting=Hinting.BITMAP)
    return _host(one)


def test_no_page_is_lost_that_is_taken_while_ksmd_discards_it() -> None:
    fleet = Fleet(1)
    fleet.reset([_racing(500.0)])
    moments = []
    for t in 0.02 + 5e-7 * np.arange(200):
        fleet.advance(np.array([t]))
        if machine(fleet).cpu["stage"].max() > 0:
            moments.append(float(t))
    assert _counts(fleet, "discarded") == [8]
    assert len(moments) > 10
    kept = 0
    for t in [m - 2e-6 * k for m in moments for k in range(3)]:
        fleet.reset([_racing(t)])
        fleet.advance(np.array([0.05]))
        fleet.check()
        kept += 8 - _counts(fleet, "discarded")[0]
    assert kept > 0  # some were taken between the first look and the second
