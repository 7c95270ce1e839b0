"""Simulated hosts through the contract: what is read, what is obeyed, what is exact."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scenarios
from configs.loading import ConfigError, build, packaged
from contract import telemetry as contract_telemetry
from contract.arrays import UNKNOWN
from contract.decision import Decision, hold
from contract.descriptors import GuestState, ResizeMechanism, SwapClass
from contract.host import Host, Refused
from contract.telemetry import COLUMNS, Telemetry, column
from scenarios.hosts import SimulatedHosts
from scenarios.machine import Kernel
from scenarios.schema import Scenario

MIB = 2**20
LIBRARY = [name for name in packaged("scenarios") if "/" not in name and name != "bitbrains"]

WORK = {
    "kernel": "8MiB",
    "regions": {
        "heap": {"kind": "anon", "size": "48MiB"},
        "file": {"kind": "file", "size": "32MiB"},
    },
    "tasks": {
        "use": {"phases": [{"op": "touch", "region": "heap", "rate": 200, "per_arrival": 16}]},
        "read": {"phases": [{"op": "read", "region": "file", "rate": 20, "per_arrival": 16}]},
    },
}


def simple(**changes: Any) -> Scenario:  # noqa: ANN401  parts of a scenario
    data: dict[str, Any] = {
        "name": "simple",
        "host": {
            "page": "64KiB",
            "ram": "512MiB",
            "devices": {"disk": {"preset": "nvme"}},
            "swap": {"device": "disk", "size": "256MiB"},
        },
        "guests": [{"name": "a", "size": "128MiB", "min": "32MiB", "count": 2, "work": WORK}],
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        here: Any = data
        for step in parents:
            here = here[int(step)] if isinstance(here, list) else here.setdefault(step, {})
        here[last] = value
    return build(Scenario, data, "test")


def started(scenario: Scenario, hosts: int = 1, **options: Any) -> SimulatedHosts:  # noqa: ANN401
    made = SimulatedHosts(scenario, hosts, threads=1, **options)
    made.reset(range(hosts), [(0, number) for number in range(hosts)])
    return made


def targets(made: SimulatedHosts, *sizes: int) -> Decision:
    row = np.full(made.guests, UNKNOWN, np.int64)
    row[: len(sizes)] = sizes
    return Decision(np.tile(row, (made.hosts, 1)))


def same(one: Telemetry, other: Telemetry) -> None:
    for name in COLUMNS:
        mine, theirs = column(one, name), column(other, name)
        assert np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f"), name


def test_they_are_a_host() -> None:
    host: Host = started(simple())
    contract_telemetry.check(host.read())
    assert host.supports == {"target_bytes", "memory_low_bytes", "memory_high_bytes"}
    assert started(simple(host__kernel="2011")).supports == {"target_bytes"}


def ksmd(host: SimulatedHosts) -> list[float]:
    reading = host.read()
    columns = (reading.ksm_run, reading.ksm_pages_to_scan, reading.ksm_sleep_s)
    return [float(column[0]) for column in columns]


def test_ksm_is_read_and_set_where_there_is_one() -> None:
    without = started(simple())
    assert without.read().ksm_run.tolist() == [0]
    assert without.read().ksm_pages_to_scan.tolist() == [UNKNOWN]
    image = {"kind": "anon", "size": "64MiB", "content": "repeated:16"}
    made = started(simple(host__ksm={"run": 0}, guests__0__work__regions__ksm=image))
    assert made.supports >= {"ksm_run", "ksm_pages_to_scan", "ksm_sleep_s"}
    assert ksmd(made) == [0, 100, 0.02]
    knobs = {"ksm_run": np.array([1]), "ksm_pages_to_scan": np.array([5000])}
    made.apply(targets(made)._replace(**knobs))
    made.advance(5.0)
    assert ksmd(made) == [1, 5000, 0.02]
    assert made.truth().host["ksm_full_scans"][0] > 0
    with pytest.raises(Refused, match="ksm_run"):
        made.apply(targets(made)._replace(ksm_run=np.array([3])))


@pytest.mark.parametrize("name", LIBRARY)
def test_every_scenario_runs_fifty_steps_and_stays_finite(name: str) -> None:
    made = started(scenarios.load(name), 2)
    for step in range(1, 51):
        made.advance(np.array([2.0 * step, 3.0 * step]))
        reading = made.read()
        contract_telemetry.check(reading)
        if step % 5 == 0:
            size = np.where(reading.present, reading.max_bytes * (10 - step % 4) // 10, UNKNOWN)
            made.apply(Decision(np.maximum(size, np.where(reading.present, reading.min_bytes, -1))))
    assert reading.time_s.tolist() == [100, 150]
    assert np.isfinite(made.truth().account).all()
    made.fleet.check()
    known = reading.present
    assert (reading.current_bytes[known] <= reading.max_bytes[known]).all()
    assert (reading.resident_bytes[known] <= reading.max_bytes[known]).all()
    assert (reading.free_bytes + reading.cached_bytes <= reading.total_bytes).all()


def test_a_reading_is_the_truth_in_bytes() -> None:
    made = started(simple())
    made.advance(30.0)
    reading, truth = made.read(), made.truth()
    page = 64 * 1024
    assert reading.total_bytes[0] == 512 * MIB
    assert reading.free_bytes[0] == truth.host["free_pages"][0] * page
    assert (reading.resident_bytes == truth.guest["resident_pages"] * page).all()
    assert (reading.stats_free_bytes == truth.guest["stats_free"] * page).all()
    assert (reading.stats_caches_bytes == truth.guest["stats_disk_caches"] * page).all()
    assert reading.guest_id.tolist() == [[0, 1]]
    assert (reading.state == GuestState.RUNNING).all()
    assert reading.swap_class[0] == SwapClass.SOLID
    assert (reading.resize_mechanism == ResizeMechanism.BALLOON).all()
    assert (reading.min_bytes == 32 * MIB).all() and (reading.weight == 1000).all()
    assert ((reading.stats_age_s >= 0) & (reading.stats_age_s <= 1.0)).all()


def test_an_empty_slot_is_unknown() -> None:
    made = started(simple(guests__0__count=1), guests=3)
    made.advance(5.0)
    reading = made.read()
    contract_telemetry.check(reading)
    assert reading.present.tolist() == [[True, False, False]]
    for name, about in COLUMNS.items():
        if about.scope == "guest" and name != "present":
            values = column(reading, name)[0, 1:]
            assert (np.isnan(values) if values.dtype.kind == "f" else values == -1).all(), name


@pytest.mark.parametrize("deflate", [True, False])
def test_a_total_shrinks_only_without_deflate_on_oom(deflate: bool) -> None:
    made = started(simple(guests__0__mechanisms={"deflate_on_oom": deflate}))
    made.advance(10.0)
    made.apply(targets(made, 96 * MIB, 96 * MIB))
    made.advance(20.0)
    reading = made.read()
    assert (reading.current_bytes == 96 * MIB).all()
    total = 128 if deflate else 96
    assert (reading.stats_total_bytes == total * MIB).all()
    assert (reading.deflate_on_oom == int(deflate)).all()
    if not deflate:
        assert (reading.stats_current_bytes == 96 * MIB).all()
    used = contract_telemetry.used_bytes(reading)
    truth = made.truth().guest
    real = (truth["pages"] - truth["balloon_pages"] - truth["stats_available"]) * 64 * 1024
    assert (used == real).all()


def test_a_free_target_is_taken_off_all_that_a_policy_sees() -> None:
    made = started(
        simple(
            host__kernel="2011",
            guests__0__mechanisms={"resize": "free_target", "hinting": "bitmap"},
        )
    )
    made.advance(10.0)
    before = made.read()
    made.apply(targets(made, 96 * MIB, 96 * MIB))
    made.advance(20.0)
    after = made.read()
    gone = before.current_bytes - after.current_bytes
    assert (gone > 16 * MIB).all()
    assert (after.stats_total_bytes == after.current_bytes).all()
    assert (after.deflate_on_oom == 0).all()
    assert (after.stats_free_bytes < before.stats_free_bytes - 8 * MIB).all()


def test_within_a_page_a_balloon_is_where_it_was_asked_to_be() -> None:
    made = started(simple())
    made.advance(5.0)
    odd = 100 * MIB + 5 * 4096
    made.apply(targets(made, odd))
    made.advance(20.0)
    reading = made.read()
    assert reading.current_bytes.tolist() == [[odd, 128 * MIB]]
    assert made.truth().guest["taken_pages"][0, 0] == (28 * MIB - 5 * 4096) // 65536 + 1


def test_targets_are_remembered_with_their_age() -> None:
    made = started(simple())
    assert (made.read().applied_target_bytes == -1).all()
    made.apply(targets(made, 96 * MIB))
    made.advance(4.0)
    made.apply(targets(made, 96 * MIB))  # the same once more
    made.advance(10.0)
    reading = made.read()
    assert reading.applied_target_bytes.tolist() == [[96 * MIB, -1]]
    assert reading.applied_age_s[0, 0] == pytest.approx(10.0) and np.isnan(
        reading.applied_age_s[0, 1]
    )
    made.apply(targets(made, 80 * MIB, 2**40))
    made.advance(13.0)
    reading = made.read()
    assert reading.applied_target_bytes.tolist() == [[80 * MIB, 128 * MIB]]
    assert reading.applied_age_s[0] == pytest.approx([3.0, 3.0])


def test_a_guest_that_boots_anew_has_no_target() -> None:
    timeline = [
        {"at": 10, "do": "stop", "guest": "a-1"},
        {"at": 12, "do": "start", "guest": "a-1"},
    ]
    made = started(simple(timeline=timeline))
    made.apply(targets(made, 96 * MIB, 96 * MIB))
    made.advance(9.0)
    assert (made.read().applied_target_bytes == 96 * MIB).all()
    made.advance(11.0)
    assert made.read().present.tolist() == [[False, True]]
    made.apply(targets(made, 96 * MIB, 96 * MIB))  # nobody is there to be asked
    made.advance(14.0)
    reading = made.read()
    assert reading.applied_target_bytes.tolist() == [[-1, 96 * MIB]]
    assert reading.current_bytes.tolist() == [[128 * MIB, 96 * MIB]]


def test_what_cannot_be_done_is_refused() -> None:
    made = started(simple())
    with pytest.raises(Refused, match="host 0, slot 1: a target of 0"):
        made.apply(targets(made, 96 * MIB, 0))
    with pytest.raises(Refused, match="ksm_run: not on these hosts"):
        made.apply(hold(1, 2)._replace(ksm_run=np.array([1])))
    old = started(simple(host__kernel="2011"))
    with pytest.raises(Refused, match="memory_high_bytes: not on these hosts"):
        old.apply(hold(1, 2)._replace(memory_high_bytes=np.full((1, 2), MIB)))
    with pytest.raises(ValueError, match=r"expected \(1, 2\)"):
        made.apply(hold(2, 2))


def test_hosts_of_a_batch_do_what_they_do_alone() -> None:
    mixed = [scenarios.load("small"), simple(), scenarios.load("default")]
    together = SimulatedHosts(mixed, 3, threads=2)
    together.reset([0, 1, 2], [(5, 1), (5, 2), (5, 3)])
    for step in (1, 2, 3):
        together.advance(np.array([10.0, 20.0, 30.0]) * step)
        seen = together.read()
        together.apply(Decision(np.where(seen.present, seen.max_bytes * 7 // 10, -1)))
    for row, scenario in enumerate(mixed):
        alone = SimulatedHosts(scenario, 1, threads=1, guests=together.guests)
        alone.reset([0], [(5, row + 1)])
        for step in (1, 2, 3):
            alone.advance(10.0 * (row + 1) * step)
            mine = alone.read()
            alone.apply(Decision(np.where(mine.present, mine.max_bytes * 7 // 10, -1)))
        same(contract_telemetry.select(seen, np.array([row])), mine)


def test_a_copy_goes_on_exactly_as_the_original() -> None:
    scenario = scenarios.load("default", ["sensors.agents=0.5", "sensors.delay=0.5"])
    made = started(scenario, 3)
    made.advance(60.0)
    reading = made.read()
    made.apply(Decision(np.where(reading.present, reading.max_bytes * 8 // 10, -1)))
    made.advance(70.0)
    made.read()
    copy = made.snapshot([2, 0])
    made.advance(130.0)
    wanted = made.read()
    other = SimulatedHosts(scenario, 2, threads=1)
    other.reset([0, 1], [(9, 0), (9, 1)])
    other.advance(5.0)
    other.restore([0, 1], copy)
    assert [one.key for one in other.drawn] == [(0, 2), (0, 0)]
    other.advance(130.0)
    same(other.read(), contract_telemetry.select(wanted, np.array([2, 0])))
    made.restore([0], made.snapshot([2]))
    same(
        contract_telemetry.select(made.read(), np.array([0])),
        contract_telemetry.select(made.read(), np.array([2])),
    )


def test_a_copy_fits_only_its_own_scenario() -> None:
    made, other = started(simple()), started(scenarios.load("small"))
    copy = made.snapshot([0])
    with pytest.raises(ValueError, match="2 rows for 1 hosts"):
        made.restore([0, 0], copy)
    with pytest.raises(ValueError, match="host 0 has another scenario"):
        other.restore([0], copy)


def test_one_host_is_reset_and_the_others_go_on() -> None:
    made = started(simple(), 2)
    made.advance(10.0)
    before = made.read()
    made.reset([1], [(0, 7)])
    after = made.read()
    assert after.time_s.tolist() == [10, 0]
    same(
        contract_telemetry.select(before, np.array([0])),
        contract_telemetry.select(after, np.array([0])),
    )
    made.advance(np.array([10.0, 20.0]))
    assert made.time_s.tolist() == [10, 20]


def test_a_guest_does_the_same_work_whatever_its_size() -> None:
    """Open-loop arrivals are numbered, so no policy changes how many come."""
    done = []
    for size in (128, 48):
        made = started(simple())
        made.apply(targets(made, size * MIB))
        made.advance(60.0)
        done.append(made.truth().task["arrivals"].copy())
    assert np.array_equal(done[0], done[1]) and (done[0] > 1000).any()


def test_missing_statistics_are_unknown() -> None:
    made = started(simple(sensors={"missing": 1.0}))
    made.advance(10.0)
    reading = made.read()
    assert np.isnan(reading.stats_age_s).all()
    assert (reading.stats_available_bytes == -1).all() and (reading.resident_bytes > 0).all()


def test_late_statistics_are_those_of_before() -> None:
    late, prompt = started(simple(sensors={"delay": 3.5})), started(simple())
    for made in (late, prompt):
        made.advance(20.0)
    prompt_at = prompt.read()
    late.advance(23.5)
    late_at = late.read()
    assert np.array_equal(late_at.stats_free_bytes, prompt_at.stats_free_bytes)
    assert late_at.stats_age_s == pytest.approx(prompt_at.stats_age_s + 3.5)
    assert (late.read().time_s == 23.5).all()


def test_noise_is_as_large_as_asked_and_the_same_twice() -> None:
    exact, noisy = (started(simple(sensors={"noise": part}), 20) for part in (0.0, 0.05))
    errors = []
    for step in range(1, 30):
        exact.advance(2.0 * step)
        noisy.advance(2.0 * step)
        wanted, found = exact.read(), noisy.read()
        same(found, noisy.read())
        errors.append(found.stats_available_bytes / wanted.stats_available_bytes - 1)
        assert (found.stats_available_bytes <= found.stats_total_bytes).all()
    assert np.std(errors) == pytest.approx(0.05, rel=0.15)


def test_what_an_operator_does_not_know_is_unknown() -> None:
    made = started(simple(sensors={"descriptors": False, "psi": False}))
    made.advance(5.0)
    reading = made.read()
    for name in ("resize_mechanism", "hinting", "async_mode", "deflate_on_oom"):
        assert (column(reading, name) == -1).all()
    assert reading.swap_class[0] == -1 and np.isnan(reading.psi_some_s).all()


def test_agents_are_optional_columns() -> None:
    assert started(simple()).read().agent_anonymous_bytes is None
    made = started(simple(sensors={"agents": 1.0}))
    made.advance(10.0)
    reading = made.read()
    contract_telemetry.check(reading)
    anonymous = column(reading, "agent_anonymous_bytes")
    assert (anonymous > 0).all() and (anonymous <= 128 * MIB).all()
    assert (column(reading, "agent_age_s") == reading.stats_age_s).all()


def test_a_host_may_sample_what_guests_touch() -> None:
    assert started(simple()).read().active_bytes is None
    made = started(simple(sensors={"sampling": 30.0}))
    made.advance(29.0)
    reading = made.read()
    contract_telemetry.check(reading)
    assert (column(reading, "active_bytes") == -1).all()
    made.advance(62.0)
    reading = made.read()
    active = column(reading, "active_bytes")
    assert (active > 0).all() and (active <= reading.current_bytes).all()
    assert column(reading, "active_age_s") == pytest.approx(2.0)


def test_who_samples_too_often_is_told_so() -> None:
    with pytest.raises(ConfigError, match=r"sensors\.sampling.*0 or at least 2 s"):
        scenarios.load("small", ["sensors.sampling=1s"])


def test_the_page_of_policies_says_what_no_simulated_host_reports() -> None:
    reading = started(simple(sensors={"agents": 1.0, "sampling": 30.0})).read()
    optional = [name for name, about in COLUMNS.items() if about.optional]
    sampled = [name for name in optional if name.startswith(("active", "agent"))]
    absent = {name for name in sampled if getattr(reading, name) is None}
    stood_in_for = {"agent_working_set_bytes"}
    unread = {"agent_load"}  # by any baseline
    assert absent == stood_in_for | unread
    page = (Path(__file__).parents[2] / "docs" / "policies.md").read_text()
    told = set(re.findall(r"The simulator\s+fills\s+no\s+`(\w+)`", page))
    assert told == stood_in_for


def test_guests_in_one_cgroup_are_charged_together() -> None:
    changes = {"host__cgroups": {"box": {}}, "guests__0__cgroup": "box"}
    made = started(simple(**changes))
    made.advance(10.0)
    reading = made.read()
    use = reading.cgroup_current_bytes[0]
    assert use[0] == use[1] and use[0] >= reading.resident_bytes.sum()
    different = hold(1, 2)._replace(memory_low_bytes=np.array([[MIB, 2 * MIB]]))
    with pytest.raises(Refused, match="guests of one cgroup ask for different ones"):
        made.apply(different)
    made.apply(hold(1, 2)._replace(memory_low_bytes=np.array([[MIB, UNKNOWN]])))
    assert made.fleet.group[0, 1]["low"] == 16


def test_a_decision_sets_low_and_high_and_is_read_back() -> None:
    made = started(simple())
    made.advance(10.0)
    before = made.read()
    assert (before.cgroup_high_bytes == UNKNOWN).all()
    assert (before.cgroup_psi_some_s == 0.0).all()
    limits = {
        "memory_high_bytes": np.array([[30 * MIB, UNKNOWN]]),
        "memory_low_bytes": np.array([[UNKNOWN, 50 * MIB]]),
    }
    made.apply(hold(1, 2)._replace(**limits))
    made.advance(40.0)
    made.fleet.check()
    after, group = made.read(), made.fleet.group[0]
    assert after.cgroup_high_bytes.tolist() == [[30 * MIB, UNKNOWN]]
    assert after.cgroup_current_bytes[0, 0] < 31 * MIB
    assert after.cgroup_psi_some_s[0, 0] > 0.0
    assert after.cgroup_psi_some_s[0, 1] == 0.0
    rows = 1 + made.truth().guest[0]["cgroup"]
    assert (group["low"][rows] * 64 * 1024).tolist() == [0, 50 * MIB]
    none = {"memory_high_bytes": np.array([[512 * MIB, UNKNOWN]])}
    made.apply(hold(1, 2)._replace(**none))
    assert (made.read().cgroup_high_bytes == UNKNOWN).all()


def test_limits_are_set_on_the_hosts_that_have_them() -> None:
    made = started(simple(randomise__kernels={"modern": 1, "2011": 1}), hosts=8)
    made.advance(10.0)
    modern = np.array([one.kernel == Kernel.MODERN for one in made.drawn])
    assert {True, False} == set(modern.tolist())
    made.apply(hold(8, 2)._replace(memory_high_bytes=np.full((8, 2), 30 * MIB)))
    high = made.read().cgroup_high_bytes
    assert (high == np.where(modern, 30 * MIB, UNKNOWN)[:, None]).all()


def test_protection_is_shared_by_weight() -> None:
    one = {"size": "128MiB", "min": "32MiB", "work": WORK}
    guests = [
        {"name": "a", "weight": 3000, **one},
        {"name": "b", "weight": 1000, **one},
        {"name": "c", "low": "10MiB", **one},
        {"name": "d", "cgroup": "box", **one},
        {"name": "e", "weight": 0, **one},
    ]
    changes = {"host__protection": "100MiB", "host__cgroups": {"box": {"low": "10MiB"}}}
    made = started(simple(guests=guests, **changes))
    rows = 1 + made.truth().guest[0]["cgroup"]
    group = made.fleet.group[0]
    assert (group["low"][rows] * 64 * 1024 / MIB).tolist() == [60.0, 20.0, 10.0, 10.0, 0.0]
    assert made.fleet.host[0]["slice_low"] * 64 * 1024 == 100 * MIB
    # Where memory is short, the heavier keeps more of it.
    short = started(simple(guests=guests[:2], host__ram="160MiB", host__protection="64MiB"))
    short.advance(60.0)
    kept = short.read().resident_bytes[0]
    assert kept[0] > kept[1]


def test_the_timeline_sets_limits_of_cgroups_and_guests() -> None:
    timeline = [
        {"at": 5, "do": "limit", "guest": "a-1", "high": "20MiB", "low": "10MiB"},
        {"at": 10, "do": "limit", "guest": "a-1", "high": "none", "max": "30MiB"},
        {"at": 15, "do": "limit", "guest": "a-1"},
    ]
    made = started(simple(timeline=timeline))
    row = made.truth().guest[0, 0]["cgroup"] + 1
    page = 64 * 1024
    for at_s, expected in (
        (6.0, [-1, 20 * MIB, 10 * MIB]),
        (11.0, [30 * MIB, -1, 10 * MIB]),
        (16.0, [-1, -1, 10 * MIB]),
    ):
        made.advance(at_s)
        group = made.fleet.group[0, row]
        found = [int(group[name]) for name in ("max", "high", "low")]
        assert [n if n < 0 else n * page for n in found] == expected
    made.fleet.check()


def test_jobs_end_and_services_do_not() -> None:
    work = {
        "tasks": {
            "job": {"phases": [{"op": "compute", "seconds": 5}]},
            "loop": {"phases": [{"op": "repeat", "phases": [{"op": "sleep", "seconds": 1}]}]},
            "late": {"phases": [{"op": "sleep", "seconds": 30}, {"op": "exit"}]},
        }
    }
    made = started(simple(guests__0__work=work, guests__0__stop=40))
    assert [part.tolist() for part in made.jobs()] == [[4], [0]]
    made.advance(12.0)
    assert [part.tolist() for part in made.jobs()] == [[4], [2]]
    made.advance(41.0)
    assert [part.tolist() for part in made.jobs()] == [[4], [4]]


def test_marks_have_their_names() -> None:
    timeline = [
        {"at": 5, "do": "mark", "name": "begin"},
        {"after": 2, "do": "target", "guest": "a-1", "size": "96MiB"},
        {"do": "wait_target", "guest": "a-1"},
        {"do": "mark", "name": "shrunk"},
    ]
    made = started(simple(timeline=timeline))
    made.advance(30.0)
    (first, at_first), (second, at_second) = made.marks(0)
    assert (first, second) == ("begin", "shrunk")
    assert at_first.time_s == pytest.approx(5.0) and 7.0 <= at_second.time_s < 20
    assert at_second.guest["taken_pages"][0] == 32 * 16


def test_wrong_numbers_of_things_are_refused() -> None:
    with pytest.raises(ValueError, match="2 of them; expected 1 or 3"):
        SimulatedHosts([simple(), simple()], 3)
    with pytest.raises(ValueError, match="1 slots; expected at least 2"):
        SimulatedHosts(simple(), 1, guests=1)
    with pytest.raises(ValueError, match="1 keys for 2 hosts"):
        SimulatedHosts(simple(), 2).reset([0, 1], [1])
    with pytest.raises(RuntimeError, match="reset"):
        _ = SimulatedHosts(simple(), 1).drawn


NEW_TAGS = (
    *("stats_oom_kills", "stats_alloc_stalls", "stats_async_scan_bytes"),
    *("stats_direct_scan_bytes", "stats_async_reclaim_bytes", "stats_direct_reclaim_bytes"),
)


@pytest.mark.parametrize(
    ("told", "kernel", "known"),
    [(True, "modern", True), (True, "2011", False), (False, "modern", False)],
)
def test_newer_statistics_are_known_where_guest_and_emulator_have_them(
    told: bool, kernel: str, known: bool
) -> None:
    made = started(simple(sensors={"reclaim_statistics": told}, host__kernel=kernel))
    made.advance(30.0)
    made.apply(targets(made, 40 * MIB, 40 * MIB))  # less than its heap: the guest reclaims
    made.advance(90.0)
    reading, guest = made.read(), made.truth().guest
    for name in NEW_TAGS:
        values = getattr(reading, name)
        field = name.removesuffix("_bytes")
        scale = 64 * 1024 if name.endswith("_bytes") else 1
        expected = guest[field] * scale if known else np.full_like(values, UNKNOWN)
        assert (values == expected).all(), name
    assert not known or (reading.stats_direct_scan_bytes + reading.stats_async_scan_bytes).sum() > 0
