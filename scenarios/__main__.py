"""Run one scenario and tell what happened between its marks: `python -m scenarios FILE`."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import scenarios
from agents.baselines import UnknownPolicy, load_policy, names
from configs.loading import ConfigError, write_atomic
from contract.host import HostError
from contract.policy import PolicyError
from scenarios.ledger import ledger
from scenarios.outcome import run
from scenarios.traces import TraceError

MIB = 2**20
TEACHING = """\
A run ends at the last mark of the timeline, or with the scenario if that is sooner.  Without
--policy nobody sets targets but the timeline.

examples:
  python -m scenarios experiment_a
  python -m scenarios talk --set guests.0.mechanisms.hinting=bitmap --seed 1 --json talk.json
  python -m scenarios mine.yaml --policy slides --set guests.0.mechanisms.resize=balloon
"""
COLUMNS = {  # title -> counter of the ledger, in MiB
    "host swap in": "host_swap_in_bytes",
    "out": "host_swap_out_bytes",
    "dropped": "discarded_bytes",
    "guest swap in": "guest_swap_in_bytes",
    "disk read": "disk_read_bytes",
}
PROBLEMS = (ConfigError, HostError, OSError, PolicyError, TraceError, UnknownPolicy)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m scenarios",
        description=__doc__,
        epilog=TEACHING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", help="a scenario that ships, or a YAML file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="change it; repeatable"
    )
    parser.add_argument(
        "--policy", help=f"who sets targets: {', '.join(names())} or my_module:MyPolicy"
    )
    parser.add_argument("--seed", type=int, default=0, help="what draws all random parts")
    parser.add_argument("--json", metavar="FILE", help="write all counters")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Run, print, write."""
    options = arguments(given)
    try:
        scenario = scenarios.load(options.scenario, options.set)
        policy = load_policy(options.policy, {}) if options.policy else None
        found = ledger(run(scenario, options.seed, policy))
        about = {"scenario": scenario.name, "seed": options.seed, "policy": options.policy}
        if options.json:
            write_atomic(options.json, json.dumps(about | found, indent=1, allow_nan=False) + "\n")
    except PROBLEMS as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(lines(found)))
    return 0


def lines(found: dict[str, Any]) -> Iterator[str]:
    """A ledger for people: a table for each span, then the jobs."""
    for span in found["between"]:
        if span["seconds"] == 0:
            continue
        yield f"{span['from']} to {span['to']}, {span['seconds']:.3f} s [MiB]"
        yield f"  {'':16}" + "".join(f"{title:>15}" for title in COLUMNS)
        for guest, counters in span["guests"].items():
            cells = (f"{counters[field] / MIB:15.1f}" for field in COLUMNS.values())
            yield f"  {guest:16}" + "".join(cells)
    for task in found["tasks"]:
        if task["seconds"] is not None:
            yield f"{task['guest']} {task['task']}: done in {task['seconds']:.3f} s"


if __name__ == "__main__":
    sys.exit(main())
