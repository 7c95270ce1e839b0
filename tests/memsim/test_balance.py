"""Which memory a guest's reclaim takes, and where pages come back: Linux's integers, by hand."""

from typing import Any

import numpy as np
import pytest

from memsim import balance, workingset
from memsim.build import build
from memsim.machine import Machine
from memsim.spec import Op, Pattern, Phase
from memsim.state import (
    ACTIVE_ANON,
    ACTIVE_FILE,
    ANON,
    FILE,
    G_SEEN,
    G_WORKINGSET,
    INACTIVE_ANON,
    INACTIVE_FILE,
)

from .hosts import again, allocate, anon, file, guest, host, machine, run, task


def plain(kernel: Any) -> Any:  # noqa: ANN401  kernels are called from kernels only
    """The Python function behind a kernel and all that it calls in its module."""
    return getattr(kernel, "py_func", kernel)


@pytest.mark.parametrize(
    ("swappiness", "anon_cost", "file_cost", "expected"),
    [
        (60, 0, 0, (60, 140)),
        (100, 0, 0, (100, 100)),
        (0, 0, 0, (0, 200)),
        # total 100: anon 200, file 100, both 300; 60 * 301 / 201 and 140 * 301 / 101
        (60, 100, 0, (89, 417)),
        # the kind that costs everything still gets a third at 100
        (100, 10**6, 0, (149, 299)),
        (200, 0, 50, (592, 0)),  # 200 * 151 / 51
    ],
)
def test_pressure_falls_with_cost(
    swappiness: int, anon_cost: int, file_cost: int, expected: tuple[int, int]
) -> None:
    assert plain(balance.fractions)(swappiness, anon_cost, file_cost) == expected


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((0, 0, 0, 0), (61, 141)),
        ((99, 9, 99, 0), (61 * 100 // 10, 141 * 100)),
        ((7, 7, 15, 3), (61, 141 * 16 // 4)),
    ],
)
def test_pressure_in_2011_falls_with_the_share_in_use(
    counts: tuple[int, int, int, int], expected: tuple[int, int]
) -> None:
    assert plain(balance.fractions_2011)(60, *counts) == expected


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels of both modules call the Python functions of one another."""
    for module in (balance, workingset):
        for name, value in list(vars(module).items()):
            if hasattr(value, "py_func"):
                monkeypatch.setattr(module, name, value.py_func)


def lists(m: Machine, **counts: int) -> None:
    """Pretend that a guest's lists have so many pages."""
    rows = {
        "inactive_anon": INACTIVE_ANON,
        "active_anon": ACTIVE_ANON,
        "inactive_file": INACTIVE_FILE,
        "active_file": ACTIVE_FILE,
    }
    for name, row in rows.items():
        m.lists[row]["count"] = counts.get(name, 0)


def small(**fields: Any) -> Machine:  # noqa: ANN401  any of GuestSpec
    settings: dict[str, Any] = {"swap_pages": 100, "regions": [anon(8), file(8)]} | fields
    return build(host(guest(task(Phase(Op.EXIT)), **settings)))


@pytest.mark.usefixtures("uncompiled")
def test_costs_are_halved_at_a_quarter_of_the_lists() -> None:
    m = small()
    lists(m, inactive_anon=40, active_anon=10, inactive_file=40, active_file=10)
    balance.note_cost(m, 0, True, 20)
    balance.note_cost(m, 0, False, 5)
    gs = m.guest[0]
    assert (gs.anon_cost, gs.file_cost) == (5, 20)  # 25 is no more than a quarter of 100
    balance.note_cost(m, 0, False, 1)
    assert (gs.anon_cost, gs.file_cost) == (3, 10)


@pytest.mark.usefixtures("uncompiled")
def test_turns_are_in_proportion_to_size_and_pressure() -> None:
    m = small()
    lists(m, inactive_anon=1000, active_anon=1000, inactive_file=3000, active_file=4000)
    # 1000 * 60 of 1000 * 60 + 3000 * 140
    turns = [balance.choose_kind(m, 0, 0) for _ in range(1000)]
    assert turns.count(INACTIVE_ANON) == 125


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize(
    ("case", "fields", "counts", "fails", "expected"),
    [
        ("no swap", {"swap_pages": 0}, (900, 900, 9, 9), 0, {INACTIVE_FILE}),
        ("plenty of cache", {}, (5000, 100, 5000, 100), 0, {INACTIVE_FILE}),
        ("... of which a scan sees nothing yet", {}, (2000, 100, 2000, 100), 0, {0, 2}),
        ("tiny file", {}, (5000, 100, 3, 3), 0, {INACTIVE_ANON}),
        ("never anonymous", {"swappiness": 0}, (2000, 2500, 2000, 2500), 0, {INACTIVE_FILE}),
        ("last priority: equal", {"swappiness": 1}, (2000, 2500, 2000, 2500), 12, {0, 2}),
        ("2011 knows no plenty", {"lru_2011": True}, (5000, 100, 5000, 100), 0, {0, 2}),
    ],
)
def test_special_cases(
    case: str, fields: dict[str, Any], counts: tuple[int, ...], fails: int, expected: set[int]
) -> None:
    m = small(**fields)
    names = ("inactive_anon", "active_anon", "inactive_file", "active_file")
    lists(m, **dict(zip(names, counts, strict=True)))
    m.guest[0].free_pages = 0
    m.guest[0].wm_target_high = 10
    assert {balance.choose_kind(m, 0, fails) for _ in range(20)} == expected, case


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("kind", [ANON, FILE])
@pytest.mark.parametrize(("away", "active"), [(35, True), (36, False)])
def test_a_page_comes_back_active_within_reach(kind: int, away: int, active: bool) -> None:
    m = small()
    lists(m, inactive_anon=20, active_anon=10, inactive_file=20, active_file=5)
    m.page[3]["gstate"] = kind
    m.page[3]["gflags"] = G_WORKINGSET
    workingset.leave_shadow(m, 0, 2, 3)
    m.guest[0]["age"] += away - 1
    m.page[3]["gflags"] = 0
    # files: 5 active, 30 anonymous; anonymous memory: 25 of files, 10 active
    assert workingset.reach(m, 0, kind == FILE) == 35
    workingset.come_back(m, 0, 3, int(m.vpage[2]["age"]))
    assert bool(m.page[3]["gflags"] & G_SEEN) is active
    assert bool(m.page[3]["gflags"] & G_WORKINGSET) is active
    cost = m.guest[0]["file_cost" if kind == FILE else "anon_cost"]
    assert cost == int(active)


def test_nothing_comes_back_active_in_2011() -> None:
    loop = Phase(Op.READ, region=0, pattern=Pattern.LOOP, count=12_000, cost_s=1e-6)
    found = {}
    for old in (False, True):
        reader = guest(task(loop), pages=1024, regions=[file(1000)], lru_2011=old)
        row = run(host(reader), 60.0).guest[0, 0]
        assert row["refaults"] > 5000
        found[old] = int(row["file_activated"])
    assert found[True] == 0


def test_new_anonymous_memory_is_active_in_2011_alone() -> None:
    for old, which in ((False, INACTIVE_ANON), (True, ACTIVE_ANON)):
        fields: dict[str, Any] = {"regions": [anon(100)], "lru_2011": old}
        m = machine(run(host(guest(task(allocate(0)), **fields), lru_2011=old), 1.0))
        assert m.lists[which]["count"] == 100
        resident = np.flatnonzero(m.page["hlist"] == 1 + int(old))
        assert len(resident) >= 100


def test_swappiness_moves_reclaim_from_files_to_anonymous_memory() -> None:
    swapped, read_again = [], []
    for swappiness in (0, 60, 200):
        files = Phase(Op.READ, region=1, count=400, cost_s=1e-5)
        pages = Phase(Op.TOUCH, region=0, count=20, cost_s=1e-5)
        worker = guest(
            task(allocate(0), files, pages, again(1)),
            pages=1500,
            regions=[anon(900), file(900)],
            swap_pages=2000,
            swappiness=swappiness,
        )
        row = run(host(worker), 20.0).guest[0, 0]
        swapped.append(int(row["guest_swap_out"]))
        read_again.append(int(row["refaults"]))
    assert 0 == swapped[0] < swapped[1] < swapped[2]
    assert read_again[0] > read_again[1] > read_again[2] > 0
