"""Command lines, archives, cgroups, /proc and the policy of real guests: what needs no guest."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from contract.arrays import MIB, UNKNOWN
from contract.telemetry import Telemetry, unknown
from tools.realguests import image, procfs
from tools.realguests.__main__ import COMMANDS, UNAVAILABLE, main
from tools.realguests.archive import Entry, newc
from tools.realguests.headroom import Headroom
from tools.realguests.image import Image
from tools.realguests.modes import CLASSIC, Mode
from tools.realguests.pressure import PREFIX, Hierarchy, find_hierarchy, leavings, pressure
from tools.realguests.problems import Unavailable
from tools.realguests.qemu import Hardware, command, enter, fill

IMAGE = Image(Path("/k"), Path("/i"), "linux 1")


def reading(used_mib: list[int], applied_mib: list[int]) -> Telemetry:
    """Guests of 512 MiB that booted with a total of 480 MiB."""
    guests = len(used_mib)
    used, applied = (np.array([values]) * MIB for values in (used_mib, applied_mib))
    size = np.full((1, guests), 512 * MIB)
    return unknown(1, guests)._replace(
        guest_id=np.arange(guests)[None],
        present=np.ones((1, guests), np.bool_),
        min_bytes=np.full((1, guests), 96 * MIB),
        max_bytes=size,
        current_bytes=size,
        deflate_on_oom=np.ones((1, guests), np.int64),
        stats_total_bytes=np.full((1, guests), 480 * MIB),
        stats_available_bytes=np.where(used < 0, UNKNOWN, 480 * MIB - used),
        applied_target_bytes=np.where(applied < 0, UNKNOWN, applied),
    )


@pytest.mark.parametrize(
    ("used", "applied", "target"),
    [
        (60, -1, 199),  # never asked before: it has its maximum
        (60, 199 + 15, -1),  # within the dead band
        (60, 199 + 16, 199),
        (360, 199, 499),
        (400, 300, 512),  # no more than there is
        (-1, 199, -1),  # no statistics yet
    ],
)
def test_headroom_follows_what_is_used(used: int, applied: int, target: int) -> None:
    policy = Headroom()
    decision, _, wake_at_s = policy.decide(reading([used], [applied]), policy.reset(1, 1))
    wanted = target * MIB if target >= 0 else UNKNOWN
    assert decision.target_bytes.tolist() == [[wanted]]
    assert wake_at_s.tolist() == [0.5]


def test_modes_switch_what_they_say() -> None:
    assert [mode.reports for mode in CLASSIC] == [False, True, False, True]
    assert [mode.policy() is not None for mode in CLASSIC] == [False, False, True, True]
    assert Mode.BALLOON.arm().model_dump(exclude_none=True) == {
        "async_faults": "off",
        "hinting": "none",
        "resize": "balloon",
    }


def test_the_emulator_is_told_what_the_guest_has() -> None:
    line = command(Hardware("vm", 512 * MIB, 2, reporting=True, disk=4096), IMAGE, Path("/run"))
    text = " ".join(line)
    assert "-accel tcg," in text
    assert "-m 512M" in text
    assert "-smp 2" in text
    assert "free-page-reporting=on,deflate-on-oom=on" in text
    assert "file=/run/vm.disk,format=raw,if=virtio,cache=none" in text
    assert ".disk" not in " ".join(command(Hardware("vm", 512 * MIB), IMAGE, Path("/run")))


def test_an_emulator_joins_its_cgroup_before_it_begins(tmp_path: Path) -> None:
    procs = tmp_path / "with space"
    line = enter(["sh", "-c", "echo $PPID $$ > out"], [procs])
    status = os.spawnvpe(
        os.P_WAIT, "/bin/sh", ["sh", "-c", f'cd "{tmp_path}"; exec "$@"', "x", *line], os.environ
    )
    assert status == 0
    assert procs.read_text().strip() in (tmp_path / "out").read_text().split()


def test_an_archive_has_headers_and_padding_as_the_kernel_reads_them() -> None:
    archive = newc([Entry("dir"), Entry("dir/x", b"hello", executable=True)])
    assert len(archive) % 4 == 0
    found = {}
    at = 0
    while at < len(archive):
        numbers = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        assert archive[at : at + 6] == b"070701"
        name = archive[at + 110 : at + 110 + numbers[11] - 1].decode()
        at += -(-(110 + numbers[11]) // 4) * 4
        found[name] = (oct(numbers[1]), archive[at : at + numbers[6]])
        at += -(-numbers[6] // 4) * 4
    assert found == {
        "dir": ("0o40755", b""),
        "dir/x": ("0o100755", b"hello"),
        "TRAILER!!!": ("0o100644", b""),
    }


def test_the_memory_controller_is_found_in_either_hierarchy(tmp_path: Path) -> None:
    old = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\nc /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
    found = find_hierarchy(old)
    assert (found.version, found.root, found.limit) == (
        1,
        Path("/sys/fs/cgroup/memory"),
        "memory.limit_in_bytes",
    )
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    new = find_hierarchy(f"cgroup2 {tmp_path} cgroup2 rw 0 0\n")
    assert (new.version, new.root, new.limit) == (2, tmp_path, "memory.max")
    (tmp_path / "cgroup.controllers").write_text("cpu\n")
    with pytest.raises(Unavailable, match="memory controller"):
        find_hierarchy(f"cgroup2 {tmp_path} cgroup2 rw 0 0\n")


def test_pressure_needs_root_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unavailable, match="needs root"), pressure({"all": MIB}, 0, tmp_path):
        pass
    with pressure({}, 0, tmp_path) as made:
        assert made.join(None) == ()


def test_what_a_killed_run_left_is_named_with_what_ends_it(tmp_path: Path) -> None:
    gone, here = 1 << 30, os.getpid()  # no process has a number beyond 2^22
    for process in (gone, here):
        (tmp_path / f"swap-{process}").touch()
        group = tmp_path / f"{PREFIX}-{process}-all"
        group.mkdir()
        (group / "cgroup.procs").write_text("71\n72\n")
    hierarchy = Hierarchy(tmp_path, "memory.max", "max", 2)
    assert leavings(hierarchy, tmp_path) == [
        "kill 71 72",
        f"swapoff {tmp_path}/swap-{gone}",
        f"rm {tmp_path}/swap-{gone}",
        f"rmdir {tmp_path}/{PREFIX}-{gone}-all",
    ]


def test_a_run_does_not_begin_beside_what_another_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / f"swap-{1 << 30}").touch()
    with pytest.raises(Unavailable, match="swapoff"), pressure({}, MIB, tmp_path):
        pass


def test_pressure_is_taken_back_after_an_error(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("cgroups and swap need root")
    made = []
    try:
        with pressure({"all": 64 * MIB, "none": None}, MIB, tmp_path) as found:
            made = [*found.folders.values()]
            assert all(folder.is_dir() for folder in made)
            assert str(tmp_path) in Path("/proc/swaps").read_text()
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert len(made) == 2
    except Unavailable as error:
        pytest.skip(f"no host pressure here: {error}")
    assert not any(folder.exists() for folder in made)
    assert str(tmp_path) not in Path("/proc/swaps").read_text()
    assert list(tmp_path.iterdir()) == []


def test_a_second_interrupt_does_not_disturb_the_cleaning_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cleaned = []

    def interrupted(options: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            cleaned.append(True)

    monkeypatch.setitem(COMMANDS, "prepare", interrupted)
    assert main(["prepare"]) == 130
    assert cleaned == [True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_tables_of_proc_come_in_bytes() -> None:
    text = "Name:\tqemu\nVmRSS:\t    12 kB\npswpin 7\nThreads:\t3\nHugePages_Total:   0\n"
    assert procfs.table(text) == {"VmRSS": 12288, "pswpin": 7, "Threads": 3, "HugePages_Total": 0}
    assert procfs.process(os.getpid())["resident"] > MIB


def test_missing_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unavailable, match=r"apt-get install .* busybox-static .*qemu-system-x86"):
        image.require()


def test_without_an_image_the_command_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(image, "require", lambda *programs: None)
    assert main(["run", "experiment_a"]) == UNAVAILABLE
    assert "python -m tools.realguests prepare" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["run", "no_such"], "no_such"),
        (["run", "talk"], "replay|async_faults|own_swap|profile"),
        (["simulate", "experiment_a", "--mode", "magic"], "--mode magic: expected some of nothing"),
        (["compare", "/nowhere/a.json", "/nowhere/b.json"], "/nowhere/a.json: No such file"),
    ],
)
def test_mistakes_are_told_in_a_line(
    given: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(image, "require", lambda *programs: None)
    monkeypatch.setattr(image, "find", lambda *folder: IMAGE)
    assert main(given) == 2
    assert capsys.readouterr().err.strip()


@pytest.mark.parametrize("command", ["run", "simulate"])
def test_a_scenario_without_two_marks_is_refused_before_it_runs(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(image, "require", lambda *programs: None)
    monkeypatch.setattr(image, "find", lambda *folder: IMAGE)
    turns = ", ".join(f"{{do: signal, guest: guest-{n}, event: turn}}" for n in (1, 2, 3))
    timeline = f"timeline=[{turns}, {{do: mark, name: end}}]"
    assert main([command, "experiment_a", "--set", timeline]) == 2
    printed = capsys.readouterr()
    assert "timeline: 1 marks; expected at least two" in printed.err
    assert not printed.out


def test_a_program_with_a_loader_is_told_from_one_without() -> None:
    def elf(kind: int) -> bytes:
        header = bytearray(64)
        header[32:40] = (64).to_bytes(8, "little")
        header[54:56], header[56:58] = (56).to_bytes(2, "little"), (1).to_bytes(2, "little")
        return bytes(header) + kind.to_bytes(4, "little") + bytes(52)

    assert image._dynamic(elf(image.PT_INTERP))
    assert not image._dynamic(elf(1))


def test_a_disk_is_as_large_as_asked_and_nothing_on_it_is_alike(tmp_path: Path) -> None:
    size = 2 * MIB + 4096
    fill(tmp_path / "a.disk", size)
    fill(tmp_path / "b.disk", size)
    one, other = ((tmp_path / name).read_bytes() for name in ("a.disk", "b.disk"))
    assert len(one) == len(other) == size
    pages = {found[at : at + 4096] for found in (one, other) for at in range(0, size, 4096)}
    assert len(pages) == 2 * size // 4096


def test_what_real_guests_cannot_do_is_said_on_any_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["run", "experiment_a", "--set", "guests.0.mechanisms.async_faults=on"]) == 2
    assert "software emulation has none; expected off" in capsys.readouterr().err


def test_files_in_the_wrong_order_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.json").write_text('{"name": "of something else"}')
    both = [str(tmp_path / "other.json")] * 2
    assert main(["compare", *both]) == 2
    assert "expected records, as `run` and `simulate` write" in capsys.readouterr().err
