"""Run one scenario and tell what happened between its marks: `python -m scenarios FILE`."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

import scenarios
from agents.baselines import UnknownPolicy, load_policy, names
from configs.loading import ConfigError, check_writable, write_atomic
from configs.quantities import parse_seconds
from contract.host import HostError
from contract.policy import Policy, PolicyError
from scenarios.check import ignored, resizes
from scenarios.ledger import ledger, series
from scenarios.outcome import Outcome, run
from scenarios.schema import Scenario
from scenarios.summary import lines
from scenarios.traces import TraceError

TEACHING = """\
A run ends at the last mark of the timeline, or with the scenario if that is sooner: what is told
is what happened between marks.  Without --policy nobody sets targets but the timeline.

  host swap in, out     read from and written to the host's swap for a guest
  dropped               thrown away by the host without writing, as the guest did not need it
  guest swap in         from the guest's own swap
  disk read             from the guest's disk

Below a table stands what mechanisms did, where they did something: balloon, free page reporting,
huge pages, KSM, throttling, pressure.  --json has all counters.

examples:
  python -m scenarios experiment_a
  python -m scenarios talk --set guests.0.mechanisms.hinting=bitmap --seed 1 --json talk.json
  python -m scenarios mine.yaml --policy slides --set guests.0.mechanisms.resize=balloon
"""
LEAST_S = 0.01  # between samples: the usual tick
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
    parser.add_argument("--seed", type=_seed, default=0, help="what draws all random parts")
    parser.add_argument("--json", metavar="FILE", help="write all counters, bytes and seconds")
    parser.add_argument(
        "--every",
        metavar="TIME",
        type=_span,
        default=0.0,
        help="with --json: also memory over time, a sample each TIME (5s)",
    )
    options = parser.parse_args(given)
    if options.every and not options.json:
        parser.error("--every: samples are written by --json FILE, which is missing")
    return options


def main(given: Sequence[str] | None = None) -> int:
    """Run, print, write."""
    options = arguments(given)
    try:
        if options.json:
            check_writable(options.json)
        scenario = scenarios.load(options.scenario, options.set)
        policy = load_policy(options.policy, {}) if options.policy else None
        if policy is not None and not resizes(scenario):
            raise ConfigError(
                f"{options.scenario}: --policy {options.policy}: expected a guest with"
                " mechanisms.resize other than none; nobody here follows a target"
            )
        for line in ignored(scenario):
            print(f"{options.scenario}: {line}", file=sys.stderr)
        outcome = _watched(scenario, options, policy)
        found = ledger(outcome)
        about = {"scenario": scenario.name, "seed": options.seed, "policy": options.policy}
        more = {"samples": series(outcome)} if options.every else {}
        if options.json:
            text = json.dumps(about | found | more, indent=1, allow_nan=False)
            write_atomic(options.json, text + "\n")
    except PROBLEMS as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(lines(found)))
    return 0


def _span(text: str) -> float:
    try:
        span_s = parse_seconds(float(text) if text.isdecimal() else text)
        if span_s < LEAST_S:
            raise ValueError(f"expected at least {LEAST_S:g} s, which the simulator steps by")
        return span_s
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"got {text!r}, {error}") from None


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number of 0 or more")
    return int(text)


def _watched(
    scenario: Scenario,
    options: argparse.Namespace,
    policy: Policy[Any] | None,
) -> Outcome:
    # A bar of simulated seconds, where somebody looks and it takes long enough to look.
    with tqdm(total=round(scenario.end_s), unit="s", leave=False, disable=None, delay=2.0) as bar:
        return run(
            scenario,
            options.seed,
            policy,
            options.every,
            told=lambda now_s: bar.update(int(now_s) - bar.n),
        )


if __name__ == "__main__":
    sys.exit(main())
