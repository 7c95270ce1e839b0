"""What every backend promises, held to each of them."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from contract import telemetry as readings
from contract.decision import Decision, hold
from contract.host import HostError
from contract.telemetry import Telemetry
from overcommitd.backend import Backend, open_backend
from overcommitd.config import DaemonConfig
from tests.overcommitd.fake_qemu import FakeQemu
from tests.overcommitd.sessions import libvirt_session, real_guests

MIB = 1 << 20


@dataclass
class Case:
    """A backend with guests on it, and how one of them can be made to go."""

    backend: Backend
    end_one: Callable[[], None] | None = None
    settle_s: float = 0.0  # until a target should have been reached
    again: Callable[[], Backend] | None = None  # a second daemon's view, where state is kept


def opened(kind: str, **options: object) -> Backend:
    fields = {"backend": {"kind": kind, "options": options}}
    return open_backend(DaemonConfig.model_validate(fields))


Kind = Callable[[Path], AbstractContextManager[Case]]


@contextmanager
def simulated(folder: Path) -> Iterator[Case]:
    backend = opened("simulated", scenario="small", seed=3, pace=0.0)
    backend.wait_until(10.0, threading.Event())
    yield Case(backend, settle_s=30.0)


@contextmanager
def fake_qmp(folder: Path) -> Iterator[Case]:
    with ExitStack() as stack:
        guests = [FakeQemu(folder, name) for name in ("a", "b", "c")]
        for one in guests:
            stack.callback(one.close)
        sockets = str(folder / "*.qmp")
        backend = opened("qmp", sockets=sockets)
        stack.callback(backend.close)

        def again() -> Backend:
            backend.close()
            second = opened("qmp", sockets=sockets)
            stack.callback(second.close)
            return second

        yield Case(backend, guests[1].close, again=again)


@contextmanager
def virtio_mem(folder: Path) -> Iterator[Case]:
    with ExitStack() as stack:
        stack.enter_context(contextlib.closing(FakeQemu(folder, "a", virtio_mem=1 << 30)))
        backend = opened("qmp", sockets=str(folder / "*.qmp"))
        yield Case(stack.enter_context(contextlib.closing(backend)))


@contextmanager
def real_qmp(folder: Path) -> Iterator[Case]:
    with real_guests(folder, "east", "west") as guests:
        sockets = str(folder / "*.daemon")
        with contextlib.closing(opened("qmp", sockets=sockets, stats_period=1)) as backend:
            yield Case(backend, guests[1].stop, settle_s=20.0)


@contextmanager
def libvirt_test(folder: Path) -> Iterator[Case]:
    pytest.importorskip("libvirt", reason="libvirt-python is not installed")
    with contextlib.closing(opened("libvirt", uri="test:///default")) as backend:
        yield Case(backend)


@contextmanager
def libvirt_real(folder: Path) -> Iterator[Case]:
    with ExitStack() as stack:
        session = stack.enter_context(libvirt_session(folder, "east", "west"))
        backend = opened("libvirt", uri=session.uri, stats_period=1)
        stack.enter_context(contextlib.closing(backend))
        yield Case(backend, lambda: session.destroy("west"), settle_s=20.0)


@pytest.fixture(params=[simulated, fake_qmp, virtio_mem, libvirt_test])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    with request.param(tmp_path) as made:
        yield made


def of(telemetry: Telemetry, name: str) -> np.ndarray:
    values: np.ndarray = getattr(telemetry, name)[telemetry.present]
    return values


def pass_time(case: Case, seconds: float) -> None:
    case.backend.wait_until(case.backend.now_s() + seconds, threading.Event())


def test_a_backend_keeps_its_promises(case: Case) -> None:
    backend = case.backend
    first = backend.read()
    readings.check(first)
    assert first.present.any()
    size, least = of(first, "max_bytes"), of(first, "min_bytes")
    assert (size > 0).all() and (least >= 0).all() and (least <= size).all()
    assert (of(first, "current_bytes") > 0).all()
    ids = of(first, "guest_id")
    assert len(set(ids.tolist())) == len(ids)
    assert set(backend.names()) == set(ids.tolist())
    assert (of(first, "applied_target_bytes") == -1).all()
    assert np.isnan(of(first, "applied_age_s")).all()

    backend.apply(hold(*first.guest_id.shape))
    pass_time(case, 0.3)
    second = backend.read()
    assert (second.time_s > first.time_s).all()
    assert (of(second, "guest_id") == ids).all(), "a guest keeps its slot and its number"
    assert (of(second, "applied_target_bytes") == -1).all(), "to hold is to send nothing"

    wanted = second.max_bytes // 2 // (4 * MIB) * (4 * MIB)
    target = np.where(second.present, np.maximum(wanted, second.min_bytes), -1)
    backend.apply(Decision(target))
    sent = backend.read()
    assert (of(sent, "applied_target_bytes") == target[second.present]).all()
    assert (of(sent, "applied_age_s") < 5).all()
    pass_time(case, 1.0)
    backend.apply(Decision(target))
    older = backend.read()
    assert (of(older, "applied_age_s") > 0.9).all(), "the age is of the first time it was sent"

    backend.apply(Decision(np.full_like(target, second.max_bytes.max() * 4)))
    grown = backend.read()
    assert (of(grown, "current_bytes") <= of(grown, "max_bytes")).all()


def test_targets_are_reached(case: Case) -> None:
    backend = case.backend
    telemetry = backend.read()
    target = np.where(telemetry.present, telemetry.max_bytes // 2 // (4 * MIB) * (4 * MIB), -1)
    backend.apply(Decision(target))
    for _ in range(20):
        now = of(backend.read(), "current_bytes")
        reached = np.abs(now - target[telemetry.present]) <= 8 * MIB
        if reached.all():
            return
        pass_time(case, case.settle_s / 20)
    assert reached.any(), f"nobody moved: {now // MIB} MiB"


def test_a_guest_that_goes_is_noticed(case: Case) -> None:
    if case.end_one is None:
        pytest.skip("guests of this backend do not go on demand")
    backend = case.backend
    first = backend.read()
    case.end_one()
    target = np.where(first.present, first.max_bytes, -1)
    with contextlib.suppress(HostError):
        backend.apply(Decision(target))
    left = set(of(first, "guest_id").tolist())
    end = time.monotonic() + 20
    while len(left) == first.present.sum() and time.monotonic() < end:
        pass_time(case, 0.2)
        left = set(of(backend.read(), "guest_id").tolist())
    assert len(left) == first.present.sum() - 1
    assert left < set(of(first, "guest_id").tolist()), "who stays keeps the number"


def test_a_second_daemon_goes_on_with_the_same_guests(case: Case) -> None:
    if case.again is None:
        pytest.skip("covered where connections can be made anew at once")
    first = case.backend.read()
    target = np.where(first.present, first.max_bytes // 2, -1)
    case.backend.apply(Decision(target))
    before, kept = case.backend.read(), case.backend.as_dict()
    second = case.again()
    second.load(kept)
    after = second.read()
    for name in ("guest_id", "applied_target_bytes", "present"):
        assert (getattr(after, name) == getattr(before, name)).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [real_qmp, libvirt_real])
def test_real_guests_keep_all_promises(kind: Kind, tmp_path: Path) -> None:
    with kind(tmp_path) as case:
        test_a_backend_keeps_its_promises(case)
        test_targets_are_reached(case)
        test_a_guest_that_goes_is_noticed(case)
