"""One run of a scenario: counters between marks, jobs, samples, policies."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.baselines import load_policy
from configs.loading import build, dump
from scenarios.__main__ import main
from scenarios.ledger import ledger, series
from scenarios.outcome import BEGIN, END, NoSuchMark, run
from scenarios.schema import Scenario
from scenarios.summary import lines

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
                                    {"op": "sleep", "seconds": "10ms"},
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
    assert np.isnan(found.job_s("job"))


def test_without_marks_it_ends_with_the_scenario_and_jobs_tell_their_time() -> None:
    found = run(a_scenario(timeline=[], length="10s"))
    assert found.at(END).time_s == 10.0
    assert found.job_s("job") == pytest.approx(5.0, rel=0.01)
    assert found.job_s("other", "a") == pytest.approx(0.0, abs=0.01)  # it only sleeps


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


def test_the_timeline_signals_guests_and_waits_for_limits() -> None:
    work = {
        "kernel": "4MiB",
        "regions": {"heap": {"kind": "anon", "size": "48MiB"}},
        "tasks": {
            "job": {
                "phases": [
                    {"op": "allocate", "region": "heap"},
                    {"op": "wait", "event": "go"},
                    {"op": "compute", "seconds": "2s"},
                ]
            }
        },
    }
    host = {
        "page": "64KiB",
        "ram": "256MiB",
        "swap": {"device": "disk", "size": "1GiB"},
        "cgroups": {"box": {}},
    }
    found = run(
        a_scenario(
            host=host,
            guests=[{"name": "a", "size": "64MiB", "cgroup": "box", "work": work}],
            timeline=[
                {"at": "5s", "do": "limit", "cgroup": "box", "max": "16MiB"},
                {"do": "wait_limit", "cgroup": "box"},
                {"do": "mark", "name": "reclaimed"},
                {"at": "20s", "do": "signal", "guest": "a", "event": "go"},
                {"at": "30s", "do": "mark", "name": "end"},
            ],
        )
    )
    # 36 MiB go to a disk of 500 MB/s.
    assert 5.0 + 36 * MIB / 5e8 < found.at("reclaimed").time_s < 6.0
    assert found.gauge_bytes("resident_pages", "reclaimed") <= 16 * MIB
    assert found.at("end").task["finished_s"][0, 0] == pytest.approx(22.0, abs=0.01)


def test_the_ledger_holds_all_of_it_as_plain_data() -> None:
    found = json.loads(json.dumps(ledger(run(a_scenario(timeline=[], length="10s")))))
    (span,) = found["between"]
    assert (span["from"], span["to"], span["seconds"]) == (BEGIN, END, 10.0)
    job = span["guests"]["a"]["tasks"]["job-1"]
    assert job["accesses"] == 32 * MIB / 4096
    assert job["nominal_s"] == pytest.approx(5.0, rel=0.01)
    assert found["marks"][-1]["guests"]["a"]["anon_bytes"] == 32 * MIB
    assert found["tasks"][0]["seconds"] == pytest.approx(5.0, rel=0.01)
    assert sum(job["lost_s"].values()) == pytest.approx(
        found["tasks"][0]["seconds"] - 5.0, abs=0.05
    )
    assert span["guests"]["a"]["cgroup"]["throttled_s"] == 0.0
    begin, end = (mark["host"]["free_bytes"] for mark in found["marks"])
    assert 30 * MIB < begin - end < 40 * MIB


def test_a_ledger_ends_with_the_last_mark() -> None:
    found = ledger(run(a_scenario()))
    assert [span["to"] for span in found["between"]] == ["half", "later"]
    ended = ledger(run(a_scenario(length="3500ms")))  # before the second mark
    assert [span["to"] for span in ended["between"]] == ["half", END]
    assert ended["missed_marks"] == ["later"]
    assert "never came to later: the scenario was over before, at 3.5 s" in lines(ended)
    assert not any("never came" in line for line in lines(found))


def test_the_summary_tells_what_mechanisms_did_and_only_that() -> None:
    plain = "\n".join(lines(ledger(run(a_scenario()))))
    for word in ("ksmd", "KSM", "reported", "huge pages", "given up", "throttled"):
        assert word not in plain
    host = {"page": "64KiB", "ram": "256MiB", "ksm": {"pages_to_scan": 5000}}
    heap = {"kind": "anon", "size": "32MiB", "content": "repeated:4"}
    phases = [
        {"op": "allocate", "region": "heap"},
        {"op": "compute", "seconds": "5s"},
        {"op": "free", "region": "heap", "bytes": "50%"},
        {"op": "sleep", "seconds": "5s"},
    ]
    guest = {
        "name": "a",
        "size": "64MiB",
        "mechanisms": {"hinting": "reporting", "reporting": {"order": 0}, "huge_pages": True},
        "work": {"regions": {"heap": heap}, "tasks": {"job": {"phases": phases}}},
    }
    timeline = [{"at": "1s", "do": "target", "guest": "a", "size": "60MiB"}]
    text = "\n".join(
        lines(ledger(run(a_scenario(host=host, guests=[guest], timeline=timeline, length="12s"))))
    )
    for word in (
        "ksmd ran",
        "merged by KSM",
        "4.0 MiB given up",
        "MiB reported free",
        "huge pages",
    ):
        assert word in text, text
    squeezed, host = guest | {"high": "16MiB"}, {"page": "64KiB", "ram": "256MiB"}  # without swap
    found = run(a_scenario(host=host, guests=[squeezed], timeline=[], length="4s"))
    text = "\n".join(lines(ledger(found)))
    assert "above memory.high" in text


def test_the_ledgers_series_are_the_samples() -> None:
    found = run(a_scenario(), sample_s=0.5)
    plain = json.loads(json.dumps(series(found)))
    assert plain["time_s"] == found.samples.time_s.tolist()
    assert plain["guests"]["a"]["resident_bytes"] == found.samples.resident[:, 0].tolist()


def test_a_run_tells_how_far_it_is() -> None:
    told: list[float] = []
    found = run(a_scenario(), told=told.append)
    assert told == sorted(told)
    assert told[-1] == found.at(END).time_s


def test_the_command_runs_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(dump(a_scenario()))
    assert main([str(path), "--policy", "equal", "--json", str(tmp_path / "found.json")]) == 0
    printed = capsys.readouterr().out
    assert "half to later, 1.000 s" in printed
    assert "a other: done in" in printed
    written = json.loads((tmp_path / "found.json").read_text())
    assert written["policy"] == "equal"
    assert "samples" not in written
    assert main([str(path), "--every", "1", "--json", str(tmp_path / "found.json")]) == 0
    written = json.loads((tmp_path / "found.json").read_text())
    assert written["samples"]["time_s"][:3] == [0.0, 1.0, 2.0]
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([str(path), "--every", "often"])
    assert "often" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(path), "--every", "1s"])
    assert "--every: samples are written by --json" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(path), "--every", "1us"])
    assert "expected at least 0.01 s" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(path), "--seed", "-1"])
    assert "got '-1', expected a whole number" in capsys.readouterr().err
    assert main([str(path), "--set", "host.cores=0"]) == 2
    assert "host.cores: got 0" in capsys.readouterr().err
    assert main([str(path), "--policy", "nobody"]) == 2
    assert "nobody" in capsys.readouterr().err


def told(tmp_path: Path, capsys: pytest.CaptureFixture[str], *changes: str) -> tuple[str, str]:
    (tmp_path / "mine.yaml").write_text(dump(a_scenario()))
    assert main([str(tmp_path / "mine.yaml"), *(f"--set={one}" for one in changes)]) == 0
    printed = capsys.readouterr()
    return printed.out, printed.err


def test_jobs_that_are_not_done_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = "timeline=[{at: 2s, do: mark, name: end}]"
    out, _ = told(tmp_path, capsys, later)
    assert "a job-1: not done when the run ended" in out
    assert "a other: done in 0.003 s" in out
    waits = "guests.0.work.tasks.other.phases=[{op: touch, region: heap}]"
    out, _ = told(tmp_path, capsys, later, waits)
    assert "a other" not in out  # which has no end
    out, _ = told(tmp_path, capsys, later, "guests.0.start=10s")
    assert "a other: not begun when the run ended" in out


def test_a_run_of_no_time_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = told(tmp_path, capsys, "timeline=[{at: 0s, do: mark, name: begin}]")
    assert out.startswith("nothing happened: the run ended at its last mark, at 0 s")


def test_a_guest_that_cannot_live_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["host.ram=96MiB", "host.swap=null", "guests.0.min=8MiB", "timeline=[]"]
    out, _ = told(tmp_path, capsys, *small)
    assert "a: the host killed it" in out and "does not fit into RAM and swap" in out


def test_a_policy_without_anybody_to_follow_it_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(dump(a_scenario()))
    given = [str(tmp_path / "mine.yaml"), "--set", "guests.0.mechanisms.resize=none"]
    assert main([*given, "--policy", "equal"]) == 2
    assert "--policy equal: expected a guest with mechanisms.resize" in capsys.readouterr().err
    target = "timeline=[{do: target, guest: a, size: 32MiB}]"
    _, err = told(tmp_path, capsys, "guests.0.mechanisms.resize=none", target)
    assert "timeline.0: target: a ignores it" in err


def test_a_limit_of_its_own_holds_for_each_guest() -> None:
    changes = ["guests.0.max=16MiB", "guests.0.count=2", "timeline=[]", "length=20s"]
    found = run(build(Scenario, a_scenario().model_dump(mode="json"), "test", changes))
    for name in ("a-1", "a-2"):
        assert 0 < found.gauge_bytes("resident_pages", END, name) <= 16 * MIB
        assert found.between().guest("host_swap_out", name) > 0
    assert found.between().host("direct_reclaims") > 0


def test_what_does_not_fit_this_machine_is_refused_before_it_is_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(dump(a_scenario()))
    huge = ["--set", "guests.0.size=64TiB", "--set", "host.ram=64TiB"]
    assert main([str(tmp_path / "mine.yaml"), *huge]) == 2
    printed = capsys.readouterr().err
    assert "needs about" in printed and "or a host.page above 65536" in printed
    for swap in ("host.swap.size=900TiB", "guests.0.own_swap=900TiB"):
        assert main([str(tmp_path / "mine.yaml"), "--set", swap]) == 2
        assert "needs about" in capsys.readouterr().err


def test_a_target_that_was_missed_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = "timeline=[{at: 1s, do: target, guest: a, size: 56MiB}, {at: 5s, do: mark, name: end}]"
    out, _ = told(tmp_path, capsys, asked)
    assert "asked for" not in out
    out, _ = told(tmp_path, capsys, asked, "guests.0.cooperation.stuck=true")
    assert "a: 64.0 MiB at the end, asked for 56.0" in out
