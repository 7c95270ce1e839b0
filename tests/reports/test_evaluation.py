import numpy as np
import pytest

import scenarios
from memsim.account import CLASSES
from reports.entrants import EntrantError, entrants, labels, reference_label
from reports.episodes import LOST, Results
from reports.evaluation import run
from reports.settings import ArmUse, Evaluation, ScenarioUse, Seeds
from reports.standings import cautions
from reports.storage import record
from reports.workloads import prepare
from scenarios.draw import draw
from scenarios.machine import AsyncFaults
from scenarios.schema import Arm

SMALL = ScenarioUse(scenario="small")
SHORT = {"warm_up": 20.0, "scored": 60.0, "seeds": Seeds(first=5, count=2)}


def evaluation(**changes: object) -> Evaluation:
    settings = {"policies": ("static", "slides"), "scenarios": (SMALL,), **SHORT, **changes}
    return Evaluation.model_validate({"name": "t", "title": "T", **settings})


def evaluated(config: Evaluation, threads: int | None = None) -> Results:
    return run(config, prepare(config).scenarios, entrants(config), threads=threads)


def flat(results: Results) -> list[dict[str, object]]:
    return [record(row) for row in (*results.episodes, *results.guests)]


@pytest.fixture(scope="module")
def results() -> Results:
    return evaluated(evaluation())


def test_there_is_one_row_per_episode_and_per_guest(results: Results) -> None:
    assert [(row.policy, row.seed) for row in results.episodes] == [
        ("static", 5),
        ("static", 6),
        ("slides", 5),
        ("slides", 6),
    ]
    assert len(results.guests) == 8
    assert {row.name for row in results.guests} == {"web", "batch"}
    for row in results.episodes:
        assert 0 <= row.j <= 1
        assert row.guest_hours == pytest.approx(2 * 60 / 3600)


def test_equal_configurations_give_equal_rows_on_any_number_of_threads(results: Results) -> None:
    again = evaluated(evaluation(), threads=1)
    np.testing.assert_equal(flat(again), flat(results))
    for mine, other in zip(again.timelines, results.timelines, strict=True):
        np.testing.assert_equal(vars(mine), vars(other))


def test_a_host_does_the_same_with_others_or_alone(results: Results) -> None:
    alone = evaluated(evaluation(seeds=Seeds(first=6, count=1), policies=("slides",)))
    np.testing.assert_equal(record(alone.episodes[0]), record(results.episodes[3]))


def test_j_is_the_weighted_mean_of_the_guests(results: Results) -> None:
    for episode in results.episodes:
        guests = [guest for guest in results.guests if guest.key == episode.key]
        weight = sum(guest.weight for guest in guests)
        assert {guest.weight for guest in guests} == {1000, 500}
        expected = sum(guest.weight * guest.score for guest in guests) / weight
        assert episode.j == pytest.approx(expected)


def test_no_guest_is_busier_than_its_tasks_can_be(results: Results) -> None:
    tasks = {facts.name: len(facts.task_names) for facts in draw(scenarios.load("small"), 5).guests}
    for guest in results.guests:
        busy = sum(guest.account_s[name] for name in CLASSES if name != "idle")
        assert 0 < busy < 60.5 * tasks[guest.name]
        assert guest.account_s["nominal"] > 0
        assert guest.lost_s == pytest.approx(sum(guest.account_s[name] for name in LOST))


def test_a_timeline_adds_up_to_the_size_of_each_guest(results: Results) -> None:
    for timeline in results.timelines:
        whole = (
            timeline.used_bytes
            + timeline.cache_bytes
            + timeline.free_bytes
            + timeline.ballooned_bytes
        )
        assert (whole[1:] == timeline.max_bytes).all()
        assert timeline.time_s[[0, -1]].tolist() == [-20, 60]
        assert (timeline.swapped_bytes <= timeline.max_bytes).all()


def test_an_ample_host_costs_nothing() -> None:
    ample = ScenarioUse(scenario="small", set=("host.ram=4GiB", "host.cores=8"))
    found = evaluated(evaluation(scenarios=(ample,), policies=("static",)))
    for guest in found.guests:
        assert guest.slowdown == pytest.approx(1, abs=0.02)
        assert guest.host_swap_in_bytes == 0
    assert all(row.j > 0.98 for row in found.episodes)


def test_less_memory_costs_progress_and_swaps() -> None:
    tight = ScenarioUse(scenario="small", set=("host.ram=120MiB",))
    found = evaluated(evaluation(scenarios=(tight,), policies=("static",)))
    for row in found.episodes:
        assert row.host_swap_out_bytes > 0
        assert row.lost_s > 0
        assert row.j < 0.95


def test_what_hosts_cannot_carry_out_is_said() -> None:
    merging = ScenarioUse(scenario="small", set=("host.page=64KiB", "host.ksm={run: 1}"))
    found = evaluated(evaluation(scenarios=(merging,), policies=("static", "vdsm")))
    assert {(row.policy, row.left_out) for row in found.episodes} == {
        ("static", ""),
        ("vdsm", "ksm_merge_across_nodes"),
    }
    said = "vdsm on small: ksm_merge_across_nodes had no effect, as not all hosts there have it."
    assert said in cautions(found)
    able = evaluated(evaluation(policies=("static", "vdsm")))
    assert {row.left_out for row in able.episodes} == {""}


def test_arms_change_mechanisms_and_share_the_work() -> None:
    arms = (
        ArmUse(name="off", mechanisms=Arm(async_faults=AsyncFaults.OFF)),
        ArmUse(name="on", policy="slides", mechanisms=Arm(async_faults=AsyncFaults.ON)),
    )
    config = evaluation(policies=(), arms=arms, reference="off")
    found = evaluated(config)
    assert [(row.arm, row.policy, row.seed) for row in found.episodes] == [
        ("off", "static", 5),
        ("off", "static", 6),
        ("on", "slides", 5),
        ("on", "slides", 6),
    ]
    assert found.labels() == ("off", "on")
    assert labels(entrants(config)) == {
        "off": "policy static; async_faults off",
        "on": "policy slides; async_faults on",
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("slide", "no such baseline or run folder.*equal, .*slides, .*static"),
        ("runs/nothing", "train.py configs/train/demo.yaml --name nothing"),
        ("no_module_here:Policy", "ModuleNotFoundError"),
        ("tests.reports.conftest:Nothing", "Nothing"),
        ("mine=", "expected NAME, or LABEL=NAME"),
        ("both=static+equal", "training seeds"),
    ],
)
def test_policies_that_cannot_take_part_say_what_to_do(name: str, message: str) -> None:
    with pytest.raises(EntrantError, match=message):
        entrants(evaluation(policies=(name,)))


def test_all_wrong_policies_are_named_at_once() -> None:
    with pytest.raises(EntrantError, match=r"'one'(.|\n)*'two'"):
        entrants(evaluation(policies=("one", "static", "two")))


def test_the_reference_takes_part() -> None:
    assert compared_with(evaluation()) == "slides"
    assert compared_with(evaluation(policies=("equal", "static"))) == "equal"
    assert compared_with(evaluation(reference="static")) == "static"
    with pytest.raises(EntrantError, match=r"reference: 'equal': expected one of static, slides"):
        compared_with(evaluation(reference="equal"))


def compared_with(config: Evaluation) -> str:
    return reference_label(config, entrants(config))
