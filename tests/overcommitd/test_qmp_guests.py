"""What the QMP backend makes of emulators in all their states."""

import base64
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.arrays import MIB
from contract.decision import Decision
from contract.descriptors import AsyncMode, GuestState, Hinting, ResizeMechanism
from contract.host import GuestGone, HostError
from contract.telemetry import Telemetry
from overcommitd.agent import Agent, free_target_scale, set_watermark_scale
from overcommitd.backend import open_backend
from overcommitd.backends import qmp
from overcommitd.config import DaemonConfig
from tests.overcommitd.fake_qemu import FakeQemu

GIB = 1 << 30


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[FakeQemu]:
    with contextlib.closing(FakeQemu(tmp_path, "web")) as made:
        yield made


def opened(folder: Path, guests: dict[str, Any] | None = None, **options: Any) -> Any:  # noqa: ANN401
    usual = {"sockets": str(folder / "*.qmp"), "timeout": 1.0}
    fields = {"backend": {"kind": "qmp", "options": usual | options}, "guests": guests or {}}
    return contextlib.closing(open_backend(DaemonConfig.model_validate(fields)))


def one(telemetry: Telemetry, name: str) -> Any:  # noqa: ANN401
    return getattr(telemetry, name)[telemetry.present][0]


def test_what_an_emulator_tells(guest: FakeQemu, tmp_path: Path) -> None:
    with opened(tmp_path) as backend:
        first = backend.read()
        assert guest.period == 2, "statistics never come without a period"
        told = backend.read()
    assert np.isnan(one(first, "stats_age_s")) or one(first, "stats_age_s") < 3
    assert one(told, "max_bytes") == GIB and one(told, "min_bytes") == GIB // 4
    assert one(told, "stats_available_bytes") == GIB - 200 * MIB
    assert one(told, "stats_hugetlb_allocations") == -1, "2^64 - 1 is unknown"
    assert one(told, "stats_oom_kills") == -1
    assert one(told, "stats_caches_bytes") == -1, "missing is unknown, not zero"
    assert one(told, "resize_mechanism") == ResizeMechanism.BALLOON
    assert one(told, "hinting") == Hinting.REPORTING and one(told, "deflate_on_oom") == 1
    assert one(told, "async_mode") == AsyncMode.OFF, "no KVM, none"
    assert one(told, "resident_bytes") > 0, "of the process at the other end"


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("running", GuestState.RUNNING),
        ("paused", GuestState.PAUSED),
        ("inmigrate", GuestState.MIGRATING),
        ("prelaunch", GuestState.BOOTING),
        ("internal-error", GuestState.UNKNOWN),
    ],
)
def test_states(guest: FakeQemu, tmp_path: Path, status: str, state: GuestState) -> None:
    guest.period = 1
    guest.status = status
    with opened(tmp_path) as backend:
        assert one(backend.read(), "state") == state


def test_a_guest_that_migrates_away_is_known_by_its_migration(
    guest: FakeQemu, tmp_path: Path
) -> None:
    guest.period, guest.migrating = 1, True
    with opened(tmp_path) as backend:
        assert one(backend.read(), "state") == GuestState.MIGRATING


def test_a_young_guest_that_never_answered_is_booting(guest: FakeQemu, tmp_path: Path) -> None:
    guest.answers = False
    with opened(tmp_path) as backend:
        backend._machine.started_at_s = lambda pid: backend.now_s() - 5.0
        assert one(backend.read(), "state") == GuestState.BOOTING
        backend._machine.started_at_s = lambda pid: backend.now_s() - 500.0
        assert one(backend.read(), "state") == GuestState.RUNNING


def test_frozen_statistics_grow_old(guest: FakeQemu, tmp_path: Path) -> None:
    guest.period = 1
    with opened(tmp_path) as backend:
        backend.read()
        guest.answers = False
        guest.last_update -= 100
        assert 99 < one(backend.read(), "stats_age_s") < 102


def test_memory_that_is_plugged_in_counts(guest: FakeQemu, tmp_path: Path) -> None:
    with opened(tmp_path) as backend:
        assert one(backend.read(), "max_bytes") == GIB
        guest.size = guest.actual = 3 * GIB
        assert one(backend.read(), "max_bytes") == 3 * GIB


def test_virtio_mem_is_asked_for_whole_blocks(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        guest = FakeQemu(tmp_path, "web", virtio_mem=GIB)
        stack.enter_context(contextlib.closing(guest))
        backend = stack.enter_context(opened(tmp_path))
        told = backend.read()
        assert one(told, "max_bytes") == one(told, "current_bytes") == 2 * GIB
        assert one(told, "resize_mechanism") == ResizeMechanism.VIRTIO_MEM
        target = np.where(told.present, GIB + 301 * MIB, -1)
        backend.apply(Decision(target))
        assert guest.plugged == 300 * MIB
        assert one(backend.read(), "current_bytes") == GIB + 300 * MIB


def test_a_guest_that_was_started_anew_is_another(tmp_path: Path) -> None:
    first = FakeQemu(tmp_path, "web")
    with opened(tmp_path) as backend:
        before = one(backend.read(), "guest_id")
        first.close()
        assert not backend.read().present.any()
        with contextlib.closing(FakeQemu(tmp_path, "web")):
            backend.hypervisor._retry_at_s.clear()
            told = backend.read()
        assert one(told, "guest_id") != before or one(told, "applied_target_bytes") == -1


def test_one_that_hangs_does_not_hold_up_the_others(tmp_path: Path) -> None:
    with contextlib.closing(FakeQemu(tmp_path, "good")):
        deaf = socket.socket(socket.AF_UNIX)
        deaf.bind(str(tmp_path / "deaf.qmp"))
        deaf.listen()
        with contextlib.closing(deaf), opened(tmp_path, timeout=0.3) as backend:
            assert set(backend.names().values()) == set()
            backend.read()
            assert set(backend.names().values()) == {"good"}
            why = " ".join(finding.advice for finding in backend.examine() if not finding.ok)
            assert "timed out" in why


def test_one_that_does_not_answer_for_a_while_is_the_same_guest_afterwards(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        guest = FakeQemu(tmp_path, "web")
        stack.enter_context(contextlib.closing(guest))
        backend = stack.enter_context(opened(tmp_path, timeout=0.3))
        told = backend.read()
        backend.apply(Decision(np.where(told.present, GIB // 2, -1)))
        guest.silent.set()
        blind = backend.read()
        assert one(blind, "guest_id") == one(told, "guest_id")
        assert one(blind, "current_bytes") == -1 and one(blind, "state") == GuestState.UNKNOWN
        assert np.isnan(one(blind, "stats_age_s"))
        assert one(blind, "applied_target_bytes") == GIB // 2
        guest.silent.clear()
        backend.hypervisor._retry_at_s.clear()
        again = backend.read()
        assert one(again, "guest_id") == one(told, "guest_id")
        assert one(again, "current_bytes") == GIB // 2


def test_who_is_not_selected_is_not_seen_and_who_opted_out_has_no_weight(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        for name in ("web1", "web2", "db"):
            stack.enter_context(contextlib.closing(FakeQemu(tmp_path, name)))
        terms = {"select": ["web*"], "by_name": {"web2": {"manage": False}}}
        backend = stack.enter_context(opened(tmp_path, terms))
        told = backend.read()
        weights = dict(zip(backend.names().values(), told.weight[told.present], strict=True))
    assert weights == {"web1": 1000, "web2": 0}


def test_the_others_are_served_before_a_failure_is_told(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        guests = [
            stack.enter_context(contextlib.closing(FakeQemu(tmp_path, name))) for name in "abc"
        ]
        backend = stack.enter_context(opened(tmp_path))
        told = backend.read()
        guests[1].close()
        with pytest.raises(GuestGone, match="b: "):
            backend.apply(Decision(np.where(told.present, GIB // 2, -1)))
        assert [guest.actual for guest in guests] == [GIB // 2, GIB, GIB // 2]


def test_free_memory_targets_in_the_kernels_units() -> None:
    assert free_target_scale(0, GIB) == 10, "the kernel's default"
    assert free_target_scale(GIB // 10, GIB) == 500
    assert free_target_scale(GIB // 2, GIB) == 1000, "the kernel's cap"


class FakeAgent:
    """A guest agent that has one file."""

    def __init__(self, path: Path) -> None:
        self.written, self.refuses = b"", False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            with connection, connection.makefile("rb") as lines:
                connection.sendall(b'{"return": "left over"}\n')
                for line in lines:
                    request = json.loads(line.rpartition(b"\xff")[2])
                    connection.sendall(json.dumps(self._answer(request)).encode() + b"\n")

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        arguments = request.get("arguments", {})
        if request["execute"] == "guest-sync-delimited":
            return {"return": arguments["id"]}
        if self.refuses:
            return {"error": {"class": "GenericError", "desc": "disabled"}}
        if request["execute"] == "guest-file-open":
            assert arguments == {"path": "/proc/sys/vm/watermark_scale_factor", "mode": "w"}
            return {"return": 7}
        if request["execute"] == "guest-file-write":
            self.written += base64.b64decode(arguments["buf-b64"])
        return {"return": {}}


def test_a_free_memory_target_goes_through_the_guest_agent(guest: FakeQemu, tmp_path: Path) -> None:
    with contextlib.closing(FakeAgent(tmp_path / "web.agent")) as agent:
        options: dict[str, Any] = {
            "agents": str(tmp_path / "{name}.agent"),
            "free_target": ["web"],
        }
        with opened(tmp_path, **options) as backend:
            told = backend.read()
            assert one(told, "resize_mechanism") == ResizeMechanism.FREE_TARGET
            backend.apply(Decision(np.where(told.present, GIB - 100 * MIB, -1)))
        assert agent.written == b"489\n"
        assert guest.actual == GIB, "the balloon is left alone"


def test_an_agent_that_refuses_or_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"none\.agent"):
        Agent(tmp_path / "none.agent", 0.5)
    with contextlib.closing(FakeAgent(tmp_path / "a.agent")) as fake:
        fake.refuses = True
        client = Agent(tmp_path / "a.agent", 1.0)
        with contextlib.closing(client), pytest.raises(HostError, match="disabled"):
            set_watermark_scale(client.ask, 100)


def test_the_state_names_are_those_of_qemu() -> None:
    assert set(qmp.STATES) >= {"running", "paused", "inmigrate"}
