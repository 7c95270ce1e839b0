"""Statistics of traces as they are published for the measured ones, to compare others with them.

Memory is in shares of a machine's configured size; samples with the machine off are left out.
"""

from collections.abc import Sequence

import numpy as np

from scenarios.traces import Trace, hold_last

HOUR = 12  # steps of 300 s
DAY = 24 * HOUR
RISE = 0.1  # of the size: what counts as a rise
ENOUGH = HOUR // 3  # samples that an hourly mean needs

Triple = tuple[float, float, float]  # 5th, 50th and 95th percentile over machines


def active_share(trace: Trace) -> np.ndarray:
    """(N,) active memory over size, NaN in gaps and while off."""
    return np.where(trace.granted > 0, trace.active, np.nan) / trace.nominal_bytes


def granted_share(trace: Trace) -> np.ndarray:
    """(N,) granted memory over size, NaN in gaps and while off."""
    return np.where(trace.granted > 0, trace.granted, np.nan) / trace.nominal_bytes


def mostly_on(trace: Trace) -> bool:
    """Whether the machine was on in nine steps of ten."""
    return bool(np.mean(trace.granted > 0) >= 0.9)


def hourly_mean(values: np.ndarray) -> np.ndarray:
    """(N,) mean of the twelve samples around each, NaN with fewer than four."""
    known = np.isfinite(values)
    ones = np.ones(HOUR)
    total = np.convolve(np.where(known, values, 0.0), ones, mode="same")
    count = np.convolve(known.astype(float), ones, mode="same")
    mean: np.ndarray = np.divide(
        total, count, out=np.full(len(values), np.nan), where=count >= ENOUGH
    )
    return mean


def over_machines(values: Sequence[float]) -> Triple:
    """5th, 50th and 95th percentile."""
    low, middle, high = np.nanpercentile(np.asarray(values), [5, 50, 95])
    return float(low), float(middle), float(high)


def rise_within_hour(values: np.ndarray) -> np.ndarray:
    """(N,) value less the lowest of the hour before it."""
    lowest = np.full(len(values), np.inf)
    for lag in range(1, HOUR + 1):
        earlier = np.concatenate([np.full(lag, np.nan), values[:-lag]])
        lowest = np.fmin(lowest, earlier)
    return np.where(np.isfinite(lowest), values - lowest, np.nan)


def rises_per_day(values: np.ndarray) -> float:
    """How often a day a value begins to be RISE above the lowest of the hour before."""
    high = np.nan_to_num(rise_within_hour(values), nan=0.0) > RISE
    begins = np.count_nonzero(high[1:] & ~high[:-1])
    return begins / (np.count_nonzero(np.isfinite(values)) / DAY)


def autocorrelation(values: np.ndarray, lag: int) -> float:
    """Correlation of a series with itself `lag` steps later; NaN if it never changes."""
    earlier, later = values[:-lag], values[lag:]
    known = np.isfinite(earlier) & np.isfinite(later)
    earlier, later = earlier[known], later[known]
    if len(earlier) < 2 or earlier.std() == 0 or later.std() == 0:
        return float("nan")
    return float(np.corrcoef(earlier, later)[0, 1])


def noise(values: np.ndarray) -> float:
    """Standard deviation of the noise: from the median absolute deviation of differences."""
    steps = np.diff(values)
    steps = steps[np.isfinite(steps)]
    return float(1.4826 * np.median(np.abs(steps - np.median(steps))) / np.sqrt(2))


def describe(series: Sequence[np.ndarray]) -> dict[str, Triple]:
    """The rows of the published table that are percentiles over machines."""
    hourly = [hourly_mean(values) for values in series]
    return {
        "mean": over_machines([float(np.nanmean(values)) for values in series]),
        "max": over_machines([float(np.nanmax(values)) for values in series]),
        "p95_in_time": over_machines([float(np.nanpercentile(v, 95)) for v in series]),
        "std": over_machines([float(np.nanstd(values)) for values in series]),
        "std_of_hourly_means": over_machines([float(np.nanstd(values)) for values in hourly]),
        "max_rise_1h": over_machines([float(np.nanmax(rise_within_hour(v))) for v in series]),
        "rises_per_day": over_machines([rises_per_day(values) for values in series]),
        "noise": over_machines([noise(values) for values in series]),
    }


def median_autocorrelation(series: Sequence[np.ndarray]) -> Triple:
    """Median over machines of the autocorrelation after 5 min, 1 h and 24 h."""
    lags = (1, HOUR, DAY)
    table = [[autocorrelation(values, lag) for lag in lags] for values in series]
    five_min, hour, day = np.nanmedian(np.array(table), axis=0)
    return float(five_min), float(hour), float(day)


def share_of_pairs_above(series: Sequence[np.ndarray], least: float) -> float:
    """Share of the pairs of machines whose correlation is above `least`."""
    filled = np.stack([hold_last(values) for values in series])
    filled = filled[filled.std(axis=1) > 0]
    correlation = np.corrcoef(filled)
    return float(np.mean(correlation[np.triu_indices(len(filled), 1)] > least))


def peak_of_sum_over_sum_of_peaks(series: Sequence[np.ndarray], sizes: Sequence[int]) -> float:
    """How far peaks coincide: 1 if all come at once."""
    filled = np.stack([hold_last(values) for values in series]) * np.array(sizes)[:, None]
    return float(filled.sum(axis=0).max() / filled.max(axis=1).sum())


def hosts(
    series: Sequence[np.ndarray], sizes: Sequence[int], machines: int, draws: int = 400
) -> dict[str, Triple]:
    """Random hosts: nominal over the peak of the sum, largest rise of the sum within an hour."""
    filled = np.stack([hold_last(values) for values in series]) * np.array(sizes)[:, None]
    rng = np.random.default_rng(0)
    peaks, rises = [], []
    for _ in range(draws):
        chosen = rng.choice(len(filled), machines, replace=False)
        total, nominal = filled[chosen].sum(axis=0), float(np.array(sizes)[chosen].sum())
        peaks.append(nominal / total.max())
        rises.append(float(np.nanmax(rise_within_hour(total))) / nominal)
    return {"overcommit_at_peak": over_machines(peaks), "max_rise_1h": over_machines(rises)}
