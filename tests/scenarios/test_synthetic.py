"""Synthetic traces: what ships is what the command makes, and looks like what was measured."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from scenarios import synthetic, traces
from scenarios import trace_statistics as statistics
from scenarios.tidy import TidyFile
from scenarios.traces import Trace

# Published 5th / 50th / 95th percentiles of the two measured months, rnd and fastStorage; the
# synthetic value must lie between the lower and the higher one, widened by the factor.
PUBLISHED = {
    "mean": ((0.0054, 0.041, 0.181), (0.0029, 0.028, 0.142), 1.5),
    "max": ((0.050, 0.462, 0.946), (0.035, 0.296, 0.958), 1.3),
    "p95_in_time": ((0.014, 0.078, 0.416), (0.0081, 0.049, 0.404), 1.4),
    "std": ((0.0055, 0.023, 0.127), (0.0047, 0.016, 0.141), 1.5),
    "std_of_hourly_means": ((0.0019, 0.013, 0.114), (0.0018, 0.0081, 0.124), 2.0),
    "max_rise_1h": ((0.045, 0.380, 0.893), (0.034, 0.253, 0.950), 1.7),
    "rises_per_day": ((0.0, 1.36, 13.9), (0.0, 0.802, 14.4), 1.7),
    "noise": ((0.0007, 0.0070, 0.019), (0.0, 0.0063, 0.016), 1.5),
}


@cache
def shipped() -> list[Trace]:
    data = synthetic.shipped()
    return [data.read(vm) for vm in data.machines]


@cache
def mostly_on() -> list[Trace]:
    return [trace for trace in shipped() if statistics.mostly_on(trace)]


def active() -> list[np.ndarray]:
    return [statistics.active_share(trace) for trace in mostly_on()]


def test_what_ships_is_what_the_command_makes() -> None:
    """Floating point may differ in the last bit between machines: a few counts may be others."""
    made = synthetic.generate()
    stored = synthetic.decode(synthetic.SHIPPED)
    assert np.array_equal(made.size_gib, stored.size_gib)
    for mine, theirs in zip(made[1:], stored[1:], strict=True):
        assert mine.shape == theirs.shape
        assert np.mean(mine != theirs) < 1e-3


def test_the_file_is_small() -> None:
    assert synthetic.SHIPPED.stat().st_size < 600_000


def test_a_file_reads_back_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    synthetic.main(["--seed", "3", "--machines", "4", "--days", "2", "--out", str(path)])
    made = synthetic.generate(3, 4, 2)
    assert all(map(np.array_equal, synthetic.decode(path), made))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(traces.TraceError, match=r"t\.npz: expected a file of synthetic traces"):
        synthetic.decode(path)


def test_another_seed_makes_other_machines() -> None:
    assert not np.array_equal(
        synthetic.generate(1, 4, 1).active, synthetic.generate(2, 4, 1).active
    )


def test_traces_keep_their_own_rules() -> None:
    for trace in shipped():
        known = np.isfinite(trace.granted)
        assert np.array_equal(known, np.isfinite(trace.active))
        granted, seen = trace.granted[known], trace.active[known]
        assert (granted >= 0).all() and (granted <= trace.nominal_bytes).all()
        assert (seen >= 0).all() and (seen <= trace.nominal_bytes).all()
        assert (seen[granted == 0] == 0).all()
        quanta = seen / (trace.nominal_bytes / 1500)
        assert np.abs(quanta - np.rint(quanta)).max() < 1e-3


@pytest.mark.parametrize("name", PUBLISHED)
def test_active_memory_is_distributed_as_published(name: str) -> None:
    found = statistics.describe(active())[name]
    rnd, fast_storage, factor = PUBLISHED[name]
    for value, *months in zip(found, rnd, fast_storage, strict=True):
        assert min(months) / factor <= value <= max(months) * factor + 0.003, (name, found)


def test_active_memory_remembers_as_published() -> None:
    """Medians of both months, .52 to .56, .20 to .25 and .15 to .19, with sampling error."""
    five_min, hour, day = statistics.median_autocorrelation(active())
    assert 0.40 <= five_min <= 0.70
    assert 0.12 <= hour <= 0.32
    assert -0.05 <= day <= 0.30


def test_machines_rise_together_but_not_often() -> None:
    series, sizes = active(), [trace.nominal_bytes for trace in mostly_on()]
    assert 0.003 <= statistics.share_of_pairs_above(series, 0.3) <= 0.05
    assert 0.20 <= statistics.peak_of_sum_over_sum_of_peaks(series, sizes) <= 0.55
    host = statistics.hosts(series, sizes, machines=16)
    assert 3.0 <= host["overcommit_at_peak"][1] <= 6.5  # published 4.24 and 4.58
    assert 0.09 <= host["max_rise_1h"][1] <= 0.28  # .183 and .186


def test_granted_memory_is_a_high_water_mark() -> None:
    series = [statistics.granted_share(trace) for trace in mostly_on()]
    found = statistics.describe(series)
    assert 0.12 <= found["mean"][0] <= 0.40 and found["mean"][1] >= 0.97  # .18, .34; .99, 1.0
    full = np.mean([np.nanmean(values) > 0.95 for values in series])
    half = np.mean([np.nanmean(values) < 0.5 for values in series])
    assert 0.60 <= full <= 0.80  # 70 %
    assert 0.08 <= half <= 0.25  # 15 to 18 %
    changes = np.concatenate([np.diff(values) for values in series])
    changes = changes[np.abs(changes) > 0.005]
    assert 0.65 <= np.mean(changes > 0) <= 0.92  # 74 to 84 % of the changes are rises
    five_min, hour, _ = statistics.median_autocorrelation(series)
    assert five_min > 0.99 and hour > 0.95


def test_after_power_on_the_estimate_starts_at_three_quarters() -> None:
    first = []
    recorded = synthetic.SyntheticSet(synthetic.generate(9, 300, 4))
    for vm in recorded.machines:
        trace = recorded.read(vm)
        on = trace.granted > 0
        for start in np.flatnonzero(on[1:] & (trace.granted[:-1] == 0)) + 1:
            first.append(float(trace.active[start] / trace.nominal_bytes))
    assert len(first) > 5
    assert np.median(first) == pytest.approx(0.75, abs=0.05)


MEASURED = traces.folder(None) / "vm_memory"


@pytest.mark.skipif(not MEASURED.is_dir(), reason=f"no measured traces: {MEASURED} is not there")
@pytest.mark.parametrize(
    "file, month",
    [("bitbrains_rnd_2013-07.parquet", 0), ("bitbrains_faststorage_odd_2013-08.parquet", 1)],
)
def test_the_statistics_are_the_published_ones(file: str, month: int) -> None:
    """The same functions on the measured traces give the published table."""
    data = TidyFile(MEASURED / file)
    series = [
        statistics.active_share(trace)
        for trace in map(data.read, data.machines)
        if statistics.mostly_on(trace)
    ]
    found = statistics.describe(series)
    for name in ("mean", "max", "p95_in_time", "std", "rises_per_day", "noise"):
        assert found[name] == pytest.approx(PUBLISHED[name][month], rel=0.02, abs=1e-3), name
