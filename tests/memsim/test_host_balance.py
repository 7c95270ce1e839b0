"""The host's swappiness: guest memory against the emulators' code, Linux's integers by hand."""

from dataclasses import replace
from typing import Any

import pytest

from memsim import balance, frames, host_balance, lists, reclaim
from memsim.build import build
from memsim.fleet import Fleet
from memsim.machine import Machine
from memsim.params import DEF_PRIORITY
from memsim.spec import Act, Cgroup, Entry, HostSpec

from .hosts import allocate, anon, file, guest, host, read, run, sleep, task

CODE, ANON = 1024, 3072  # pages
LRU = 1  # of the first guest's own cgroup


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels call the Python functions of one another."""
    for module in (balance, host_balance, lists):
        for name, value in list(vars(module).items()):
            if hasattr(value, "py_func"):
                monkeypatch.setattr(module, name, value.py_func)


def _machine(swappiness: int, **fields: object) -> Machine:
    m: Machine = build(host(guest(task(sleep(1.0)), pages=8192), swappiness=swappiness, **fields))
    m.guest[0]["code_resident"] = CODE
    m.lists[lists.host_row(m, LRU, 0)]["count"] = ANON
    m.host[0]["free_pages"] = 10**6
    return m


def _code_turns(m: Machine, turns: int, fails: int = 0, limited: bool = False) -> int:
    takes: Any = host_balance.takes_code
    return sum(bool(takes(m, LRU, limited, fails)) for _ in range(turns))


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize(
    ("swappiness", "costs", "share"),
    [
        (60, (0, 0), 140 * CODE / (140 * CODE + 60 * ANON)),
        (100, (0, 0), CODE / (CODE + ANON)),
        (200, (0, 0), 0.0),
        (60, (100, 0), 417 * CODE / (417 * CODE + 89 * ANON)),  # as of a guest
    ],
)
def test_code_has_its_share_of_turns(swappiness: int, costs: tuple[int, int], share: float) -> None:
    m = _machine(swappiness)
    m.group[LRU]["anon_cost"], m.group[LRU]["file_cost"] = costs
    assert _code_turns(m, 1000) == pytest.approx(1000 * share, abs=1)


@pytest.mark.usefixtures("uncompiled")
def test_without_swappiness_code_goes_first() -> None:
    assert _code_turns(_machine(-1), 100) == 100


@pytest.mark.usefixtures("uncompiled")
def test_a_limit_without_swappiness_takes_code_alone() -> None:
    assert _code_turns(_machine(0), 100, limited=True) == 100


@pytest.mark.usefixtures("uncompiled")
def test_plenty_of_idle_code_goes_alone() -> None:
    assert _code_turns(_machine(200), 10, fails=2) == 10  # 1024 >> 10 pages to be scanned


@pytest.mark.usefixtures("uncompiled")
def test_nothing_but_code_goes_where_swap_is_full() -> None:
    m = _machine(200)
    m.host[0]["swap_used_pages"] = m.host[0]["swap_pages"]
    assert _code_turns(m, 10) == 10


@pytest.mark.usefixtures("uncompiled")
def test_guest_memory_goes_alone_where_files_and_free_memory_are_next_to_nothing() -> None:
    m = _machine(60)
    m.host[0]["free_pages"] = 0
    m.host[0]["high_pages"] = CODE
    assert _code_turns(m, 10, fails=1) == 0
    assert _code_turns(m, 10, fails=12) == 10  # at the last priority both, code to begin with


@pytest.mark.usefixtures("uncompiled")
def test_in_2011_it_is_the_share_in_use_that_counts() -> None:
    m = _machine(60, lru_2011=True)
    gr = m.group[LRU]
    gr["anon_scanned"], gr["anon_rotated"] = 99, 9
    gr["file_scanned"], gr["file_rotated"] = 99, 0
    anon, code = 61 * 100 // 10 * ANON, 141 * 100 * CODE
    assert _code_turns(m, 1000) == pytest.approx(1000 * code / (anon + code), abs=1)


def _squeezed(swappiness: int) -> HostSpec:
    # An emulator that has read a page of its disk is squeezed by an eighth of its memory.
    script = task(read(1, pattern=2, count=8), allocate(0), sleep(1000.0))
    one = guest(script, pages=8192, regions=(anon(7000), file(8)), cgroup=0)
    limit = Entry(Act.CGROUP_MAX, at_s=1.0, index=0, value=7600)
    spec = host(one, swappiness=swappiness)
    return replace(spec, cgroups=(Cgroup(),), timeline=(limit,))


def test_what_goes_is_what_swappiness_says() -> None:
    code: dict[int, int] = {}
    for swappiness in (-1, 0, 60, 200):
        fleet: Fleet = run(_squeezed(swappiness), 0.9, 3.0)
        assert fleet.host["oom_kills"][0] == 0
        code[swappiness] = int(fleet.guest["code_resident"][0, 0])
    # At 60 idle code is plenty of cache that nobody uses (cache_trim_mode); at 200 it has no turn.
    assert code[-1] == code[0] == code[60] < code[200] == CODE


@pytest.mark.parametrize("swappiness", [-2, 201])
def test_swappiness_has_a_range(swappiness: int) -> None:
    with pytest.raises(ValueError, match="swappiness"):
        build(host(guest(task(sleep(1.0))), swappiness=swappiness))


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("swappiness", [-1, 60])
def test_a_turn_of_code_that_is_in_use_costs_guest_memory_nothing(
    swappiness: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Lists take turns each for its own share; only where code goes first is there no such share.
    for module in (reclaim, frames):
        for name, value in list(vars(module).items()):
            if hasattr(value, "py_func"):
                monkeypatch.setattr(module, name, value.py_func)
    looked: list[int] = []  # batches that went on to guest memory
    monkeypatch.setattr(reclaim, "takes_code", lambda *_: True)

    def deactivate(*_: object) -> int:
        looked.append(1)
        return 0

    monkeypatch.setattr(reclaim, "_deactivate", deactivate)
    m = _machine(swappiness)
    m.guest[0]["code_used"] = 1
    m.host[0]["cached_pages"] = CODE
    m.lists[lists.host_row(m, LRU, 0)]["tail"] = -1
    check: Any = reclaim.check
    check(m, 0, LRU, 0.0)
    assert bool(looked) == (swappiness < 0)
    assert m.guest[0]["code_resident"] == CODE
    m.cpu[0]["fails"] = DEF_PRIORITY  # at the last priority all lists are seen
    m.guest[0]["code_used"] = 1
    check(m, 0, LRU, 0.0)
    assert looked
