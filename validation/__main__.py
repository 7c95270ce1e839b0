"""Hold the simulator against published experiments: `python -m validation`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from configs.loading import ConfigError, check_writable
from validation import document, page, table
from validation.document import Document, DocumentError
from validation.experiment import Experiment, UnknownExperiment, catalogue, chosen
from validation.page import IncompleteDocument
from validation.running import PROCESSES, Job, jobs_of, measure

TEACHING = """\
A full run of all experiments also writes docs/validation.md and its figures.  The command ends with
1 if a quantity misses its range and its experiment file does not say why.

examples:
  python -m validation
  python -m validation V1 V3
  python -m validation --quick --json quick.json
  python -m validation --from full.json
"""
BAR = "{percentage:3.0f} %|{bar:24}| {elapsed}<{remaining}  {desc}"
PROBLEMS = (ConfigError, DocumentError, IncompleteDocument, OSError, UnknownExperiment)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m validation",
        description=__doc__,
        epilog=TEACHING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = " ".join(catalogue())
    parser.add_argument("names", nargs="*", metavar="V", help=f"some of {names}; none: all")
    parser.add_argument("--quick", action="store_true", help="short variants with one seed")
    parser.add_argument("--json", metavar="FILE", help="write what was found")
    parser.add_argument(
        "--page", metavar="FILE", help=f"where the page of a full run goes, default {page.PAGE}"
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        help="run nothing; show and write an earlier --json",
    )
    parser.add_argument(
        "--processes", type=int, default=PROCESSES, help="results do not depend on it"
    )
    options = parser.parse_args(given)
    if options.processes < 1:
        parser.error(f"--processes: {options.processes}: expected 1 or more")
    part = bool(options.names or options.quick)
    if options.source and part:
        parser.error("--from runs nothing: it takes no names and no --quick")
    if options.page and part:
        parser.error("--page: the page is of a full run, without names and --quick")
    return options


def main(given: Sequence[str] | None = None) -> int:
    """Run, print, write."""
    options = arguments(given)
    try:
        if options.json:
            check_writable(options.json)
        found = document.read(options.source) if options.source else _run(options)
        if options.json:
            document.write(found, options.json)
        table.show(found, table.terminal())
        where = Path(options.page or page.PAGE)
        if options.page or found.complete:
            page.write(found, where)
            print(f"Page: {where}")
    except PROBLEMS as error:
        print(error, file=sys.stderr)
        return 2
    return int(any(quantity.unexplained for quantity in found.quantities))


def _run(options: argparse.Namespace) -> Document:
    experiments = chosen(options.names)
    jobs = jobs_of(experiments, options.quick)
    print(_announcement(experiments, options.quick, len(jobs), options.processes))
    with tqdm(total=len(jobs), bar_format=BAR, disable=None) as bar:

        def told(job: Job) -> None:
            bar.set_description_str(f"{job.experiment} {job.run}")
            bar.update()

        measured = measure(experiments, options.quick, told, max(1, options.processes))
    return document.document(measured, options.quick, len(experiments) == len(catalogue()))


def _announcement(experiments: Sequence[Experiment], quick: bool, jobs: int, processes: int) -> str:
    taking_part = [one for one in experiments if one.quick is not None or not quick]
    cost_s = sum(one.quick_cost_s if quick else one.cost_s for one in taking_part)
    minutes = cost_s / 60 / max(1, processes)
    took = f"{minutes:.0f} min" if minutes >= 1.5 else f"{max(1, round(60 * minutes))} s"
    names = " ".join(one.name for one in taking_part) or "nothing"
    return f"{names}: {jobs} runs, about {took} in {processes} processes when kernels are compiled"


if __name__ == "__main__":
    sys.exit(main())
