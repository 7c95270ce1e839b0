"""Guests that follow recorded page numbers and request rates."""

import lzma
from pathlib import Path

import numpy as np
import pytest

import scenarios
from configs.loading import ConfigError
from scenarios import recordings
from scenarios.check import works_of
from scenarios.curves import Recorded
from scenarios.draw import draw
from scenarios.recordings import Recordings, pages, rates
from scenarios.schema import Scenario
from scenarios.traces import TraceError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "page_refs").mkdir()
    (tmp_path / "intensity").mkdir()
    numbers = np.arange(1000, dtype=np.uint32) // 2 * 7  # 500 pages, each twice in a row
    np.savez(tmp_path / "page_refs/mine.npz", page=numbers)
    lines = "\n".join(f"{minute},{minute % 50}" for minute in range(1000))
    with lzma.open(tmp_path / "intensity/mine_per_minute.csv.xz", "wt") as file:
        file.write("period,count\n" + lines + "\n")
    return tmp_path


def measured(folder: Path, **changes: str) -> Recordings:
    return Recordings.model_validate({"source": "folder", "folder": str(folder), **changes})


def test_a_recording_fills_its_region_with_whole_pages(folder: Path) -> None:
    found = pages("mine", measured(folder), 100, 0.0)
    assert found.dtype == np.int32
    assert set(found) == set(range(100))
    assert len(found) == 200  # of a sampled page all references are there
    assert (found[::2] == found[1::2]).all()
    assert set(pages("mine", measured(folder), 9999, 0.0)) == set(range(500))


def test_sampling_by_page_keeps_the_curve_of_misses() -> None:
    whole = pages("standin", Recordings(), 10**6, 0.0)
    part = pages("standin", Recordings(), 2000, 0.0)
    for share in (0.1, 0.3, 0.6):
        misses = [_misses(string, share * (string.max() + 1)) for string in (whole, part)]
        assert misses[1] == pytest.approx(misses[0], abs=0.05)


def _misses(string: np.ndarray, size: float) -> float:
    """Share of references that an LRU of so many pages misses."""
    kept: dict[int, None] = {}
    missed = 0
    for page in string[:60_000].tolist():
        missed += kept.pop(page, 0) is not None
        kept[page] = None
        if len(kept) > size:
            del kept[next(iter(kept))]
    return missed / min(len(string), 60_000)


def test_a_recording_may_begin_anywhere(folder: Path) -> None:
    found = pages("mine", measured(folder), 500, 0.25)
    assert found[0] == 125
    assert sorted(found) == sorted(pages("mine", measured(folder), 500, 0.0))


def test_splits_have_times_of_their_own(folder: Path) -> None:
    parts = [
        recordings._part(np.arange(1000), measured(folder, split=split))
        for split in ("train", "validation", "test")
    ]
    assert (np.concatenate(parts) == np.arange(1000)).all()
    assert [len(part) for part in parts] == [600, 200, 200]
    assert len(pages("mine", measured(folder, split="test"), 999, 0.0)) == 200


def test_rates_are_between_low_and_high_and_begin_in_the_split(folder: Path) -> None:
    curve = Recorded(kind="recorded", trace="mine", low=0.5, high=2.0, compression=60.0)
    times, values = rates(curve, measured(folder), np.random.default_rng(0), 300.0)
    assert times[0] == 0 and times[-1] >= 300 and np.diff(times) == pytest.approx(1.0)
    assert values.min() == 0.5 and values.max() == 2.0
    with pytest.raises(TraceError, match="split test has 200 minutes; expected 301"):
        rates(curve, measured(folder, split="test"), np.random.default_rng(0), 300.0)


def test_stand_ins_are_always_the_same_and_differ_by_name() -> None:
    one, again, other = (pages(name, Recordings(), 512, 0.0) for name in ("a", "a", "b"))
    assert (one == again).all()
    assert len(one) != len(other) or (one != other).any()


def test_stand_ins_of_requests_have_quiet_hours_and_crowds() -> None:
    counts = recordings._invented_rates("worldcup98")
    assert counts.min() > 0
    assert 5 < np.quantile(counts, 0.99) / np.median(counts) < 60  # measured: 28


def test_missing_recordings_are_told_by_place(folder: Path) -> None:
    used = recordings.used(works_of(scenarios.load("crowds")))
    assert recordings.missing(used, folder) == ("intensity/worldcup98",)
    with pytest.raises(TraceError, match="there is no recording 'other'"):
        pages("other", measured(folder), 10, 0.0)


def test_guests_of_one_site_share_its_crowds_and_others_do_not() -> None:
    scenario = scenarios.load("crowds", ["randomise.profiles={site: 1, elsewhere: 1}"])
    host = draw(scenario, 3)
    demand = {guest.name: host.spec.guests[i].curves for i, guest in enumerate(host.guests)}
    shares = {
        name: tuple(np.round(curves[0].value / curves[0].value.max(), 2))
        for name, curves in demand.items()
    }
    site = {value for name, value in shares.items() if name.startswith("site")}
    assert len(site) == 1 < len(shares)
    assert len(set(shares.values())) == len(shares) - sum("site" in name for name in shares) + 1


def test_streams_stay_within_their_regions() -> None:
    scenario = scenarios.load("pagecache")
    for guest in draw(scenario, 1).spec.guests:
        for task in guest.tasks:
            for phase in task.phases:
                if phase.stream >= 0:
                    most = guest.streams[phase.stream].max()
                    assert most < guest.regions[phase.region].pages


def test_a_stream_has_one_source() -> None:
    small = scenarios.load("small").model_dump(mode="json")
    small["guests"][0] |= {"profile": None, "work": {"streams": {"reads": {}}}}
    with pytest.raises((ConfigError, ValueError), match="either file or trace"):
        Scenario.model_validate(small)


def test_hosts_follow_the_same_time_or_times_apart_and_say_which() -> None:
    scenario = scenarios.load("crowds", ["recordings.split=validation"])
    hosts = [draw(scenario, seed) for seed in range(12)]
    minutes = {int(host.trace.removeprefix("worldcup98 from minute ")) for host in hosts}
    assert 3 < len(minutes) <= 12
    assert min(np.diff(sorted(minutes))) >= scenario.end_s * 12 / 60
    by_trace: dict[str, list[np.ndarray]] = {}
    for host in hosts:
        site = [i for i, guest in enumerate(host.guests) if guest.name.startswith("site")]
        for i in site[:1]:
            value = host.spec.guests[i].curves[0].value
            by_trace.setdefault(host.trace, []).append(np.round(value / value.max(), 2))
    for same in by_trace.values():
        assert all((one == same[0]).all() for one in same)
