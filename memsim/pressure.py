"""Pressure stall information of hosts, cgroups and guests, as kernel/sched/psi.c defines it.

threads = min(non-idle tasks, CPUs); some = min(stalled / threads, 1);
full = (threads - min(working, threads)) / threads; averages over 10, 60 and 300 s are updated
every 2 s with exponential weights.  Who waits for a CPU counts as working (NR_RUNNING).  A host's
tasks are its vCPUs, the workers that read swap for them and its emulators; a guest's are its own,
and it cannot see the host's faults.

Whose cgroup a stall counts for follows from who sleeps: psi_memstall_enter marks `current`, and
psi_task_change walks up from that task's cgroup to the host, whatever memory it is about.

| who stalls | host | its guest's cgroup |
|---|---|---|
| a vCPU that reads swap itself (no asynchronous faults, or 64 outstanding) | yes | yes |
| an asynchronous fault, also if the vCPU halts meanwhile | yes | no |
| a vCPU in direct reclaim, for the host or a limit, or asleep above memory.high | yes | yes |
| the emulator's DMA into a swapped page | yes | yes |
| kswapd, whenever it is awake | yes | no |
| a thread that reclaims because a limit was lowered | no | no |

An asynchronous fault is read by async_pf_execute (virt/kvm/async_pf.c), work of a kworker, which
is in the root cgroup; the vCPU thread sleeps in kvm_vcpu_block or runs on, marked by nothing.  So
the page is charged to the guest (by its mm, not by `current`), its wait is not.  kvm_setup_async_pf
refuses a 65th, which is then read by the vCPU.  kswapd stalls in balance_pgdat (mm/vmscan.c), a
vCPU in try_charge, reclaim_high and mem_cgroup_handle_over_high (mm/memcontrol.c).  What writes a
limit reclaims unmarked (memory_max_write, memory_high_write).
"""

from math import exp

import numpy as np

from memsim.jit import entry, kernel
from memsim.machine import Machine
from memsim.params import PSI_PERIOD_S
from memsim.state import NOBODY, WORKING

_KEEP_10 = exp(-PSI_PERIOD_S / 10)
_KEEP_60 = exp(-PSI_PERIOD_S / 60)
_KEEP_300 = exp(-PSI_PERIOD_S / 300)


@entry
def shares(stalled: int, working: int, cpus: int) -> tuple[float, float]:
    """Return the shares of time (some, full) lost with so many tasks stalled and working."""
    if stalled <= 0:
        return 0.0, 0.0
    threads = min(stalled + working, cpus)
    some = min(stalled / threads, 1.0)
    full = (threads - min(working, threads)) / threads
    return some, full


@kernel
def is_stall(m: Machine, p: int) -> bool:
    """Tell whether to wait for a swap read of page p is to be short of memory.

    Only a page of the workingset, which was active, went and came back in time, shows that
    (wait_on_page_bit_common of mm/filemap.c, 5.13); what is read in the first time or after long
    does not.  There is no such bit in a kernel of 2011, nor pressure: there all reads count.
    """
    return bool(m.host[0].lru_2011) or (m.page[p].gflags & WORKING) != 0


@kernel
def settle_host(m: Machine, t: float) -> None:
    """Bring the host's totals up to time t; call before its counts change."""
    hs = m.host[0]
    if hs.psi_stalled > 0:
        some, full = shares(hs.psi_stalled, hs.psi_working, hs.cores)
        hs.psi_some_s += some * (t - hs.psi_t)
        hs.psi_full_s += full * (t - hs.psi_t)
    hs.psi_t = t


@kernel
def settle_guest(m: Machine, g: int, t: float) -> None:
    """Bring a guest's totals up to time t; call before its counts change."""
    gs = m.guest[g]
    if gs.psi_stalled > 0:
        some, full = shares(gs.psi_stalled, gs.psi_working, gs.vcpus)
        gs.psi_some_s += some * (t - gs.psi_t)
        gs.psi_full_s += full * (t - gs.psi_t)
    gs.psi_t = t


@kernel
def settle_group(m: Machine, row: int, t: float) -> None:
    """Bring a cgroup's totals up to time t; call before its counts change."""
    gr = m.group[row]
    if gr.psi_stalled > 0:
        some, full = shares(gr.psi_stalled, gr.psi_working, m.host[0].cores)
        gr.psi_some_s += some * (t - gr.psi_t)
        gr.psi_full_s += full * (t - gr.psi_t)
    gr.psi_t = t


@kernel
def host_stall(m: Machine, change: int, t: float) -> None:
    """Count one more (or less) context of the host that waits for memory."""
    settle_host(m, t)
    m.host[0].psi_stalled += change


@kernel
def host_work(m: Machine, change: int, t: float) -> None:
    """Count one more (or less) working context of the host."""
    settle_host(m, t)
    m.host[0].psi_working += change


@kernel
def group_stall(m: Machine, g: int, change: int, t: float) -> None:
    """Count one more (or less) thread of a guest's cgroup that waits for memory, as the host's."""
    row = 1 + m.guest[g].cgroup
    settle_group(m, row, t)
    m.group[row].psi_stalled += change
    host_stall(m, change, t)


@kernel
def group_work(m: Machine, g: int, change: int, t: float) -> None:
    """Count one more (or less) working thread of a guest's cgroup, as the host's."""
    row = 1 + m.guest[g].cgroup
    settle_group(m, row, t)
    m.group[row].psi_working += change
    host_work(m, change, t)


@kernel
def guest_stall(m: Machine, g: int, change: int, t: float) -> None:
    """Count one more (or less) task of a guest that waits for the guest's own memory."""
    if g == NOBODY:
        return
    settle_guest(m, g, t)
    m.guest[g].psi_stalled += change


@kernel
def guest_work(m: Machine, g: int, change: int, t: float) -> None:
    """Count one more (or less) running task of a guest."""
    if g == NOBODY:
        return
    settle_guest(m, g, t)
    m.guest[g].psi_working += change


@kernel
def _average(record: np.record) -> None:
    some = (record.psi_some_s - record.psi_some_last) / PSI_PERIOD_S
    full = (record.psi_full_s - record.psi_full_last) / PSI_PERIOD_S
    record.psi_some_last = record.psi_some_s
    record.psi_full_last = record.psi_full_s
    record.psi_some_10 = some + (record.psi_some_10 - some) * _KEEP_10
    record.psi_some_60 = some + (record.psi_some_60 - some) * _KEEP_60
    record.psi_some_300 = some + (record.psi_some_300 - some) * _KEEP_300
    record.psi_full_10 = full + (record.psi_full_10 - full) * _KEEP_10
    record.psi_full_60 = full + (record.psi_full_60 - full) * _KEEP_60
    record.psi_full_300 = full + (record.psi_full_300 - full) * _KEEP_300


@kernel
def average(m: Machine, t: float) -> None:
    """Do the periodic update of all averages, every PSI_PERIOD_S."""
    hs = m.host[0]
    settle_host(m, t)
    _average(hs)
    for row in range(1, hs.groups + 1):
        settle_group(m, row, t)
        _average(m.group[row])
    for g in range(hs.guests):
        if m.guest[g].state != 0:
            settle_guest(m, g, t)
            _average(m.guest[g])
