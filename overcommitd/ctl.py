"""The command `overcommitctl`: asks the running daemon, or tells it something."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contract.arrays import GIB, MIB
from overcommitd.control import ControlError, ask
from overcommitd.core import By
from overcommitd.explain import BY

SOCKET = "/run/overcommit/control.sock"
VARIABLE = "OVERCOMMIT_SOCKET"
EPILOG = """\
  status           what the daemon sees and does, a line a guest
  explain GUEST    what was seen of it, asked, and why the guard changed that
  pause            go on watching, send nothing; outlives a restart
  resume           send again
  release [GUEST]  pause, and give guests their largest size; says if the host cannot back it
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status."""
    options = _parser().parse_args(arguments)
    command, guests = options.command, options.guest
    if command == "explain" and len(guests) != 1:
        print("overcommitctl: explain: expected one guest's name", file=sys.stderr)
        return 2
    if guests and command not in ("explain", "release"):
        print(f"overcommitctl: {command}: expected no guest", file=sys.stderr)
        return 2
    fields: dict[str, object] = {}
    if command == "explain":
        fields["guest"] = guests[0]
    elif command == "release":
        fields["guests"] = guests
    try:
        found = ask(options.socket, command, **fields)
    except ControlError as error:
        print(f"overcommitctl: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=2) if options.json else _text(command, found))
    return 1 if found.get("failed") else 0


def _text(command: str, found: dict[str, Any]) -> str:
    if command == "status":
        return status_text(found["status"])
    if command == "explain":
        return str(found["text"])
    if command == "release":
        return _release_text(found)
    return f"paused {found['paused']}" if found["paused"] else "resumed: decisions are sent"


def status_text(status: dict[str, Any]) -> str:
    """The status as lines for a terminal."""
    host = status["host"]

    def gib(value: float | None) -> str:
        return "unknown" if value is None else f"{value / GIB:.1f} GiB"

    by = "observes" if status["mode"] == "observe" else BY[By(status["by"])]
    lines = [
        f"mode {status['mode']}{', paused ' + status['paused'] if status['paused'] else ''}; policy"
        f" {status['policy']}; {by}",
        f"host: {gib(host['available_bytes'])} available of {gib(host['total_bytes'])},"
        f" swap {gib(host['swap_used_bytes'])}; read {status['read_age_s']:.0f} s ago",
    ]
    if status["problem"]:
        lines.append(f"problem: {status['problem']}")
    if not status["reachable"]:
        lines.append("OUT OF REACH: the hypervisor does not answer; this is the last reading")
    columns = ("current", "min", "max", "used", "resident", "swapped", "target")
    lines.append(f"{'guest (MiB)':<21}" + "".join(f"{name:>9}" for name in columns) + "  guard")
    for one in status["guests"]:
        keys = [f"{name}_bytes" for name in columns[:-1]] + ["applied_target_bytes"]
        cells = "".join(
            f"{'-':>9}" if one[key] is None else f"{one[key] / MIB:>9,.0f}" for key in keys
        )
        lines.append(f"{one['name'][:20]:<21}{cells}  {' '.join(one['interventions'])}".rstrip())
    return "\n".join(lines)


def _release_text(found: dict[str, Any]) -> str:
    lines = [
        f"sent {len(found['released'])} guests their largest size; paused until resume",
        f"promised {found['promised_bytes'] / MIB:,.0f} MiB beyond what they hold; the host"
        f" has {found['host_has_bytes'] / MIB:,.0f} MiB",
    ]
    if found["too_much"]:
        lines.append("MORE THAN THE HOST HAS: it will swap if they use it; watch host swap")
    if found.get("failed"):
        lines.append(f"not sent: {found['failed']}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="overcommitctl",
        description="Asks the running overcommitd, or tells it something.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--socket",
        type=Path,
        default=Path(os.environ.get(VARIABLE) or SOCKET),
        help=f"control socket (default {VARIABLE}, else {SOCKET})",
    )
    parser.add_argument("--json", action="store_true", help="the answer as JSON")
    parser.add_argument("command", choices=("status", "explain", "pause", "resume", "release"))
    parser.add_argument("guest", nargs="*", help="of explain and release")
    return parser


if __name__ == "__main__":
    sys.exit(main())
