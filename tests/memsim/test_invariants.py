"""The laws see a page that is lost, mislinked, or held by nobody for ever."""

from collections.abc import Callable

import numpy as np
import pytest

from memsim import state
from memsim.invariants_lists import walk
from memsim.law import Broken
from memsim.machine import Machine
from memsim.state import NOBODY
from tests.memsim.hosts import allocate, anon, guest, host, machine, run, sleep, task


def _first(m: Machine, hstate: int) -> int:
    listed = (m.page["hstate"] == hstate) & (m.page["hlist"] != 0)
    return int(np.flatnonzero(listed)[1])


def _off_its_list(m: Machine) -> None:
    p = _first(m, state.RESIDENT)
    m.page["hlist"][p] = 0
    before, after = int(m.page["hprev"][p]), int(m.page["hnext"][p])
    (row,) = (
        i
        for i, li in enumerate(m.lists)
        if i >= state.GUEST_LISTS and p in walk(m, i, "hnext") and li["count"] > 0
    )
    if before == NOBODY:
        m.lists["head"][row] = after
    else:
        m.page["hnext"][before] = after
    if after == NOBODY:
        m.lists["tail"][row] = before
    else:
        m.page["hprev"][after] = before
    m.lists["count"][row] -= 1


def _isolated(m: Machine) -> None:
    m.page["hflags"][_first(m, state.RESIDENT)] |= state.H_ISOLATED


def _unmapped(m: Machine) -> None:
    m.page["hflags"][_first(m, state.RESIDENT)] |= state.H_UNMAPPED


def _linked_wrongly(m: Machine) -> None:
    p = _first(m, state.RESIDENT)
    m.page["hprev"][p] = p


def _on_the_other_list(m: Machine) -> None:
    p = _first(m, state.RESIDENT)
    m.page["hlist"][p] = 3 - m.page["hlist"][p]


def _without_a_tail(m: Machine) -> None:
    m.lists["tail"][np.flatnonzero(m.lists["count"] > 0)[-1]] = NOBODY


@pytest.mark.parametrize(
    ("corrupt", "what"),
    [
        (_off_its_list, "1 resident pages on no list"),
        (_isolated, "1 pages isolated, 0 in hand"),
        (_unmapped, "1 pages unmapped for nobody"),
        (_linked_wrongly, "links back"),
        (_on_the_other_list, "a page thinks it is elsewhere"),
        (_without_a_tail, "tail"),
    ],
)
def test_the_laws_notice_a_page_that_is_lost_or_held_for_ever(
    corrupt: Callable[[Machine], None], what: str
) -> None:
    idle = guest(task(allocate(0), sleep(1e6)), regions=[anon(300)], pages=512)
    fleet = run(host(idle), 5.0)
    corrupt(machine(fleet))
    with pytest.raises(Broken, match=what):
        fleet.check()
