"""Every scenario and profile that ships: loads, draws, reads back, keeps its promises."""

import numpy as np
import pytest

import scenarios
from configs import document
from configs.loading import build, dump, packaged
from memsim import spec
from scenarios import datasets, profiles
from scenarios.draw import draw
from scenarios.schema import Arm, Scenario

LIBRARY = [name for name in packaged("scenarios") if "/" not in name]


@pytest.mark.parametrize("name", LIBRARY)
def test_a_scenario_reads_back_as_it_was_written(name: str) -> None:
    scenario = scenarios.load(name)
    assert scenario.name == name
    assert scenario.description
    assert build(Scenario, document.parse(dump(scenario)), name) == scenario


@pytest.mark.parametrize("name", LIBRARY)
def test_every_draw_of_a_scenario_is_a_possible_host(name: str) -> None:
    scenario = scenarios.load(name)
    if name == "bitbrains" and not datasets.available():
        pytest.skip("no measured traces (set OVERCOMMIT_TRACES)")
    for episode in range(5):
        host = draw(scenario, (7, episode)).spec
        assert 0 < len(host.guests) <= scenario.most_guests
        fixed = host.reserved_pages + sum(guest.emulator_pages for guest in host.guests)
        assert host.ram_pages > fixed
        for guest in host.guests:
            assert_possible(guest, scenario.end_s)


def assert_possible(guest: spec.GuestSpec, end_s: float) -> None:
    assert 0 < guest.kernel_pages <= guest.min_pages <= guest.pages
    assert guest.start_s < guest.stop_s
    assert guest.tasks and guest.regions
    for curve in guest.curves:
        assert (np.diff(curve.time_s) >= 0).all()
        assert np.isfinite(curve.value).all() and (curve.value >= 0).all()
    for phase in (phase for task in guest.tasks for phase in task.phases):
        if phase.op <= spec.Op.WRITE or phase.op in (spec.Op.ALLOCATE, spec.Op.FREE):
            assert 0 <= phase.region < len(guest.regions)
        if phase.size >= 0:
            most = guest.curves[phase.size].value.max()
            assert most <= guest.regions[phase.region].pages


@pytest.mark.parametrize("name", profiles.names())
@pytest.mark.parametrize("size", ["256MiB", "1GiB", "64GiB"])
def test_a_profile_fits_guests_of_any_size(name: str, size: str) -> None:
    scenario = build(
        Scenario,
        {
            "name": "one",
            "host": {"page": "1MiB", "ram": "128GiB"},
            "guests": [{"name": "guest", "profile": name, "size": size}],
        },
        "test",
    )
    guest = draw(scenario, 1).spec.guests[0]
    assert_possible(guest, scenario.end_s)
    anonymous = sum(r.pages for r in guest.regions if r.kind == spec.RegionKind.ANON)
    assert anonymous + guest.kernel_pages <= guest.pages + guest.swap_pages


@pytest.mark.parametrize("name", profiles.names())
def test_a_profile_asks_for_few_enough_touches_to_simulate(name: str) -> None:
    """Some 500 touches a second for a guest of 1,024 pages: what the environment is sized for."""
    scenario = build(
        Scenario,
        {
            "name": "one",
            "host": {"page": "1MiB", "ram": "4GiB"},
            "guests": [{"name": "guest", "profile": name, "size": "1GiB"}],
        },
        "test",
    )
    guest = draw(scenario, 1).spec.guests[0]
    open_loop = sum(
        max((phase.rate * phase.per_arrival for phase in task.phases), default=0.0)
        for task in guest.tasks
    )
    assert open_loop <= 400
    long_closed_loop = [
        1 / phase.cost_s
        for task in guest.tasks
        for phase in task.phases
        if phase.op <= spec.Op.WRITE and phase.rate == 0 and not 0 <= phase.count < 100
    ]
    assert all(touches_per_s <= 800 for touches_per_s in long_closed_loop)


def test_an_arm_changes_mechanisms_and_nothing_else() -> None:
    talk = scenarios.load("talk")
    plain = draw(talk, 5).spec
    arm = Arm.model_validate({"async_faults": "on", "hinting": "bitmap", "resize": "free_target"})
    changed = draw(talk.with_arm(arm), 5).spec
    assert changed.seed == plain.seed
    for before, after in zip(plain.guests, changed.guests, strict=True):
        assert (before.async_mode, before.hinting, before.resize) == (0, 0, 0)
        assert after.async_mode == spec.Async.ANY  # a host of 2011
        assert after.hinting == spec.Hinting.BITMAP
        assert after.resize == spec.Resize.FREE_TARGET_2011
        assert before.tasks == after.tasks and before.regions == after.regions


def test_arms_add_up() -> None:
    talk = scenarios.load("talk").with_arm(Arm.model_validate({"hinting": "bitmap"}))
    both = talk.with_arm(Arm.model_validate({"kernel": "modern", "resize": "free_target"}))
    host = draw(both, 5)
    assert host.kernel == "modern"
    assert host.spec.guests[0].hinting == spec.Hinting.BITMAP
    assert host.spec.guests[0].resize == spec.Resize.FREE_TARGET


def test_used_memory_of_the_talk_fits_and_all_memory_does_not() -> None:
    """The experiment shows something only where hints or resizing can make things fit."""
    host = draw(scenarios.load("talk"), 0).spec
    for_guests = host.ram_pages - host.reserved_pages
    guest = host.guests[0]
    job, service, _ = (region.pages for region in guest.regions)
    used = 3 * (guest.kernel_pages + service) + job
    assert used < 0.85 * for_guests
    assert 3 * guest.pages > 1.5 * for_guests


@pytest.mark.parametrize(
    ("name", "turns", "gap_s", "most"),
    [("experiment_a", 6, 1.0, 800 * 2**20), ("experiment_a_1000", 9, 2.2, 1000 * 2**20)],
)
def test_experiment_a_takes_turns(name: str, turns: int, gap_s: float, most: int) -> None:
    scenario = scenarios.load(name)
    begins = [entry for entry in scenario.timeline if entry.do == "signal"]
    assert [entry.guest for entry in begins] == [f"guest-{1 + i % 3}" for i in range(turns)]
    assert [entry.after for entry in begins[1:]] == [gap_s] * (turns - 1)
    host = draw(scenario, 0).spec
    limit = host.cgroups[0].max_pages * host.page_bytes
    assert limit == most
    assert {guest.cgroup for guest in host.guests} == {0}


def test_a_scenario_in_a_folder_is_found_by_its_name() -> None:
    found = scenarios.load("validation/v01_async_faults")
    assert found == scenarios.load("scenarios/validation/v01_async_faults")
