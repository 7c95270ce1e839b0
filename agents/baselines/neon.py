"""Neon's autoscaling: whole units of memory for use and working set, with a veto of the guest.

Source: neondatabase/autoscaling @ a4bce09e, pkg/agent/core/goalcu.go and wss.go (the agent, every
5 s), and neondatabase/neon, vm_monitor (in the guest).  A guest is to have as many units as hold
its use at 75 % of them, and its use with the cached part of its working set at 90 %, and the
working set alone at 75 %; whichever is most.  Use is total less available and 100 MiB.  The working
set is read off its sizes over the last 1, 2, ... 60 minutes: where the curve, flat before, rises
more than three times as fast, old visits begin; growth of the last minute is carried on by half.

Kept as they are in the original:

- Nothing is read of the host, which decides only whether growth is permitted (here the guard does).
- Sizes are whole units, rounded up: no change below one, and big jumps.
- With a metric missing a guest does not get smaller.
- The monitor in the guest asks for a unit more when anonymous memory is 85 % of the total less
  100 MiB, and refuses a size at which it would be with 100 MiB on top; then one unit more is tried.

Left out: the goal for CPUs, as guests' CPUs are not resized here; the scheduler's migration; the
monitor's means over half a second and the 10 s for which its request stands, as an agent's report
is read every 5 s.  Without an agent there is no veto, and without its `agent_working_set_bytes` (a
column of 60 windows) no working set, as in the configuration that Neon ships, where cache metrics
are off.

Assumed: a unit is 1 GiB as shipped, but at most an eighth of the guest's largest size, as Neon's
guests have many units; else one of a GiB would never change.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agents.baselines import _checks
from agents.baselines._ranges import Range
from contract.arrays import GIB, MIB, UNKNOWN, Bools, Floats, Ints, floats
from contract.decision import Decision
from contract.state import Nothing
from contract.telemetry import WORKING_SET_WINDOWS_S, Telemetry, column, running, used_bytes


@dataclass(frozen=True)
class NeonConfig:
    """Scaling settings as shipped."""

    period_s: float = 5.0
    unit_bytes: int = 1 * GIB  # memory of a compute unit
    least_units: int = 8  # assumed: of a guest at its largest; its unit is smaller if need be
    slack_bytes: int = 100 * MIB  # counted as used, and left out of what anonymous memory may fill
    use_share: float = 0.75  # MemoryUsageFractionTarget
    total_share: float = 0.9  # MemoryTotalFractionTarget: use and cached working set
    working_set_share: float = 0.75  # LFCToMemoryRatio
    window: int = 5  # LFCWindowSizeMinutes: slopes are taken over this less one
    offset: int = 5  # LFCMinWaitBeforeDownscaleMinutes: the least window looked at
    rise: float = 3.0  # of the slope: where the working set ends
    project: float = 0.5  # minutes for which growth is carried on
    veto_share: float = 0.85  # of memory less the slack, that anonymous memory may fill

    def __post_init__(self) -> None:
        """Refuse settings without sense."""
        _checks.positive(
            self,
            "period_s",
            "unit_bytes",
            "least_units",
            "use_share",
            "total_share",
            "working_set_share",
            "veto_share",
        )
        _checks.shares(self, "use_share", "total_share", "working_set_share", "veto_share")
        _checks.not_negative(self, "slack_bytes", "rise", "project")
        if not 2 <= self.window <= self.offset <= len(WORKING_SET_WINDOWS_S) - self.window + 1:
            raise ValueError(
                f"window: {self.window}, offset: {self.offset}: expected 2 <= window <= offset,"
                f" together within {len(WORKING_SET_WINDOWS_S) + 1} minutes"
            )


TUNABLE = {
    "least_units": Range(4, 64, log=True),
    "slack_bytes": Range(16 * MIB, 400 * MIB, log=True),
    "use_share": Range(0.4, 0.98),
    "total_share": Range(0.5, 1.0),
    "working_set_share": Range(0.4, 0.98),
    "rise": Range(1.2, 10.0, log=True),
    "project": Range(0.05, 3.0, log=True),
    "veto_share": Range(0.5, 1.0),
}


class Metrics(NamedTuple):
    """What a guest reports [bytes]; any one shape (...)."""

    used: Floats  # without the slack, NaN unknown
    cached: Floats  # NaN unknown
    working_set: Floats  # (..., W) over the last 1, 2, ... W minutes, NaN unknown


def working_set(sizes: Floats, c: NeonConfig) -> Floats:
    """(..., W) sizes over growing windows -> (...) where the working set ends; NaN stays."""
    before_by, start = c.window - 1, c.offset - 1
    stop = sizes.shape[-1] - before_by
    here = sizes[..., start:stop]
    before = np.maximum(here - sizes[..., start - before_by : stop - before_by], 0.0)
    after = np.maximum(sizes[..., start + before_by : stop + before_by] - here, 0.0)
    bends = after > before * c.rise
    first = np.take_along_axis(here, bends.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    return np.where(bends.any(axis=-1), first, sizes[..., -1])


def projected(sizes: Floats, estimate: Floats, c: NeonConfig) -> Floats:
    """Highest size if growth between windows up to the estimate went on (...)."""
    low = sizes[..., :-1]
    high = np.maximum(low, sizes[..., 1:])
    grown = high + (high - low) * c.project
    # windows from the offset on take part until the first that is above the estimate
    above = sizes > estimate[..., None]
    above[..., : c.offset - 1] = False
    counts = ~np.logical_or.accumulate(above, axis=-1)[..., 1:]
    highest: Floats = np.maximum(sizes[..., 0], np.where(counts, grown, -np.inf).max(axis=-1))
    return highest


def rule(metrics: Metrics, unit: Ints, c: NeonConfig) -> Ints:
    """How many units a guest is to have (...); 0 where nothing is known."""
    used, size = metrics.used + c.slack_bytes, floats(unit)
    goals = [np.ceil(np.round(used / c.use_share) / size)]
    estimate = working_set(metrics.working_set, c)
    grown = projected(metrics.working_set, estimate, c)
    total = np.floor((np.minimum(grown, metrics.cached) + used) / c.total_share)
    goals += [np.ceil(total / size), np.ceil(grown / c.working_set_share / size)]
    most = np.zeros(used.shape)
    for goal in goals:
        most = np.fmax(most, goal)
    return most.astype(np.int64)


def vetoed(units: Ints, size: Ints, anonymous: Ints, unit: Ints, c: NeonConfig) -> Ints:
    """Units after the guest's monitor has had its say (...).

    Args:
        units: the goal.
        size: [bytes] now.
        anonymous: [bytes] -1 unknown: no say.
        unit: [bytes].
        c: settings.
    """
    now = -(-size // unit)
    asks = anonymous >= c.veto_share * (size - c.slack_bytes)
    units = np.where(asks & (anonymous >= 0), np.maximum(units, now + 1), units)
    # the least size that is not refused: veto_share * (size - slack) >= anonymous + slack
    accepted = np.ceil(((anonymous + c.slack_bytes) / c.veto_share + c.slack_bytes) / unit)
    kept = np.minimum(now, accepted.astype(np.int64))
    return np.where(anonymous >= 0, np.maximum(units, kept), units)


class Neon:
    """Goals every 5 s; a guest that does not tell what it uses keeps its size."""

    name = "neon"

    def __init__(self, config: NeonConfig | None = None) -> None:
        """Store the settings."""
        self.config = config or NeonConfig()

    def reset(self, hosts: int, guests: int) -> Nothing:
        """Nothing to remember."""
        return Nothing()

    def decide(self, telemetry: Telemetry, state: Nothing) -> tuple[Decision, Nothing, Floats]:
        """Apply the rule guest by guest."""
        c, size, largest = self.config, telemetry.current_bytes, telemetry.max_bytes
        unit = np.maximum(np.minimum(c.unit_bytes, largest // c.least_units), 1)
        told = column(telemetry, "agent_working_set_bytes")
        metrics = Metrics(
            floats(used_bytes(telemetry)), floats(telemetry.stats_caches_bytes), floats(told)
        )
        units = rule(metrics, unit, c)
        anonymous = column(telemetry, "agent_anonymous_bytes")
        units = vetoed(units, np.maximum(size, 0), anonymous, unit, c)
        acts = _acts(telemetry, metrics)
        wanted = np.minimum(units * unit, largest)
        target = np.where(
            acts, np.maximum(wanted, np.minimum(telemetry.min_bytes, largest)), UNKNOWN
        )
        return Decision(target), state, telemetry.time_s + c.period_s


def _acts(telemetry: Telemetry, metrics: Metrics) -> Bools:
    acts: Bools = running(telemetry) & (telemetry.weight != 0) & ~np.isnan(metrics.used)
    return acts & (telemetry.current_bytes >= 0) & (telemetry.max_bytes > 0)
