"""Guests by their QMP sockets, one socket a guest, found by a pattern.

A guest's balloon and virtio-mem devices are looked up once a connection; a guest that cannot be
reached is tried again after a while, and does not hold up the others.
"""

import glob
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from typing import Any

from configs.loading import build
from contract.arrays import UNKNOWN
from contract.descriptors import AsyncMode, GuestState, Hinting, ResizeMechanism
from contract.host import GuestGone, HostError, Refused
from overcommitd.agent import AGENT_ADVICE, Agent, free_target_scale, set_watermark_scale
from overcommitd.config import Guests
from overcommitd.hypervisor import NEVER, STATISTICS, Finding, Seen, findings
from overcommitd.machine import Machine
from overcommitd.options import QmpOptions
from overcommitd.qmp import Qmp, QmpError, QmpRefused
from overcommitd.real import RealHost

AT_ONCE = 16  # guests that are asked at the same time
RETRY_S = 10.0  # [s] until a guest that did not answer is asked again
LARGEST = 1 << 62  # [bytes] above this is 2^64 - 1, which says "unknown", or nonsense
STATES = {
    "running": GuestState.RUNNING,
    "inmigrate": GuestState.MIGRATING,
    "finish-migrate": GuestState.MIGRATING,
    "postmigrate": GuestState.MIGRATING,
    "paused": GuestState.PAUSED,
    "suspended": GuestState.PAUSED,
    "prelaunch": GuestState.BOOTING,
}


@dataclass
class Guest:
    """A connection and what does not change while it lasts."""

    qmp: Qmp
    seen: Seen
    balloon: str  # path of the device in the object tree; empty: none
    block: str = ""  # likewise of virtio-mem
    block_bytes: int = 0
    base_bytes: int = 0  # memory beside virtio-mem


class QmpGuests:
    """Implements `overcommitd.hypervisor.Hypervisor`."""

    name = "qmp"

    def __init__(self, options: QmpOptions, machine: Machine) -> None:
        """Store the parts; guests are looked for at every reading."""
        self._options, self._machine = options, machine
        self._known: dict[Path, Guest] = {}
        self._last: dict[Path, Seen] = {}  # of guests that may be out of reach for a while
        self._retry_at_s: dict[Path, float] = {}
        self._trouble: dict[Path, str] = {}
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="qmp")

    def guests(self) -> list[Seen]:
        """Everyone who is there now."""
        paths = [Path(found) for found in sorted(glob.glob(self._options.sockets))]
        for path in {*self._known, *self._last} - set(paths):
            self._drop(path)
            self._last.pop(path, None)
        seen = self._pool.map(self._read_if_due, paths)
        return [one for one in seen if one is not None]

    def resize(self, key: str, target_bytes: int) -> None:
        """Send a target in the guest's own way."""
        path, guest = next(
            ((p, g) for p, g in self._known.items() if g.seen.key == key), (None, None)
        )
        if path is None or guest is None:
            raise GuestGone("is not connected")
        try:
            if guest.seen.mechanism is ResizeMechanism.FREE_TARGET:
                self._set_free_target(path, guest, target_bytes)
            elif guest.block:
                wanted = max(0, target_bytes - guest.base_bytes) // guest.block_bytes
                size = wanted * guest.block_bytes
                guest.qmp.execute(
                    "qom-set", path=guest.block, property="requested-size", value=size
                )
            elif guest.balloon:
                guest.qmp.execute("balloon", value=target_bytes)
            else:
                raise Refused("has neither balloon nor virtio-mem")
        except QmpRefused as error:
            raise Refused(str(error)) from error
        except QmpError as error:
            self._drop(path)
            raise GuestGone(str(error)) from error

    def examine(self) -> Iterator[Finding]:
        """Test each guest: reach, balloon, statistics, mechanisms."""
        paths = sorted(glob.glob(self._options.sockets))
        advice = "start guests with -qmp unix:PATH,server=on,wait=off; does the pattern fit?"
        yield Finding("host", f"sockets {self._options.sockets}", bool(paths), advice)
        self._retry_at_s.clear()
        for path in map(Path, paths):
            seen = self._read(path)
            name = seen.name if seen else path.stem
            why = self._trouble.get(path, "")
            advice = f"{why}; a socket serves one client: give us one of our own (a second -qmp)"
            yield Finding(name, f"answers on {path}", seen is not None, advice)
            if seen is None:
                continue
            guest = self._known[path]
            advice = "start it with -device virtio-balloon-pci"
            yield Finding(name, "balloon or virtio-mem", bool(guest.balloon or guest.block), advice)
            yield from findings(seen)
            if self._options.agents:
                yield self._examine_agent(path, name)

    def close(self) -> None:
        """End all connections."""
        for path in list(self._known):
            self._drop(path)
        self._pool.shutdown(wait=False)

    def _examine_agent(self, path: Path, name: str) -> Finding:
        try:
            Agent(self._agent_path(path), self._options.timeout).close()
        except HostError as error:
            return Finding(name, "guest agent", False, f"{error}; {AGENT_ADVICE}")
        return Finding(name, "guest agent", True)

    def _agent_path(self, path: Path) -> Path:
        return Path((self._options.agents or "").replace("{name}", path.stem))

    def _set_free_target(self, path: Path, guest: Guest, target_bytes: int) -> None:
        size = guest.seen.size_bytes
        agent = Agent(self._agent_path(path), self._options.timeout)
        try:
            set_watermark_scale(agent.ask, free_target_scale(size - target_bytes, size))
        finally:
            agent.close()

    def _drop(self, path: Path) -> None:
        if path in self._known:
            self._known.pop(path).qmp.close()

    def _read_if_due(self, path: Path) -> Seen | None:
        """A guest, or what is left of it while it does not answer: its emulator lives, no more."""
        if self._retry_at_s.get(path, 0.0) <= self._machine.now_s():
            seen = self._read(path)
            if seen is not None:
                self._last[path] = seen
                return seen
        last = self._last.get(path)
        if last is None or (last.pid is not None and isnan(self._machine.started_at_s(last.pid))):
            self._last.pop(path, None)
            return None
        return replace(
            last,
            state=GuestState.UNKNOWN,
            current_bytes=UNKNOWN,
            answered_at=NEVER,
            statistics={},
        )

    def _read(self, path: Path) -> Seen | None:
        try:
            if path not in self._known:
                self._known[path] = self._connect(path)
            guest = self._known[path]
            guest.seen = self._look(guest)
        except HostError as error:
            self._drop(path)
            self._trouble[path] = str(error)
            self._retry_at_s[path] = self._machine.now_s() + RETRY_S
            return None
        self._trouble.pop(path, None)
        return guest.seen

    def _connect(self, path: Path) -> Guest:
        qmp = Qmp(path, self._options.timeout)
        try:
            return self._introduce(path, qmp)
        except HostError:
            qmp.close()
            raise

    def _introduce(self, path: Path, qmp: Qmp) -> Guest:
        name = _text(_ask(qmp, "query-name"), "name") or path.stem
        uuid = _text(_ask(qmp, "query-uuid"), "UUID")
        pid = qmp.pid
        began = self._machine.started_at_s(pid) if pid else 0.0
        summary = _ask(qmp, "query-memory-size-summary")
        base = _whole(summary)
        balloon = _device(qmp, "virtio-balloon")
        seen = Seen(f"{path}|{uuid}|{pid}|{began:.2f}", name, pid=pid, size_bytes=base)
        guest = Guest(qmp, seen, balloon, base_bytes=base)
        mechanism = ResizeMechanism.BALLOON if balloon else ResizeMechanism.NONE
        for memory in _list(_ask(qmp, "query-memory-devices")):
            data = memory.get("data") if memory.get("type") == "virtio-mem" else None
            if isinstance(data, dict) and data.get("id"):
                guest.block = f"/machine/peripheral/{data['id']}"
                guest.block_bytes = max(1, _number(_property(qmp, guest.block, "block-size")))
                base = guest.base_bytes = _number(summary, "base-memory")
                size = base + max(0, _number(data, "max-size"))
                seen, mechanism = replace(seen, size_bytes=size), ResizeMechanism.VIRTIO_MEM
        if name in self._options.free_target:
            mechanism = ResizeMechanism.FREE_TARGET
        deflate = _property(qmp, balloon, "deflate-on-oom") if balloon else None
        reports = _property(qmp, balloon, "free-page-reporting") if balloon else None
        guest.seen = replace(
            seen,
            mechanism=mechanism,
            deflate_on_oom=UNKNOWN if not isinstance(deflate, bool) else int(deflate),
            hinting=_hinting(reports),
            async_mode=_async_mode(qmp),
        )
        self._poll(guest)
        return guest

    def _poll(self, guest: Guest) -> None:
        """Without a period statistics never come; who set another one had a reason."""
        if guest.balloon and not _number(_property(guest.qmp, guest.balloon, PERIOD)) > 0:
            period = max(1, round(self._options.stats_period))
            with suppress(QmpRefused):
                guest.qmp.execute("qom-set", path=guest.balloon, property=PERIOD, value=period)

    def _look(self, guest: Guest) -> Seen:
        device = guest.block or guest.balloon
        status, migration, whole, size, found = guest.qmp.execute_all(
            [
                ("query-status", {}),
                ("query-migrate", {}),
                ("query-memory-size-summary", {}),
                ("qom-get", {"path": guest.block, "property": "size"})
                if guest.block
                else ("query-balloon", {}),
                ("qom-get", {"path": guest.balloon or device, "property": "guest-stats"}),
            ]
        )
        state = STATES.get(_text(status, "status"), GuestState.UNKNOWN)
        if _text(migration, "status") in ("setup", "active", "device"):
            state = GuestState.MIGRATING
        stats = found.get("stats") if isinstance(found, dict) else None
        statistics = {name: _number(stats, key) for name, key in STATISTICS.items()}
        return replace(
            guest.seen,
            state=state,
            size_bytes=guest.seen.size_bytes if guest.block else _whole(whole),
            current_bytes=_size(guest, size),
            answered_at=max(NEVER, float(_number(found, "last-update"))),
            statistics={name: value for name, value in statistics.items() if value >= 0},
        )


PERIOD = "guest-stats-polling-interval"


def open_backend(options: Mapping[str, Any], guests: Guests) -> RealHost:
    """The backend `qmp`.

    Raises:
        configs.loading.ConfigError: its options are wrong.
    """
    checked = build(QmpOptions, options, "backend.options")
    machine = Machine(checked.cgroup)
    return RealHost(QmpGuests(checked, machine), guests, machine, checked)


def _whole(summary: object) -> int:
    """[bytes] What the guest was started with and what was plugged in since, or unknown."""
    base = _number(summary, "base-memory")
    return UNKNOWN if base < 0 else base + max(0, _number(summary, "plugged-memory"))


def _size(guest: Guest, answer: object) -> int:
    """[bytes] From the answer of whichever device resizes the guest."""
    if guest.block:
        plugged = _number(answer)
        return guest.base_bytes + plugged if plugged >= 0 else UNKNOWN
    if not guest.balloon:
        return guest.base_bytes
    size = _number(answer, "actual")
    return size if size > 0 else UNKNOWN


def _ask(qmp: Qmp, command: str, **arguments: object) -> Any:  # noqa: ANN401
    """What a command returns; None where the emulator does not have it."""
    with suppress(QmpRefused):
        return qmp.execute(command, **arguments)
    return None


def _property(qmp: Qmp, path: str, name: str) -> Any:  # noqa: ANN401
    return _ask(qmp, "qom-get", path=path, property=name)


def _number(found: object, name: str | None = None) -> int:
    value = found.get(name) if name is not None and isinstance(found, dict) else found
    return value if type(value) is int and 0 <= value < LARGEST else UNKNOWN


def _text(found: object, name: str) -> str:
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""


def _list(found: object) -> list[dict[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _device(qmp: Qmp, kind: str) -> str:
    """The first device of a kind in the object tree; empty if there is none."""
    for folder in ("/machine/peripheral", "/machine/peripheral-anon"):
        for entry in _list(_ask(qmp, "qom-list", path=folder)):
            if _text(entry, "type").startswith(f"child<{kind}"):
                return f"{folder}/{_text(entry, 'name')}"
    return ""


def _hinting(reports: object) -> Hinting:
    if not isinstance(reports, bool):
        return Hinting.UNKNOWN
    return Hinting.REPORTING if reports else Hinting.NONE


def _async_mode(qmp: Qmp) -> AsyncMode:
    """Without KVM there are none; with it the first processor's features tell."""
    kvm = _ask(qmp, "query-kvm")
    if not isinstance(kvm, dict) or not isinstance(kvm.get("enabled"), bool):
        return AsyncMode.UNKNOWN
    if not kvm["enabled"]:
        return AsyncMode.OFF
    cpus = _list(_ask(qmp, "query-cpus-fast"))
    path = _text(cpus[0], "qom-path") if cpus else ""
    old, by_interrupt = (_property(qmp, path, f"kvm-asyncpf{n}") for n in ("", "-int"))
    if not isinstance(by_interrupt, bool):
        return AsyncMode.UNKNOWN
    return AsyncMode.USER if by_interrupt or old is True else AsyncMode.OFF
