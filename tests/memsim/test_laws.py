"""Conservation of pages, frames, slots and time, on any host under any commands."""

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memsim.fleet import Fleet
from memsim.law import Broken
from memsim.spec import HostSpec, Op, Phase

from .builders import anon, guest, host, random_host


def _commands(r: random.Random, spec: HostSpec) -> np.ndarray:
    return np.array([[r.choice([-1, r.randint(10, g.pages)]) for g in spec.guests]])


def _protections(r: random.Random, spec: HostSpec) -> np.ndarray:
    none = spec.ram_pages
    return np.array([[r.choice([-1, none, r.randint(0, g.pages)]) for g in spec.guests]])


def _try(seed: int, periods: int = 20) -> None:
    r = random.Random(seed)
    spec = replace(random_host(r), fast=r.random() < 0.3)
    fleet = Fleet(1)
    fleet.reset([spec])
    fleet.check()
    for period in range(1, periods + 1):
        fleet.advance(np.array([period * 0.5]))
        fleet.check()
        if r.random() < 0.5:
            fleet.set_targets(_commands(r, spec))
            fleet.check()
        if not spec.global_lru and r.random() < 0.2:
            fleet.set_cgroups(_protections(r, spec), _protections(r, spec))
            fleet.check()
        if r.random() < 0.1:
            fleet.restore([0], fleet.snapshot([0]))
            fleet.check()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32))
def test_nothing_is_created_or_lost(seed: int) -> None:
    _try(seed)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32))
def test_nothing_is_created_or_lost_at_length(seed: int) -> None:
    _try(seed, periods=30)


@pytest.mark.parametrize(
    ("array", "field", "what"),
    [
        ("host", "free_pages", "frames"),
        ("guest", "anon_pages", "anon_pages"),
        ("guest", "resident_pages", "resident_pages"),
        ("host", "swap_used_pages", "swap slots"),
    ],
)
def test_the_laws_notice_a_wrong_count(array: str, field: str, what: str) -> None:
    fleet = Fleet(1)
    fleet.reset([host(guest((anon(100),), (Phase(Op.ALLOCATE, region=0),)))])
    fleet.advance(np.array([1.0]))
    fleet.check()
    getattr(fleet, array)[field].flat[0] += 1
    with pytest.raises(Broken, match=what):
        fleet.check()
