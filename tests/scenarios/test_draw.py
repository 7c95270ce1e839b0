"""Draws: the same for the same key, independent of company, as frequent as asked."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scenarios
from configs.loading import ConfigError, build
from memsim import spec
from scenarios.draw import DrawnHost, draw
from scenarios.randomness import as_key, stream
from scenarios.schema import Scenario


def same_guest(one: spec.GuestSpec, other: spec.GuestSpec) -> bool:
    """Equal field by field, curves by value."""
    mine, theirs = vars(one) | {"curves": ()}, vars(other) | {"curves": ()}
    return mine == theirs and all(
        np.array_equal(a.time_s, b.time_s) and np.array_equal(a.value, b.value)
        for a, b in zip(one.curves, other.curves, strict=True)
    )


def test_a_key_always_means_the_same_host() -> None:
    scenario = scenarios.load("default")
    one, other = draw(scenario, (3, 4)), draw(scenario, (3, 4))
    assert one.spec.seed == other.spec.seed and one.spec.ram_pages == other.spec.ram_pages
    assert all(map(same_guest, one.spec.guests, other.spec.guests))
    assert one.guests == other.guests


def test_other_seeds_and_episodes_mean_other_hosts() -> None:
    scenario = scenarios.load("default")
    seeds = {draw(scenario, key).spec.seed for key in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]}
    assert len(seeds) == 5
    assert draw(scenario, 2).spec.seed == draw(scenario, (2, 0)).spec.seed


@pytest.mark.parametrize("key", range(5))
def test_one_more_guest_changes_no_other_guest(key: int) -> None:
    few = scenarios.load("default", ["randomise.guests=[4, 4]"])
    many = scenarios.load("default", ["randomise.guests=[7, 7]"])
    short, long = draw(few, key), draw(many, key)
    assert len(short.guests) == 4 and len(long.guests) == 7
    assert all(
        same_guest(a, b) for a, b in zip(short.spec.guests, long.spec.guests[:4], strict=True)
    )
    assert short.guests == long.guests[:4]
    assert short.kernel == long.kernel and short.swap_device == long.swap_device


def test_the_overcommit_ratio_is_the_one_drawn() -> None:
    scenario = scenarios.load("default", ["randomise.overcommit=[2.0, 2.0]"])
    for key in range(5):
        host = draw(scenario, key).spec
        own = host.reserved_pages + sum(guest.emulator_pages for guest in host.guests)
        sizes = sum(guest.pages for guest in host.guests)
        assert sizes / (host.ram_pages - own) == pytest.approx(2.0, rel=1e-3)


def test_mixes_come_up_as_often_as_asked() -> None:
    scenario = scenarios.load("default")
    hosts = [draw(scenario, (11, episode)) for episode in range(150)]
    kernels = Counter(host.kernel.value for host in hosts)
    assert kernels["2011"] / 150 == pytest.approx(0.25, abs=0.11)  # three standard errors
    kinds = Counter(guest.kind for host in hosts for guest in host.guests)
    total = kinds.total()
    assert kinds["web"] / total == pytest.approx(3 / 13, abs=0.045)
    assert kinds["idle"] / total == pytest.approx(2 / 13, abs=0.04)
    hinted = np.mean([g.mechanisms.hinting == "bitmap" for h in hosts for g in h.guests])
    assert hinted == pytest.approx(0.4, abs=0.05)
    sizes = Counter(guest.size for host in hosts for guest in host.guests)
    assert sizes[2**30] / total == pytest.approx(0.6, abs=0.05)


def test_traits_of_a_guest_are_drawn_apart() -> None:
    """Of two traits drawn from one stream by mistake, one would tell the other."""
    scenario = scenarios.load("default")
    guests = [g for episode in range(150) for g in draw(scenario, (5, episode)).guests]
    hinted = np.array([guest.mechanisms.hinting == "bitmap" for guest in guests])
    target = np.array([guest.mechanisms.resize == "free_target" for guest in guests])
    big = np.array([guest.size == 2**30 for guest in guests])
    for a, b in [(hinted, target), (hinted, big), (target, big)]:
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(len(guests))


def test_guests_come_late_and_leave_within_the_episode() -> None:
    scenario = scenarios.load("default", ["randomise.late=1.0", "randomise.leave=1.0"])
    guests = [g for episode in range(20) for g in draw(scenario, (1, episode)).spec.guests]
    assert all(0 < guest.start_s < scenario.end_s for guest in guests)
    leaving = [guest for guest in guests if guest.stop_s < np.inf]
    assert len(leaving) > len(guests) / 2
    assert all(guest.stop_s - guest.start_s >= 0.2 * scenario.end_s for guest in leaving)


def one_guest(page: str, phase: dict[str, Any], **guest: object) -> DrawnHost:
    """A host with one guest whose only task has one phase on a region of 64 MiB."""
    scenario = build(
        Scenario,
        {
            "name": "one",
            "host": {"page": page, "ram": "1GiB"},
            "guests": [
                {
                    "name": "guest",
                    "size": "256MiB",
                    "work": {
                        "kernel": "16MiB",
                        "regions": {"r": {"kind": "anon", "size": "64MiB"}},
                        "curves": {"c": {"kind": "points", "points": [[0, 0.25], [10, 2]]}},
                        "tasks": {"t": {"phases": [phase]}},
                    },
                    **guest,
                }
            ],
        },
        "test",
    )
    return draw(scenario, 0)


def only_phase(host: DrawnHost) -> spec.Phase:
    return host.spec.guests[0].tasks[0].phases[0]


@pytest.mark.parametrize("page, grain", [("4KiB", 1), ("64KiB", 16), ("1MiB", 256)])
def test_coarse_pages_keep_the_amount_of_work(page: str, grain: int) -> None:
    """Accesses of 4 KiB per second and CPU time per byte are what they were."""
    closed = only_phase(one_guest(page, {"op": "touch", "region": "r", "bytes": "200%"}))
    assert closed.count * grain == 2 * 64 * 256
    assert closed.cost_s == pytest.approx(1e-6 * grain)
    touch = {"op": "touch", "region": "r", "rate": 100, "per_arrival": 512, "count": 1000}
    opened = only_phase(one_guest(page, touch))
    assert opened.rate * opened.per_arrival * grain == pytest.approx(100 * 512)
    assert opened.count * opened.per_arrival * grain == pytest.approx(1000 * 512)


def test_an_arrival_smaller_than_a_page_becomes_a_rarer_one() -> None:
    touch = {"op": "touch", "region": "r", "rate": 100, "per_arrival": 64}
    phase = only_phase(one_guest("1MiB", touch))
    assert phase.per_arrival == 1
    assert phase.rate == pytest.approx(25)


def test_curves_become_pages_and_rates() -> None:
    touch = {"op": "touch", "region": "r", "rate": 10, "size": "c", "rate_curve": "c"}
    host = one_guest("64KiB", touch)
    phase, curves = only_phase(host), host.spec.guests[0].curves
    assert curves[phase.size].value == pytest.approx([256, 1024])  # never above the region
    assert curves[phase.rate_curve].value == pytest.approx([10 / 16 * 0.25, 10 / 16 * 2])


def test_allocations_and_frees_count_pages() -> None:
    allocate = only_phase(one_guest("64KiB", {"op": "allocate", "region": "r", "bytes": "1MiB"}))
    assert allocate.count == 16
    everything = only_phase(one_guest("64KiB", {"op": "free", "region": "r"}))
    assert everything.count == -1
    some = only_phase(one_guest("64KiB", {"op": "free", "region": "r", "bytes": "50%"}))
    assert some.count == 512


def test_repeats_jump_to_their_first_phase_and_nest() -> None:
    phases: list[dict[str, Any]] = [
        {"op": "sleep", "seconds": 1},
        {
            "op": "repeat",
            "times": 3,
            "phases": [
                {"op": "compute", "seconds": 1},
                {"op": "repeat", "times": 2, "phases": [{"op": "sleep", "seconds": 2}]},
            ],
        },
    ]
    data: dict[str, Any] = {
        "name": "one",
        "host": {"page": "64KiB", "ram": "1GiB"},
        "guests": [{"name": "g", "size": "256MiB", "work": {"tasks": {"t": {"phases": phases}}}}],
    }
    lines = draw(build(Scenario, data, "test"), 0).spec.guests[0].tasks[0].phases
    ops = [phase.op for phase in lines]
    wanted = [spec.Op.SLEEP, spec.Op.COMPUTE, spec.Op.SLEEP, spec.Op.REPEAT, spec.Op.REPEAT]
    assert ops == wanted
    assert (lines[3].jump, lines[3].count) == (2, 2)
    assert (lines[4].jump, lines[4].count) == (1, 3)


def test_a_recorded_string_is_replayed_in_pages_of_the_host(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", page=np.array([0, 15, 16, 17, 255], np.uint32))
    work = {
        "regions": {"r": {"kind": "anon", "size": "1MiB"}},
        "streams": {"s": {"file": str(tmp_path / "s.npz")}},
        "tasks": {
            "t": {
                "phases": [
                    {"op": "touch", "region": "r", "pattern": "stream", "stream": "s", "count": 80}
                ]
            }
        },
    }
    data: dict[str, Any] = {
        "name": "one",
        "host": {"page": "64KiB", "ram": "1GiB"},
        "guests": [{"name": "g", "size": "256MiB", "work": work}],
    }
    guest = draw(build(Scenario, data, "test"), 0).spec.guests[0]
    assert guest.streams[0].tolist() == [0, 0, 1, 1, 15]
    assert guest.streams[0].dtype == np.int32
    phase = guest.tasks[0].phases[0]
    assert (phase.pattern, phase.stream, phase.count) == (spec.Pattern.STREAM, 0, 5)
    work["streams"] = {"s": {"file": str(tmp_path / "none.npz")}}
    with pytest.raises(ConfigError, match=r"none\.npz: expected an \.npz file with an array"):
        draw(build(Scenario, data, "test"), 0)


def test_shared_curves_are_shared_and_others_are_not() -> None:
    scenario = scenarios.load("burst", ["randomise.guests=[8, 8]"])
    host = draw(scenario, 3)
    bursts: dict[str, list[np.ndarray]] = {"rush": [], "own": []}
    for facts, guest in zip(host.guests, host.spec.guests, strict=True):
        follow = next(p for t in guest.tasks for p in t.phases if p.op == spec.Op.FOLLOW)
        bursts[facts.kind].append(guest.curves[follow.size].time_s)
    rush, own = bursts["rush"], bursts["own"]
    assert len(rush) > 1 and len(own) > 1
    assert all(np.array_equal(rush[0], times) for times in rush)
    assert not any(np.array_equal(own[0], times) for times in own[1:])


def test_streams_are_named_by_key_purpose_and_guest() -> None:
    names = [
        ((1, 2), "a", 3),
        ((1, 2), "a", 4),
        ((1, 2), "b", 3),
        ((1, 3), "a", 3),
        ((2, 2), "a", 3),
    ]
    draws = {stream(*name).random() for name in names}
    assert len(draws) == len(names)
    assert stream((1, 2), "a", 3).random() in draws
    with pytest.raises(ValueError, match="expected a seed"):
        as_key((-1, 0))


@pytest.mark.parametrize("size", [{"vcpus": 4}, {"vcpus": 1, "jobs": 4}])
def test_copies_of_a_task_have_regions_of_their_own_and_share_what_is_to_be_done(
    size: dict[str, int],
) -> None:
    work = {
        "regions": {
            "heap": {"kind": "anon", "size": "10%", "own": True},
            "slab": {"kind": "kernel", "size": "1%"},
        },
        "tasks": {
            "job": {
                "count": "vcpus",
                "phases": [
                    {
                        "op": "repeat",
                        "times": 10,
                        "together": True,
                        "phases": [
                            {"op": "allocate", "region": "heap"},
                            {"op": "touch", "region": "slab", "pattern": "append", "count": 4},
                            {"op": "free", "region": "heap"},
                        ],
                    },
                    {"op": "signal", "event": "done"},
                ],
            },
            "join": {
                "phases": [
                    {
                        "op": "repeat",
                        "times": "vcpus",
                        "phases": [{"op": "wait", "event": "done"}],
                    }
                ]
            },
        },
    }
    scenario = build(
        Scenario,
        {
            "name": "copies",
            "host": {"page": "1MiB", "ram": "4GiB"},
            "guests": [{"name": "guest", "work": work, "size": "1GiB"} | size],
        },
        "test",
    )
    guest = draw(scenario, 1).spec.guests[0]
    kinds = [region.kind for region in guest.regions]
    assert kinds == [spec.RegionKind.ANON] * 4 + [spec.RegionKind.KERNEL]
    assert {region.pages for region in guest.regions[:4]} == {103}
    *jobs, join = guest.tasks
    assert [job.phases[0].region for job in jobs] == [0, 1, 2, 3]
    assert {job.phases[1].region for job in jobs} == {4}
    assert {job.phases[3].count for job in jobs} == {3}  # ten between four
    assert join.phases[1].count == 4
    assert guest.vcpus == size["vcpus"]


@pytest.mark.parametrize(("said", "meant"), [({}, -1), ({"swappiness": 0}, 0)])
def test_a_host_has_the_swappiness_that_was_said(said: dict[str, int], meant: int) -> None:
    data = {
        "name": "simple",
        "host": {"page": "64KiB", "ram": "256MiB"} | said,
        "guests": [{"name": "a", "size": "128MiB", "work": {}}],
    }
    assert draw(build(Scenario, data, "test"), (0, 0)).spec.swappiness == meant


def test_promises_and_limits_are_drawn_for_some_guests() -> None:
    scenario = scenarios.load("promises")
    assert scenario.host.protection is not None
    lows, highs, agents = set(), set(), set()
    for seed in range(20):
        host = draw(scenario, seed)
        for facts, guest in zip(host.guests, host.spec.guests, strict=True):
            lows.add(facts.low is not None and facts.low / facts.size > 0.2)
            highs.add(guest.high_pages > 0)
            agents.add(facts.agent)
            assert guest.high_pages == -1 or guest.high_pages >= 0.5 * guest.pages
        claimed = sum(facts.low or 0 for facts in host.guests)
        if claimed < scenario.host.protection:  # the rest is shared by those without a claim
            assert all(guest.low_pages > 0 for guest in host.spec.guests)
    assert lows == highs == agents == {True, False}


def test_a_host_of_2011_has_no_promises_to_draw() -> None:
    with pytest.raises(ConfigError, match=r"2011 has no memory\.low"):
        scenarios.load("promises", ['randomise.kernels={modern: 1, "2011": 1}'])
