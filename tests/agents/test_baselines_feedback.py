"""Controllers that feel their way: qemus' PI, Senpai's probing, and qmemman's sharing out."""

from itertools import pairwise

import numpy as np
import pytest

from agents.baselines import qemus_pi, qubes, senpai
from contract.arrays import GIB, MIB, PAGE, Ints
from contract.telemetry import Telemetry
from tests.contract.readings import reading

# qemus: a host of 10 GiB, guests of 4 GiB at most


def step(free: float, size: float, integral: float = 0.0, **fields: float) -> qemus_pi.Found:
    plain = {"pressure": 0.0, "largest": 1000.0, "smallest": 330.0, "used": np.nan}
    values = plain | fields | {"free": free, "size": size}
    seen = qemus_pi.Seen(**{name: np.array(values[name]) for name in qemus_pi.Seen._fields})
    memory = qemus_pi.Memory(np.array(integral), np.array(1000.0))
    return qemus_pi.rule(seen, memory, qemus_pi.QemusPiConfig(hysteresis_bytes=100))


def test_a_host_that_lacks_a_tenth_takes_in_proportion_and_by_the_integral() -> None:
    found = step(0.10, 1000.0)
    assert found.memory.integral == pytest.approx(0.5)  # 0.1 * 5 s
    assert np.isnan(found.send)  # 925: less than 100 away
    assert step(0.0, 1000.0).send == 1000 - (0.5 * 0.2 + 0.05 * 1.0) * 1000


@pytest.mark.parametrize(
    ("pressure", "cap"), [(9.9, 1000), (10.0, 1000), (30.0, 665), (50.0, 330), (80.0, 330)]
)
def test_pressure_lowers_the_largest_size(pressure: float, cap: float) -> None:
    found = step(0.5, 800.0, pressure=pressure)
    assert found.cap == cap
    assert found.send <= cap or np.isnan(found.send)


@pytest.mark.parametrize(("free", "least"), [(0.11, 700.0), (0.09, 330.0)])
def test_what_a_guest_uses_is_its_own_until_nine_tenths_are_gone(free: float, least: float) -> None:
    assert step(free, 700.0, integral=1.0, used=700.0).send <= 700.0
    found = step(free, 340.0, integral=1.0, used=700.0)
    assert found.send == least


def qemus_reading(time_s: float, **fields: object) -> Telemetry:
    shares = {"available_bytes": GIB, "total_bytes": 10 * GIB, "psi_some_avg10": 0.0}
    return reading(1, 1, time_s=time_s, **shares | fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_qemus_decides_by_the_rule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    policy, config = qemus_pi.QemusPi(), qemus_pi.QemusPiConfig()
    state, largest = policy.reset(1, 1), 4 * GIB
    memory = qemus_pi.Memory(np.array(0.0), np.array(float(largest)))
    for tick in range(40):
        available, used, size = (int(rng.uniform(0.02, most) * GIB) for most in (4, 3, 4))
        pressure = rng.choice([0.0, 0.05, 0.2, 0.7])
        told = rng.random() < 0.8
        telemetry = qemus_reading(
            5.0 * tick,
            available_bytes=available,
            psi_some_avg10=pressure,
            max_bytes=largest,
            current_bytes=size,
            resident_bytes=GIB,
            stats_total_bytes=5 * GIB + tick if told else -1,  # never again the first one
            stats_available_bytes=5 * GIB + tick - used,
        )
        values = (available / (10 * GIB), pressure * 100, largest, int(0.33 * largest), size)
        known = used if told and tick else GIB
        if tick == 0:
            known = used - (largest - size) if told else GIB
        seen = qemus_pi.Seen(*(np.array(float(value)) for value in (*values, known)))
        found = qemus_pi.rule(seen, memory, config)
        memory = found.memory
        decision, state, _ = policy.decide(telemetry, state)
        expected = -1 if np.isnan(found.send) else int(found.send)
        assert decision.target_bytes.item() == expected
        assert state.guests.integral.item() == pytest.approx(float(memory.integral))


def test_used_memory_is_without_the_balloon_where_the_total_never_shrinks() -> None:
    policy = qemus_pi.QemusPi()
    tight = {"available_bytes": int(1.5 * GIB), "max_bytes": 4 * GIB, "stats_total_bytes": 4 * GIB}
    state, size = policy.reset(1, 1), 4 * GIB
    for time_s in range(0, 100, 5):
        # It uses 2.5 GiB, so that less and less is available while it shrinks.
        told = {"stats_available_bytes": max(0, size - 5 * GIB // 2), "current_bytes": size}
        telemetry = qemus_reading(float(time_s), **tight, **told, stats_current_bytes=size)
        decision, state, wake_at_s = policy.decide(telemetry, state)
        if decision.target_bytes.item() >= 0:
            size = decision.target_bytes.item()
    assert wake_at_s.item() == 100.0
    assert size == 5 * GIB // 2


# Senpai


def ticks(*stalls_us: float, start: int = GIB) -> list[int]:
    config = senpai.SenpaiConfig()
    largest = np.array(2 * GIB)
    probe = senpai.begin(np.array(start), largest, config)
    found = []
    for stall_us in stalls_us:
        probe, _ = senpai.rule(probe, np.array(stall_us), largest, config)
        found.append(int(probe.limit))
    return found


def test_an_idle_guest_loses_a_hundredth_after_seven_ticks_then_every_six() -> None:
    less = int(GIB * 0.99) // PAGE * PAGE
    sizes = ticks(*[0.0] * 13)
    assert sizes == [GIB] * 6 + [less] * 6 + [int(less * 0.99) // PAGE * PAGE]


def test_pressure_gives_by_its_square_and_at_most_doubles() -> None:
    assert ticks(100_000.0) == [int(GIB * 1.25)]  # (10 / 20) squared
    assert ticks(10_000.0) == [GIB]  # as much as is aimed at
    assert ticks(1e9, start=GIB // 2) == [GIB]
    assert ticks(1e9, 1e9) == [2 * GIB, 2 * GIB]


def test_the_shipped_guest_is_no_smaller_than_the_least() -> None:
    assert ticks(0.0, start=10 * MIB) == [100 * MIB]


def senpai_run(knob: str, *stalls_s: float, **fields: object) -> list[int]:
    """What it sets tick by tick; the guest is at once as large as it is let."""
    policy = senpai.Senpai(senpai.SenpaiConfig(knob=knob))
    state = policy.reset(1, 1)
    high = knob == "high"
    sent, in_force, size = [], -1, 2 * GIB
    for tick, stalled_s in enumerate(stalls_s):
        told = "cgroup_psi_some_s" if high else "agent_psi_some_s"
        limit = "cgroup_high_bytes" if high else "applied_target_bytes"
        held = "cgroup_current_bytes" if high else "current_bytes"
        now = {told: stalled_s, limit: in_force, held: size}
        telemetry = reading(1, 1, time_s=float(tick), **now | fields)  # type: ignore[arg-type]
        decision, state, wake_at_s = policy.decide(telemetry, state)
        assert wake_at_s.item() == tick + 1.0
        column = decision.memory_high_bytes if high else decision.target_bytes
        assert column is not None
        assert high == (decision.target_bytes.item() < 0 <= column.item()) or column.item() < 0
        sent.append(int(column.item()))
        if sent[-1] >= 0:
            in_force = size = sent[-1]
    return sent


@pytest.mark.parametrize("knob", ["size", "high"])
def test_senpai_holds_a_guest_to_what_it_has_then_probes(knob: str) -> None:
    sent = senpai_run(knob, *[7.0] * 9)
    less = int(2 * GIB * 0.99) // PAGE * PAGE
    assert sent == [2 * GIB] + [-1] * 6 + [less] + [-1]


@pytest.mark.parametrize("knob", ["size", "high"])
@pytest.mark.parametrize("seed", range(5))
def test_senpai_decides_by_the_rule(knob: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    stalls_us = np.where(rng.random(60) < 0.1, rng.integers(0, 300_000, 60), 0)
    config = senpai.SenpaiConfig()
    largest = np.array(100 * GIB if knob == "high" else 4 * GIB)
    probe = senpai.begin(np.array(2 * GIB), largest, config)
    expected = [int(probe.limit)]
    totals_s = 5.0 + np.cumsum(stalls_us) / 1e6
    for before_s, now_s in pairwise(totals_s.tolist()):
        probe, changed = senpai.rule(probe, np.array(now_s - before_s) * 1e6, largest, config)
        expected.append(int(probe.limit) if changed else -1)
    assert senpai_run(knob, *totals_s.tolist()) == expected


@pytest.mark.parametrize(
    ("knob", "lacks"),
    [("size", "agent_psi_some_s"), ("high", "cgroup_psi_some_s"), ("high", "cgroup_current_bytes")],
)
def test_senpai_leaves_alone_whose_pressure_or_memory_is_not_told(knob: str, lacks: str) -> None:
    # Pressure of the cgroup says nothing of what a balloon does to a guest.
    other = {"cgroup_psi_some_s": 0.0} if knob == "size" else {}
    unknown = -1 if lacks.endswith("bytes") else np.nan
    assert senpai_run(knob, *[0.0] * 9, **other | {lacks: unknown}) == [-1] * 9


def test_one_guest_stands_for_those_in_a_cgroup() -> None:
    policy = senpai.Senpai()
    own = {"cgroup_current_bytes": [[2 * GIB, GIB, 2 * GIB, 2 * GIB]]}
    together = reading(1, 4, guest_id=[[7, 3, 5, 9]], cgroup_psi_some_s=[[1, 1, 1, 2]], **own)
    decision, _, _ = policy.decide(together, policy.reset(1, 4))
    assert decision.memory_high_bytes is not None
    assert decision.memory_high_bytes.tolist() == [[-1, GIB, 2 * GIB, 2 * GIB]]


def test_senpai_goes_on_from_what_the_guest_has_if_another_set_the_limit() -> None:
    sent = senpai_run("size", *[0.0] * 8, applied_target_bytes=3 * GIB, current_bytes=3 * GIB)
    assert sent[7] == int(3 * GIB * 0.99) // PAGE * PAGE


def test_a_knob_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="knob: 'both': expected 'size' or 'high'"):
        senpai.SenpaiConfig(knob="both")


# qmemman

C = qubes.QubesConfig()


def test_a_guest_prefers_a_third_more_than_it_uses() -> None:
    used = 1024 * MIB
    assert qubes.preferred(qubes.Domain("1", 4 * GIB, used, GIB), C) == int(1.3 * used)
    assert qubes.preferred(qubes.Domain("0", 4 * GIB, used, GIB), C) == int(1.3 * used + 350 * MIB)
    assert qubes.preferred(qubes.Domain("1", 4 * GIB, 0, GIB), C) == 200 * MIB


def test_all_that_is_left_is_shared_out_and_more_than_a_guest_can_have_goes_on() -> None:
    domains = [qubes.Domain("1", 8 * GIB, GIB, GIB), qubes.Domain("2", 2 * GIB, GIB, GIB)]
    sizes = dict(qubes.rule(domains, 6 * GIB, C))
    assert sizes["2"] == 2 * GIB
    assert 0.99 * 6 * GIB < sizes["1"] <= 6 * GIB


def test_short_of_memory_donors_are_asked_and_nobody_gets_what_is_not_there_yet() -> None:
    donor = qubes.Domain("1", 4 * GIB, GIB // 2, 3 * GIB)
    starved = qubes.Domain("2", 4 * GIB, 3 * GIB, GIB)
    assert qubes.rule([donor, starved], 0, C) == [("1", int(1.3 * (GIB // 2)))]
    assert qubes.rule([donor._replace(no_progress=True), starved], 0, C) == [
        ("2", int(0.999 * GIB))
    ]


def qubes_reading(time_s: float, sizes: list[int], used: list[int], available: int) -> Telemetry:
    two = np.array([sizes], np.int64)
    return reading(
        1,
        2,
        time_s=time_s,
        available_bytes=available,
        current_bytes=two,
        resident_bytes=two,
        max_bytes=4 * GIB,
        stats_total_bytes=two,
        stats_free_bytes=two - np.array([used]),
        stats_caches_bytes=0,
        stats_current_bytes=two,
    )


@pytest.mark.parametrize("seed", range(20))
def test_qmemman_carries_out_the_rule(seed: int) -> None:
    """All of it where the host has the memory, else up to who would take what is not there."""
    rng = np.random.default_rng(seed)
    sizes, used = rng.integers(1, 4 * 1024, 2) * MIB, rng.integers(1, 4 * 1024, 2) * MIB
    used = np.minimum(used, sizes)
    free = int(rng.integers(40, 4096)) * MIB
    domains = [qubes.Domain(f"#{n}", 4 * GIB, int(used[n]), int(sizes[n])) for n in range(2)]
    plan = [(int(n[1:]), size) for n, size in qubes.rule(domains, free - C.reserve_bytes, C)]
    telemetry = qubes_reading(0.0, sizes.tolist(), used.tolist(), free)
    telemetry = telemetry._replace(applied_target_bytes=np.full((1, 2), -1))
    policy = qubes.Qubes()
    decision, _, _ = policy.decide(telemetry, policy.reset(1, 2))
    expected, left = [-1, -1], free
    moved = abs(free - C.reserve_bytes) + sum(abs(size - sizes[n]) for n, size in plan)
    poor = [n for n in range(2) if sizes[n] < qubes.preferred(domains[n], C)]
    overdue = any(n in poor and size - sizes[n] > C.overdue_bytes for n, size in plan)
    for n, size in plan if overdue or moved > C.movement_bytes else []:
        more = size - sizes[n]
        if more > 0 and left - more < C.floor_bytes:
            rest = left + sizes[n] - C.reserve_bytes
            expected[n] = rest if rest > sizes[n] else -1
            break
        left -= max(0, more)
        expected[n] = size
    assert decision.target_bytes[0].tolist() == expected


def test_qmemman_takes_from_who_has_more_and_gives_what_came() -> None:
    policy = qubes.Qubes()
    state = policy.reset(1, 2)
    sizes, used = [3 * GIB, GIB], [GIB // 2, GIB - 50 * MIB]
    free = 100 * MIB
    for tick in range(8):
        telemetry = qubes_reading(float(tick), sizes, used, free)
        decision, state, wake_at_s = policy.decide(telemetry, state)
        assert wake_at_s.item() == tick + 1.0
        targets: Ints = decision.target_bytes[0]
        for slot, target in enumerate(targets.tolist()):
            if target >= 0:
                free += sizes[slot] - target
                sizes[slot] = target
        assert free >= C.floor_bytes
    assert sizes[1] > int(1.25 * used[1])
    assert sizes[0] < 3 * GIB
    assert sum(sizes) + free == 4 * GIB + 100 * MIB


@pytest.mark.parametrize(
    ("before", "now", "heard"),
    [(500, 529, 500), (500, 471, 500), (500, 530, 530), (500, 470, 470), (900, 916, 916)],
)
def test_a_guest_of_qubes_reports_what_has_changed_enough(
    before: int, now: int, heard: int
) -> None:
    """[MiB] of 1 GiB; 30,000 KiB, or half of that above 10/13."""
    policy = qubes.Qubes()
    state = policy.reset(1, 2)
    for tick, used in enumerate((before, now)):
        telemetry = qubes_reading(float(tick), [GIB, GIB], [used * MIB, 0], GIB)
        _, state, _ = policy.decide(telemetry, state)
    assert state.guests.reported[0, 0] == heard * MIB


def test_qmemman_leaves_out_who_does_not_move() -> None:
    policy = qubes.Qubes()
    state = policy.reset(1, 2)
    sizes, used = [3 * GIB, GIB], [GIB // 2, GIB - 50 * MIB]
    for tick in range(4):
        telemetry = qubes_reading(float(tick), sizes, used, 100 * MIB)
        decision, state, _ = policy.decide(telemetry, state)
    assert state.guests.no_progress[0].tolist() == [True, False]
    assert decision.target_bytes[0, 0] == -1
