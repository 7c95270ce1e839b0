"""What survives a restart: one file, written whole or not at all, that executes nothing.

An npz of plain arrays: those of the policy, the fall-back and the guard, in a fixed order, and one
text of JSON.  It counts only for the same life of the host, and the policy's part only for the
same policy; without it guests stay as they are, for the size in force is read from the host.
"""

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configs.loading import write_atomic
from contract import state as carried
from overcommitd import core
from overcommitd.core import CoreState, Plan

VERSION = 1
TEXT = "about"
PARTS = ("wake_at_s", "guard", "policy", "fallback", "trouble")
LARGEST_BYTES = 64 << 20  # [bytes] of a state file that is read at all


class StateError(Exception):
    """A state file that cannot be used; the message says why."""


@dataclass(frozen=True)
class Saved:
    """What stands in the file."""

    incarnation: str  # of the host
    policies: dict[str, str]  # who "policy" and "fallback" were
    slots: int
    backend: dict[str, Any]
    paused: str  # why nothing is applied; empty if it is
    arrays: dict[str, list[np.ndarray]]


def save(
    path: Path,
    state: CoreState,
    incarnation: str,
    policies: dict[str, str],
    backend: dict[str, Any],
    paused: str,
) -> None:
    """Write the file.

    Raises:
        OSError: it cannot be written; the old one is as it was.
    """
    about = {
        "version": VERSION,
        "incarnation": incarnation,
        "policies": policies,
        "slots": state.guard.watch.guest_id.shape[1],
        "backend": backend,
        "paused": paused,
    }
    content = {TEXT: np.frombuffer(json.dumps(about).encode(), np.uint8)}
    for part in PARTS:
        for number, values in enumerate(carried.arrays(getattr(state, part))):
            content[f"{part}.{number}"] = values
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **content)
    write_atomic(path, buffer.getvalue())


def read(path: Path) -> Saved | None:
    """What stands in the file, None if there is none.

    Raises:
        StateError: it is damaged, or of another version.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise StateError(f"{path}: more than {LARGEST_BYTES} bytes")
        with path.open("rb") as whole, np.load(whole, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(arrays.pop(TEXT).tobytes())
        if about["version"] != VERSION:
            raise StateError(f"{path}: version {about['version']}, expected {VERSION}")
        grouped: dict[str, list[np.ndarray]] = {part: [] for part in PARTS}
        for name in sorted(arrays, key=lambda text: int(text.rpartition(".")[2])):
            grouped[name.rpartition(".")[0]].append(arrays[name])
        return Saved(
            str(about["incarnation"]),
            {str(k): str(v) for k, v in about["policies"].items()},
            int(about["slots"]),
            dict(about["backend"]),
            str(about["paused"]),
            grouped,
        )
    except FileNotFoundError:
        return None
    except (OSError, EOFError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise StateError(f"{path}: {type(error).__name__}: {error}") from error
    except zipfile.BadZipFile as error:
        raise StateError(f"{path}: is not whole: {error}") from error


def resume(saved: Saved, plan: Plan, policies: dict[str, str]) -> CoreState:
    """The state to go on with; what belongs to another policy begins anew.

    Raises:
        StateError: the guard's part is of another form.
    """
    blank = core.start(plan, saved.slots)
    try:
        guard = carried.refill(blank.guard, saved.arrays["guard"])
    except ValueError as error:
        raise StateError(f"guard: {error}") from error
    state = blank._replace(guard=guard)
    for part in ("policy", "fallback"):
        if saved.policies.get(part) == policies[part]:
            try:
                kept = carried.refill(getattr(blank, part), saved.arrays[part])
            except ValueError:
                continue  # its state has another form since
            state = state._replace(**{part: kept})
            if part == "policy":
                state = state._replace(
                    wake_at_s=carried.refill(blank.wake_at_s, saved.arrays["wake_at_s"]),
                    trouble=carried.refill(blank.trouble, saved.arrays["trouble"]),
                )
    return state


def widened(state: CoreState, plan: Plan, slots: int) -> CoreState:
    """The state with room for more guests."""
    if state.guard.watch.guest_id.shape[1] >= slots:
        return state
    return carried.widen(state, core.start(plan, slots))
