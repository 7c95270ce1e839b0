"""Committed memory of guests, for rules that read it in life, and what stands in for it."""

import numpy as np

from contract.arrays import Bools, Ints
from contract.telemetry import Telemetry, column, used_bytes


def committed_bytes(telemetry: Telemetry) -> tuple[Ints, Bools]:
    """What the programs of each guest have been promised by its kernel, as far as anyone tells.

    An agent's Committed_AS if there is one.  Else an agent's anonymous memory and swap in use: what
    was touched of what was promised.  Else what balloon statistics call used (total - available)
    and what the guest has swapped out beyond what it read back: a squeezed guest must not look as
    if it needed less.  That counts the kernel, and swapped pages that were freed since.

    Returns:
        (H, G) [bytes], -1 unknown, and whether it is the guest's own number.
    """
    committed = column(telemetry, "agent_committed_bytes")
    anonymous = column(telemetry, "agent_anonymous_bytes")
    swapped = np.maximum(column(telemetry, "agent_swap_used_bytes"), 0)
    touched = np.where(anonymous < 0, _by_balloon(telemetry), anonymous + swapped)
    exact = committed >= 0
    return np.where(exact, committed, touched), exact


def _by_balloon(telemetry: Telemetry) -> Ints:
    used, out, back = (
        used_bytes(telemetry),
        telemetry.stats_swap_out_bytes,
        telemetry.stats_swap_in_bytes,
    )
    swapped = np.where((out >= 0) & (back >= 0), np.maximum(out - back, 0), 0)
    return np.where(used < 0, used, used + swapped)
