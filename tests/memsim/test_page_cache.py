"""What the guest reads again, and in whose name."""

import pytest

from memsim.fleet import Fleet
from memsim.params import FILE_READAHEAD
from memsim.spec import Op, Pattern, Phase
from tests.memsim.hosts import SSD, file, guest, host, read, run, seconds, task

DROP = Phase(Op.DROP_CACHES)


def in_order(pages: int) -> Phase:
    """Read a file's first pages."""
    return read(0, count=pages, pattern=Pattern.SEQUENTIAL)


def reading(*script: Phase) -> Fleet:
    """A guest of 1024 pages that reads a file of 1500."""
    return run(host(guest(task(*script), pages=1024, regions=[file(1500)])), 3.0)


def test_what_the_script_dropped_is_read_as_if_for_the_first_time() -> None:
    # The first time has more to do: fresh frames (the second as well, a few), the emulator's code.
    first, once, twice = (
        reading(in_order(800), *(DROP, in_order(800)) * times) for times in range(3)
    )
    # What is still being read ahead when the caches are dropped stays.
    in_full = 3 * first.guest[0, 0]["disk_read"]
    assert in_full - 2 * FILE_READAHEAD <= twice.guest[0, 0]["disk_read"] <= in_full
    assert twice.guest[0, 0]["refaults"] == 0
    assert "refault" not in seconds(twice)
    # What waits behind its own readahead counts as queued.
    found = [seconds(fleet) for fleet in (first, once, twice)]
    costs = [each["nominal"] + each["queued"] for each in found]
    assert costs[2] - costs[1] == pytest.approx(costs[1] - costs[0], rel=0.1)
    assert costs[1] - costs[0] > 800 * 4096 / SSD.bytes_per_s


def test_what_reclaim_evicted_is_a_refault_until_the_caches_are_dropped() -> None:
    again = reading(in_order(1500), in_order(1500))
    assert again.guest[0, 0]["refaults"] == 1500
    assert seconds(again)["refault"] > 0.0
    dropped = reading(in_order(1500), DROP, in_order(500))
    assert dropped.guest[0, 0]["refaults"] == 0
    assert "refault" not in seconds(dropped)
