"""Rates of cumulative counters, formed here and nowhere else.

A counter is known at the moments it was sampled, which for a guest's statistics is not when they
are read: while they are frozen no time passes for them and the last rate is held.  A counter that
went back was reset (a reboot), so the next rate is unknown; so is the first.
"""

from typing import NamedTuple

import numpy as np

from contract.arrays import Floats

SAME_SAMPLE_S = 0.05  # [s] moments closer than this are one: ages jitter by the time of a reading


class Counters(NamedTuple):
    """C counters as last sampled, and their rates; leading axes (H,) or (H, G)."""

    sampled_at_s: Floats  # (H[, G]) host clock, NaN never
    totals: Floats  # (H[, G], C) NaN unknown
    per_s: Floats  # (H[, G], C) rates, NaN unknown


def reset(counters: int, *leading: int) -> Counters:
    """Counters that were never sampled."""
    return Counters(
        np.full(leading, np.nan),
        np.full((*leading, counters), np.nan),
        np.full((*leading, counters), np.nan),
    )


def sample(kept: Counters, sampled_at_s: Floats, totals: Floats) -> Counters:
    """Form rates over the time since the last sample.

    Args:
        kept: the counters as of the last call.
        sampled_at_s: (H[, G]) moment of the sample on the host's clock, NaN if there is none.
        totals: (H[, G], C) the counters, NaN for unknown ones.

    Returns:
        The counters with rates in their unit per second.  Without a new sample they are as they
        were; after a reset, a gap or a jump of the clock backwards their rates are unknown.
    """
    elapsed_s = sampled_at_s - kept.sampled_at_s
    anew = np.isnan(kept.sampled_at_s) & ~np.isnan(sampled_at_s)
    moved = (np.abs(elapsed_s) > SAME_SAMPLE_S) | anew
    with np.errstate(invalid="ignore", divide="ignore"):
        risen = totals - kept.totals
        rate = risen / elapsed_s[..., None]
        forward = (risen >= 0) & (elapsed_s[..., None] > 0)
    rate = np.where(forward, rate, np.nan)
    new = moved[..., None]
    return Counters(
        np.where(moved, sampled_at_s, kept.sampled_at_s),
        np.where(new, totals, kept.totals),
        np.where(new, rate, kept.per_s),
    )
