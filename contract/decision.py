"""What a policy asks of a host: targets, and optionally cgroup and KSM settings.

An absent column (None), or -1 (NaN for floats) in a row, leaves the thing alone.
"""

from typing import NamedTuple

import numpy as np

from contract.arrays import UNKNOWN, Floats, Ints


class Decision(NamedTuple):
    """Commands to H hosts with G guest slots each."""

    target_bytes: Ints  # (H, G) size each guest is to have, -1: leave alone
    memory_high_bytes: Ints | None = None  # (H, G) memory.high of its cgroup
    memory_low_bytes: Ints | None = None  # (H, G) memory.low of its cgroup
    ksm_run: Ints | None = None  # (H,) 0 stop, 1 run, 2 stop and unmerge
    ksm_pages_to_scan: Ints | None = None  # (H,)
    ksm_sleep_s: Floats | None = None  # (H,)
    ksm_merge_across_nodes: Ints | None = None  # (H,) 0 or 1


ALL_COLUMNS = frozenset(Decision._fields)
TARGETS_ONLY = frozenset({"target_bytes"})


def hold(hosts: int, guests: int) -> Decision:
    """A decision that leaves everything alone."""
    return Decision(np.full((hosts, guests), UNKNOWN, np.int64))


def spread(part: Decision, rows: Ints, hosts: int) -> Decision:
    """A decision about all `hosts` that holds for `rows` (R,) what `part` says, else nothing."""

    def widen(values: np.ndarray) -> np.ndarray:
        blank = np.nan if values.dtype.kind == "f" else UNKNOWN
        wide = np.full((hosts, *values.shape[1:]), blank, values.dtype)
        wide[rows] = values
        return wide

    columns = {name: widen(values) for name, values in part._asdict().items() if values is not None}
    return Decision(**columns)


def beyond(decision: Decision, supported: frozenset[str]) -> frozenset[str]:
    """The columns that ask for something and that a host cannot carry out."""
    if supported >= ALL_COLUMNS:
        return frozenset()
    return frozenset(
        name
        for name, values in decision._asdict().items()
        if name not in supported and values is not None and (values >= 0).any()  # NaN is not
    )


def only(decision: Decision, supported: frozenset[str]) -> Decision:
    """The part of a decision that a host can carry out."""
    if supported >= ALL_COLUMNS:
        return decision
    kept = {name: values for name, values in decision._asdict().items() if name in supported}
    return hold(*decision.target_bytes.shape)._replace(**kept)
