"""What a run costs is said before it begins."""

from collections.abc import Sequence
from pathlib import Path

import pytest

import scenarios
from reports import cost
from reports.entrants import Entrant, entrants
from reports.evaluation import Part, plan
from reports.settings import Evaluation, Seeds
from scenarios.schema import Scenario


def evaluation(**changes: object) -> Evaluation:
    settings = {"name": "t", "title": "T", "policies": ["static", "slides"], **changes}
    settings |= {"warm_up": 60.0, "scored": 540.0, "seeds": Seeds(first=0, count=8)}
    return Evaluation.model_validate({"scenarios": [{"scenario": "small"}], **settings})


def of(config: Evaluation, who: Sequence[Entrant]) -> Sequence[Part]:
    return plan(config, [scenarios.load("small")], who)


def test_lives_are_priced_by_the_first_minutes_of_some_hosts(tmp_path: Path) -> None:
    config = evaluation()
    seen: list[tuple[int, float]] = []

    def measure(scenario: Scenario, seeds: Sequence[int], sample_s: float) -> float:
        seen.append((len(seeds), sample_s))
        return 6.0

    def priced(who: Sequence[Entrant], threads: int) -> float:
        return cost.minutes(config, of(config, who), threads, tmp_path, measure)

    who = entrants(config)
    # 3 s for 300 s of a host, so 6 s a life; 8 hosts under each policy, and all guests alone
    hosts = cost.OVERHEAD * 6 * 8 / 60
    deciding = (cost.DECIDING + 8 * cost.DECIDING_A_HOST) * 600 / 60
    assert priced(who, 1) == pytest.approx(3 * hosts + 2 * deciding)
    assert seen == [(2, 300.0)]
    assert priced(who, 2) == pytest.approx(3 * hosts / 2 + 2 * deciding)
    assert priced(who, 99) == pytest.approx(3 * hosts / 8 + 2 * deciding)
    assert priced(who[:1], 1) == pytest.approx(2 * hosts + deciding)


def test_a_host_takes_time() -> None:
    assert cost.cpu_s(scenarios.load("small"), (0,), 20.0) > 0


def test_what_was_done_before_costs_nothing(tmp_path: Path) -> None:
    config = evaluation()
    assert cost.minutes(config, (), 1, tmp_path) == 0.0


def test_a_bound_lives_on_copies_too(tmp_path: Path) -> None:
    config = evaluation(policies=["static", "planner"])
    lives = entrants(config)[1].member.policy.lives(config.end_s)  # type: ignore[union-attr]

    def priced(who: Sequence[Entrant]) -> float:
        return cost.minutes(config, of(config, who), 1, tmp_path, lambda *_: 6.0)

    hosts = cost.OVERHEAD * 6 * 8 / 60
    found = priced(entrants(config)[1:]) - priced(entrants(config)[:1])
    assert found == pytest.approx((lives - 1) * hosts)


def test_the_sentence() -> None:
    said = cost.sentence(12.4, evaluation(), to_do=6, parts=6)
    assert said == "To do: 48 lives of 10 min; about 12 min on this machine."
    said = cost.sentence(0.2, evaluation(), to_do=1, parts=6)
    assert "8 lives of 10 min (5 of 6 parts were done before); under a minute" in said
