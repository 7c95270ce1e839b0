"""The same host does the same, alone or in company, in one step or in many, here or restored."""

import random

import numpy as np
import pytest

from memsim.fleet import Fleet
from memsim.spec import HostSpec

from .builders import random_host

COUNTERS = (
    *("touches", "host_swap_in", "host_swap_out", "host_fresh", "discarded", "guest_swap_in"),
    *("refaults", "oom_kills", "host_kills", "inflated", "deflated", "resident_pages"),
    *("free_pages", "balloon_pages", "events"),
)


def _specs(n: int) -> list[HostSpec]:
    return [random_host(random.Random(100 + i)) for i in range(n)]


def _targets(spec: HostSpec, slots: int) -> np.ndarray:
    half = [g.pages // 2 for g in spec.guests]
    return np.array(half + [-1] * (slots - len(half)))


def _end(fleet: Fleet, h: int, guests: int) -> tuple[object, ...]:
    rows = fleet.guest[h, :guests]
    tasks = max(1, fleet.task.shape[2])
    done = fleet.task["done"][h, :guests, :tasks]
    return (
        *(tuple(rows[name].tolist()) for name in COUNTERS),
        tuple(done.sum(axis=1).tolist()),
        int(fleet.host["events"][h]),
        int(fleet.host["free_pages"][h]),
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_a_host_does_the_same_alone_and_in_a_batch(threads: int) -> None:
    specs = _specs(6)
    slots = max(len(s.guests) for s in specs)
    batch = Fleet(6, threads=threads)
    batch.reset(specs)
    for t in (2.0, 4.0, 6.0):
        batch.advance(np.full(6, t))
        if t == 2.0:
            batch.set_targets(np.array([_targets(s, slots) for s in specs]))
    for h, spec in enumerate(specs):
        alone = Fleet(1)
        alone.reset([spec])
        for t in (2.0, 4.0, 6.0):
            alone.advance(np.array([t]))
            if t == 2.0:
                alone.set_targets(_targets(spec, len(spec.guests))[None])
        n = len(spec.guests)
        assert _end(alone, 0, n) == _end(batch, h, n)
        assert np.array_equal(alone.account[0, :n], batch.account[h, :n, : alone.account.shape[2]])


def test_one_long_step_is_many_short_ones() -> None:
    for spec in _specs(4):
        long, short = Fleet(1), Fleet(1)
        long.reset([spec])
        short.reset([spec])
        long.advance(np.array([5.0]))
        for i in range(1, 51):
            short.advance(np.array([i * 0.1]))
        n = len(spec.guests)
        assert _end(long, 0, n) == _end(short, 0, n)
        assert long.account == pytest.approx(short.account, abs=1e-9)


def test_a_restored_host_goes_on_as_if_nothing_had_been() -> None:
    specs = _specs(3)
    straight, other = Fleet(3), Fleet(2)
    straight.reset(specs)
    straight.advance(np.full(3, 3.0))
    kept = straight.snapshot([1])
    other.reset([specs[0], specs[2]])
    other.restore([1], kept)
    straight.advance(np.full(3, 6.0))
    other.advance(np.full(2, 6.0))
    n = len(specs[1].guests)
    assert _end(straight, 1, n) == _end(other, 1, n)
    other.check()
