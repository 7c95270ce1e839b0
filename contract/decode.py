"""Actions of a learned policy to targets, and back.

An action is one number in [-1, 1] per guest.  Targets are rounded to whole quanta above the
guaranteed size, so that networks whose outputs differ in the last digits still decide alike; both
bounds of a guest can be reached exactly.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from contract.arrays import MIB, UNKNOWN, Bools, Floats, Floats32, Ints
from contract.decision import Decision
from contract.telemetry import Telemetry

Mode = Literal["absolute", "change", "correction"]


@dataclass(frozen=True)
class Decoding:
    """What an action means; part of the contract's digest."""

    mode: Mode = "absolute"
    target_quantum_bytes: int = MIB
    change_share: float = 0.10  # of the largest size: what action 1 adds in mode `change`
    correction_share: float = 0.25  # of the largest size: what 1 adds to the rule's target
    rule: str = ""  # mode `correction`: the baseline whose targets are corrected

    def __post_init__(self) -> None:
        """Refuse settings that make no sense, all at once."""
        wrong = []
        if self.mode not in ("absolute", "change", "correction"):
            wrong.append(f"mode: {self.mode!r}: expected absolute, change or correction")
        if self.target_quantum_bytes <= 0:
            wrong.append(f"target_quantum_bytes: {self.target_quantum_bytes}: must be positive")
        for name in ("change_share", "correction_share"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                wrong.append(f"{name}: {value}: expected a share in (0, 1]")
        if (self.mode == "correction") != bool(self.rule):
            wrong.append(f"rule: {self.rule!r}: mode correction needs one, others take none")
        if wrong:
            raise ValueError("decoding: " + "; ".join(wrong))


def decode(
    action: Floats32 | Floats,
    telemetry: Telemetry,
    decoding: Decoding,
    rule_target_bytes: Ints | None = None,
) -> Decision:
    """Turn actions into targets between the guaranteed and the largest size.

    `absolute`: -1 is the guaranteed size, 1 the largest.  `change`: 0 keeps the target in force
    (the current size before there is one).  `correction`: 0 takes the rule's target, and where the
    rule leaves a guest alone, the target in force.

    Args:
        action: (H, G), clipped to [-1, 1]; NaN leaves the guest alone.
        telemetry: the reading that the action was chosen on.
        decoding: what the action means.
        rule_target_bytes: (H, G) [bytes], -1 leave alone; in mode `correction` alone.

    Returns:
        Targets; -1 for empty slots and guests whose bounds or size are not known.
    """
    origin, reach, usable = _scale(telemetry, decoding, rule_target_bytes)
    clipped = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
    usable = usable & ~np.isnan(clipped)
    wanted = origin + np.where(usable, clipped, 0.0) * reach
    return Decision(np.where(usable, _quantise(wanted, telemetry, decoding), UNKNOWN))


def action_for(
    target_bytes: Ints,
    telemetry: Telemetry,
    decoding: Decoding,
    rule_target_bytes: Ints | None = None,
) -> Floats32:
    """The action whose target comes closest, for behaviour cloning: (H, G) in [-1, 1].

    -1, a guest left alone, stands for the target in force.  Where a target is out of the mode's
    reach the action is at its end; where nothing can be decoded, 0.
    """
    origin, reach, usable = _scale(telemetry, decoding, rule_target_bytes)
    wanted = np.where(target_bytes < 0, in_force_bytes(telemetry), target_bytes)
    usable = usable & (wanted >= 0) & (reach > 0)
    action = np.zeros(wanted.shape)
    np.divide(wanted - origin, reach, out=action, where=usable)
    return np.clip(action, -1.0, 1.0).astype(np.float32)


def in_force_bytes(telemetry: Telemetry) -> Ints:
    """(H, G) the target in force, or the current size before there is one; -1 unknown."""
    applied = telemetry.applied_target_bytes
    return np.where(applied < 0, telemetry.current_bytes, applied)


def _scale(
    telemetry: Telemetry, decoding: Decoding, rule_target_bytes: Ints | None
) -> tuple[Floats, Floats, Bools]:
    """Where action 0 points to [bytes], how far 1 reaches from there [bytes], where it can."""
    if (decoding.mode == "correction") != (rule_target_bytes is not None):
        raise ValueError(f"decode: rule_target_bytes go with mode correction, not {decoding.mode}")
    smallest, largest = telemetry.min_bytes, telemetry.max_bytes
    usable = telemetry.present & (smallest >= 0) & (largest >= 0)
    if decoding.mode == "absolute":
        smallest = np.minimum(smallest, largest)
        return (smallest + largest) / 2, (largest - smallest) / 2, usable
    origin, share = in_force_bytes(telemetry), decoding.change_share
    if rule_target_bytes is not None:
        origin = np.where(rule_target_bytes < 0, origin, rule_target_bytes)
        share = decoding.correction_share
    reach = largest.astype(np.float64) * share
    return origin.astype(np.float64), reach, usable & (origin >= 0)


def _quantise(wanted: Floats, telemetry: Telemetry, decoding: Decoding) -> Ints:
    """The nearest whole number of quanta above the guaranteed size; the last one ends at max."""
    quantum, largest = decoding.target_quantum_bytes, telemetry.max_bytes
    smallest = np.minimum(telemetry.min_bytes, largest)
    room = largest - smallest
    whole = np.where(room < quantum, 1, room // quantum)
    steps = np.rint((wanted - smallest) / np.minimum(quantum, np.maximum(room, 1)))
    steps = np.clip(steps, 0, whole).astype(np.int64)
    return np.where(steps == whole, largest, smallest + steps * quantum)
