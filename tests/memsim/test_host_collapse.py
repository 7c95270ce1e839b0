"""khugepaged of the host: small pages that back a block become one huge page."""

from typing import Any

import numpy as np
import pytest

from memsim import params
from memsim.fleet import Fleet
from memsim.spec import Act, Cgroup, Device, Entry, Phase, Start
from memsim.state import H_REF, SWAPPED
from tests.memsim.hosts import (
    FLASH,
    SSD,
    ZRAM,
    allocate,
    anon,
    guest,
    host,
    machine,
    run,
    sleep,
    targets,
    task,
    touch,
)

BLOCK = 512


def deflated(
    *phases: Phase,
    blocks: int = 12,
    cgroup: int = -1,
    **fields: Any,  # noqa: ANN401  any of HostSpec
) -> Fleet:
    """A guest whose balloon took all but two blocks and gave them back: its pages are small."""
    spec = host(
        guest(
            task(sleep(5.0), *phases),
            pages=blocks * BLOCK,
            regions=[anon((blocks - 2) * BLOCK)],
            start=Start.RESIDENT,
            cgroup=cgroup,
        ),
        huge_pages=True,
        **fields,
    )
    fleet = run(spec, 0.5)
    targets(fleet, 2 * BLOCK)
    fleet.advance(np.array([2.0]))
    targets(fleet, blocks * BLOCK)
    fleet.advance(np.array([9.9]))
    return fleet


def huge(fleet: Fleet, t: float) -> tuple[int, int]:
    """Blocks that are huge at a time, and how many of them khugepaged made."""
    fleet.advance(np.array([t]))
    fleet.check()
    gs = fleet.guest[0, 0]
    return int(gs["host_thp_blocks"]), int(gs["host_thp_collapse"])


def test_what_is_used_becomes_huge_eight_blocks_in_ten_seconds() -> None:
    fleet = deflated(allocate(), touch(cost_s=1e-5))
    before, _ = huge(fleet, 9.95)
    assert before <= 2
    assert huge(fleet, 10.5) == (before + 8, 8)
    assert huge(fleet, 19.9) == (before + 8, 8)
    assert huge(fleet, 30.5)[0] == 12


def test_copies_take_the_hosts_time() -> None:
    # Eight blocks one after the other: in the time of four copies about four are huge.
    fleet = deflated(allocate(), touch(cost_s=1e-5))
    copy_s = BLOCK * params.MIGRATE_S
    made = [huge(fleet, 10.0 + copies * copy_s)[1] for copies in (4, 12)]
    assert 3 <= made[0] <= 5
    assert made[1] == 8


def test_it_goes_past_what_is_huge_at_the_same_pace() -> None:
    fleet = deflated(allocate(), touch(cost_s=1e-5), blocks=24)
    assert huge(fleet, 49.9)[0] == 24
    hands = []
    for t in 50.5 + 10.0 * np.arange(8):
        fleet.advance(np.array([t]))
        hands.append(int(fleet.host[0]["collapse_hand"]))
    assert sorted(set(hands)) == [0, 8, 16, 24]


def test_what_was_given_to_the_host_is_backed_again_with_the_rest_of_its_block() -> None:
    fleet = deflated(allocate(count=10 * BLOCK - 100))
    resident = int(fleet.guest[0, 0]["resident_pages"])
    blocks, _ = huge(fleet, 31.0)
    assert resident < blocks * BLOCK
    assert fleet.guest[0, 0]["resident_pages"] == blocks * BLOCK


def test_what_is_not_used_stays_as_it_is() -> None:
    # Reclaim has looked at all of it since it was used last.
    fleet = deflated(allocate())
    machine(fleet).page["hflags"] &= np.uint8(255 - H_REF)
    assert huge(fleet, 40.0)[1] == 0


def test_without_memory_it_rests_a_minute() -> None:
    fleet = deflated(allocate(), touch(cost_s=1e-5), ram_pages=12 * BLOCK + 300)
    assert huge(fleet, 40.0)[1] == 0
    assert fleet.host[0]["collapse_at"] >= 10.0 + params.COLLAPSE_RETRY_S


@pytest.mark.parametrize("device", [FLASH, ZRAM])
@pytest.mark.parametrize(("few", "old"), [(True, False), (True, True), (False, False)])
def test_a_few_pages_are_read_from_swap_for_it_since_4_8(
    device: Device, few: bool, old: bool
) -> None:
    # A limit takes the pages that are used least, for a moment.
    fields: dict[str, Any] = {
        "cgroups": (Cgroup(),),
        "cgroup": 0,
        "devices": (device, SSD),
        "lru_2011": old,
    }
    usage = int(machine(deflated(allocate(), **fields)).group[1]["usage"])
    squeeze = (
        Entry(Act.CGROUP_MAX, at_s=9.0, index=0, value=usage - (10 if few else 200)),
        Entry(Act.CGROUP_MAX, at_s=9.5, index=0, value=-1),
    )
    fleet = deflated(allocate(), timeline=squeeze, **fields)
    m = machine(fleet)
    m.page["hflags"] |= np.uint8(H_REF)
    out = int((m.page["hstate"] == SWAPPED).sum())
    assert (0 < out <= 64) if few else 64 < out < BLOCK
    huge(fleet, 31.0)
    assert (m.page["hstate"] == SWAPPED).sum() == (0 if few and not old else out)
    assert fleet.guest[0, 0]["host_thp_collapse"] > 5
