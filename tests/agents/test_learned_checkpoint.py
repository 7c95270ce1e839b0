from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from agents.learned import randomness
from agents.learned.archive import Archive, ArchiveError, read, write
from agents.learned.checkpoint import CheckpointError, Progress, capture, restore
from agents.learned.ppo import GuestPPO
from agents.learned.settings import NetworkSettings, PpoSettings
from agents.learned.shelf import Shelf
from tests.agents.toy import ToyHosts

HOSTS, STEPS = 8, 16
ITERATION = HOSTS * STEPS


def make_run(seed: int = 4, slots: int = 4, width: int = 16) -> GuestPPO:
    settings = PpoSettings(
        rollout_steps=STEPS, minibatch_hosts=32, epochs=2, critic_warm_up=1, target_kl=0.02
    )
    run = GuestPPO(ToyHosts(HOSTS, slots), settings, NetworkSettings(width=width), seed)
    run.set_logger(Logger(None, []))
    return run


class AtIteration(BaseCallback):
    """Calls `then` between iterations `number` and `number` + 1."""

    def __init__(self, number: int, then: Callable[[], None]) -> None:
        super().__init__()
        self.number, self.then, self.seen = number, then, 0

    def _on_rollout_start(self) -> None:
        if self.seen == self.number:
            self.then()
        self.seen += 1

    def _on_step(self) -> bool:
        return True


def weights(run: GuestPPO) -> dict[str, np.ndarray]:
    return {name: part.numpy().copy() for name, part in run.policy.state_dict().items()}


def test_a_resumed_run_repeats_the_straight_run_bit_for_bit(tmp_path: Path) -> None:
    straight, file = make_run(), tmp_path / "3.npz"
    straight.learn(
        6 * ITERATION,
        callback=AtIteration(3, lambda: write(file, capture(straight, Progress(iteration=3)))),
    )
    end = capture(straight, Progress(iteration=6))

    torch.manual_seed(99)  # nothing of this process may leak into what follows
    resumed = make_run(seed=77)
    progress = restore(resumed, read(file), file)
    assert progress.iteration == 3
    assert resumed.num_timesteps == 3 * ITERATION
    resumed.learn(6 * ITERATION - resumed.num_timesteps, reset_num_timesteps=False)
    again = capture(resumed, Progress(iteration=6))

    assert again.facts == end.facts
    assert again.arrays.keys() == end.arrays.keys()
    for name, part in end.arrays.items():
        assert np.array_equal(again.arrays[name], part, equal_nan=True), name
    before = read(file).arrays
    moved = [name for name, part in end.arrays.items() if not np.array_equal(before[name], part)]
    assert {name.split("/")[0] for name in moved} >= {
        "weights",
        "optimiser",
        "random",
        "observation",
        "environment",
    }


@pytest.mark.parametrize("lost", ["optimiser", "random", "environment", "observation"])
def test_each_part_of_a_checkpoint_matters(lost: str) -> None:
    run = make_run()
    run.learn(2 * ITERATION)
    archive = capture(run, Progress())
    other = make_run(seed=5)
    other.learn(2 * ITERATION)
    foreign = capture(other, Progress())
    mixed = {
        name: (foreign if name.startswith(lost) else archive).arrays[name]
        for name in archive.arrays
    }
    ends = []
    for arrays in (archive.arrays, mixed):
        resumed = make_run(seed=6)
        restore(resumed, Archive(arrays, archive.facts), Path("x.npz"))
        resumed.learn(ITERATION, reset_num_timesteps=False)
        ends.append(weights(resumed)["actor.last.weight"])
    assert not np.array_equal(ends[0], ends[1])


def test_random_states_come_back() -> None:
    arrays, facts = randomness.capture()
    drawn = torch.rand(3), np.random.random(3)  # noqa: NPY002 # the generator that SB3 seeds
    randomness.restore(arrays, facts)
    assert torch.equal(torch.rand(3), drawn[0])
    assert np.array_equal(np.random.random(3), drawn[1])  # noqa: NPY002 # as above


def test_weights_of_another_network_are_refused() -> None:
    run = make_run(width=16)
    run.learn(ITERATION)
    archive = capture(run, Progress())
    with pytest.raises(
        CheckpointError, match=r"a\.npz: the weights.*actor\.own\.weight.*\(32, 32\)"
    ):
        restore(make_run(width=32), archive, Path("a.npz"))
    with pytest.raises(CheckpointError, match=r"a\.npz: observations .*'guests': \(8, 12\)"):
        restore(make_run(slots=6), archive, Path("a.npz"))
    with pytest.raises(CheckpointError, match=r"a\.npz: format 1, expected 2"):
        restore(run, Archive(archive.arrays, archive.facts | {"format": 1}), Path("a.npz"))


def test_other_hosts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    run.learn(ITERATION)

    def refuse(hosts: ToyHosts, arrays: dict[str, np.ndarray]) -> None:
        raise ValueError("restore: host 0 has another scenario than was copied")

    monkeypatch.setattr(ToyHosts, "restore", refuse)
    with pytest.raises(CheckpointError, match=r"a\.npz: the hosts do not fit: .* another scenario"):
        restore(make_run(), capture(run, Progress()), Path("a.npz"))


def test_nothing_to_capture_before_the_first_observation() -> None:
    with pytest.raises(CheckpointError, match="has not begun"):
        capture(make_run(), Progress())


def small(number: int) -> Archive:
    return Archive({"x": np.arange(1000.0) + number}, {"number": number, "nan": float("nan")})


def test_an_archive_reads_back(tmp_path: Path) -> None:
    write(tmp_path / "a.npz", small(3))
    found = read(tmp_path / "a.npz")
    assert found.facts["number"] == 3
    assert np.array_equal(found.arrays["x"], small(3).arrays["x"])
    with pytest.raises(ValueError, match="object"):
        write(tmp_path / "b.npz", Archive({"x": np.array([{}])}, {}))
    assert not (tmp_path / "b.npz").exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_archive_is_named(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.npz"
    write(path, small(1))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ArchiveError, match=r"a\.npz: is damaged or was cut short"):
        read(path)


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write(path, small(1))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ArchiveError, match=r"a\.npz: is damaged"):
        read(path)


def test_other_files_are_not_checkpoints(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with pytest.raises(ArchiveError, match="no member 'facts'"):
        read(tmp_path / "a.npz")
    np.save(tmp_path / "b.npy", np.zeros(3))
    with pytest.raises(ArchiveError, match=r"b\.npy"):
        read(tmp_path / "b.npy")
    with pytest.raises(ArchiveError, match="there is no such file"):
        read(tmp_path / "c.npz")


def test_the_shelf_keeps_the_last(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "checkpoints", keep=2)
    assert shelf.latest() is None
    for number in range(1, 6):
        shelf.put(small(number), number)
    assert shelf.iterations() == [4, 5]
    latest = shelf.latest()
    assert latest is not None and latest[1].facts["number"] == 5
    assert {file.name for file in shelf.folder.iterdir()} == {"000004.npz", "000005.npz"}


def test_a_damaged_latest_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, keep=3)
    for number in (1, 2):
        shelf.put(small(number), number)
    shelf.path(2).write_bytes(b"PK")
    with pytest.raises(ArchiveError, match=r"000002\.npz.*delete it to resume from 000001\.npz"):
        shelf.latest()
