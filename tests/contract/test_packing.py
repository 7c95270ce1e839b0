"""What is packed comes back exactly, and what is no packed reading is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract import recording, state
from contract.decision import Decision
from contract.packing import pack, pack_decision, unpack, unpack_decision
from contract.recording import Moment, RecordingError
from contract.telemetry import COLUMNS, Telemetry, column
from tests.contract.readings import arbitrary, reading


def same(one: Telemetry, other: Telemetry) -> None:
    """Of guests that are present; what is said of an empty slot is nobody's."""
    np.testing.assert_array_equal(one.present, other.present)
    for name, about in COLUMNS.items():
        ours, theirs = column(one, name), column(other, name)
        if about.scope != "host":
            ours, theirs = ours[one.present], theirs[other.present]
        if about.unit != "flag" and ours.dtype == np.int64:
            ours, theirs = np.maximum(ours, -1), np.maximum(theirs, -1)
        np.testing.assert_array_equal(ours, theirs, name)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), guests=st.integers(1, 6))
def test_a_reading_survives(seed: int, guests: int) -> None:
    before = arbitrary(np.random.default_rng(seed), 1, guests, time_s=3.5)
    text = json.dumps(pack(before), allow_nan=False)
    same(before, unpack(json.loads(text), guests))


def test_a_decision_survives() -> None:
    slots = np.array([0, 2])
    before = Decision(
        np.array([[7, -1, 9]]),
        memory_low_bytes=np.array([[1, -1, 2]]),
        ksm_run=np.array([1]),
        ksm_sleep_s=np.array([0.02]),
    )
    packed = json.loads(json.dumps(pack_decision(before, slots)))
    after = unpack_decision(packed, slots, 3)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"slots": [0, 0]}, "different whole numbers"),
        ({"slots": [5]}, "from 0 to 1"),
        ({"slots": "0"}, "different whole numbers"),
        ({"colour": [1]}, "'colour': expected a column"),
        ({"max_bytes": [1.5]}, "max_bytes"),
        ({"max_bytes": [1, 2, 3]}, "max_bytes"),
        ({"max_bytes": ["much"]}, "max_bytes"),
        ({"time_s": None}, "time_s: must be known"),
    ],
)
def test_what_is_no_reading_is_refused(change: dict[str, Any], says: str) -> None:
    packed = pack(reading(guests=1)) | change
    with pytest.raises(ValueError, match=says):
        unpack(packed, 2)


def test_a_recording_is_read_in_order_and_up_to_where_it_was_cut(tmp_path: Path) -> None:
    for number, times in ((1, (0.0, 5.0)), (2, (10.0, 15.0))):
        lines = [recording.line(Moment(reading(time_s=t), names={0: "web"})) for t in times]
        (tmp_path / f"telemetry-{number:08d}.jsonl").write_text("".join(lines))
    last = tmp_path / "telemetry-00000002.jsonl"
    last.write_text(last.read_text()[:-40])
    found = [moment.telemetry.time_s[0] for moment in recording.read(tmp_path)]
    assert found == [0.0, 5.0, 10.0]


def test_a_broken_line_before_the_last_names_its_place(tmp_path: Path) -> None:
    good = recording.line(Moment(reading()))
    (tmp_path / "telemetry-00000001.jsonl").write_text(good + "{}\n" + good)
    with pytest.raises(RecordingError, match=r"00000001\.jsonl, line 2: expected an object of ver"):
        list(recording.read(tmp_path))
    with pytest.raises(RecordingError, match="a folder with files telemetry"):
        list(recording.read(tmp_path / "none"))


def test_a_state_is_widened_and_refilled() -> None:
    from contract import guard

    narrow, wide = guard.reset(1, 2), guard.reset(1, 5)
    marked = narrow._replace(waits_since_s=np.array([4.0]))
    wider = state.widen(marked, wide)
    assert wider.watch.guest_id.shape == (1, 5) and wider.waits_since_s[0] == 4.0
    again = state.refill(wide, state.arrays(wider))
    for one, other in zip(state.arrays(again), state.arrays(wider), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="expected"):
        state.refill(narrow, state.arrays(wider))
