"""Every baseline's rule against recorded decisions of the original program, all rows."""

import gzip
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agents.baselines import mom, proxmox, qemus_pi, qubes, senpai, squeezed, vdsm
from agents.baselines._mom import SAMPLES, GuestSamples, HostSamples, stat_avg
from agents.baselines._mom_ksm import KsmSeen
from tests.agents.recorded import (
    VARIABLE,
    BadRecording,
    Row,
    differences,
    files,
    folder,
    rows,
)

Replay = Callable[[Row], list[str]]  # a row -> what differs


def replay_proxmox(row: Row) -> list[str]:
    guests = {int(number): proxmox.Guest(**status) for number, status in row["vmstatus"].items()}
    config = proxmox.ProxmoxConfig(step_bytes=row["maxchange"])
    found = proxmox.rule(guests, row["goal"], config)
    return differences(row["result"], {str(number): size for number, size in found.items()})


def newest_last(history: list[Row], field: str) -> list[float]:
    """The samples as the rules take them: a fixed number, NaN before the first."""
    known = [math.nan if sample[field] is None else sample[field] for sample in history]
    return [math.nan] * (SAMPLES - len(known)) + known


def replay_mom(row: Row) -> list[str]:
    host = HostSamples(
        *(np.array([newest_last(row["host_history"], name)]) for name in HostSamples._fields)
    )
    guests = GuestSamples(
        *(
            np.array([[newest_last(history, name) for history in row["guests_history"]]])
            for name in GuestSamples._fields
        )
    )
    found = {
        "vdsm_on": vdsm.rule(host, guests, vdsm.VdsmConfig(balloon_enabled=True)),
        "vdsm_off": vdsm.rule(host, guests, vdsm.VdsmConfig()),
        "upstream": mom.rule(host, guests, mom.MomConfig()),
    }
    plain = {
        name: [None if math.isnan(target) else target for target in targets[0].tolist()]
        for name, targets in found.items()
    }
    recorded = {  # Python's numbers: a whole one there may be a float here
        name: [None if target is None else float(target) for target in row[name]] for name in plain
    }
    return differences(recorded, plain)


def replay_mom_ksm(row: Row) -> list[str]:
    history = row["host_history"]
    seen = KsmSeen(**{name: history[-1][name] for name in KsmSeen._fields})
    free = newest_last(history, "mem_free")
    seen = seen._replace(mem_free=stat_avg(np.array(free)).item())
    disabled = vdsm.VdsmConfig(ksm_enabled=False)
    found = {
        "vdsm": vdsm.ksm_rule(seen, vdsm.VdsmConfig()),
        "vdsm_ksm_disabled": vdsm.ksm_rule(seen, disabled),
        "upstream": mom.ksm_rule(seen, mom.MomConfig()),
    }
    plain = {
        policy: {name: value for name, value in controls._asdict().items() if value is not None}
        for policy, controls in found.items()
    }
    return differences({name: row[name] for name in plain}, plain)


def replay_qemus(row: Row) -> list[str]:
    largest, smallest = float(row["max_mem"]), float(row["min_mem"])
    memory = qemus_pi.Memory(np.array(0.0), np.array(largest))
    wrong = []
    for number, step in enumerate(row["steps"]):
        used = math.nan if step["guest_used"] is None else step["guest_used"]
        free, pressure = step["host_available"] / row["host_total"], step["psi_some_avg10"]
        values = (free, pressure, largest, smallest, step["actual_balloon"], used)
        seen = qemus_pi.Seen(*(np.array(float(value)) for value in values))
        found = qemus_pi.rule(seen, memory, qemus_pi.QemusPiConfig())
        memory = found.memory
        plain = {
            "target_max": int(found.cap),
            "sent": None if np.isnan(found.send) else int(found.send),
            "integral": float(memory.integral),
        }
        expected = {name: step[name] for name in plain} | {"integral": float(step["integral"])}
        wrong += differences(expected, plain, f"step {number}")
    return wrong


def replay_senpai(row: Row) -> list[str]:
    names = {"min_size": "min_size_bytes", "max_size": "max_size_bytes", "pressure": "pressure_us"}
    config = senpai.SenpaiConfig(
        **{names.get(name, name): value for name, value in row["config"].items()}
    )
    largest = np.array(config.max_size_bytes)
    probe = senpai.begin(np.array(row["memory_current_at_start"]), largest, config)
    found = [int(probe.limit)]
    for stall_us in row["psi_some_total_delta_us"]:
        probe, _ = senpai.rule(probe, np.array(float(stall_us)), largest, config)
        found.append(int(probe.limit))
    return differences(row["memory_high"], found)


def replay_qubes(row: Row) -> list[str]:
    domains = [qubes.Domain(**domain) for domain in row["domains"]]
    config = qubes.QubesConfig()
    found = {
        "balance": qubes.rule(domains, row["xen_free_minus_50MiB"], config),
        "balloon": qubes.balloon(domains, row["balloon_request"], config),
    }
    plain = {name: [list(size) for size in sizes] for name, sizes in found.items()}
    return differences({name: row[name] for name in plain}, plain)


class SqueezedTest(Exception):
    """A squeezed scenario has failed; the message says at what."""


class Balloons:
    """Guests of a squeezed scenario [KiB, s]; a step is 0.1 s."""

    def __init__(self, row: Row) -> None:
        self.free = int(row["free"])
        self.vms = {vm["domid"]: dict(vm) for vm in row["vms"]}
        self.tick = 0

    def domains(self) -> dict[int, squeezed.Domain]:
        return {
            number: squeezed.Domain(
                vm["dynamic_min"],
                vm["target"],
                vm["dynamic_max"],
                vm["memory_actual"],
                vm["inaccuracy"],
                vm["can_balloon"],
            )
            for number, vm in self.vms.items()
        }

    def step(self) -> None:
        before_s, self.tick = self.tick / 10, self.tick + 1
        for number, vm in self.vms.items():
            change = self._change(vm, before_s, self.tick / 10)
            if change > self.free:
                raise SqueezedTest(f"{number} wants {change}, {self.free} are free")
            vm["memory_actual"] += change
            self.free -= change

    def _change(self, vm: Row, before_s: float, now_s: float) -> int:
        if vm["model"] == "stuck":
            return 0
        if vm["model"] == "intermittently_stuck" and any(
            int(moment / vm["interval"]) % 2 for moment in (before_s, now_s)
        ):
            return 0
        actual, away = vm["memory_actual"], vm["target"] - vm["memory_actual"]
        far = min(max(0, abs(away) - vm["inaccuracy"]), int((now_s - before_s) * vm["rate"]))
        change = far if away >= 0 else -far
        if vm["model"] == "rate+min_limit" and change <= 0 and actual + change <= vm["limit"]:
            change = int(vm["limit"]) - actual
        if vm["model"] == "rate+max_limit" and actual + change >= vm["limit"]:
            change = int(vm["limit"]) - actual
        return int(change)

    def run(self, wanted: int) -> None:
        """The daemon's loop, until it settles."""
        progress: dict[int, squeezed.Progress] = {}
        config = squeezed.SqueezedConfig()
        while self.tick < 10_000:
            found = squeezed.rule(
                self.domains(), self.free, wanted, progress, self.tick / 10, config
            )
            progress = found.progress
            for number, size in found.targets.items():
                self.vms[number]["target"] = size
            if found.settled:
                return
            self.step()
        raise SqueezedTest("never settles")

    def demand(self, kept: int) -> None:
        """So much stays free if every guest grows to its target and the inaccuracy."""
        growth = sum(
            vm["target"] + vm["inaccuracy"] - vm["memory_actual"] for vm in self.vms.values()
        )
        if self.free - growth < kept:
            raise SqueezedTest(f"{self.free} free, {growth} may be taken, {kept} are needed")


def replay_squeezed(row: Row) -> list[str]:
    balloons = Balloons(row)
    try:
        balloons.run(row["required"])
        if balloons.free < row["required"]:
            raise SqueezedTest(f"{balloons.free} of {row['required']} freed")
        balloons.demand(row["required"])
        balloons.free -= 500
        balloons.run(0)
        if balloons.free > 32:
            raise SqueezedTest(f"{balloons.free} left over")
        balloons.demand(0)
    except SqueezedTest as error:
        return [f"{row['name']}: {error}"] if row["ok"] else []
    return [] if row["ok"] else [f"{row['name']}: succeeds, expected failure"]


REPLAYS: dict[str, Replay] = {
    "mom_balloon": replay_mom,
    "mom_ksm": replay_mom_ksm,
    "pve_autoballoon": replay_proxmox,
    "qemus_pi": replay_qemus,
    "senpai": replay_senpai,
    "qubes_qmemman": replay_qubes,
    "squeezed_scenarios": replay_squeezed,
}


def replay_of(path: Path) -> Replay:
    name = path.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".json")
    known = [program for program in REPLAYS if name.startswith(program)]
    if not known:
        pytest.fail(
            f"{path.name}: nothing replays it; expected a name that begins with one of"
            f" {', '.join(REPLAYS)}"
        )
    return REPLAYS[max(known, key=len)]


RECORDINGS = files(folder())


@pytest.mark.skipif(
    not RECORDINGS, reason=f"no recorded decisions in {folder()} (set {VARIABLE} to their folder)"
)
@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_decides_as_the_original(path: Path) -> None:
    replay = replay_of(path)
    wrong = [
        f"{row.get('id', row.get('name', '?'))}: {'; '.join(found)}"
        for row in rows(path)
        if (found := replay(row))
    ]
    assert not wrong, f"{path.name}: {len(wrong)} rows differ\n" + "\n".join(wrong[:10])


def test_a_row_that_differs_is_told() -> None:
    guest = {"maxmem": 2**31, "balloon": 2**30, "balloon_min": 2**29, "freemem": 2**28}
    row = {"vmstatus": {"7": guest}, "goal": -(2**29), "maxchange": 2**20, "result": {"7": 5}}
    assert replay_proxmox(row) == [f".7: expected 5, found {2**30 - 2**20}"]


def test_a_squeezed_scenario_that_ends_otherwise_is_told() -> None:
    """400 KiB can be freed of a guest from 1000 to 2000 KiB that has 1500, but not 600."""
    guest: Row = {"domid": 1, "can_balloon": True, "dynamic_min": 1000, "dynamic_max": 2000}
    guest |= {"target": 1500, "memory_actual": 1500, "inaccuracy": 4, "model": "rate", "rate": 100}
    row: Row = {"name": "x", "ok": True, "free": 500, "required": 1100, "vms": [guest]}
    assert replay_squeezed(row) == ["x: 996 of 1100 freed"]
    assert replay_squeezed(row | {"ok": False}) == []
    row["required"] = 900
    assert replay_squeezed(row) == []
    assert replay_squeezed(row | {"ok": False}) == ["x: succeeds, expected failure"]


def test_scenarios_are_the_rows_of_a_json_file(tmp_path: Path) -> None:
    path = tmp_path / "squeezed_scenarios_more.json"
    path.write_text('{"scenarios": [\n{"name": "a"}, {"name": "b"}]}')
    assert [row["name"] for row in rows(path)] == ["a", "b"]
    assert replay_of(path) is replay_squeezed
    for wrong in ("{}", "[]", '{"scen'):
        path.write_text(wrong)
        with pytest.raises(BadRecording, match=r"squeezed_scenarios_more\.json"):
            list(rows(path))


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (1, 1.0),
        (1, 2),
        (1.0, 1.0 + 2e-6),
        (None, 0),
        ([1, 2], [2, 1]),
        ({"a": 1}, {}),
        ({}, {"a": 1}),
        (True, 1),
    ],
    ids=str,
)
def test_what_differs_is_seen(expected: object, found: object) -> None:
    assert differences(expected, found)
    assert not differences(expected, expected)


def test_floats_may_be_off_by_a_millionth() -> None:
    assert not differences({"a": [1.0, 1e9, 0.0]}, {"a": [1.0 + 9e-7, 1e9 + 900.0, 9e-7]})


def test_an_unknown_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("about them")
    (tmp_path / "magic.jsonl.gz").write_bytes(b"")
    (found,) = files(tmp_path)
    with pytest.raises(pytest.fail.Exception, match=r"magic\.jsonl\.gz: nothing replays it"):
        replay_of(found)


def test_other_files_of_a_known_format_are_replayed() -> None:
    assert replay_of(Path("pve_autoballoon_others.jsonl.gz")) is replay_proxmox


@pytest.mark.parametrize("text", ['{"id": 1}\n{"id": 2, "go', '{"id": 1}\n[2]\n', '{"id": 1}\n\n'])
def test_a_line_that_is_no_object_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "some.jsonl.gz"
    path.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(BadRecording, match=r"some\.jsonl\.gz, line 2"):
        list(rows(path))


def test_a_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b'{"id": %d}\n' % number for number in range(5000)))
    path = tmp_path / "some.jsonl.gz"
    path.write_bytes(whole[:-20])
    with pytest.raises(BadRecording, match=r"some\.jsonl\.gz, (after )?line .*cut off"):
        list(rows(path))
