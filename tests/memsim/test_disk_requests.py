"""Requests of the guests' disks: pages under DMA, what they cost by the size of a page, and OOM."""

from typing import Any

import numpy as np
import pytest

from memsim import state
from memsim.fleet import Fleet
from memsim.law import Broken
from memsim.spec import Act, Cgroup, Device, Entry, GuestSpec, Op, Pattern, Phase
from tests.memsim.hosts import (
    DISK,
    FLASH,
    SLOW,
    SSD,
    again,
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
    targets,
    task,
    touch,
)

KIB, MIB = 1024, 1 << 20
SIZES = (4 * KIB, 64 * KIB, MIB)


def pinned(fleet: Fleet) -> int:
    return int((machine(fleet).page["hflags"] & state.H_PINNED != 0).sum())


def test_what_is_freed_under_io_is_unpinned_and_free_when_that_ends() -> None:
    script = task(allocate(0), free(0), sleep(99.0))
    fleet = run(host(guest(script, pages=512, regions=[anon(700)], swap_pages=600)), 30.0)
    assert fleet.guest[0, 0]["guest_swap_out"] > 100
    assert pinned(fleet) == 0
    assert machine(fleet).host[0]["requests_used"] == 0
    assert fleet.guest[0, 0]["free_pages"] == 512
    assert fleet.guest[0, 0]["swap_used_pages"] == 0


def test_memory_freed_again_and_again_beside_its_swap_traffic_keeps_all_laws() -> None:
    script = task(touch(0, write=1.0, seconds=0.2), free(0), again(0))
    spec = host(guest(script, pages=512, regions=[anon(700)], swap_pages=600))
    fleet = run(spec, *np.arange(0.05, 3.0, 0.0371))
    assert fleet.guest[0, 0]["guest_swap_in"] > 100


def under_way() -> Fleet:
    """A guest whose file read is at the device."""
    reading = task(read(0, count=1), sleep(9.0))
    spec = host(guest(reading, pages=512, regions=[file(64)]), devices=(FLASH, SLOW))
    return run(spec, 0.015)


def test_the_laws_notice_a_page_that_stays_pinned() -> None:
    fleet = under_way()
    assert pinned(fleet) > 0
    machine(fleet).page["hflags"][511] |= state.H_PINNED
    with pytest.raises(Broken, match="pinned pages"):
        fleet.check()


def test_the_laws_notice_a_request_that_nothing_will_end() -> None:
    fleet = under_way()
    m = machine(fleet)
    r = int(np.flatnonzero(m.request["state"] == state.R_SERVED)[0])
    m.request["state"][r] = state.R_QUEUED  # but it is in no queue
    m.event["pos"][m.host[0]["cpus"] + m.host[0]["tasks"] + r] = state.NOBODY
    with pytest.raises(Broken, match="queued requests"):
        fleet.check()


@pytest.mark.parametrize("count", ["waiting", "busy"])
def test_the_laws_notice_a_device_that_miscounts(count: str) -> None:
    fleet = under_way()
    machine(fleet).device[count][1] += 1
    with pytest.raises(Broken, match=count):
        fleet.check()


def test_the_laws_notice_a_queue_without_its_end() -> None:
    fleet = under_way()
    machine(fleet).device["read_tail"][1] = 3
    with pytest.raises(Broken, match="read_tail"):
        fleet.check()


def test_the_laws_notice_a_request_that_nobody_goes_on_with() -> None:
    fleet = under_way()
    m = machine(fleet)
    r = int(np.flatnonzero(m.request["state"] == state.R_SERVED)[0])
    m.request["state"][r] = state.R_EMULATOR
    m.device["busy"][m.request["device"][r]] -= 1
    m.event["pos"][m.host[0]["cpus"] + m.host[0]["tasks"] + r] = state.NOBODY
    with pytest.raises(Broken, match="waits for nothing"):
        fleet.check()


def swapping(page_bytes: int, device: Device, pattern: Pattern) -> float:
    """Seconds lost by the same touches in a guest that swaps."""
    sub = page_bytes // (4 * KIB)
    pages = 128 * MIB // page_bytes
    script = task(allocate(0), touch(0, pattern=pattern, cost_s=1e-6 * sub, count=40960 // sub))
    one = guest(script, pages=96 * MIB // page_bytes, regions=[anon(pages)], swap_pages=2 * pages)
    fleet = run(host(one, page_bytes=page_bytes, devices=(FLASH, device)), 900.0)
    return seconds(fleet)["guest_swap"]


@pytest.mark.parametrize(
    ("device", "pattern"),
    [(DISK, Pattern.UNIFORM), (SSD, Pattern.UNIFORM), (SSD, Pattern.LOOP)],
)
def test_guest_swap_costs_about_the_same_at_any_size_of_a_page(
    device: Device, pattern: Pattern
) -> None:
    lost = np.array([swapping(size, device, pattern) for size in SIZES])
    assert lost.max() / lost.min() < 2.5


def scattered_read(page_bytes: int) -> float:
    """Seconds that a random host swap-in of 4 KiB costs on a rotating disk."""
    pages = 256 * MIB // page_bytes
    order = np.random.default_rng(1).permutation(pages).astype(np.int32)
    count = 8 * MIB // page_bytes
    walk = touch(0, pattern=Pattern.STREAM, stream=0, count=count, cost_s=1e-9)
    one = guest(
        task(allocate(0), sleep(200.0), walk),
        pages=pages + 16 * MIB // page_bytes,
        regions=[anon(pages)],
        streams=(order,),
        cgroup=0,
    )
    squeeze = (
        Entry(Act.CGROUP_MAX, at_s=5.0, index=0, value=0),
        Entry(Act.CGROUP_MAX, at_s=190.0, index=0, value=-1),
    )
    spec = host(
        one,
        page_bytes=page_bytes,
        devices=(DISK, SSD),
        cgroups=(Cgroup(),),
        timeline=squeeze,
    )
    fleet = run(spec, 190.0, 400.0)
    reads = int(fleet.host[0]["swap_in_pages"]) * page_bytes / (4 * KIB)
    return seconds(fleet)["host_swap"] / reads


def test_scattered_reads_from_a_rotating_disk_cost_the_same_at_any_size_of_a_page() -> None:
    # Though they are served in shares, none of which begins where the last one ended.
    costs = [scattered_read(size) for size in SIZES]
    assert costs == pytest.approx([8e-3] * 3, rel=0.1)


def reader(**fields: Any) -> GuestSpec:  # noqa: ANN401  any of GuestSpec
    script = task(read(0, pattern=Pattern.SEQUENTIAL, count=600))
    return guest(script, pages=1024, regions=[file(800)], **fields)


def test_an_emulator_that_gets_no_frame_is_out_of_memory() -> None:
    # Without swap nothing can be reclaimed: in its cgroup, and on the whole host.
    limited = run(host(reader(cgroup=0), swap_pages=0, cgroups=(Cgroup(300),)), 2.0)
    assert limited.guest[0, 0]["host_kills"] > 0
    full = run(host(reader(), swap_pages=0, ram_pages=400), 2.0)
    assert full.host[0]["oom_kills"] > 0
    assert run(host(reader(), swap_pages=0), 2.0).host[0]["oom_kills"] == 0


def test_an_emulator_that_waits_for_swap_kills_nobody() -> None:
    fleet = run(host(reader(cgroup=0), cgroups=(Cgroup(300),), devices=(SLOW, SSD)), 30.0)
    assert fleet.guest[0, 0]["host_kills"] == 0
    assert fleet.task[0, 0, 0]["done"] == 600


def test_a_first_read_on_an_ample_host_loses_nothing() -> None:
    # Neither its frames nor the emulator's own code were ever there before.
    fleet = run(host(reader()), 5.0)
    # What waits behind its own readahead counts as queued.
    assert set(seconds(fleet)) <= {"nominal", "queued", "idle"}


def test_frames_that_were_given_away_cost_the_emulator_a_fresh_fault_each() -> None:
    script = (
        read(0, pattern=Pattern.SEQUENTIAL, count=3000),
        Phase(Op.DROP_CACHES),
        sleep(5.0),
        read(0, count=9000),  # at random: in order the emulator would be ahead of the reader
    )
    fleet = run(host(guest(task(*script), pages=4096, regions=[file(3000)])), 1.0)
    targets(fleet, 600)
    fleet.advance(np.array([3.0]))
    targets(fleet, 4096)
    fleet.advance(np.array([20.0]))
    fleet.check()
    again_fresh = int(fleet.guest[0, 0]["host_fresh"]) - 3000
    assert again_fresh > 2000
    assert seconds(fleet)["fresh_fault"] == pytest.approx(again_fresh * 3.5e-6, rel=0.2)


def test_a_page_taken_back_from_write_back_keeps_its_frame_until_that_ends() -> None:
    # Touched at once while a write of 10 ms goes on, and wanted again before that is over.
    script = task(allocate(0), sleep(1.0005), touch(0, count=20, pattern=Pattern.SEQUENTIAL))
    one = guest(script, pages=256, regions=[anon(20)], cgroup=0)
    squeeze = (
        Entry(Act.CGROUP_MAX, at_s=1.0, index=0, value=0),
        Entry(Act.CGROUP_MAX, at_s=1.0004, index=0, value=-1),
        Entry(Act.CGROUP_MAX, at_s=1.002, index=0, value=0),
    )
    spec = host(one, devices=(SLOW, SSD), cgroups=(Cgroup(),), timeline=squeeze)
    fleet = run(spec, 1.001, 1.009)
    assert fleet.guest[0, 0]["host_swap_in"] == 0
    assert fleet.guest[0, 0]["resident_pages"] == 20
