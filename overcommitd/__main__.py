"""The command `overcommitd`: run, check, replay."""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from configs.loading import ConfigError, build, load
from contract import recording
from contract.arrays import MIB
from contract.host import HostError
from contract.recording import RecordingError
from overcommitd import check, lock, log, policies, replay
from overcommitd.backend import Backend, BackendMissing, open_backend
from overcommitd.config import DaemonConfig, Mode
from overcommitd.control import Control, ControlError
from overcommitd.hypervisor import Finding
from overcommitd.lock import Taken
from overcommitd.metrics import Server
from overcommitd.policies import PolicyMissing
from overcommitd.service import Service

DEFAULT = "/etc/overcommit/daemon.yaml"
EPILOG = """\
Without a command the daemon runs in the foreground until it gets SIGTERM or SIGINT.

  overcommitd --config daemon/try                a simulated host; no hypervisor, no root
  overcommitd check                              tests the installation, says what to do
  overcommitd --set mode=shadow                  decides and explains, sends nothing
  overcommitd replay /var/lib/overcommit/telemetry --policy proxmox
  overcommitctl status                           what the running daemon sees and does

Begin in mode shadow beside whatever resizes guests today; docs/operating.md is the way from there.
"""


REFUSALS = (  # what ends a command before it began; the message says what to do
    BackendMissing,
    ConfigError,
    ControlError,
    HostError,
    PolicyMissing,
    RecordingError,
    Taken,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status."""
    options = _parser().parse_args(arguments)
    log.set_up(options.log_level)
    try:
        if options.command == "replay":
            return _replay(options)
        config = load(DaemonConfig, options.config, options.set)
        return _check(config) if options.command == "check" else _run(config)
    except REFUSALS as error:
        print(f"overcommitd: {error}", file=sys.stderr)
    except OSError as error:
        print(f"overcommitd: {error.filename or ''}: {error.strerror}", file=sys.stderr)
    return 2


def _run(config: DaemonConfig) -> int:
    plan = policies.plan(config)
    with ExitStack() as stack:
        folder = str(Path(config.state_dir).resolve())
        stack.callback(lock.of_folder(folder).release)
        backend = open_backend(config)
        stack.callback(backend.close)
        if config.mode is Mode.ACT and not backend.simulated:
            stack.callback(lock.of_host(config.host_lock).release)
        _serve(config, Service(config, backend, plan))
    return 0


def _serve(config: DaemonConfig, service: Service) -> None:
    control = Control(config.control_socket, service.wake.set)
    service.attach(control)
    server = None
    try:
        if config.metrics is not None:
            server = Server(service.page, config.metrics.address, config.metrics.port)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: service.stop())
        port = server.port if server else None
        log.say(logging.INFO, "begins", mode=config.mode.value, policy=config.policy, port=port)
        service.run()
        log.say(logging.INFO, "ends", on_stop=config.on_stop.value)
    finally:
        service.close()
        control.close()
        if server is not None:
            server.close()


def _check(config: DaemonConfig) -> int:
    backend: Backend = open_backend(config)
    try:
        findings = list(check.examine(config, backend))
    finally:
        backend.close()
    for one in findings:
        print(_line(one))
    failed = sum(not one.ok for one in findings)
    print(f"{len(findings) - failed} of {len(findings)} are as they should be")
    return 1 if failed else 0


def _line(one: Finding) -> str:
    advice = f"\n      {one.advice}" if not one.ok and one.advice else ""
    return f"{'ok  ' if one.ok else 'FAIL'}  {one.about}: {one.what}{advice}"


def _replay(options: argparse.Namespace) -> int:
    fields = {"backend": {"kind": "none"}, "policy": options.policy}
    config = build(DaemonConfig, fields, "replay", options.set)
    policies.open_policy(config.policy, config.settings)  # what cannot decide is refused here
    found = replay.replay(recording.read(options.file), policies.plan(config))
    print(_table(found, options.policy))
    return 0


def _table(found: replay.Summary, policy: str) -> str:
    lines = [
        f"{found.turns} readings over {found.seconds / 60:.1f} min; {policy} decided on"
        f" {found.decided}, {found.failed} without it.",
        "Decided again on what was recorded; nothing follows from it (MiB):",
        f"{'guest':<24}{'asks':>7}{'least':>9}{'mean':>9}{'most':>9}{'guarded':>9}{'as then':>9}",
    ]
    for one in found.guests:
        sizes = "".join(
            f"{size / MIB:>9,.0f}" if one.asks else f"{'-':>9}"
            for size in (one.least_bytes, one.mean_bytes, one.most_bytes)
        )
        same = one.agrees / one.turns
        lines.append(f"{one.name[:23]:<24}{one.asks:>7}{sizes}{one.interventions:>9}{same:>9.0%}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="overcommitd",
        description="Moves memory between the guests of this host, by a policy.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", default=DEFAULT, help=f"YAML file (default {DEFAULT})")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="change it; repeatable"
    )
    parser.add_argument(
        "--log-level", default="info", choices=("debug", "info", "warning", "error")
    )
    commands = parser.add_subparsers(dest="command", metavar="check | replay")
    commands.add_parser("check", help="test the installation and say what to do")
    again = commands.add_parser("replay", help="decide again on recorded telemetry")
    again.add_argument("file", type=Path, help="a recording, or the folder of several")
    again.add_argument("--policy", default="slides", help="a baseline, or a run folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())
