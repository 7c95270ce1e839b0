"""Train a memory resizing policy: a configuration in, a run folder out."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

DESCRIPTION = """\
Train a policy that moves memory between virtual machines, and leave it in a run folder.

  python train.py configs/train/demo.yaml
  python train.py configs/train/demo.yaml --set seed=3 --name mine
  python train.py --resume runs/mine

A run may be stopped at any time (Ctrl-C, SIGTERM, even a crash): it keeps every finished iteration
and, when resumed, ends exactly as if it had never been stopped. The same command twice does the
work once.
"""
EPILOG = """\
The run folder holds config.yaml (everything as resolved), checkpoints/, tb/ for
`tensorboard --logdir runs/mine/tb`, and at the end model.onnx, contract.json and card.md, which
says what the model is and how to use it. Then compare it:
  python evaluate.py configs/evaluate/demo.yaml --policies static,slides,runs/mine
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "config",
        nargs="?",
        help="a YAML file, or the name of one that ships: demo (minutes), default (hours)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        dest="overrides",
        help="change one field, e.g. seed=3, ppo.learning_rate=1e-3 or "
        "environment.scenarios=[burst]; may be repeated",
    )
    parser.add_argument("--name", help="name of the run folder; default: `name` in the config")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), help="where run folders are (default: runs)"
    )
    parser.add_argument(
        "--resume", type=Path, metavar="FOLDER", help="continue the run in this folder"
    )
    options = parser.parse_args(arguments)
    if options.resume and (options.config or options.overrides or options.name):
        parser.error("--resume takes the configuration from the folder: leave the others out")
    if not options.resume and not options.config:
        parser.error("a configuration is needed, such as configs/train/demo.yaml, or --resume")
    return options


class Stop:
    """Hears SIGTERM and Ctrl-C; whatever a library makes of it, it was a stop."""

    def __init__(self) -> None:
        """Listen, but not to a signal that whoever started the program had it ignore."""
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        raise KeyboardInterrupt

    def over(self) -> None:
        """Once is enough: what is left is to leave."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parse(arguments)
    # A core that waits for the other one must not spin: the simulator or another program needs it.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from agents.baselines import UnknownPolicy
    from agents.learned.archive import ArchiveError
    from agents.learned.checkpoint import CheckpointError
    from agents.learned.course import make_course
    from agents.learned.export import ExportError
    from agents.learned.folder import FolderError, RunFolder
    from agents.learned.run import train
    from agents.learned.settings import TrainConfig
    from configs.loading import ConfigError, load, named
    from contract.host import HostError
    from scenarios.traces import TraceError

    problems = (
        ConfigError,
        UnknownPolicy,
        TraceError,
        HostError,
        FolderError,
        ArchiveError,
        CheckpointError,
        ExportError,
    )
    stop = Stop()
    folder = options.resume
    try:
        if options.resume:
            config = RunFolder(options.resume).config()
        else:
            called = [f'name="{options.name}"'] if options.name else []
            source = named("train", options.config)
            config = load(TrainConfig, source, [*options.overrides, *called])
            folder = options.runs / config.name
        train(config, folder, make_course, lambda line: print(line, flush=True))
    except (Exception, KeyboardInterrupt) as error:
        if stop.asked:
            stop.over()
            print(f"\nstopped; continue with: python train.py --resume {folder}", file=sys.stderr)
            return 130
        if isinstance(error, problems):
            print(error, file=sys.stderr)
        elif isinstance(error, OSError):
            print(f"{error.filename or folder}: {error.strerror or error}", file=sys.stderr)
        else:
            raise
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
