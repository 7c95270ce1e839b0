"""Compare policies on simulated hosts: `python evaluate.py configs/evaluate/demo.yaml`."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from configs.loading import ConfigError, check_writable, dump, load, named, packaged, write_atomic
from contract.host import HostError
from contract.policy import PolicyError
from reports import (
    arms,
    cost,
    crowds,
    density_kept,
    density_report,
    density_table,
    folder,
    page,
    parts,
    service,
    storage,
    table,
)
from reports.entrants import Entrant, EntrantError, entrants, labels, reference_label
from reports.episodes import Results
from reports.evaluation import Progress, carry_out, missing, plan
from reports.page import Provenance
from reports.rows import EvaluationError
from reports.settings import Evaluation
from reports.standings import cautions, standings, verdict
from reports.versions import versions
from reports.wins import compare
from reports.workloads import Workloads, prepare
from scenarios.traces import TraceError

TEACHING = """\
Every policy meets the same hosts: same guests, same work, same draws.  All guests start at their
maximum; the first minutes are a warm-up under the policy itself, the rest is scored to its end.

  J           mean score of the guests, min(1, 1/slowdown); slowdown is against the same guest alone
              on an ample host, and the score is 0 from an out-of-memory kill to the end; 1 is best
  difference  paired by host; an interval that includes 0 is no evidence of a difference.  The
              table's intervals hold one by one; who won is judged by wider ones that hold for all
              comparisons at once, because the best of many is partly lucky

examples:
  python evaluate.py configs/evaluate/demo.yaml
  python evaluate.py configs/evaluate/demo.yaml --policies static,slides,runs/mine,my_module:MyRule
  python evaluate.py configs/evaluate/demo.yaml --policies slides,mine=runs/seed0+runs/seed1
  python evaluate.py configs/evaluate/bitbrains.yaml --traces ~/traces --set seeds.count=20
  python evaluate.py configs/evaluate/talk.yaml --json talk.json
  python evaluate.py configs/evaluate/demo.yaml --density --slo "p95_slowdown<=1.10"

A policy is a baseline (static, equal, slides ...), the folder of a training run, or a class of
your own with the methods of contract.policy.  --traces takes tidy parquet files, GWA-T-12 CSV
files as published, and what the daemon recorded: evaluate.py recorded --traces FOLDER.  Each
policy's run on a scenario is kept as it ends: a run that was stopped goes on with the same command,
one more policy costs its own runs, and with nothing changed nothing is run.
"""
BAR = "{percentage:3.0f} %|{bar:24}| {elapsed}<{remaining}  {desc}"
PROBLEMS = (
    ConfigError,
    EntrantError,
    EvaluationError,
    TraceError,
    folder.FolderError,
    HostError,
    OSError,
    PolicyError,
)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="evaluate.py",
        description=__doc__,
        epilog=TEACHING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ", ".join(packaged("evaluate"))
    parser.add_argument("config", help=f"YAML file, or the name of one that ships ({names})")
    parser.add_argument(
        "--policies", help="comma-separated, instead of the configuration's", metavar="A,B,..."
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change the configuration, such as seeds.count=20 or scored=10min; repeatable",
    )
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        help="which hosts, machines and times; test is for the last comparison (default: the"
        " configuration's, validation)",
    )
    parser.add_argument(
        "--density",
        action="store_true",
        help="instead: fill the hosts with ever more guests and tell how many each policy bears",
    )
    parser.add_argument(
        "--slo",
        metavar="LEVEL",
        help="service level that --density keeps; without --density, its limit is from where on"
        " guests count as slowed down too much (default: p95_slowdown<=1.10)",
    )
    parser.add_argument("--traces", metavar="DIR", help="folder of measured traces to replay")
    parser.add_argument(
        "--json", metavar="FILE", help="write every metric per episode and per guest"
    )
    parser.add_argument("--fresh", action="store_true", help="forget what was kept, and run anew")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--name", help="write into runs/NAME; default: the configuration's name")
    place.add_argument("--out", metavar="DIR", help="write into this folder")
    parser.add_argument("--threads", type=int, help="of the simulator; results do not depend on it")
    options = parser.parse_args(given)
    if options.threads is not None and options.threads < 1:
        parser.error(f"--threads: {options.threads}: expected 1 or more")
    if options.fresh and options.density:
        parser.error("--fresh: --density begins anew in a folder of its own; say --name or --out")
    if options.json and options.density:
        parser.error("--json: is not written by --density; runs/NAME/density/density.csv is")
    return options


def main(given: Sequence[str] | None = None) -> int:
    """Evaluate, print who won, and write the report."""
    options = arguments(given)
    try:
        evaluate(options, shlex.join(["python", "evaluate.py", *(given or sys.argv[1:])]))
    except KeyboardInterrupt:
        print("Stopped.  What was done is kept; the same command goes on.", file=sys.stderr)
        return 130
    except PROBLEMS as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def evaluate(options: argparse.Namespace, command: str) -> None:
    """Everything between the command line and the report."""
    if options.json:
        check_writable(options.json)
    config = _config(options)
    where = Path(options.out or Path("runs") / (options.name or _name(config)))
    found, workloads = entrants(config), prepare(config)
    reference = reference_label(config, found)
    for sentence in _about_split(config):
        print(sentence)
    if options.density:
        folder.refuse_training(where)
        with folder.locked(where):
            fill(config, found, where / crowds.FOLDER, options.threads)
        return
    for sentence in workloads.traces:
        print(sentence)
    if options.fresh:
        folder.forget(where)
    content = folder.digest(config, found, workloads)
    results = folder.kept(where, content)
    reused = results is not None
    if results is None:
        with folder.locked(where):
            results = _run(config, workloads, found, where, options.threads)
            folder.write(where, config, results, content)
    else:
        print(f"Reusing the results in {where}: same configuration, policies, traces and code.")
    resamples = config.bootstrap.resamples
    limit = service.parse(config.density.slo).limit
    ranked = standings(results, reference, resamples, config.bootstrap.seed, limit)
    measured = arms.rows(results, resamples, config.bootstrap.seed) if config.arms else ()
    if measured:
        said = (*arms.sentences(measured), *cautions(results))
        table.show_arms(measured, said, table.terminal())
    else:
        said = verdict(results, ranked, reference, resamples, config.bootstrap.seed)
        table.show(ranked, said, reference, table.terminal())
    if not reused or _outdated(where):
        about = _provenance(config, workloads, found, command)
        names = [standing.label for standing in ranked]
        compared = compare(results, names, reference, resamples, config.bootstrap.seed)
        kept = density_kept.read(where / crowds.FOLDER)
        density = page.density_part(kept, folder.code()) if kept else None
        folder.write_report(where, results, ranked, said, compared, about, density)
    if options.json:
        about_all = {
            "name": config.name,
            "reference": reference,
            "verdict": said,
            "standings": [standing.as_dict() for standing in ranked],
            "arms": [row.as_dict() for row in measured],
        }
        write_atomic(options.json, storage.as_json(results, about_all))
        print(f"Metrics: {options.json}")
    print(f"Report: {where / folder.REPORT}")


def fill(
    config: Evaluation, found: Sequence[Entrant], where: Path, threads: int | None = None
) -> None:
    """How many guests a host bears under each policy: run, print, write."""
    level = service.parse(config.density.slo)
    reference = reference_label(config, found)
    print(crowds.cost(config, found))
    with tqdm(total=1.0, desc="drawing hosts", bar_format=BAR, disable=None) as bar:
        filled = crowds.fill(config, found, level, where, tqdm.write, _shown(bar), threads)
    for sentence in filled.traces:
        print(sentence)
    rows = density_table.rows(filled.crowds, level, reference, seed=config.bootstrap.seed)
    said = density_table.verdict(rows, level, reference)
    density_table.show(rows, said, reference, table.terminal())
    written = density_report.write(where, config, rows, said, level, reference)
    print(f"Density: {written}")
    if (where.parent / folder.REPORT).is_file():
        print("report.html takes it up when the evaluation is run again without --density.")


def _outdated(where: Path) -> bool:
    """Whether the page is missing, or older than the densities that belong on it."""
    report, density = where / folder.REPORT, where / crowds.FOLDER / density_kept.FILE
    if not report.is_file():
        return True
    return density.is_file() and density.stat().st_mtime > report.stat().st_mtime


def _shown(bar: "tqdm[Any]") -> Progress:
    """Progress on a bar; how much there is to do is known once the hosts are drawn."""

    def total(seconds: float) -> None:
        bar.reset(total=seconds)

    return Progress(total, bar.set_description_str, bar.update)


def _provenance(
    config: Evaluation, workloads: Workloads, found: Sequence[Entrant], command: str
) -> Provenance:
    return Provenance(
        title=config.title,
        description=config.description,
        command=command,
        config=dump(config),
        versions=versions(),
        traces=workloads.traces,
        policies=labels(found),
        reference=reference_label(config, found),
        arms=bool(config.arms),
        guard=f"Guard level: {config.guard}.",
    )


def _config(options: argparse.Namespace) -> Evaluation:
    source = named("evaluate", options.config)
    overrides = list(options.set)
    if options.policies is not None:
        names = ", ".join(f'"{name.strip()}"' for name in options.policies.split(","))
        overrides.append(f"policies=[{names}]")
    if options.slo is not None:
        overrides.append(f'density.slo="{options.slo}"')
    if options.traces:
        overrides += [f'traces_folder="{options.traces}"', "traces=measured"]
    if options.split:
        overrides.append(f"split={options.split}")
    config = load(Evaluation, source, overrides)
    if config.split == "test" and options.split != "test":
        raise ConfigError(
            f"{source}: split: test: expected only on the command line, as --split test"
        )
    return config


def _name(config: Evaluation) -> str:
    """Of the run's folder; the splits do not overwrite each other."""
    return config.name if config.split in ("validation", "all") else f"{config.name}-{config.split}"


def _about_split(config: Evaluation) -> tuple[str, ...]:
    """Which hosts, and that the test is no place to choose on."""
    seeds = config.host_seeds
    said = f"Split {config.split}: hosts of the seeds {seeds[0]} to {seeds[-1]}."
    if config.split != "test":
        return (said,)
    return (
        said,
        "The test split is meant to be opened once, for all policies together, when nothing is"
        " to be chosen any more: choose by validation, and change nothing after this.",
    )


def _run(
    config: Evaluation,
    workloads: Workloads,
    found: Sequence[Entrant],
    where: Path,
    threads: int | None,
) -> Results:
    every, kept = plan(config, workloads.scenarios, found), where / parts.FOLDER
    to_do = missing(every, kept)
    expected = cost.minutes(config, to_do, threads)
    print(cost.sentence(expected, config, len(to_do), len(every)), flush=True)
    with tqdm(total=1.0, desc="drawing hosts", bar_format=BAR, disable=None) as bar:
        return carry_out(config, every, _shown(bar), threads, kept=kept)


if __name__ == "__main__":
    sys.exit(main())
