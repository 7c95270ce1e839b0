"""What a run costs is said before it begins."""

from collections.abc import Sequence
from pathlib import Path

import pytest

import scenarios
from reports import cost
from reports.entrants import Entrant, entrants
from reports.settings import Evaluation, Seeds
from scenarios.schema import Scenario


def evaluation(**changes: object) -> Evaluation:
    settings = {"name": "t", "title": "T", "policies": ["static", "slides"], **changes}
    settings |= {"warm_up": 60.0, "scored": 540.0, "seeds": Seeds(first=0, count=8)}
    return Evaluation.model_validate({"scenarios": [{"scenario": "small"}], **settings})


def test_lives_are_priced_by_the_first_minutes_of_some_hosts(tmp_path: Path) -> None:
    config = evaluation()
    seen: list[tuple[int, float]] = []

    def measure(scenario: Scenario, seeds: Sequence[int], sample_s: float) -> float:
        seen.append((len(seeds), sample_s))
        return 6.0

    def priced(who: Sequence[Entrant], threads: int) -> float:
        small = [scenarios.load("small")]
        return cost.minutes(config, small, who, threads, tmp_path, measure)

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


def test_the_sentence() -> None:
    said = cost.sentence(12.4, evaluation(), scenarios=2, entrants=3)
    assert said == "To do: 48 lives of 10 min: 3 x 16 hosts; about 12 min on this machine."
    assert "under a minute" in cost.sentence(0.2, evaluation(), 1, 1)
