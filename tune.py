"""Tune baselines on hosts that no evaluation uses: `python tune.py slides`."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

TEACHING = """\
A win over a rule means little if the rule has settings made for other hosts.  So each baseline is
tuned as well: 30 choices of its settings, the shipped ones first, each on the same 16 hosts of the
train split.  A choice that does worse than usual on the first half of the hosts is cut short.  What
was best becomes a file, and the file a policy: slides-tuned.

  python tune.py slides                   writes configs/policies/slides-tuned.yaml
  python tune.py slides proxmox senpai
  python tune.py all
  python evaluate.py configs/evaluate/demo.yaml --policies slides,slides-tuned

What may be tuned and how far is said in each baseline (TUNABLE); how often it looks never is.
A search may be stopped at any time (Ctrl-C, a crash): every finished trial is kept, and the same
command goes on and ends as if it had not been stopped.  The score it prints is of the hosts that it
chose by, which flatters the tuned settings; evaluate.py says on others what they are worth.
"""


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="tune.py",
        description=__doc__,
        epilog=TEACHING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("policies", nargs="+", metavar="POLICY", help="baselines, or all")
    parser.add_argument(
        "--config", default="default", help="YAML file, or the name of one that ships (default)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change the configuration, such as trials=60 or scored=1h; repeatable",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="of the results (default: configs/policies)"
    )
    parser.add_argument(
        "--runs", metavar="DIR", type=Path, help="of the trials (default: runs/tune/CONFIG)"
    )
    parser.add_argument("--fresh", action="store_true", help="forget earlier trials")
    parser.add_argument("--threads", type=int, help="of the simulator; results do not depend on it")
    options = parser.parse_args(given)
    if options.threads is not None and options.threads < 1:
        parser.error(f"--threads: {options.threads}: expected 1 or more")
    return options


def main(given: Sequence[str] | None = None) -> int:
    """Tune, and say what it brought; returns the exit status."""
    options = arguments(given)
    # A core that waits for the other one must not spin: the simulator or another program needs it.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from configs.loading import ConfigError
    from reports.entrants import EntrantError
    from reports.rows import EvaluationError
    from reports.tuning import TuningError
    from scenarios.traces import TraceError

    problems = (ConfigError, EntrantError, EvaluationError, TraceError, TuningError, OSError)
    words = list(given if given is not None else sys.argv[1:])
    try:
        run(options, words)
    except problems as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        again = shlex.join(["python", "tune.py", *(word for word in words if word != "--fresh")])
        print(f"\nstopped; finished trials are kept; go on with: {again}", file=sys.stderr)
        return 130
    return 0


def run(options: argparse.Namespace, words: Sequence[str]) -> None:
    """Everything between the command line and the files."""
    from tqdm import tqdm

    from configs.files import PACKAGE
    from configs.loading import load, named
    from reports import tuned, tuning
    from reports.evaluation import Progress
    from reports.trials import Trial

    config = load(tuning.Tuning, named("tune", options.config), options.set)
    wanted = (
        tuning.able() if options.policies == ["all"] else tuple(dict.fromkeys(options.policies))
    )
    tuning.check(wanted)
    rungs = tuning.prepare(config)
    where = options.runs or Path("runs") / "tune" / config.name
    out = options.out or PACKAGE / tuned.FOLDER
    for sentence in rungs[0][1].traces:
        print(sentence)
    shared = [word for word in words if word not in (*options.policies, "--fresh")]
    for name in wanted:
        if options.fresh:
            (where / f"{name}.json").unlink(missing_ok=True)
        with tqdm(total=config.trials, desc=name, unit="trial", disable=None) as bar:

            def told(found: Sequence[Trial], bar: "tqdm[object]" = bar) -> None:
                bar.update(len(found) - bar.n)
                bar.set_postfix_str(tuning.searching(found))

            def phase(text: str, bar: "tqdm[object]" = bar, name: str = name) -> None:
                bar.set_description_str(text if text.startswith(name) else f"{name}: {text}")

            progress = Progress(lambda _: None, phase, lambda _: None)
            command = shlex.join(["python", "tune.py", name, *shared])
            found = tuning.tune(
                name, config, rungs, where, command, told, progress, options.threads
            )
        scores = found.provenance
        print(
            f"{name}: J {scores.default_score:.4f} -> {scores.tuned_score:.4f} on the"
            f" {scores.episodes} hosts it was tuned on; {tuning.save(found, out)}"
        )


if __name__ == "__main__":
    sys.exit(main())
