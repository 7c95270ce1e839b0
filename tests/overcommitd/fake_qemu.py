"""An emulator as far as QMP shows it: a socket, a balloon that moves as told, statistics."""

import json
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

GIB = 1 << 30
MIB = 1 << 20
BALLOON = "/machine/peripheral/balloon0"


class FakeQemu:
    """Serves one client after another until closed; change its fields to change the guest."""

    def __init__(self, folder: Path, name: str, size: int = GIB, virtio_mem: int = 0) -> None:
        self.name, self.size, self.actual = name, size, size
        self.follows = True  # False: takes every target and moves nowhere
        self.status, self.migrating = "running", False
        self.answers = True  # False: statistics freeze
        self.period = 0
        self.used = 200 * MIB
        self.virtio_mem, self.plugged = virtio_mem, virtio_mem
        self.last_update = 0
        self.silent = threading.Event()  # set: takes requests and answers none
        self.path = folder / f"{name}.qmp"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.path.unlink(missing_ok=True)
        for one in (self._connection, self._listener):
            if one is not None:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                self._connection, _ = self._listener.accept()
                with self._connection as one, one.makefile("rb") as lines:
                    one.sendall(b'{"QMP": {"version": {}, "capabilities": []}}\n')
                    for line in lines:
                        if self.silent.is_set():
                            break
                        one.sendall(self._answer(json.loads(line)))
            except (OSError, ValueError):
                if self._listener.fileno() < 0:
                    return

    def _answer(self, request: dict[str, Any]) -> bytes:
        try:
            found = {"return": self._do(request["execute"], request.get("arguments", {}))}
        except KeyError as error:
            found = {"error": {"class": "GenericError", "desc": f"not found: {error}"}}
        event = {"event": "BALLOON_CHANGE", "data": {"actual": self.actual}}
        answer = json.dumps(event) + "\n" + json.dumps(found | {"id": request.get("id")}) + "\n"
        return answer.encode()

    def _do(self, command: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401
        if command == "qom-get":
            return self._get(arguments["path"], arguments["property"])
        if command == "qom-set":
            return self._set(arguments["path"], arguments["property"], arguments["value"])
        if command == "balloon":
            if self.follows:
                self.actual = min(self.size, arguments["value"])
            return {}
        return {
            "qmp_capabilities": {},
            "query-name": {"name": self.name},
            "query-uuid": {"UUID": "00000000-0000-0000-0000-000000000000"},
            "query-status": {"status": self.status, "running": self.status == "running"},
            "query-migrate": {"status": "active"} if self.migrating else {},
            "query-memory-size-summary": {"base-memory": self.size, "plugged-memory": 0},
            "query-memory-devices": [
                {"type": "virtio-mem", "data": {"id": "vm0", "max-size": self.virtio_mem}}
            ]
            if self.virtio_mem
            else [],
            "query-balloon": {"actual": self.actual},
            "query-kvm": {"enabled": False, "present": True},
            "qom-list": [{"name": "balloon0", "type": "child<virtio-balloon-pci>"}],
        }[command]

    def _get(self, path: str, name: str) -> Any:  # noqa: ANN401
        if path != BALLOON:
            return {"block-size": 2 * MIB, "size": self.plugged}[name]
        return {
            "deflate-on-oom": True,
            "free-page-reporting": True,
            "guest-stats-polling-interval": self.period,
            "guest-stats": self._statistics(),
        }[name]

    def _set(self, path: str, name: str, value: int) -> dict[str, Any]:
        if path != BALLOON:
            self.plugged = {"requested-size": value}[name]
        else:
            self.period = {"guest-stats-polling-interval": value}[name]
        return {}

    def _statistics(self) -> dict[str, Any]:
        if self.period and self.answers:
            self.last_update = int(time.time())
        unset = (1 << 64) - 1
        stats = {
            "stat-total-memory": self.size - 16 * MIB,
            "stat-available-memory": self.actual - self.used,
            "stat-free-memory": self.actual - self.used,
            "stat-swap-in": 0,
            "stat-swap-out": 0,
            "stat-htlb-pgalloc": unset,
            "stat-oom-kills": -1,
        }
        return {"stats": stats if self.last_update else {}, "last-update": self.last_update}
