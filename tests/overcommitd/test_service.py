"""The daemon's life: turns, restarts, failures, an operator's words."""

import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract import recording
from contract.arrays import GIB
from contract.decision import Decision
from contract.host import BackendUnavailable, GuestGone
from contract.telemetry import Telemetry
from overcommitd import policies, state
from overcommitd.config import DaemonConfig
from overcommitd.core import By
from overcommitd.service import Service
from tests.contract.readings import reading


class Guests:
    """A host of the contract whose guests do as told at once; its clock is moved by waiting."""

    simulated = True
    supports = frozenset({"target_bytes"})
    incarnation = "boot-1"

    def __init__(self, guests: int = 2) -> None:
        self.time_s, self.count = 0.0, guests
        self.target = np.full((1, 8), -1, np.int64)
        self.current = np.full((1, 8), 2 * GIB, np.int64)
        self.fails: Exception | None = None
        self.refuses: Exception | None = None
        self.applied: list[Decision] = []
        self.kept: dict[str, Any] = {}

    def read(self) -> Telemetry:
        if self.fails is not None:
            raise self.fails
        told = reading(
            guests=8,
            time_s=self.time_s,
            present=np.arange(8)[None] < self.count,
            current_bytes=self.current,
            applied_target_bytes=self.target,
            available_bytes=GIB // 2,
            stats_available_bytes=GIB // 8,
        )
        return told._replace(guest_id=np.where(told.present, told.guest_id, -1))

    def apply(self, decision: Decision) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.applied.append(decision)
        sent = decision.target_bytes >= 0
        self.target = np.where(sent, decision.target_bytes, self.target)
        self.current = np.where(sent, decision.target_bytes, self.current)

    def now_s(self) -> float:
        return self.time_s

    def wait_until(self, time_s: float, interrupt: threading.Event) -> None:
        self.time_s = time_s

    def names(self) -> dict[int, str]:
        return {number: f"vm{number}" for number in range(self.count)}

    def as_dict(self) -> dict[str, Any]:
        return {"targets": self.target.tolist()}

    def load(self, data: Mapping[str, Any]) -> None:
        self.kept = dict(data)

    def examine(self) -> Any:  # noqa: ANN401
        return iter(())

    def close(self) -> None:
        pass


def configured(folder: Path, **fields: Any) -> DaemonConfig:  # noqa: ANN401
    usual: dict[str, Any] = {
        "mode": "act",
        "policy": "slides",
        "backend": {"kind": "simulated"},
        "state_dir": str(folder / "state"),
        "runtime_dir": str(folder / "run"),
        "metrics": None,
    }
    return DaemonConfig.model_validate(usual | fields)


@pytest.fixture
def made(tmp_path: Path) -> Any:  # noqa: ANN401  a maker of services
    services: list[Service] = []

    def make(backend: Guests | None = None, **fields: Any) -> Service:  # noqa: ANN401
        config = configured(tmp_path, **fields)
        services.append(Service(config, backend or Guests(), policies.plan(config)))
        return services[-1]

    yield make
    for one in services:
        one.close()


def live(service: Service, turns: int) -> None:
    for _ in range(turns):
        service.backend.wait_until(service.turn(), threading.Event())


def test_only_mode_act_sends(made: Any, tmp_path: Path) -> None:  # noqa: ANN401
    for mode, decides, sends in (("observe", 0, False), ("shadow", 8, False), ("act", 8, True)):
        guests = Guests()
        service = made(guests, mode=mode, record=None, state_dir=str(tmp_path / mode))
        live(service, 8)
        assert service.totals.counts["decisions"] == decides
        assert bool(guests.applied) is sends, mode


def test_a_restart_goes_on_with_the_same_state(made: Any) -> None:  # noqa: ANN401
    whole = made(Guests())
    live(whole, 20)
    guests = Guests()
    whole.state_file.unlink()
    first = made(guests)
    live(first, 9)
    second = made(guests)  # as after SIGKILL: nothing was said, only the file is there
    live(second, 11)
    assert set(guests.kept) == {"targets"}
    assert len(guests.applied) == len(whole.backend.applied)
    for ours, theirs in zip(guests.applied, whole.backend.applied, strict=True):
        np.testing.assert_array_equal(ours.target_bytes, theirs.target_bytes)


def test_after_the_host_was_started_anew_nothing_old_counts(
    made: Any,  # noqa: ANN401
    caplog: pytest.LogCaptureFixture,
) -> None:
    live(made(Guests()), 3)
    guests = Guests()
    guests.incarnation = "boot-2"
    with caplog.at_level(logging.INFO, "overcommitd"):
        made(guests)
    assert "begins anew: the host was started since" in caplog.messages and not guests.kept


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 half a file", b"\x00" * 999])
def test_a_damaged_state_is_set_aside(made: Any, damage: bytes) -> None:  # noqa: ANN401
    first = made()
    live(first, 3)
    first.state_file.write_bytes(damage)
    live(made(), 2)
    assert first.state_file.with_suffix(".damaged").read_bytes() == damage
    assert state.read(first.state_file) is not None


def test_a_state_file_executes_nothing(made: Any, tmp_path: Path) -> None:  # noqa: ANN401
    first = made()
    live(first, 1)
    bait = tmp_path / "bait"

    class Evil:
        def __reduce__(self) -> Any:  # noqa: ANN401
            return (bait.write_text, ("caught",))

    np.savez(first.state_file, about=np.array([Evil()], object))
    with pytest.raises(state.StateError):
        state.read(first.state_file)
    made()
    assert not bait.exists()


def test_a_lost_host_is_tried_more_and_more_seldom_and_found_again(made: Any) -> None:  # noqa: ANN401
    guests = Guests()
    service = made(guests)
    live(service, 2)
    guests.fails = BackendUnavailable("no socket")
    pauses = []
    for _ in range(8):
        due = service.turn()
        pauses.append(due - guests.time_s)
        guests.time_s = due
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert service.answer("status", {})["status"]["reachable"] is False
    guests.fails = None
    live(service, 1)
    assert service.answer("status", {})["status"]["reachable"] is True


def test_a_guest_that_goes_while_it_is_commanded_is_counted_and_survived(made: Any) -> None:  # noqa: ANN401
    guests = Guests()
    guests.refuses = GuestGone("vm1: gone")
    service = made(guests)
    live(service, 3)
    assert service.totals.counts["apply_failures"] > 0


def test_more_guests_than_before_find_room(made: Any) -> None:  # noqa: ANN401
    class Growing(Guests):
        def read(self) -> Telemetry:
            if self.time_s < 20:
                return super().read()
            wide = reading(guests=16, time_s=self.time_s)
            return wide

        def names(self) -> dict[int, str]:
            return {number: f"vm{number}" for number in range(16)}

        def apply(self, decision: Decision) -> None:
            self.applied.append(decision)

    guests = Growing()
    service = made(guests)
    live(service, 10)
    assert service.outcome.by is By.POLICY and not service.outcome.problem
    assert service.outcome.turn.telemetry.guest_id.shape == (1, 16)


def test_pause_outlives_a_restart_and_release_says_what_it_promises(made: Any) -> None:  # noqa: ANN401
    guests = Guests()
    service = made(guests)
    live(service, 4)
    sent = len(guests.applied)
    assert service.answer("pause", {})["paused"] == "by an operator"
    live(service, 4)
    assert len(guests.applied) == sent
    again = made(guests)
    live(again, 2)
    assert len(guests.applied) == sent
    answer = again.answer("release", {"guests": ["vm0"]})
    assert answer["released"] == ["vm0"] and answer["too_much"] is True
    assert answer["promised_bytes"] == 3 * GIB  # 4 GiB less the one that is resident
    assert guests.target[0, 0] == 4 * GIB and guests.target[0, 1] != 4 * GIB
    live(again, 3)
    assert guests.target[0, 0] == 4 * GIB, "released guests are left alone until resume"
    assert again.answer("resume", {}) == {"paused": ""}
    assert again.answer("release", {"guests": ["vm9"]})["error"].startswith("'vm9': expected")
    assert again.answer("dance", {})["error"].startswith("'dance': expected status")


def test_explain_says_what_was_seen_asked_and_made_of_it(made: Any) -> None:  # noqa: ANN401
    service = made()
    assert "not been read yet" in service.answer("explain", {"guest": "vm0"})["error"]
    live(service, 3)
    answer = service.answer("explain", {"guest": "vm0"})
    assert "vm0: running, 2,140 MiB of 4,096 MiB" in answer["text"]
    assert "the policy decided" in answer["text"]
    assert answer["guest"]["max_bytes"] == 4 * GIB
    json.dumps(answer)
    assert "expected one of vm0, vm1" in service.answer("explain", {"guest": "x"})["error"]


def test_a_full_disk_loses_lines_and_nothing_else(
    made: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guests = Guests()
    service = made(guests)
    live(service, 2)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "telemetry")

    with monkeypatch.context() as patch:
        patch.setattr(service._recorder, "add", full)
        patch.setattr(state, "write_atomic", full)
        sent = len(guests.applied)
        live(service, 2)
    assert service.totals.counts["record_failures"] == 2
    assert service.totals.counts["state_failures"] == 2
    assert len(guests.applied) >= sent
    live(service, 1)
    moments = list(recording.read(service.config.record_folder))
    assert len(moments) == 3
    assert service.totals.counts["state_failures"] == 2


def test_a_policy_that_hangs_does_not_hang_the_daemon(made: Any, tmp_path: Path) -> None:  # noqa: ANN401
    release = threading.Event()

    class Hangs:
        name = "hangs"

        def reset(self, hosts: int, guests: int) -> None:
            return None

        def decide(self, telemetry: Telemetry, kept: None) -> Any:  # noqa: ANN401
            release.wait(30)

    service = made(Guests(), fallback={"decide_within": 0.1, "hold": 0})
    patient = service.plan.policy
    patient.policy = Hangs()
    live(service, 2)
    release.set()
    assert service.outcome.by is By.FALLBACK
    assert service.totals.counts["policy_failures"] == 1


def test_a_policy_that_cannot_be_loaded_lets_the_fallback_decide(made: Any) -> None:  # noqa: ANN401
    service = made(Guests(), policy="/no/such/folder", fallback={"hold": 0})
    live(service, 2)
    assert service.outcome.by is By.FALLBACK
    assert "no/such/folder" in service.answer("status", {})["status"]["problem"]
