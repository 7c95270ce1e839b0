"""Wrong scenarios: each mistake is named with its place, its value and what was expected."""

from copy import deepcopy
from json import dumps as dump
from typing import Any

import pytest

import scenarios
from configs.loading import ConfigError, build
from scenarios import check
from scenarios.draw import draw
from scenarios.machine import CgroupConfig
from scenarios.schema import Scenario

GOOD: dict[str, Any] = {
    "name": "good",
    "host": {
        "page": "64KiB",
        "ram": "1GiB",
        "devices": {"disk": {"preset": "hdd"}},
        "swap": {"device": "disk", "size": "1GiB"},
        "cgroups": {"box": {"max": "512MiB"}},
    },
    "guests": [
        {
            "name": "a",
            "size": "256MiB",
            "min": "64MiB",
            "work": {
                "regions": {"heap": {"kind": "anon", "size": "50%"}},
                "curves": {"load": {"kind": "points", "points": [[0, 1]]}},
                "tasks": {
                    "t": {
                        "phases": [
                            {"op": "touch", "region": "heap", "bytes": "1MiB"},
                            {"op": "signal", "event": "done"},
                        ]
                    }
                },
            },
        },
        {"name": "b", "size": "256MiB", "profile": "web", "count": 2, "cgroup": "box"},
    ],
    "timeline": [
        {"at": 5, "do": "target", "guest": "a", "size": "128MiB"},
        {"do": "wait_target", "guest": "a"},
        {"do": "wait_event", "guest": "a", "event": "done"},
        {"after": "1s", "do": "limit", "cgroup": "box", "max": "256MiB"},
        {"do": "stop", "guest": "b-2"},
        {"do": "mark", "name": "end"},
    ],
}
WORK = "guests.0.work"
PHASE = f"{WORK}.tasks.t.phases.0"

MISTAKES = [
    ("timeline", [{"do": "signal", "guest": "a", "event": "go"}], r"event: 'go': expected one of"),
    ("timeline", [{"do": "wait_limit", "cgroup": "bag"}], r"cgroup: 'bag': expected one of box"),
    (
        f"{WORK}.tasks.t.phases",
        [{"op": "wait", "event": "go"}, {"op": "signal", "event": "done"}],
        r"guests.0.work.tasks.t.phases.0.event: 'go': of the events that are signalled",
    ),
    ("host.page", "48KiB", r"page: 49152: expected a power of two"),
    ("host.page", "8MiB", r"page: 8388608: expected a power of two from 4KiB to 4MiB"),
    ("host.ram", "1000001KiB", r"ram: 1024001024: expected a multiple of page"),
    ("host.ram", "32MiB", r"ram: 33554432: expected more than reserved"),
    ("host.ram", None, r"host.ram: expected a size, or a range in randomise.overcommit"),
    ("host.swap.device", "tape", r"swap.device: 'tape': expected one of the devices disk"),
    ("host.kernel", "2012", r"host.kernel.*'2011' or 'modern'"),
    ("host.devices.disk.preset", "floppy", r"preset.*expected 'hdd', 'ssd', 'nvme' or 'zram'"),
    ("host.devices.disk.preset", "zram", r"compressed memory holds no files"),
    ("host.readahead", "0KiB", r"readahead: 0: expected a power of two from 4KiB"),
    ("host.memory", 5, r"there is no such field"),
    ("guests.0.max", "100KiB", r"guests.0.max: 102400: expected a multiple of host.page"),
    ("guests.1.max", "64MiB", r"guests.1.max: 67108864: expected none here, but in host.cgroups"),
    ("guests.0.size", "-1", r"guests.0.size: got '-1'; expected a size"),
    ("guests.0.size", "257000KiB", r"guests.0.size: .*expected a multiple of host.page, 65536"),
    ("guests.0.min", "300MiB", r"min: 314572800: expected at most size"),
    ("guests.0.min", "4MiB", r"min: 4194304: expected at least what its kernel"),
    (f"{WORK}.kernel_spread", "1MiB", r"kernel_spread: 1048576: expected from kernel"),
    ("guests.0.min", "65MB", r"guests.0.min: 65000000: expected a multiple"),
    ("guests.0.profile", "web", r"expected either profile or work"),
    ("guests.1.profile", "weeb", r"profile: 'weeb': expected one of analytics, batch"),
    ("guests.1.count", 255, r"guests: 256 of them: expected at most 255 on a host"),
    (f"{WORK}.tasks.t.count", 1_000_000, r"less than or equal to 1000"),
    ("guests.1.count", 0, r"greater than or equal to 1"),
    ("guests.1.cgroup", "bag", r"guests.1.cgroup: 'bag': expected one of box"),
    ("guests.1.emulator", "512MiB", r"emulator: 536870912: expected less than its cgroup's max"),
    ("guests.1.emulator_used", "512MiB", r"emulator_used: 536870912: expected at most emulator"),
    ("guests.1.disk", "tape", r"guests.1.disk: 'tape': expected one of disk"),
    ("guests.1.stop", 0, r"stop: 0.0: expected after start, 0.0"),
    ("guests.1.mechanisms", {"reporting": {"order": 9}}, r"hinting: reporting beside it, not none"),
    ("arm", {"reporting": {"order": 9}}, r"arm.reporting: expected hinting: reporting"),
    ("randomise", {"reporting_order": {"9": 1}}, r"expected reporting among randomise.hinting"),
    ("guests.1.mechanisms", {"hinting": "yes"}, r"'none', 'bitmap' or 'reporting'"),
    ("guests.1.mechanisms", {"async": "on"}, r"there is no such field"),
    (f"{PHASE}.region", "heep", r"tasks.t.phases.0.region: 'heep': expected one of heap"),
    (f"{PHASE}.rate_curve", "load", r"rate_curve: makes sense only with a rate"),
    (f"{PHASE}.size", "lod", r"curve 'lod': expected one of load"),
    (f"{PHASE}.zipf", 2.0, r"makes sense only with pattern zipf"),
    (f"{PHASE}.count", 5, r"count and bytes say the same"),
    (f"{PHASE}.pattern", "stream", r"a name if and only if the pattern is stream"),
    (f"{PHASE}.op", "tuch", r"'touch', 'read', 'write'"),
    (f"{PHASE}.write", 1.5, r"less than or equal to 1"),
    (f"{PHASE}.bytes", None, r"phases.1: never begins"),
    (f"{WORK}.regions.heap.size", "95%", r"regions.heap.size: .*expected at most size less kernel"),
    (f"{WORK}.regions.heap.size", "0%", r"regions.heap.size: 0: expected more"),
    (f"{WORK}.regions.heap.size", "100KiB", r"expected a multiple of host.page"),
    (f"{WORK}.kernel", "256MiB", r"kernel: 268435456: expected less than size"),
    (f"{WORK}.reserved", "255MiB", r"reserved: 267386880: expected at most kernel"),
    (f"{WORK}.curves.load", {"kind": "product", "of": ["x", "y"]}, r"'x': expected the name of"),
    ("timeline.0.guest", "z", r"timeline.0.guest: 'z': expected one of a, b-1, b-2"),
    ("timeline.0.size", "512MiB", r"timeline.0.size: .*expected at most the guest's size"),
    ("timeline.0.after", 1, r"at most one of at and after"),
    ("timeline.2.event", "never", r"timeline.2.event: 'never': expected one of done"),
    ("timeline.3.cgroup", "bag", r"timeline.3.cgroup: 'bag': expected one of box"),
    ("timeline.5.at", 1, r"timeline.5.at: 1.0: expected at least 5.0"),
    ("timeline.5.do", "remark", r"'start', 'stop', 'limit'"),
    ("randomise.guests", [3, 2], r"guests: \[3, 2\]: expected fewest and most"),
    ("randomise.guests", [2, 3], r"expected profiles and sizes"),
    ("randomise.overcommit", [1, 2], r"host.ram: .*expected none"),
    ("randomise.sizes", {"big": 1}, r"expected a size"),
    ("randomise.profiles", {"weeb": 1}, r"randomise.profiles: profile: 'weeb'"),
    ("randomise.cores", {"many": 1}, r"'many': expected a whole number"),
    ("randomise.kernels", {"modern": 0}, r"expected weights of 0 or more, and one above 0"),
    ("randomise.swap_devices", {"tape": 1}, r"randomise.swap_devices: 'tape'"),
    ("replay.nominal", ["4GiB", "2GiB"], r"expected the smaller first"),
    ("replay.guests", [1, 2], r"in a replay guests come and go by the trace"),
]


def changed(path: str, value: object) -> dict[str, Any]:
    data: dict[str, Any] = deepcopy(GOOD)
    *parents, last = path.split(".")
    here: Any = data
    for step in parents:
        here = here[int(step)] if isinstance(here, list) else here.setdefault(step, {})
    here[last] = value
    return data


def test_the_good_one_is_good() -> None:
    scenario = build(Scenario, GOOD, "good.yaml")
    assert scenario.most_guests == 3
    assert scenario.guests[1].names == ("b-1", "b-2")


@pytest.mark.parametrize("path, value, message", MISTAKES, ids=[m[0] for m in MISTAKES])
def test_a_mistake_is_named(path: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        build(Scenario, changed(path, value), "bad.yaml")
    assert str(error.value).startswith("bad.yaml: ")


def test_all_mistakes_are_named_at_once() -> None:
    data = changed("guests.1.cgroup", "bag")
    data["timeline"][0]["guest"] = "z"
    with pytest.raises(ConfigError, match=r"'bag'.*\n.*'z'") as caught:
        build(Scenario, data, "bad.yaml")
    assert [line.split(": ")[:2] for line in str(caught.value).splitlines()] == [
        ["bad.yaml", "guests.1.cgroup"],
        ["bad.yaml", "timeline.0.guest"],
    ]


def test_two_guests_of_one_name_are_refused() -> None:
    data = changed("guests.1.name", "a")
    data["guests"][1]["count"] = 1
    data["timeline"] = []
    with pytest.raises(ConfigError, match="two are called 'a'"):
        build(Scenario, data, "bad.yaml")


def test_guests_that_start_at_intervals_stop_after_the_last_of_them() -> None:
    data = changed("guests.1.start_every", "20s")
    data["guests"][1]["stop"] = "21s"
    build(Scenario, data, "good.yaml")
    data["guests"][1]["stop"] = "20s"
    with pytest.raises(ConfigError, match=r"stop: 20.0: expected after the start of the last"):
        build(Scenario, data, "bad.yaml")


def test_what_is_resident_at_the_start_must_fit() -> None:
    data = changed("guests.1.memory", "resident")
    data["guests"][1] |= {"size": "1GiB", "cgroup": None}
    data["timeline"] = []
    with pytest.raises(ConfigError, match="resident or reclaimed at the start"):
        build(Scenario, data, "bad.yaml")


def test_an_endless_repeat_must_come_last() -> None:
    forever = {"op": "repeat", "phases": [{"op": "sleep", "seconds": 1}]}
    data = changed(f"{WORK}.tasks.t.phases", [forever, {"op": "exit"}])
    data["timeline"] = []
    with pytest.raises(ConfigError, match=r"phases.1: never begins"):
        build(Scenario, data, "bad.yaml")


@pytest.mark.parametrize(
    "change",
    [
        {"host": {"protection": "4MiB"}},
        {"host": {"cgroups": {"box": {"low": "4MiB"}}}},
        {"host": {"cgroups": {"box": {"high": "4MiB"}}}},
        {"guests": {"low": "4MiB"}},
        {"guests": {"high": "4MiB"}},
        {"timeline": [{"at": 1, "do": "limit", "guest": "a", "low": "4MiB"}]},
    ],
)
def test_a_host_of_2011_has_no_protection(change: dict[str, Any]) -> None:
    data: dict[str, Any] = {
        "name": "old",
        "host": {"ram": "1GiB", "kernel": "2011", **change.get("host", {})},
        "guests": [{"name": "a", "size": "64MiB", "work": {}, **change.get("guests", {})}],
        "timeline": change.get("timeline", []),
    }
    with pytest.raises(ConfigError, match=r"2011 has no memory\.low"):
        build(Scenario, data, "test")
    data["host"]["kernel"] = "modern"
    build(Scenario, data, "test")


def test_low_and_high_of_a_shared_cgroup_are_its_own() -> None:
    data: dict[str, Any] = {
        "name": "shared",
        "host": {"ram": "1GiB", "cgroups": {"box": {}}},
        "guests": [{"name": "a", "size": "64MiB", "work": {}, "cgroup": "box", "low": "4MiB"}],
    }
    with pytest.raises(ConfigError, match=r"expected none here, but in host\.cgroups\.box"):
        build(Scenario, data, "test")
    del data["guests"][0]["low"]
    data["timeline"] = [{"at": 1, "do": "limit", "guest": "a", "low": "4MiB"}]
    with pytest.raises(ConfigError, match="expected cgroup: box, which it is in"):
        build(Scenario, data, "test")


def test_an_entry_with_a_mistake_does_not_make_its_list_short() -> None:
    for field, value in (("colour", "red"), ("op", "tuch"), ("cost", "fast")):
        data = changed(f"{PHASE}.{field}", value)
        with pytest.raises(ConfigError) as caught:
            build(Scenario, data, "bad.yaml")
        (line,) = str(caught.value).splitlines()
        assert line.startswith(f"bad.yaml: {PHASE}"), line
    with pytest.raises(ConfigError, match=r"phases: got \[\]; expected at least 1$"):
        build(Scenario, changed(PHASE.removesuffix(".0"), []), "bad.yaml")


def test_no_limit_has_a_word_at_the_start_as_in_the_timeline() -> None:
    data = changed("host.cgroups.box", {"max": "none", "high": "none"})
    data["guests"][0]["high"] = "none"
    data["timeline"] = [{"do": "limit", "cgroup": "box", "max": "none"}]
    scenario = build(Scenario, data, "good.yaml")
    assert scenario.host.cgroups["box"] == CgroupConfig()
    assert scenario.guests[0].high is None
    assert draw(scenario, 0).spec.timeline[0].value == -1.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"guests.0.mechanisms": {"huge_pages": True}}, "guests.0.mechanisms.huge_pages: true"),
        ({"arm": {"huge_pages": True}}, "arm.huge_pages: true"),
        ({"randomise": {"huge_pages": 0.5}}, "randomise.huge_pages: 0.5"),
    ],
)
def test_huge_pages_need_fine_pages(changes: dict[str, Any], says: str) -> None:
    coarse = [f"{path}={dump(value)}" for path, value in changes.items()]
    with pytest.raises(ConfigError, match=f"{says}: expected false, or host.page of at most 65536"):
        build(Scenario, GOOD, "good", ["host.page=128KiB", *coarse])
    assert build(Scenario, GOOD, "good", coarse).host.page == 65536


def test_a_year_may_be_a_number() -> None:
    for year in ("2011", '"2011"'):
        made = build(Scenario, GOOD, "good", [f"host.kernel={year}", f"arm.kernel={year}"])
        assert made.host.kernel == made.arm.kernel == "2011"
    with pytest.raises(ConfigError, match="'2011' or 'modern'"):
        build(Scenario, GOOD, "good", ["host.kernel=2012"])


def test_targets_for_who_ignores_them_are_named() -> None:
    plain = build(Scenario, GOOD, "good")
    assert list(check.ignored(plain)) == [] and check.resizes(plain)
    deaf = build(Scenario, GOOD, "good", ["guests.0.mechanisms.resize=none"])
    assert list(check.ignored(deaf)) == [
        "timeline.0: target: a ignores it, as its mechanisms.resize is none"
    ]
    assert check.resizes(deaf)
    assert not check.resizes(build(Scenario, GOOD, "good", ["arm.resize=none"]))
    assert check.resizes(scenarios.load("default"))
    assert not check.resizes(scenarios.load("default", ["arm.resize=none"]))
