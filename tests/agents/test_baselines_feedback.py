"""Controllers that feel their way: qemus' PI, Senpai's probing, and qmemman's sharing out."""

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


def senpai_run(knob: str, **fields: object) -> tuple[list[int], list[float]]:
    policy = senpai.Senpai(senpai.SenpaiConfig(knob=knob))
    state = policy.reset(1, 1)
    sent: list[int] = []
    wakes: list[float] = []
    size = 2 * GIB
    for tick in range(9):
        telemetry = reading(
            1,
            1,
            time_s=float(tick),
            current_bytes=size,
            cgroup_current_bytes=GIB,
            applied_target_bytes=sent[-1] if sent and sent[-1] >= 0 else -1,
            **fields,  # type: ignore[arg-type]
        )
        decision, state, wake_at_s = policy.decide(telemetry, state)
        column = decision.memory_high_bytes if knob == "high" else decision.target_bytes
        assert column is not None
        sent.append(int(column.item()))
        size = sent[-1] if sent[-1] >= 0 and knob == "size" else size
        wakes.append(float(wake_at_s.item() - telemetry.time_s.item()))
    return sent, wakes


def test_senpai_holds_a_guest_to_its_size_then_probes() -> None:
    sent, wakes = senpai_run("size", agent_psi_some_s=0.0)
    assert sent[0] == 2 * GIB
    assert sent[1:7] == [-1] * 6
    assert sent[7] == int(2 * GIB * 0.99) // PAGE * PAGE
    assert set(wakes) == {1.0}


def test_senpai_can_set_the_cgroups_limit_instead() -> None:
    sent, _ = senpai_run("high", cgroup_psi_some_s=0.0)
    assert sent[0] == GIB
    assert sent[7] == int(GIB * 0.99) // PAGE * PAGE


def test_without_pressure_told_senpai_does_nothing() -> None:
    sent, _ = senpai_run("size")
    assert sent == [-1] * 9
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


def test_qmemman_takes_from_who_has_more_and_gives_what_came() -> None:
    policy = qubes.Qubes()
    state = policy.reset(1, 2)
    sizes, used = [3 * GIB, GIB], [GIB // 2, GIB - 50 * MIB]
    free = 100 * MIB
    for tick in range(8):
        decision, state, wake_at_s = policy.decide(
            qubes_reading(float(tick), sizes, used, free), state
        )
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


def test_qmemman_leaves_out_who_does_not_move() -> None:
    policy = qubes.Qubes()
    state = policy.reset(1, 2)
    sizes, used = [3 * GIB, GIB], [GIB // 2, GIB - 50 * MIB]
    for tick in range(4):
        telemetry = qubes_reading(float(tick), sizes, used, 100 * MIB)
        decision, state, _ = policy.decide(telemetry, state)
    assert state.guests.no_progress[0].tolist() == [True, False]
    assert decision.target_bytes[0, 0] == -1
