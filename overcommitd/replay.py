"""Decides again on recorded telemetry: what another policy would have said to the same readings.

Nothing that it says has consequences: the guests in the recording follow what was decided then.
Use it to look at decisions; what they lead to only a simulation tells (`evaluate.py` on the same
recording).
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from contract.decision import hold
from contract.packing import pack, unpack
from contract.recording import Moment
from contract.state import widen
from contract.telemetry import Telemetry
from overcommitd import core
from overcommitd.core import By, CoreState, Plan


class Tally(NamedTuple):
    """What was asked of one guest."""

    name: str
    turns: int  # in which it was there
    asks: int  # targets that would have been sent
    least_bytes: int
    mean_bytes: float
    most_bytes: int
    interventions: int
    agrees: int  # turns in which the recorded decision was the same


class Summary(NamedTuple):
    """A whole replay."""

    turns: int
    decided: int
    failed: int
    seconds: float  # from the first reading to the last
    guests: list[Tally]


def replay(moments: Iterable[Moment], plan: Plan) -> Summary:
    """Decide on each moment in turn, in the order of recording.

    A clock that falls (the host was started anew, or two recordings in one folder) begins anew.

    Raises:
        contract.recording.RecordingError: a file is broken.
    """
    state: CoreState | None = None
    known: dict[int, list[tuple[int, int, bool]]] = {}
    names: dict[int, str] = {}
    turns = decided = failed = 0
    seconds = previous_s = 0.0
    for moment in moments:
        now_s = float(moment.telemetry.time_s[0])
        if state is None or now_s < previous_s:
            state, previous_s = core.start(plan, moment.telemetry.guest_id.shape[1]), now_s
        telemetry, state = _fit(moment.telemetry, state, plan)
        outcome, state = core.turn(plan, telemetry, state, applies=False)
        seconds, previous_s, turns = seconds + now_s - previous_s, now_s, turns + 1
        names |= moment.names
        if not outcome.turn.due.any():
            continue
        decided, failed = decided + 1, failed + (outcome.by is not By.POLICY)
        slots = np.flatnonzero(telemetry.present[0])
        then = moment.applied or hold(*moment.telemetry.guest_id.shape)
        for slot in slots:
            target = int(outcome.turn.applied.target_bytes[0, slot])
            same = target == int(then.target_bytes[0, slot])
            bits = int(outcome.turn.interventions[0, slot])
            guest_id = int(telemetry.guest_id[0, slot])
            known.setdefault(guest_id, []).append((target, bits, same))
    tallies = [_tally(names.get(guest, str(guest)), rows) for guest, rows in sorted(known.items())]
    return Summary(turns, decided, failed, seconds, tallies)


def _fit(telemetry: Telemetry, state: CoreState, plan: Plan) -> tuple[Telemetry, CoreState]:
    """Reading and state in as many slots as the wider of them has."""
    have, come = state.guard.watch.guest_id.shape[1], telemetry.guest_id.shape[1]
    if come > have:
        return telemetry, widen(state, core.start(plan, come))
    if come < have:
        return unpack(pack(telemetry), have), state
    return telemetry, state


def _tally(name: str, rows: list[tuple[int, int, bool]]) -> Tally:
    targets = np.array([target for target, _, _ in rows if target >= 0], np.int64)
    some = targets if len(targets) else np.array([-1])
    return Tally(
        name,
        len(rows),
        len(targets),
        int(some.min()),
        float(some.mean()),
        int(some.max()),
        sum(bits != 0 for _, bits, _ in rows),
        sum(same for _, _, same in rows),
    )
