"""State rows by host, and memory that follows guests."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.arrays import Ints
from contract.state import copy, follow, put_rows, take_rows


class Inner(NamedTuple):
    value: np.ndarray
    nothing: None = None


class Outer(NamedTuple):
    rows: np.ndarray
    inner: Inner


class Kept(NamedTuple):
    guest_id: Ints
    seen: np.ndarray  # (H, G)
    many: Inner  # (H, G, 2)


def fresh(hosts: int, guests: int) -> Kept:
    return Kept(
        np.full((hosts, guests), -1, np.int64),
        np.zeros((hosts, guests)),
        Inner(np.full((hosts, guests, 2), np.nan)),
    )


def known(guest_id: list[list[int]]) -> Kept:
    """Memory in which each guest remembers its own id, and empty slots nothing."""
    ids = np.array(guest_id, np.int64)
    many = np.where(ids[..., None] < 0, np.nan, np.stack([ids, ids + 0.5], axis=-1))
    return Kept(ids, np.maximum(ids, 0.0), Inner(many))


def test_rows_are_taken_and_put_back() -> None:
    state = Outer(np.arange(3), Inner(np.arange(6).reshape(3, 2)))
    part = take_rows(state, np.array([2, 0]))
    assert part.rows.tolist() == [2, 0]
    assert part.inner.value.tolist() == [[4, 5], [0, 1]]
    back = put_rows(state, np.array([2, 0]), Outer(np.array([9, 8]), Inner(-part.inner.value)))
    assert back.rows.tolist() == [8, 1, 9]
    assert back.inner.value.tolist() == [[0, -1], [2, 3], [-4, -5]]
    assert state.rows.tolist() == [0, 1, 2]


def test_a_copy_shares_nothing() -> None:
    state = Outer(np.arange(3), Inner(np.arange(3)))
    twin = copy(state)
    twin.inner.value[0] = 7
    assert state.inner.value[0] == 0


def test_a_state_that_is_no_tuple_of_arrays_is_refused() -> None:
    with pytest.raises(TypeError, match="found list"):
        take_rows(Outer(np.arange(3), [1]), np.array([0]))  # type: ignore[arg-type] # the error


def test_a_slot_that_changes_hands_forgets() -> None:
    kept = follow(known([[4, 5]]), np.array([[4, 6]]), fresh)
    assert kept.guest_id.tolist() == [[4, 6]]
    assert kept.seen.tolist() == [[4.0, 0.0]]
    assert np.isnan(kept.many.value[0, 1]).all()


@given(st.permutations([-1, 3, 5, 8]), st.permutations([-1, 3, 5, 8, 9, 11]))
def test_memory_follows_the_guest_not_the_slot(before: list[int], after: list[int]) -> None:
    now = after[:4]
    kept = follow(known([before]), np.array([now]), fresh)
    for slot, guest in enumerate(now):
        stays = guest >= 0 and guest in before
        assert kept.seen[0, slot] == (guest if stays else 0)
        assert np.isnan(kept.many.value[0, slot, 1]) == (not stays)


def test_the_same_guests_keep_the_very_same_memory() -> None:
    kept = known([[1, 2], [3, 4]])
    assert follow(kept, kept.guest_id.copy(), fresh) is kept
