"""The encoder: telemetry and carried state to what a learned policy sees.

One row of numbers per guest and one per host, fixed scaling, finite, in [-1, 1]; rows of empty
slots are 0.  What a guest's row holds does not depend on its slot.  `contract.feature_table` says
what each number is.
"""

from typing import NamedTuple

import numpy as np

from contract import quantities, rates
from contract.arrays import UNKNOWN, Bools, Floats, Floats32, Ints
from contract.feature_table import (
    FEATURES,
    GUEST_AVERAGED,
    GUEST_FEATURES,
    HOST_AVERAGED,
    HOST_FEATURES,
    MEANS_S,
    Feature,
    Scaling,
    bounds,
    describe,
)
from contract.quantities import STATS, GuestCounters
from contract.rates import Counters
from contract.state import follow
from contract.telemetry import Telemetry

__all__ = [
    "FEATURES",
    "GUEST_FEATURES",
    "HOST_FEATURES",
    "EncoderState",
    "Feature",
    "Observation",
    "bounds",
    "describe",
    "encode",
    "remember",
    "reset",
]

_GUEST_SCALING = Scaling(GUEST_FEATURES)
_HOST_SCALING = Scaling(HOST_FEATURES)
_GUEST_AVERAGED = np.array([_GUEST_SCALING.names.index(name) for name in GUEST_AVERAGED])
_HOST_AVERAGED = np.array([_HOST_SCALING.names.index(name) for name in HOST_AVERAGED])
_TIME_CONSTANTS_S = np.array(MEANS_S)
_OOM_KILLS = STATS.index("oom_kills")


class Observation(NamedTuple):
    """What a learned policy sees of H hosts with G slots."""

    guests: Floats32  # (H, G, F) F = len(GUEST_FEATURES)
    host: Floats32  # (H, F) F = len(HOST_FEATURES)
    present: Bools  # (H, G)


class GuestMemory(NamedTuple):
    """What the encoder remembers of guests; K moving averages of Q quantities."""

    guest_id: Ints  # (H, G)
    seen_since_s: Floats  # (H, G) first reading with this guest, NaN none
    oom_at_s: Floats  # (H, G) last reading that showed a kill, NaN none
    asked_bytes: Ints  # (H, G) target that the policy asked last, -1 none
    counters: GuestCounters
    means: Floats  # (H, G, Q, K) NaN until the quantity was known once


class EncoderState(NamedTuple):
    """What the encoder remembers between readings."""

    guests: GuestMemory
    time_s: Floats  # (H,) of the last reading, NaN none
    counters: Counters  # (H,) and (H, 4), see quantities.sample_host
    means: Floats  # (H, Q, K)


def _blank_memory(hosts: int, guests: int) -> GuestMemory:
    unknown_s = np.full((hosts, guests), np.nan)
    nobody = np.full((hosts, guests), UNKNOWN, np.int64)
    means = np.full((hosts, guests, len(GUEST_AVERAGED), len(MEANS_S)), np.nan)
    counters = quantities.blank_counters(hosts, guests)
    return GuestMemory(nobody, unknown_s, unknown_s, nobody, counters, means)


def reset(hosts: int, guests: int) -> EncoderState:
    """The state before the first reading."""
    means = np.full((hosts, len(HOST_AVERAGED), len(MEANS_S)), np.nan)
    unknown_s = np.full(hosts, np.nan)
    return EncoderState(_blank_memory(hosts, guests), unknown_s, rates.reset(4, hosts), means)


def _average(means: Floats, value: Floats, elapsed_s: Floats) -> Floats:
    """Move averages (..., Q, K) towards values (..., Q) over elapsed time, broadcast to (...).

    Backward Euler of dm/dt = (x - m) / tau: the step dt / (tau + dt) is stable for any dt and
    exact arithmetic.  The first known value starts an average, an unknown one leaves it.
    """
    elapsed_s = elapsed_s[..., None, None]
    weight = elapsed_s / (_TIME_CONSTANTS_S + elapsed_s)
    value = value[..., None]
    moved = means + weight * (value - means)
    moved = np.where(np.isnan(means), value, moved)
    return np.where(np.isnan(value), means, moved)


def encode(telemetry: Telemetry, state: EncoderState) -> tuple[Observation, EncoderState]:
    """Encode a reading; pure.

    Returns:
        The observation, and the state to encode the next reading of these hosts with.
    """
    now_s, present = telemetry.time_s, telemetry.present
    elapsed_s = np.where(np.isnan(state.time_s), 0.0, np.maximum(now_s - state.time_s, 0.0))
    guest_id = np.where(present, telemetry.guest_id, UNKNOWN)
    memory = follow(state.guests, guest_id, _blank_memory)
    newcomer = present & np.isnan(memory.seen_since_s)
    seen_since_s = np.where(newcomer, now_s[:, None], memory.seen_since_s)
    counters = quantities.sample_guests(telemetry, memory.counters)
    # A rate is held until the next answer, a kill is of one moment: take fresh samples alone.
    fresh = counters.stats.sampled_at_s != memory.counters.stats.sampled_at_s
    killed = fresh & (counters.stats.per_s[..., _OOM_KILLS] > 0)
    oom_at_s = np.where(killed, now_s[:, None], memory.oom_at_s)

    values = quantities.of_guests(telemetry, counters, memory.asked_bytes, seen_since_s, oom_at_s)
    raw = np.stack([values[name] for name in _GUEST_SCALING.names], axis=-1)
    means = _average(memory.means, raw[..., _GUEST_AVERAGED], elapsed_s[:, None])
    raw = np.concatenate([raw, means.reshape(*present.shape, -1)], axis=-1)
    guests = _GUEST_SCALING.apply(np.where(present[..., None], raw, np.nan))

    host_counters = quantities.sample_host(telemetry, state.counters)
    host_values = quantities.of_hosts(telemetry, host_counters)
    host_raw = np.stack([host_values[name] for name in _HOST_SCALING.names], axis=-1)
    host_means = _average(state.means, host_raw[..., _HOST_AVERAGED], elapsed_s)
    host_raw = np.concatenate([host_raw, host_means.reshape(len(now_s), -1)], axis=-1)

    memory = GuestMemory(guest_id, seen_since_s, oom_at_s, memory.asked_bytes, counters, means)
    observation = Observation(guests, _HOST_SCALING.apply(host_raw), present)
    return observation, EncoderState(memory, now_s, host_counters, host_means)


def remember(state: EncoderState, asked_bytes: Ints) -> EncoderState:
    """Enter the targets (H, G) [bytes] that the policy asked for on the last observation.

    -1, a guest left alone, keeps what was asked before.  Call it before the next `encode`.
    """
    memory = state.guests
    asked = np.where(asked_bytes < 0, memory.asked_bytes, asked_bytes)
    return state._replace(guests=memory._replace(asked_bytes=asked))
