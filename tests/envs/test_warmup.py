"""Warm-ups are run once, kept whole, and are what they would be alone."""

import inspect
import os
from pathlib import Path

import numpy as np
import pytest

import scenarios
from agents.baselines import load_policy
from configs.loading import write_atomic
from contract import features
from contract.guard import GuardConfig
from contract.loop import Loop
from envs import pack, warmup
from envs.warmup import BASELINES, Start, Starts, Wanted, baseline_of, rehearse
from memsim.fleet import Fleet
from scenarios.hosts import SimulatedHosts

SMALL = scenarios.load("small")
HOSTS = [Wanted(SMALL, (seed, 0)) for seed in range(5)]


def arrays(start: Start) -> dict[str, np.ndarray]:
    found = pack.pack(start.hosts)
    return found | pack.flatten(start.guard, "guard") | pack.flatten(start.encoder, "encoder")


def same(one: Start, other: Start) -> bool:
    left, right = arrays(one), arrays(other)
    return left.keys() == right.keys() and all(
        left[name].tobytes() == right[name].tobytes() for name in left
    )


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "overcommit" / "starts"


def test_all_baselines_come_up_and_keys_decide() -> None:
    drawn = [baseline_of((seed, 0)) for seed in range(60)]
    assert set(drawn) == set(BASELINES)
    assert drawn == [baseline_of((seed, 0)) for seed in range(60)]


def test_a_warm_up_is_the_loop_under_the_baseline() -> None:
    from agents.baselines import load_policy

    for start, one in zip(rehearse(HOSTS, 2, 5.0, 1), HOSTS, strict=True):
        hosts = SimulatedHosts(SMALL, 1, threads=1)
        hosts.reset([0], [one.key])
        policy = load_policy(baseline_of(one.key))
        loop = Loop(hosts, policy, GuardConfig("limits"), hosts.advance)
        while (hosts.time_s < SMALL.warm_up).any():
            loop.turn(np.array([SMALL.warm_up]))
        expected, found = pack.pack(hosts.snapshot([0])), pack.pack(start.hosts)
        for name in ("machine/host", "machine/guest", "remembered/applied_bytes", "account"):
            assert expected[name].tobytes() == found[name].tobytes(), name
        assert start.encoder.time_s[0] < SMALL.warm_up  # the first observation is still to come


def test_company_changes_no_warm_up() -> None:
    together = rehearse(HOSTS, 2, 5.0, 2)
    for one, start in zip(HOSTS, together, strict=True):
        (alone,) = rehearse([one], 2, 5.0, 1)
        assert alone.hosts.keys == start.hosts.keys == (one.key,)
        assert arrays(alone)["machine/guest"].tobytes() == arrays(start)["machine/guest"].tobytes()
        assert arrays(alone)["encoder/means"].tobytes() == arrays(start)["encoder/means"].tobytes()


def test_each_is_run_once_and_comes_back_from_disk(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Starts(2, 5.0, 1)
    found = first.get([*HOSTS, HOSTS[0]])
    assert len(list(cache.rglob("*.npz"))) == len(HOSTS)
    assert found[0] is found[-1]

    def refuse(wanted: list[Wanted], *_: object) -> list[Start]:
        assert not wanted, "simulated again"
        return []

    monkeypatch.setattr(warmup, "rehearse", refuse)
    assert first.get(HOSTS)[1] is found[1]
    for kept, again in zip(found[:-1], Starts(2, 5.0, 1).get(HOSTS), strict=True):
        assert same(kept, again)


def test_damaged_files_are_run_again(cache: Path) -> None:
    starts = Starts(2, 5.0, 1).get(HOSTS)
    cut, emptied, *_ = sorted(cache.rglob("*.npz"))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    emptied.write_bytes(b"")
    for one, other in zip(starts, Starts(2, 5.0, 1).get(HOSTS), strict=True):
        assert arrays(one)["machine/page"].tobytes() == arrays(other)["machine/page"].tobytes()
    assert cut.stat().st_size > 1000


def test_what_a_warm_up_depends_on_names_its_file(cache: Path) -> None:
    def file(one: Wanted, guests: int = 2, period_s: float = 5.0) -> Path:
        return Starts(guests, period_s, 1)._file(one)

    longer = SMALL.model_copy(update={"warm_up": 40.0})
    noisy = SMALL.model_copy(update={"sensors": SMALL.sensors.model_copy(update={"noise": 0.1})})
    files = [
        file(HOSTS[0]),
        file(HOSTS[1]),
        file(Wanted(longer, (0, 0))),
        file(Wanted(noisy, (0, 0))),
        file(HOSTS[0], guests=3),
        file(HOSTS[0], period_s=2.0),
    ]
    assert len(set(files)) == len(files)
    assert file(Wanted(scenarios.load("small"), (0, 0))) == files[0]


def test_the_baseline_names_the_file_too(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {baseline_of(one.key): Starts(2, 5.0, 1)._file(one) for one in HOSTS}
    monkeypatch.setattr(warmup, "BASELINES", BASELINES[1:] + BASELINES[:1])
    after = {Starts(2, 5.0, 1)._file(one) for one in HOSTS}
    assert after.isdisjoint(before.values())


def test_the_code_that_warms_up_is_part_of_the_name() -> None:
    folders = [Path(package.__path__[0]) for package in warmup.PACKAGES]
    used = (warmup, features, load_policy, SimulatedHosts, Fleet, write_atomic)
    for part in used:
        file = Path(inspect.getfile(part))
        assert any(folder in file.parents for folder in folders), file


def test_a_disk_that_takes_nothing_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    starts = Starts(2, 5.0, 1)
    with pytest.warns(UserWarning, match=r"cannot be written \(Not a directory\)") as said:
        found = starts.get(HOSTS)
    assert len(said) == 1
    assert starts.get(HOSTS[:1])[0] is found[0]


def test_old_code_leaves_the_cache(cache: Path) -> None:
    for age in range(6):
        (cache / f"code-{age}").mkdir(parents=True)
        os.utime(cache / f"code-{age}", (1e9 - age, 1e9 - age))
    Starts(2, 5.0, 1).get(HOSTS[:1])
    left = sorted(folder.name for folder in cache.iterdir() if folder.name.startswith("code-"))
    assert left == ["code-0", "code-1", "code-2"]
