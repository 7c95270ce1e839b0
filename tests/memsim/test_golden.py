"""A small host's life, counter by counter, at the marks of its timeline."""

from typing import Any

from memsim.account import CLASSES
from memsim.fleet import Mark
from memsim.spec import (
    Act,
    Async,
    Entry,
    Hinting,
    HostSpec,
    Op,
    Pattern,
    Phase,
    Resize,
)
from tests.conftest import Golden
from tests.memsim.hosts import (
    DISK,
    SSD,
    again,
    allocate,
    anon,
    compute,
    file,
    free,
    guest,
    host,
    read,
    run,
    sleep,
    task,
    touch,
    write,
)

HOST = (
    *("free_pages", "cached_pages", "swap_used_pages", "writing_pages"),
    *("swap_in_pages", "swap_out_pages", "direct_reclaims", "oom_kills", "events"),
)
HOST_S = ("kswapd_s", "io_busy_s", "psi_some_s", "psi_full_s")
GUEST = (
    *("target_pages", "taken_pages", "balloon_pages", "free_pages", "anon_pages", "file_pages"),
    *("dirty_pages", "available_pages", "swap_used_pages", "resident_pages"),
    *("host_swapped_pages", "host_swap_in", "host_swap_out", "host_major", "host_fresh"),
    *("discarded", "guest_swap_in", "guest_swap_out", "guest_major", "guest_minor", "refaults"),
    *("disk_read", "disk_written", "oom_kills", "inflated", "deflated", "alloc_stalls"),
    *("touches", "events", "psi_some_s", "resize_s"),
)
TASK = ("done", "arrivals", "served", "dropped", "restarts", "latency_s")


def busy() -> HostSpec:
    """A service with a cache, a batch job and a garbage collector, on a host too small for them."""
    service = (
        task(touch(0, rate=300.0, pattern=Pattern.ZIPF, per_arrival=2, write=0.2, cost_s=1e-4)),
        task(read(1, pattern=Pattern.ZIPF, zipf_s=0.8, cost_s=2e-4), again()),
    )
    job = task(
        allocate(0),
        touch(0, pattern=Pattern.LOOP, count=6000, write=0.5, cost_s=5e-5),
        write(1, pattern=Pattern.SEQUENTIAL, count=200),
        compute(0.2),
        free(0),
        sleep(0.5),
        again(),
    )
    collector = task(
        allocate(0),
        touch(0, count=800, write=1.0, cost_s=1e-4),
        Phase(Op.HINT_FREE, region=0),
        sleep(0.3),
        again(),
    )
    common: dict[str, Any] = {
        "hinting": Hinting.BITMAP,
        "disk": 1,
        "kernel_pages": 20,
        "emulator_pages": 8,
    }
    guests = (
        guest(
            *service,
            pages=900,
            vcpus=2,
            regions=[anon(400, block_pages=16), file(900, block_pages=16)],
            guest_id=11,
            async_mode=Async.USER,
            stats_period_s=1.0,
            **common,
        ),
        guest(
            job, pages=800, regions=[anon(600), file(300)], guest_id=12, swap_pages=400, **common
        ),
        guest(
            collector,
            pages=700,
            regions=[anon(500)],
            guest_id=13,
            resize=Resize.FREE_TARGET_2011,
            async_mode=Async.HALT,
            **common,
        ),
    )
    timeline = (
        Entry(Act.MARK, at_s=2.0, value=1),
        Entry(Act.TARGET, at_s=2.0, guest=1, value=350),
        Entry(Act.TARGET, at_s=2.0, guest=2, value=400),
        Entry(Act.MARK, at_s=4.0, value=2),
        Entry(Act.TARGET, at_s=5.0, guest=0, value=500),
        Entry(Act.MARK, at_s=6.0, value=3),
        Entry(Act.TARGET, at_s=7.0, guest=1, value=800),
        Entry(Act.MARK, at_s=8.0, value=4),
        Entry(Act.STOP_GUEST, at_s=8.5, guest=2),
        Entry(Act.MARK, at_s=10.0, value=5),
        Entry(Act.START_GUEST, at_s=10.5, guest=2),
        Entry(Act.MARK, at_s=12.0, value=6),
    )
    return host(
        *guests,
        ram_pages=1500,
        swap_pages=2000,
        devices=(SSD, DISK),
        cores=3,
        seed=2026,
        readahead_bytes=32768,
        timeline=timeline,
    )


def counters(mark: Mark) -> dict[str, Any]:
    lost = mark.account.sum(axis=(0, 1))
    return {
        "time_s": mark.time_s,
        "host": {name: mark.host[name] for name in HOST + HOST_S},
        "guests": {name: mark.guest[name] for name in GUEST},
        "tasks": {name: mark.task[name] for name in TASK},
        "seconds": {name: s for name, s in zip(CLASSES, lost.tolist(), strict=True) if s},
    }


def test_a_life_is_as_it_was(golden: Golden) -> None:
    fleet = run(busy(), 3.0, 9.0, 12.5)
    marks = fleet.marks(0)
    assert [mark.number for mark in marks] == [1, 2, 3, 4, 5, 6]
    # Of everything that it is kept for there is some.
    ends = marks[-1].guest
    for name in ("host_swap_in", "discarded", "inflated", "deflated", "refaults", "guest_swap_in"):
        assert ends[name].sum() > 0, name
    golden("life", [counters(mark) for mark in marks])
