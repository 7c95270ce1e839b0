"""`overcommitd check`: is everything there that the daemon will need, and if not, what to do."""

from collections.abc import Iterator
from pathlib import Path

from configs.loading import check_writable
from contract.host import HostError
from overcommitd import lock, policies
from overcommitd.backend import Backend
from overcommitd.config import DaemonConfig, Mode
from overcommitd.hypervisor import Finding
from overcommitd.lock import Taken
from overcommitd.policies import PolicyMissing


def examine(config: DaemonConfig, backend: Backend) -> Iterator[Finding]:
    """Everything, one finding after another; the most general first."""
    yield _policy(config)
    yield from _folders(config)
    yield _lock(config, backend)
    try:
        yield from backend.examine()
        telemetry = backend.read()
    except HostError as error:
        yield Finding("host", "the hypervisor can be read", False, str(error))
        return
    names, present = backend.names(), telemetry.present[0]
    advice = "start one; or guests.select leaves all out"
    yield Finding("host", f"{int(present.sum())} guests are managed", bool(present.any()), advice)
    for slot in present.nonzero()[0]:
        name = names[int(telemetry.guest_id[0, slot])]
        known = telemetry.resident_bytes[0, slot] >= 0
        advice = "may we read /proc/PID/status of its emulator? Growth is bounded more tightly"
        yield Finding(name, "resident memory on the host", bool(known), advice)


def _policy(config: DaemonConfig) -> Finding:
    try:
        policy = policies.open_policy(config.policy, config.settings)
    except PolicyMissing as error:
        return Finding("policy", config.policy, False, f"{error}; the fall-back rule would decide")
    digest = getattr(getattr(policy, "contract", None), "digest", "")
    return Finding("policy", f"{policy.name}{f', contract {digest[:12]}' if digest else ''}", True)


def _folders(config: DaemonConfig) -> Iterator[Finding]:
    wanted = [Path(config.state_dir), Path(config.runtime_dir)]
    if config.record is not None:
        wanted.append(config.record_folder)
    for folder in wanted:
        try:
            check_writable(folder / "probe")
        except OSError as error:
            advice = f"{error.strerror}; make it, owned by the daemon's user"
            yield Finding("host", f"{folder} can be written", False, advice)
        else:
            yield Finding("host", f"{folder} can be written", True)


def _lock(config: DaemonConfig, backend: Backend) -> Finding:
    if backend.simulated or config.mode is not Mode.ACT:
        return Finding("host", "no lock is needed: nothing real is resized", True)
    try:
        lock.of_host(config.host_lock).release()
    except Taken as error:
        return Finding("host", "no other daemon acts", False, str(error))
    return Finding("host", "no other daemon acts", True)
