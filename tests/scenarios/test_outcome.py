"""One run of a scenario: counters between marks, jobs, samples, policies."""

from typing import Any

import numpy as np
import pytest

from agents.baselines import load_policy
from configs.loading import build
from scenarios.outcome import BEGIN, END, NoSuchMark, run
from scenarios.schema import Scenario

MIB = 2**20


def a_scenario(**changes: Any) -> Scenario:  # noqa: ANN401  parts of a scenario
    return build(
        Scenario,
        {
            "name": "marks",
            "host": {"page": "64KiB", "ram": "256MiB", "swap": {"device": "disk", "size": "1GiB"}},
            "guests": [
                {
                    "name": "a",
                    "size": "64MiB",
                    "work": {
                        "kernel": "4MiB",
                        "regions": {"heap": {"kind": "anon", "size": "32MiB"}},
                        "tasks": {
                            "job": {
                                "count": 2,
                                "phases": [
                                    {"op": "compute", "seconds": "3s"},
                                    {"op": "signal", "event": "half"},
                                    {"op": "allocate", "region": "heap"},
                                    {"op": "compute", "seconds": "2s"},
                                ],
                            },
                            "other": {"phases": [{"op": "sleep", "seconds": "1s"}]},
                        },
                    },
                    "vcpus": 2,
                }
            ],
            "timeline": [
                {"do": "wait_event", "guest": "a", "event": "half"},
                {"do": "mark", "name": "half"},
                {"after": "1s", "do": "mark", "name": "later"},
            ],
            "warm_up": 0,
            "length": "60s",
        }
        | changes,
        "test",
    )


def test_counters_between_marks() -> None:
    found = run(a_scenario())
    span = found.between("half", "later")
    assert span.seconds == pytest.approx(1.0)
    # two jobs compute on two vCPUs, but for the first touches of the heap
    assert span.task("nominal_s", "job") == pytest.approx(2.0, rel=0.1)
    assert span.task("nominal_s", "other") == 0
    assert span.guest_bytes("host_fresh") == pytest.approx(32 * MIB, rel=0.01)
    assert span.guest_bytes("host_fresh", "a") == span.guest_bytes("host_fresh")
    assert found.between(BEGIN, "half").guest_bytes("host_fresh") <= 5 * MIB
    assert found.gauge_bytes("anon_pages", "later") == 32 * MIB


def test_a_run_ends_at_its_last_mark() -> None:
    found = run(a_scenario())
    assert [name for name, _ in found.marks] == [BEGIN, "half", "later", END]
    assert found.at(END).time_s <= found.at("later").time_s + 1.0
    assert np.isnan(found.finished_s("job"))


def test_without_marks_it_ends_with_the_scenario_and_jobs_tell_their_time() -> None:
    found = run(a_scenario(timeline=[], length="10s"))
    assert found.at(END).time_s == 10.0
    assert found.finished_s("job") == pytest.approx(5.0, rel=0.01)
    assert found.finished_s("other", "a") == pytest.approx(1.0, abs=0.01)


def test_a_mark_that_was_not_reached_is_named() -> None:
    found = run(a_scenario(length="1s"))
    with pytest.raises(NoSuchMark, match=r"'half': expected one of \(begin\), \(end\)"):
        found.between("half")


def test_samples_of_memory() -> None:
    found = run(a_scenario(), sample_s=0.5).samples
    assert found.time_s[:4] == pytest.approx([0.0, 0.5, 1.0, 1.5])
    assert found.resident.shape == (len(found.time_s), 1)
    assert found.resident[0, 0] <= 5 * MIB < 32 * MIB <= found.resident[-1, 0]


def test_a_policy_sets_targets_and_nobody_else_does() -> None:
    assert run(a_scenario()).at(END).guest["target_pages"][0] < 0
    static = run(a_scenario(), policy=load_policy("static", {}))
    assert static.at(END).guest["target_pages"][0] * static.page_bytes == 64 * MIB
