"""MOM, upstream and as vdsm deploys it: closed forms, its clocks, and what it does without data."""

import numpy as np
import pytest

from agents.baselines._mom import SAMPLES, GuestSamples, HostSamples, Manager
from agents.baselines._mom_ksm import RUN, STOP, UNMERGE, KsmSeen
from agents.baselines.mom import Mom, MomConfig, rule
from agents.baselines.vdsm import Vdsm, VdsmConfig, ksm_rule
from agents.baselines.vdsm import rule as vdsm_rule
from contract.arrays import GIB, MIB, Floats, Ints
from contract.descriptors import GuestState
from contract.telemetry import Telemetry
from tests.contract.readings import reading

TOTAL = 16 * GIB


def host(free: float) -> HostSamples:
    return HostSamples(np.array([[1000.0]]), np.array([[1000.0 * free]]))


def guest(now: float, unused: float, least: float = 0.0, most: float = 1000.0) -> GuestSamples:
    return GuestSamples(*(np.array([[[value]]]) for value in (now, most, least, unused)))


def only(targets: Floats) -> float:
    return float(targets.item())


@pytest.mark.parametrize(
    ("free", "now", "unused", "target"),
    [
        (0.19, 800.0, 700.0, 760.0),  # five per cent a turn
        (0.10, 800.0, 100.0, 780.0),  # down to what it uses and a tenth of its size
        (0.02, 800.0, 0.0, 776.0),  # below that where nearly nothing is left
        (0.19, 800.0, 10.0, np.nan),  # it may not grow on a short host
        (0.50, 800.0, 700.0, 840.0),
        (0.50, 800.0, 10.0, 950.0),  # as far as it takes
        (0.50, 800.0, -100.0, 1000.0),
        (0.50, 1000.0, 10.0, np.nan),
        (0.10, 800.0, 80.0 + 1.9, np.nan),  # too little to bother: 0.25 %
    ],
)
def test_upstream_shrinks_slowly_and_grows_at_once(
    free: float, now: float, unused: float, target: float
) -> None:
    found = only(rule(host(free), guest(now, unused), MomConfig()))
    assert found == pytest.approx(target, nan_ok=True)


@pytest.mark.parametrize(
    ("enabled", "free", "now", "unused", "least", "target"),
    [
        (True, 0.10, 800.0, 100.0, 0.0, 780.0),
        (False, 0.10, 800.0, 100.0, 0.0, 840.0),  # as shipped it grows on a short host too
        (False, 0.60, 500.0, 100.0, 0.0, 700.0),  # the host's own share of free memory to spare
        (True, 0.10, 300.0, 100.0, 400.0, 400.0),  # below its guarantee: set to it
        (True, 0.10, 300.0, np.nan, 400.0, np.nan),
    ],
)
def test_vdsm_has_a_floor_and_a_switch(
    enabled: bool, free: float, now: float, unused: float, least: float, target: float
) -> None:
    config = VdsmConfig(balloon_enabled=enabled)
    found = only(vdsm_rule(host(free), guest(now, unused, least), config))
    assert found == pytest.approx(target, nan_ok=True)


def seen(time_s: float, free: int, unused: int = 100 * MIB) -> Telemetry:
    """A guest of 1 GiB at most, now 800 MiB."""
    telemetry = reading(1, 1)
    zero, one = np.array([0]), np.ones((1, 1), np.int64)
    return telemetry._replace(
        time_s=np.array([time_s]),
        total_bytes=np.array([TOTAL]),
        free_bytes=np.array([free]),
        buffers_bytes=zero,
        cached_bytes=zero,
        min_bytes=0 * one,
        max_bytes=GIB * one,
        current_bytes=800 * MIB * one,
        stats_free_bytes=unused * one,
    )


def run(policy: Manager, *readings: Telemetry) -> tuple[list[int], list[float]]:
    targets: list[int] = []
    wakes: list[float] = []
    state = policy.reset(1, 1)
    for telemetry in readings:
        decision, state, wake_at_s = policy.decide(telemetry, state)
        targets.append(decision.target_bytes.item())
        wakes.append(float(wake_at_s.item() - telemetry.time_s.item()))
    return targets, wakes


def history(samples: list[Ints]) -> Floats:
    """The last ten [bytes] as the rules take them, in KiB; -1 unknown."""
    kept = [np.where(one < 0, np.nan, one // 1024) for one in samples[-SAMPLES:]]
    blank = np.full(samples[0].shape, np.nan)
    return np.stack([blank] * (SAMPLES - len(kept)) + kept, axis=-1)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("name", ["mom", "vdsm", "vdsm on"])
def test_decide_is_the_rule_on_the_samples(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    on = VdsmConfig(balloon_enabled=name == "vdsm on")
    policy: Manager = Mom() if name == "mom" else Vdsm(on)
    state = policy.reset(2, 3)
    period_s = policy.settings.period_s
    free: list[Ints] = []
    told: dict[str, list[Ints]] = {"current_bytes": [], "max_bytes": [], "stats_free_bytes": []}
    for tick in range(24):
        size = rng.integers(256, 2048, (2, 3)) * MIB
        unused = (size * rng.random((2, 3))).astype(np.int64)
        host_free = rng.integers(0, 4096, 2) * MIB
        if name != "mom":  # whose samples lack nothing
            unused = np.where(rng.random((2, 3)) < 0.2, -1, unused)
        telemetry = reading(
            2,
            3,
            time_s=tick * period_s,
            free_bytes=host_free,
            buffers_bytes=5 * MIB,
            cached_bytes=7 * MIB,
            current_bytes=size,
            max_bytes=2 * GIB,
            stats_free_bytes=unused,
            min_bytes=300 * MIB,
        )
        free.append(host_free + 12 * MIB)
        for field, samples in told.items():
            samples.append(getattr(telemetry, field))
        decision, state, _ = policy.decide(telemetry, state)
        hosts = HostSamples(np.full((2, SAMPLES), TOTAL // 1024.0), history(free))
        guests = GuestSamples(
            history(told["current_bytes"]),
            history(told["max_bytes"]),
            np.full((2, 3, SAMPLES), 300 * 1024.0),
            history(told["stats_free_bytes"]),
        )
        wanted = vdsm_rule(hosts, guests, on) if name != "mom" else rule(hosts, guests, MomConfig())
        if name == "mom" and tick % 2 == 0:
            wanted = np.full((2, 3), np.nan)
        expected = [-1 if np.isnan(kib) else int(kib) * 1024 for kib in wanted.flat]
        assert decision.target_bytes.flatten().tolist() == expected


def test_vdsm_knows_only_guests_that_are_up() -> None:
    paused = seen(0.0, 12 * GIB)._replace(state=np.array([[GuestState.PAUSED]], np.int64))
    assert run(Vdsm(), paused)[0] == [-1]
    policy = Vdsm()
    _, state, _ = policy.decide(seen(0.0, 12 * GIB), policy.reset(1, 1))
    assert (~np.isnan(state.guests.samples.balloon_cur)).sum() == 1
    _, state, _ = policy.decide(paused._replace(time_s=np.array([15.0])), state)
    assert np.isnan(state.guests.samples.balloon_cur).all()
    upstream = [one._replace(state=paused.state) for one in (seen(0.0, 12 * GIB), seen(5.0, GIB))]
    assert run(Mom(), *upstream)[0][1] >= 0


def test_upstream_samples_twice_as_often_as_it_decides() -> None:
    targets, wakes = run(Mom(), *(seen(5.0 * i, 12 * GIB) for i in range(5)))
    assert [target > 0 for target in targets] == [False, True, False, True, False]
    assert set(wakes) == {5.0}


def test_vdsm_does_both_every_fifteen_seconds() -> None:
    targets, wakes = run(Vdsm(), *(seen(15.0 * i, 12 * GIB) for i in range(3)))
    assert all(target > 0 for target in targets)
    assert set(wakes) == {15.0}


def test_what_is_free_is_a_mean_over_the_last_ten_samples() -> None:
    # Nine samples of a host half free keep it from shrinking guests that the tenth would shrink.
    ample = [seen(5.0 * i, TOTAL // 2, 300 * MIB) for i in range(9)]
    short = [seen(45.0 + 5.0 * i, TOTAL // 100, 300 * MIB) for i in range(10)]
    targets, _ = run(Mom(), *ample, *short)
    size = 800 * MIB
    signs = [np.sign(target - size) if target >= 0 else 0 for target in targets]
    assert signs[1:9:2] == [1, 1, 1, 1]
    assert signs[9] == 1
    assert signs[17] == -1


@pytest.mark.parametrize(
    ("lacking", "does"), [("stats_free_bytes", False), ("min_bytes", True), ("total_bytes", False)]
)
def test_missing_is_not_zero(lacking: str, does: bool) -> None:
    first, second = seen(0.0, 12 * GIB), seen(5.0, 12 * GIB)
    blank = [
        one._replace(**{lacking: np.full_like(getattr(one, lacking), -1)})
        for one in (first, second)
    ]
    targets, _ = run(Mom(), *blank)
    assert (targets[1] >= 0) == does


def _ksm(**fields: int) -> Telemetry:
    values: dict[str, Ints] = {
        "ksm_run": np.array([0]),
        "ksm_pages_to_scan": np.array([100]),
        "ksm_shared_bytes": np.array([0]),
        "ksm_shareable_bytes": np.array([TOTAL]),
        "ksm_merge_across_nodes": np.array([1]),
    }
    return seen(0.0, 1 * GIB)._replace(**values | {k: np.array([v]) for k, v in fields.items()})


def test_merging_runs_harder_on_a_short_host_and_only_where_it_is_asked_for() -> None:
    for policy, sets in ((Vdsm(), True), (Mom(), False), (Mom(MomConfig(ksm=True)), True)):
        state = policy.reset(1, 1)
        _, state, _ = policy.decide(_ksm(), state)
        later = _ksm()._replace(time_s=np.array([15.0]))
        decision, _, _ = policy.decide(later, state)
        assert (decision.ksm_run is not None) == sets
        if sets:
            assert decision.ksm_run is not None and decision.ksm_run.item() == RUN
            assert decision.ksm_pages_to_scan is not None
            assert decision.ksm_pages_to_scan.item() == 400
            assert decision.ksm_sleep_s is not None
            assert decision.ksm_sleep_s.item() == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("enabled", "across", "shared", "run"),
    [(True, 1, 0, RUN), (False, 1, 0, STOP), (False, 1, 5, UNMERGE), (True, 0, 5, UNMERGE)],
)
def test_vdsm_undoes_merging_before_it_stops_or_changes_it(
    enabled: bool, across: int, shared: int, run: int
) -> None:
    config = VdsmConfig(ksm_enabled=enabled, ksm_merge_across_nodes=across)
    found = ksm_rule(KsmSeen(1e6, 1e4, 10**6, 100, shared, 1), config)
    assert found.ksm_run == run
    assert (found.ksm_merge_across_nodes is None) == (shared > 0)


def test_a_kernel_without_nodes_is_not_made_to_unmerge() -> None:
    found = ksm_rule(KsmSeen(1e6, 1e4, 10**6, 100, 5, -1), VdsmConfig())
    assert found.ksm_run == RUN
    assert found.ksm_merge_across_nodes is None


def test_settings_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match=r"period_s: 20.*decision_period_s: 10"):
        MomConfig(period_s=20.0)
    with pytest.raises(ValueError, match="ksm_merge_across_nodes: 2: expected 0 or 1"):
        VdsmConfig(ksm_merge_across_nodes=2)
