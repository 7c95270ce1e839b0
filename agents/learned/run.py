"""A training run from its configuration to a finished run folder, resumable in between."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecEnv
from tqdm import tqdm

from agents.learned.card import Story, card
from agents.learned.checkpoint import Progress, restore
from agents.learned.clone import clone
from agents.learned.export import export
from agents.learned.folder import CARD, RunFolder, versions
from agents.learned.lessons import Teacher
from agents.learned.objective import Objective
from agents.learned.ppo import GuestPPO
from agents.learned.progress import Recorder, bar
from agents.learned.settings import TrainConfig
from agents.learned.shelf import Shelf
from configs.loading import write_atomic
from contract.version import Contract

Say = Callable[[str], None]


class Course(NamedTuple):
    """What a run learns on."""

    env: VecEnv  # with snapshot() and restore()
    contract: Contract  # what its observations and actions mean
    teacher: Callable[[str], Teacher]  # the baseline of that name, following the env's hosts


MakeCourse = Callable[[TrainConfig], Course]


def train(config: TrainConfig, path: Path, make_course: MakeCourse, say: Say) -> None:
    """Bring the run in folder `path` to its end: begin it, continue it, or find it finished.

    A run that is stopped at any moment continues with the iteration that was under way, and ends
    as it would have without the stop.

    Args:
        config: of the run; the folder must be new or of the same configuration.
        path: the run folder.
        make_course: builds the environment.
        say: prints a line.

    Raises:
        FolderError: the folder is another configuration's, or in use.
        ArchiveError, CheckpointError: the last checkpoint cannot be used.
        ExportError: the exported model differs from the trained one.
    """
    folder = RunFolder(path)
    with folder.locked():
        folder.claim(config)
        if folder.finished:
            say(f"{path} is finished: reusing it")
            return
        course = make_course(config)
        try:
            folder.write_contract(course.contract)
            algorithm = GuestPPO(Objective(course.env), config.ppo, config.network, config.seed)
            algorithm.set_logger(configure(str(folder.tensorboard), ["tensorboard"]))
            shelf = folder.shelf(config.checkpoints.keep)
            progress = _resume(algorithm, folder, shelf, config, say)
            if progress is None:
                progress = _begin(algorithm, course, config, say)
            progress = _learn(algorithm, shelf, progress, config)
            algorithm.logger.close()
            _finish(algorithm, folder, course.contract, progress, config)
        finally:
            course.env.close()
    say(f"{path} is finished: {progress.iteration} iterations, {algorithm.num_timesteps:,} steps")


def _resume(
    algorithm: GuestPPO, folder: RunFolder, shelf: Shelf, config: TrainConfig, say: Say
) -> Progress | None:
    """Go back to the newest checkpoint; None if there is none."""
    latest = shelf.latest()
    if latest is None:
        return None
    path, archive = latest
    progress = restore(algorithm, archive, path)
    say(f"{folder.path}: continuing after iteration {progress.iteration} of {config.iterations}")
    for change in folder.version_changes():
        say(
            f"{folder.path}: begun with {change.field} {change.there}, now {change.wanted}: "
            "the result may differ from an undisturbed run's"
        )
    return progress


def _begin(algorithm: GuestPPO, course: Course, config: TrainConfig, say: Say) -> Progress:
    if config.clone is None:
        return Progress()
    baseline = config.clone.baseline
    with bar(f"cloning {baseline}", config.clone.steps) as shown:
        report = clone(
            algorithm, course.teacher(baseline), config.clone, lambda steps: _tick(shown, steps)
        )
    say(
        f"cloned {baseline}: actions differ by {report.error:.3f} on held-out steps "
        f"(before {report.error_before:.3f}, its own spread {report.spread:.3f})"
    )
    return Progress(clone=report)


def _tick(shown: "tqdm[Any]", steps: int) -> None:
    shown.update(steps)


def _learn(algorithm: GuestPPO, shelf: Shelf, progress: Progress, config: TrainConfig) -> Progress:
    total = config.iterations * config.ppo.rollout_steps * config.environment.hosts
    left = total - algorithm.num_timesteps
    if left <= 0:
        return progress
    with bar("learning", total, algorithm.num_timesteps) as shown:
        recorder = Recorder(shelf, progress, shown)
        algorithm.learn(
            left,
            callback=recorder,
            log_interval=config.iterations + 1,  # the recorder writes the log
            reset_num_timesteps=False,  # True resets hosts that a checkpoint just restored
        )
    return recorder.progress


def _finish(
    algorithm: GuestPPO,
    folder: RunFolder,
    contract: Contract,
    progress: Progress,
    config: TrainConfig,
) -> None:
    """Export the model; the card comes last."""
    export(algorithm.policy, contract, folder.path)
    story = Story(algorithm.num_timesteps, progress)
    write_atomic(folder.path / CARD, card(config, contract, story, versions()))
