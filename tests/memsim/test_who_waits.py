"""Who waits follows from who touches: the table of the model's section 3, by exact times.

One vCPU, two tasks.  The first starts at 3 s and needs something that takes the host 10 ms to
read; the second wants 1 ms of CPU right after.  When the second is done says who waited.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from memsim import params
from memsim.fleet import Fleet
from memsim.spec import Async, Cgroup, GuestSpec, Hinting, HostSpec, Phase, Start
from memsim.state import CPU_BLOCKED, ON_IO
from tests.memsim.hosts import (
    SLOW,
    SLOW_READ_S,
    SSD,
    ZRAM,
    allocate,
    anon,
    compute,
    file,
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

START_S, WORK_S = 3.0, 1e-3
NOBODY_S = START_S + 1e-4 + WORK_S  # the second task did not wait
HALT_S = START_S + params.HALT_TICK_S + WORK_S  # until a timer interrupt switched task
BLOCK_S = START_S + SLOW_READ_S + WORK_S  # until the read was done
ENDS = {"nobody": NOBODY_S, "halt": HALT_S, "block": BLOCK_S}


def second_ends(spec: HostSpec) -> float:
    fleet = run(spec, 2.5, 4.0)
    assert fleet.host[0]["swap_in_pages"] == 1
    end: float = fleet.task[0, 0, 1]["finished_s"]
    return end


def pair(*first: Phase, **fields: Any) -> GuestSpec:  # noqa: ANN401  any of GuestSpec
    worker = task(sleep(START_S + 1e-4), compute(WORK_S))
    regions = [anon(4), file(4)]
    return guest(task(*first), worker, regions=regions, cgroup=0, **fields)


def mapped(operation: Phase, mode: Async) -> float:
    """When the worker is done if the first task's own page was swapped out since it used it."""
    one = pair(allocate(0), sleep(START_S), operation, async_mode=mode)
    return second_ends(swapped_out(host(one, devices=(SLOW, SSD), cgroups=(Cgroup(),))))


ONE = {"count": 1}
USER, KERNEL, READ, WRITE = (
    touch(0, **ONE),
    touch(0, kernel=True, **ONE),
    read(0, **ONE),
    write(0, **ONE),
)


@pytest.mark.parametrize(
    ("mode", "operation", "waits"),
    [
        (Async.OFF, USER, "block"),
        (Async.OFF, KERNEL, "block"),
        (Async.OFF, READ, "block"),
        (Async.HALT, USER, "halt"),
        (Async.HALT, KERNEL, "halt"),
        (Async.USER, USER, "nobody"),  # modern: user mode alone
        (Async.USER, KERNEL, "halt"),
        (Async.USER, READ, "halt"),
        (Async.USER, WRITE, "halt"),
        (Async.ANY, USER, "nobody"),  # 2011: sleepable kernel context too
        (Async.ANY, KERNEL, "nobody"),
        (Async.ANY, READ, "nobody"),
        (Async.ANY, WRITE, "nobody"),
    ],
    ids=lambda value: value.op.name if isinstance(value, Phase) else str(value),
)
def test_who_waits_for_a_mapped_page(mode: Async, operation: Phase, waits: str) -> None:
    assert mapped(operation, mode) == pytest.approx(ENDS[waits], abs=5e-5)


@pytest.mark.parametrize(
    ("mode", "waits"),
    [(Async.OFF, "block"), (Async.HALT, "halt"), (Async.USER, "halt"), (Async.ANY, "nobody")],
)
def test_who_waits_for_a_page_that_the_kernel_fills(mode: Async, waits: str) -> None:
    # A free guest page that the host had swapped out: the first touch is the kernel's.
    one = pair(sleep(START_S), allocate(0, 1), async_mode=mode, start=Start.RECLAIMED)
    end = second_ends(host(one, devices=(SLOW, SSD), cgroups=(Cgroup(),)))
    assert end == pytest.approx(ENDS[waits], abs=5e-5)


@pytest.mark.parametrize("mode", list(Async))
def test_the_emulator_waits_for_pages_under_dma(mode: Async) -> None:
    # A file page is read into a swapped-out free page: the guest only waits for its disk.
    one = pair(sleep(START_S), read(1, count=1), async_mode=mode, start=Start.RECLAIMED)
    spec = host(one, devices=(SLOW, SSD), cgroups=(Cgroup(),))
    assert second_ends(spec) == pytest.approx(NOBODY_S, abs=5e-5)
    fleet = run(spec, 4.0)
    # The reader's wait for the emulator's fault is lost to host swap, whatever the mode.
    assert seconds(fleet)["host_swap"] >= SLOW_READ_S


@pytest.mark.parametrize("mode", list(Async))
def test_a_fresh_page_costs_its_fault_and_no_wait(mode: Async) -> None:
    one = pair(
        sleep(START_S),
        allocate(0, 1),
        async_mode=mode,
        hinting=Hinting.BITMAP,
        start=Start.RECLAIMED,
    )
    fleet = run(host(one, devices=(SLOW, SSD), cgroups=(Cgroup(),)), 4.0)
    assert fleet.host[0]["swap_in_pages"] == 0
    assert fleet.task[0, 0, 1]["finished_s"] == pytest.approx(NOBODY_S, abs=5e-5)


@pytest.mark.parametrize("mode", list(Async))
def test_compressed_memory_is_read_inline(mode: Async) -> None:
    one = pair(allocate(0), sleep(START_S), touch(0, count=4, pattern=3), async_mode=mode)
    spec = swapped_out(host(one, devices=(ZRAM, SSD), cgroups=(Cgroup(),)))
    fleet = run(spec, 2.5, 4.0)
    assert fleet.host[0]["swap_in_pages"] == 4
    assert seconds(fleet)["host_swap"] == pytest.approx(4 * ZRAM.latency_s)
    assert fleet.task[0, 0, 1]["finished_s"] == pytest.approx(NOBODY_S, abs=5e-5)


def waiting(tasks: int, mode: Async, together: bool) -> Fleet:
    """So many tasks on one vCPU that touch swapped pages: their own each, or all the same."""
    pages = 1 if together else tasks
    filler = task(allocate(0))
    touchers = [task(sleep(START_S), touch(0, count=1, pattern=4, stream=i)) for i in range(tasks)]
    streams = [np.array([0 if together else i], np.int32) for i in range(tasks)]
    one = guest(
        filler,
        *touchers,
        regions=[anon(pages)],
        streams=tuple(streams),
        async_mode=mode,
        cgroup=0,
    )
    second = replace(SLOW, latency_s=1.0, parallel=256)
    return run(swapped_out(host(one, devices=(second, SSD), cgroups=(Cgroup(),))), 3.5)


def test_the_65th_outstanding_fault_stops_the_vcpu() -> None:
    fleet = waiting(70, Async.ANY, together=False)
    m = machine(fleet)
    vcpu = m.cpu[0]
    assert vcpu["asyncs"] == params.ASYNC_PER_VCPU
    assert vcpu["state"] == CPU_BLOCKED
    assert (m.task["state"] == ON_IO).sum() == params.ASYNC_PER_VCPU + 1
    assert fleet.host[0]["swap_in_pages"] == params.ASYNC_PER_VCPU + 1
    fleet.advance(np.array([6.0]))
    fleet.check()
    assert vcpu["asyncs"] == 0
    assert fleet.task[0, 0, 1:]["done"].tolist() == [1] * 70


def test_a_second_toucher_waits_for_the_same_read() -> None:
    fleet = waiting(5, Async.ANY, together=True)
    assert fleet.host[0]["swap_in_pages"] == 1
    assert (machine(fleet).task["state"] == ON_IO).sum() == 5
    fleet.advance(np.array([6.0]))
    assert fleet.host[0]["swap_in_pages"] == 1
    ends = fleet.task[0, 0, 1:]["finished_s"]
    assert ends.max() - ends.min() < 1e-4


@pytest.mark.parametrize("mode", [Async.OFF, Async.HALT])
def test_a_stopped_vcpus_time_is_lost_to_who_waits_for_it(mode: Async) -> None:
    one = pair(sleep(START_S), allocate(0, 1), async_mode=mode, start=Start.RECLAIMED)
    fleet = run(host(one, devices=(SLOW, SSD), cgroups=(Cgroup(),)), 4.0)
    waited = SLOW_READ_S - 1e-4 if mode == Async.OFF else params.HALT_TICK_S - 1e-4
    assert seconds(fleet, task=1)["host_swap"] == pytest.approx(waited, abs=2e-5)
    assert seconds(fleet, task=1).get("queued", 0.0) < 2e-5
