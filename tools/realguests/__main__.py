"""Run a scenario on real guests, simulate it, and compare: `python -m tools.realguests`."""

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from configs.loading import ConfigError, check_writable, write_atomic
from contract.host import HostError
from scenarios import Scenario, load
from scenarios.schema import Mark
from tools.realguests import compare, experiment, image, record, simulated
from tools.realguests.modes import CLASSIC, Mode
from tools.realguests.plan import plan
from tools.realguests.problems import Problem, Refused, Unavailable

ENDING = (signal.SIGINT, signal.SIGTERM)
UNAVAILABLE = 3  # exit status: this machine cannot, as opposed to 2: something is wrong
TEACHING = """\
examples:
  python -m tools.realguests prepare
  python -m tools.realguests run experiment_a --json real.json
  python -m tools.realguests run experiment_a --mode nothing,balloon --json real.json
  python -m tools.realguests simulate experiment_a --json simulated.json
  python -m tools.realguests compare real.json simulated.json --figure memory.svg

A scenario is a YAML file, or the name of one that ships.  Real guests do the part of the scenario
language that docs/real-guests.md names; anything else is refused.  Limits and swap need root.
"""


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.realguests",
        description=__doc__,
        epilog=TEACHING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare", help="make kernel, initramfs and agent, if they are not there")
    for name, doing in (("run", "on real guests"), ("simulate", "in the simulator")):
        command = commands.add_parser(name, help=f"run a scenario {doing}")
        command.add_argument("scenario", help="YAML file, or the name of one that ships")
        command.add_argument(
            "--mode",
            default=",".join(CLASSIC),
            help=f"some of {', '.join(Mode)}; default %(default)s",
            metavar="A,B,...",
        )
        command.add_argument(
            "--set", action="append", default=[], metavar="FIELD=VALUE", help="change the scenario"
        )
        command.add_argument("--repeat", type=int, default=1, help="runs of each mode")
        command.add_argument("--json", type=Path, metavar="FILE", help="write the records")
    both = commands.add_parser("compare", help="show both side by side")
    both.add_argument("real", type=Path)
    both.add_argument("simulated", type=Path)
    both.add_argument("--figure", type=Path, metavar="FILE", help="memory over time, .svg or .png")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Do one command."""
    options = arguments(given)
    try:
        for path in (getattr(options, "json", None), getattr(options, "figure", None)):
            if path is not None:
                check_writable(path)
        with _interruptible():
            COMMANDS[options.command](options)
    except Unavailable as error:
        print(error, file=sys.stderr)
        return UNAVAILABLE
    except (ConfigError, HostError, OSError, Problem) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; guests, cgroups and swap are gone", file=sys.stderr)
        return 130
    return 0


def prepare(options: argparse.Namespace) -> None:
    """Make the guest image."""
    made = image.prepare(print)
    print(f"{made.version}: {made.kernel} and {made.initramfs.name}")


def run(options: argparse.Namespace) -> None:
    """Run on real guests."""
    modes, settings = _modes(options.mode), tuple(options.set)
    scenario = _comparable(options.scenario, settings)
    plan(scenario)  # refuses what real guests cannot do, on any machine
    image.require("qemu-system-x86_64")
    booted = image.find()
    found = []
    for mode in modes * options.repeat:
        print(f"{scenario.name}, {mode}")
        disk = image.cache_folder()
        found.append(experiment.run(scenario, mode, settings, booted, disk, print))
        _keep(options, found)


def simulate(options: argparse.Namespace) -> None:
    """Run in the simulator; repeated runs have seeds of their own."""
    settings = tuple(options.set)
    scenario = _comparable(options.scenario, settings)
    found = []
    for mode in _modes(options.mode):
        for seed in range(options.repeat):
            print(f"{scenario.name}, {mode}, seed {seed}")
            found.append(simulated.run(scenario, mode, settings, seed))
            _keep(options, found)


def show(options: argparse.Namespace) -> None:
    """Compare two files."""
    real, ours = record.read(options.real), record.read(options.simulated)
    compare.check_sides(real, ours)
    found = compare.rows(real, ours)
    print(compare.text(found))
    for alone in compare.left_out(real, ours):
        print(f"left out, {alone}")
    for problem in compare.orders_that_differ(found):
        print(f"order differs: {problem}")
    for problem in compare.beyond(found):
        print(f"beyond a factor of 2: {problem}")
    if options.figure is not None:
        from reports import plotstyle  # matplotlib takes a second to load
        from tools.realguests.figure import figure

        drawn = figure(real, ours)
        vector = options.figure.suffix == ".svg"
        write_atomic(options.figure, plotstyle.svg(drawn) if vector else plotstyle.png(drawn))


COMMANDS = {"prepare": prepare, "run": run, "simulate": simulate, "compare": show}


def _comparable(name: str, settings: Sequence[str]) -> Scenario:
    # Before minutes are spent on a run that nothing could be said of.
    scenario = load(name, settings)
    marks = sum(isinstance(entry, Mark) for entry in scenario.timeline)
    if marks < 2:
        raise Refused(
            f"{scenario.name}: timeline: {marks} marks; expected at least two, because what is"
            " compared lies between the first and the last"
        )
    return scenario


def _modes(text: str) -> list[Mode]:
    try:
        return [Mode(word) for word in text.split(",")]
    except ValueError as error:
        raise Problem(f"--mode {text}: expected some of {', '.join(Mode)}") from error


def _keep(options: argparse.Namespace, found: Sequence[record.Record]) -> None:
    """Print the last run's figures and write all there are."""
    last = found[-1]
    for measure in compare.MEASURES:
        value = measure.of(last)
        if value == value:
            print(f"  {measure.name}: {value:,.{measure.digits}f} {measure.unit}")
    if options.json is not None:
        record.write(options.json, found)


@contextmanager
def _interruptible() -> Iterator[None]:
    """An interrupt, or a polite request to end, cleans up; another one does not disturb that."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        for one in ENDING:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = [signal.signal(one, interrupt) for one in ENDING]
    try:
        yield
    finally:
        for one, handler in zip(ENDING, before, strict=True):
            signal.signal(one, handler)


if __name__ == "__main__":
    sys.exit(main())
