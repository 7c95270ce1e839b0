"""Experiments do not pass by runs that come to nothing."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from validation import v18_cooperation
from validation.document import QuantityFound, document
from validation.experiment import catalogue
from validation.running import Measured

GIB = 2**30


def found(name: str, outcomes: dict[str, Any]) -> dict[str, QuantityFound]:
    """The quantities of an experiment by name, from runs of one seed."""
    measured = Measured(catalogue()[name], (outcomes,), 1.0)
    return {one.name: one for one in document([measured], False, False).quantities}


def cut(seconds: float) -> SimpleNamespace:
    """A run of V10 in which the guest is down to 1 GiB after so many seconds; inf: never."""
    time_s = np.arange(0.0, 200.0)
    resident = np.where(time_s > seconds, GIB, 8 * GIB)[:, None]
    return SimpleNamespace(
        samples=SimpleNamespace(time_s=time_s, resident=resident),
        at=lambda _: SimpleNamespace(time_s=0.0),
        between=lambda *_: SimpleNamespace(seconds=20.0),
    )


def test_blind_swap_that_never_ends_is_not_slower_than_the_balloon() -> None:
    runs = {name: cut(10.0) for name in catalogue()["V10"].runs}
    (ended,) = found("V10", runs)["reclaim, balloon / swap, 16 cores"].values
    assert ended == 1.0
    quantity = found("V10", runs | {"swap 16": cut(np.inf)})["reclaim, balloon / swap, 16 cores"]
    assert quantity.values == (None,)
    assert not quantity.passed


def test_balloon_and_swap_cross_at_a_quarter_of_the_cores() -> None:
    runs = {name: cut(10.0) for name in catalogue()["V10"].runs}
    assert found("V10", runs)["reclaim, balloon / swap, 4 cores"].passed
    for mode in ("balloon 4", "swap 4"):
        assert not found("V10", runs | {mode: cut(20.0)})["reclaim, balloon / swap, 4 cores"].passed


def test_cooperation_that_does_nothing_is_not_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(v18_cooperation, "throughput", lambda *_: 1000.0)
    better = [one for one in found("V18", {}).values() if "/" in one.name]
    assert len(better) == 4
    assert not [one.name for one in better if one.passed]
