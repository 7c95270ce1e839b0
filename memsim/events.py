"""The clock of one host: an indexed binary heap with one entry for each entity.

Entities, in order: those that need a core (vCPUs, host threads), tasks, requests, the periodic
tick, the timeline, guests' power.  Ties are broken by a hash of (guest id, the guest's event
number), so that a slot's place in the arrays never decides.
"""

import numpy as np

from memsim.jit import kernel
from memsim.machine import Machine
from memsim.rng import GOLDEN, mix
from memsim.state import NOBODY


@kernel
def task_entity(m: Machine, k: int) -> int:
    """Return the entity of a task's timer."""
    return m.host[0].cpus + k


@kernel
def request_entity(m: Machine, r: int) -> int:
    """Return the entity of a request's service."""
    return m.host[0].cpus + m.host[0].tasks + r


@kernel
def tick_entity(m: Machine) -> int:
    """Return the entity of periodic work; the timeline's is the next one, then guests' power."""
    return m.host[0].cpus + m.host[0].tasks + m.host[0].requests


@kernel
def _before(m: Machine, a: int, b: int) -> bool:
    x = m.event[a]
    y = m.event[b]
    if x.when != y.when:
        return x.when < y.when
    return x.tie < y.tie


@kernel
def _up(m: Machine, i: int) -> None:
    entity = m.event[i].heap
    while i > 0:
        parent = (i - 1) >> 1
        other = m.event[parent].heap
        if not _before(m, entity, other):
            break
        m.event[i].heap = other
        m.event[other].pos = i
        i = parent
    m.event[i].heap = entity
    m.event[entity].pos = i


@kernel
def _down(m: Machine, i: int) -> None:
    n = m.host[0].heap_n
    entity = m.event[i].heap
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        other = m.event[child].heap
        if child + 1 < n and _before(m, m.event[child + 1].heap, other):
            child += 1
            other = m.event[child].heap
        if not _before(m, other, entity):
            break
        m.event[i].heap = other
        m.event[other].pos = i
        i = child
    m.event[i].heap = entity
    m.event[entity].pos = i


@kernel
def schedule(m: Machine, entity: int, when: float, guest: int) -> None:
    """Set the time of an entity's event, moving the one it has; `guest` breaks ties."""
    ev = m.event[entity]
    if guest == NOBODY:
        hs = m.host[0]
        hs.events += np.uint64(1)
        ev.tie = mix(hs.events * GOLDEN)
    else:
        gs = m.guest[guest]
        gs.events += np.uint64(1)
        ev.tie = mix(mix(np.uint64(gs.guest_id + 1)) ^ (gs.events * GOLDEN))
    ev.when = when
    if ev.pos == NOBODY:
        hs = m.host[0]
        ev.pos = hs.heap_n
        m.event[hs.heap_n].heap = entity
        hs.heap_n += 1
        _up(m, ev.pos)
    else:
        _down(m, ev.pos)
        _up(m, ev.pos)


@kernel
def cancel(m: Machine, entity: int) -> None:
    """Forget an entity's event, if it has one."""
    i = m.event[entity].pos
    if i == NOBODY:
        return
    hs = m.host[0]
    m.event[entity].pos = NOBODY
    hs.heap_n -= 1
    last = m.event[hs.heap_n].heap
    if last != entity:
        m.event[i].heap = last
        m.event[last].pos = i
        _down(m, i)
        _up(m, m.event[last].pos)


@kernel
def pop(m: Machine) -> int:
    """Take the first entity off the heap; its time stays in `event[entity].when`."""
    entity = m.event[0].heap
    cancel(m, entity)
    return int(entity)
