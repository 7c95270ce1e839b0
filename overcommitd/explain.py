"""A decision in words: what was seen of each guest, what was asked, what the guard made of it."""

from typing import Any

import numpy as np

from contract.arrays import MIB
from contract.descriptors import GuestState
from contract.interventions import Intervention
from contract.telemetry import used_bytes
from overcommitd.core import By, Outcome

WHY = {
    Intervention.MIN: "raised to its guaranteed size",
    Intervention.MAX: "lowered to its largest size",
    Intervention.GROWTH: "grows less than asked: the host does not have the memory",
    Intervention.UNKNOWN_SIZE: "left alone: its size or its bound is not known",
    Intervention.HIGH: "memory.high raised to its guaranteed size",
    Intervention.LEFT_OUT: "left alone: booting, migrating, paused or opted out",
    Intervention.STUCK: "left alone: does not move in the direction asked",
    Intervention.STALE: "not shrunk: its statistics are too old",
    Intervention.STEP: "moves by the largest step only",
    Intervention.DEAD_BAND: "too small a change to be worth it",
    Intervention.SHRINK_FIRST: "growth waits until other guests have given memory back",
    Intervention.DISTRESS: "in distress: given memory that nobody asked for",
}
BY = {
    By.POLICY: "the policy decided",
    By.HELD: "the policy failed: targets stay",
    By.FALLBACK: "the policy failed: the fall-back rule decided",
}
GUEST_COLUMNS = (
    "guest_id",
    "min_bytes",
    "max_bytes",
    "weight",
    "current_bytes",
    "resident_bytes",
    "swapped_bytes",
    "stats_age_s",
    "stats_available_bytes",
    "stats_total_bytes",
    "applied_target_bytes",
    "applied_age_s",
)


def reasons(bits: int) -> list[str]:
    """The guard's interventions on one guest, in words."""
    return [WHY[flag] for flag in flags(bits)]


def flags(bits: int) -> list[Intervention]:
    """The interventions in these bits; mostly there are none."""
    return [flag for flag in Intervention if bits & flag] if bits else []


def guests(outcome: Outcome, names: dict[int, str], applies: bool) -> list[dict[str, Any]]:
    """One record a guest: bytes and seconds, None for unknown."""
    turn = outcome.turn
    telemetry, used = turn.telemetry, used_bytes(turn.telemetry)
    found = []
    for slot in np.flatnonzero(telemetry.present[0]):
        seen = {name: _plain(getattr(telemetry, name)[0, slot]) for name in GUEST_COLUMNS}
        guest_id, bits = int(telemetry.guest_id[0, slot]), int(turn.interventions[0, slot])
        found.append(
            {
                "name": names.get(guest_id, str(guest_id)),
                **seen,
                "state": GuestState(int(telemetry.state[0, slot])).name.lower(),
                "used_bytes": _plain(used[0, slot]),
                "asked_bytes": _plain(turn.asked.target_bytes[0, slot]),
                "target_bytes": _plain(turn.applied.target_bytes[0, slot]),
                "sent": applies and int(turn.applied.target_bytes[0, slot]) >= 0,
                "by": outcome.by.value,
                "interventions": [str(flag.name).lower() for flag in flags(bits)],
                "reasons": reasons(bits),
            }
        )
    return found


def in_words(guest: dict[str, Any], mode: str) -> str:
    """One guest's record as lines for a terminal."""

    def size(name: str) -> str:
        value = guest[name]
        return "unknown" if value is None else f"{value / MIB:,.0f} MiB"

    age = guest["stats_age_s"]
    answered = "it has not answered yet" if age is None else f"answered {age:.0f} s ago"
    lines = [
        f"{guest['name']}: {guest['state']}, {size('current_bytes')} of {size('max_bytes')}"
        f" (guaranteed {size('min_bytes')}, weight {guest['weight']})",
        f"  seen     uses {size('used_bytes')}, {size('stats_available_bytes')} available,"
        f" {answered}; on the host {size('resident_bytes')} resident,"
        f" {size('swapped_bytes')} swapped",
        f"  asked    {size('asked_bytes') if guest['asked_bytes'] is not None else 'nothing'}"
        f" ({BY[By(guest['by'])]})",
    ]
    lines += [f"  guard    {reason}" for reason in guest["reasons"]]
    if guest["target_bytes"] is None:
        lines.append("  result   nothing is sent")
    else:
        sent = "sent" if guest["sent"] else f"not sent: mode {mode}"
        lines.append(f"  result   {size('target_bytes')} ({sent})")
    return "\n".join(lines)


def _plain(value: Any) -> Any:  # noqa: ANN401  an array's scalar
    number = value.item()
    return None if number != number or number == -1 else number
