"""The simulator agrees with real guests on experiment A (docs/real-guests.md)."""

from collections.abc import Callable

import pytest

import scenarios
from tools.realguests import simulated
from tools.realguests.compare import LITTLE, allocation_s, swap_in_mib, swap_out_mib, touches_per_s
from tools.realguests.modes import Mode
from tools.realguests.record import Record

# [MiB] Least and most of three real runs at a limit of 800 MiB: swapped in, swapped out; of two
# (docs/real.md) where the daemon ran a rule.
REAL = {
    Mode.NOTHING: ((960, 986), (1570, 1618)),
    Mode.REPORTING: ((2, 3), (162, 175)),
    Mode.BALLOON: ((6, 12), (58, 103)),
    Mode.BOTH: ((0, 9), (40, 55)),
    Mode.SLIDES: ((3, 51), (183, 218)),
    Mode.PROXMOX: ((9, 13), (205, 216)),
    Mode.CHROMEOS: ((23, 29), (123, 157)),
}


@pytest.fixture(scope="module")
def runs() -> dict[Mode, Record]:
    scenario = scenarios.load("experiment_a")
    return {mode: simulated.run(scenario, mode, ()) for mode in REAL}


@pytest.mark.parametrize("mode", REAL)
def test_swap_traffic_is_within_a_factor_of_two(runs: dict[Mode, Record], mode: Mode) -> None:
    measures: tuple[Callable[[Record], float], ...] = (swap_in_mib, swap_out_mib)
    for measure, (least, most) in zip(measures, REAL[mode], strict=True):
        found = max(measure(runs[mode]), LITTLE)
        assert max(least, LITTLE) / 2 <= found <= 2 * max(most, LITTLE)


@pytest.mark.parametrize(
    ("measure", "falling"),
    [
        (swap_out_mib, [Mode.NOTHING, Mode.REPORTING, Mode.BALLOON, Mode.BOTH]),
        (allocation_s, [Mode.NOTHING, Mode.BALLOON, Mode.BOTH, Mode.REPORTING]),
        (touches_per_s, [Mode.REPORTING, Mode.NOTHING, Mode.BOTH, Mode.BALLOON]),
    ],
)
def test_the_order_of_the_modes_is_the_real_one(
    runs: dict[Mode, Record], measure: Callable[[Record], float], falling: list[Mode]
) -> None:
    found = [measure(runs[mode]) for mode in falling]
    assert found == sorted(found, reverse=True)
    assert swap_in_mib(runs[Mode.NOTHING]) > 10 * LITTLE
    assert all(swap_in_mib(runs[mode]) < LITTLE for mode in falling if mode is not Mode.NOTHING)
