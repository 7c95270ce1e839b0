import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from memsim.account import CLASSES
from reports import storage
from reports.episodes import NEVER, Results, Timeline


def test_results_read_back_as_they_were_written(tmp_path: Path, three_policies: Results) -> None:
    storage.write(tmp_path, three_policies)
    back = storage.read(tmp_path)
    assert back.episodes == three_policies.episodes
    # NaN is not equal to itself, so guests are compared without it.
    alive = [replace(guest, killed_s=0.0) for guest in three_policies.guests]
    assert [replace(guest, killed_s=0.0) for guest in back.guests] == alive
    assert all(np.isnan(guest.killed_s) for guest in back.guests)
    assert len(back.timelines) == len(three_policies.timelines) == 18
    for found, written in zip(back.timelines, three_policies.timelines, strict=True):
        assert (found.key, found.name) == (written.key, written.name)
        for name in Timeline.__dataclass_fields__:
            if name not in ("key", "name"):
                np.testing.assert_array_equal(getattr(found, name), getattr(written, name))


def test_equal_results_are_equal_files(tmp_path: Path, three_policies: Results) -> None:
    for folder in ("one", "two"):
        storage.write(tmp_path / folder, three_policies)
    for file in sorted((tmp_path / "one").iterdir()):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_columns_are_flat_and_named_by_class(tmp_path: Path, three_policies: Results) -> None:
    storage.write(tmp_path, three_policies)
    columns = set(pq.read_schema(tmp_path / "episodes.parquet").names)
    assert {f"{name}_s" for name in CLASSES} | {"guard_growth", "j", "seed"} <= columns


def test_an_intervention_that_never_happened_counts_zero(
    tmp_path: Path, three_policies: Results
) -> None:
    first, *rest = three_policies.episodes
    other = replace(first, seed=99, interventions={"floor": 2})
    storage.write(tmp_path, Results((other, *rest), three_policies.guests))
    counts = storage.read(tmp_path).episodes
    assert counts[0].interventions == {"floor": 2, "growth": 0}
    assert counts[1].interventions == {"floor": 0, "growth": 3}


def test_a_damaged_or_missing_table_is_named(tmp_path: Path, three_policies: Results) -> None:
    with pytest.raises(storage.ResultsError, match="not a complete results folder"):
        storage.read(tmp_path)
    storage.write(tmp_path, three_policies)
    whole = (tmp_path / "guests.parquet").read_bytes()
    (tmp_path / "guests.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(storage.ResultsError, match=str(tmp_path)):
        storage.read(tmp_path)


def test_json_has_every_metric_and_null_for_unknown(three_policies: Results) -> None:
    found = json.loads(storage.as_json(three_policies, {"name": "demo", "nothing": NEVER}))
    assert (found["format"], found["name"], found["nothing"]) == (storage.FORMAT, "demo", None)
    assert len(found["episodes"]) == 18
    assert len(found["guests"]) == 54
    assert found["episodes"][0]["j"] == three_policies.episodes[0].j
    assert found["guests"][0]["killed_s"] is None
    assert set(storage.record(three_policies.guests[0])) == set(found["guests"][0])
