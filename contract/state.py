"""State that is carried from wake to wake: plain NamedTuples of arrays with leading axis H.

Encoder, guard, host and policies keep all their memory in such tuples (nested ones and None are
allowed), so that rows of a batch can be taken, put back, reset and snapshot without knowing whose
they are.  Memory about guests stands in a tuple of its own that has a field `guest_id` (H, G) and
else arrays (H, G, ...); it follows the guest, not the slot.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar, cast

import numpy as np

from contract.arrays import Ints

T = TypeVar("T")


class Nothing(NamedTuple):
    """The state of a policy that remembers nothing."""


class OfGuests(Protocol):
    """A NamedTuple of arrays (H, G, ...) about the guests in `guest_id`."""

    @property
    def guest_id(self) -> Ints:
        """(H, G) whose memory each slot holds, -1 nobody's."""


Kept = TypeVar("Kept", bound=OfGuests)


def _map(change: Callable[..., np.ndarray], *states: T) -> T:
    first = states[0]
    if first is None:
        return first
    if isinstance(first, np.ndarray):
        return cast(T, change(*states))
    if not isinstance(first, tuple) or not hasattr(first, "_fields"):
        raise TypeError(f"state must be NamedTuples of arrays, found {type(first).__name__}")
    parts = zip(*(cast(tuple[object, ...], state) for state in states), strict=True)
    return cast(T, type(first)(*(_map(change, *part) for part in parts)))


def take_rows(state: T, rows: Ints) -> T:
    """The state of some hosts, as copies, in the order of `rows` (R,) int64."""
    return _map(lambda values: values[rows], state)


def put_rows(state: T, rows: Ints, part: T) -> T:
    """A copy of `state` with the hosts in `rows` (R,) replaced by `part`."""

    def put(values: np.ndarray, replaced: np.ndarray) -> np.ndarray:
        copy = values.copy()
        copy[rows] = replaced
        return copy

    return _map(put, state, part)


def copy(state: T) -> T:
    """A copy that shares no array with `state`."""
    return _map(lambda values: values.copy(), state)


def widen(state: T, wider: T) -> T:
    """`state` with as many guest slots as `wider` (H, G'), which fills those it had not.

    Args:
        state: of H hosts with at most G' slots.
        wider: the state of as many hosts that know nothing.
    """

    def put(values: np.ndarray, blank: np.ndarray) -> np.ndarray:
        if values.shape == blank.shape:
            return values
        copy = blank.copy()
        copy[:, : values.shape[1]] = values
        return copy

    return _map(put, state, wider)


def arrays(state: object) -> list[np.ndarray]:
    """All arrays of a state, in a fixed order."""
    found: list[np.ndarray] = []

    def note(values: np.ndarray) -> np.ndarray:
        found.append(values)
        return values

    _map(note, state)
    return found


def refill(like: T, values: Sequence[np.ndarray]) -> T:
    """A state of the form of `like` from what `arrays` gave.

    Raises:
        ValueError: the arrays are not of that form.
    """
    expected = arrays(like)
    form = [(array.dtype, array.shape) for array in expected]
    found = [(array.dtype, array.shape) for array in values]
    if form != found:
        raise ValueError(f"state: arrays {found}, expected {form}")
    left = iter(values)
    return _map(lambda _: next(left), like)


def follow(kept: Kept, guest_id: Ints, fresh: Callable[[int, int], Kept]) -> Kept:
    """Carry memory over to the guests that are in the slots now.

    Newcomers get a fresh row, the memory of guests that left is gone, and a guest that was moved
    to another slot of its host keeps its own.

    Args:
        kept: memory as of the last call.
        guest_id: (H, G) who is in the slots now, -1 for empty ones.
        fresh: builds the state of H hosts with G slots that know nothing, the same in every row.

    Returns:
        Memory whose `guest_id` is the one given.
    """
    if np.array_equal(kept.guest_id, guest_id) and (guest_id >= 0).all():
        return kept  # an empty slot must not keep what was read there
    blank = fresh(*guest_id.shape)
    same = (guest_id[:, :, None] == kept.guest_id[:, None, :]) & (guest_id[:, :, None] >= 0)
    found, source = same.any(axis=2), same.argmax(axis=2)
    row = np.arange(len(guest_id))[:, None]

    def move(values: np.ndarray, empty: np.ndarray) -> np.ndarray:
        mask = found.reshape(found.shape + (1,) * (values.ndim - 2))
        return np.where(mask, values[row, source], empty)

    moved = _map(move, kept, blank)
    return cast(Kept, moved._replace(guest_id=guest_id.copy()))  # type: ignore[attr-defined] # every Kept is a NamedTuple
