"""What a run shows and keeps while it learns: the bar, the scalars, the checkpoints.

Scalars for TensorBoard (`tensorboard --logdir runs/<name>/tb`), against environment steps:

    rollout/progress           mean of the guests' progress, weighted as in the score J; 1: no loss
    rollout/reward             mean reward a step and host, kills as the learner counts them
    rollout/reward_<term>      mean of each term of the environment's reward
    rollout/kills              guests killed, a guest and hour
    time/fps                   environment steps a second, learning included, since the start
    train/policy_gradient_loss minus PPO's clipped objective
    train/value_loss           mean square error of the value, in units of the returns' spread
    train/value_spread         that spread, in units of reward
    train/entropy_loss         minus the entropy of a host's joint action
    train/excess               mean square by which mean actions lie outside of [-1, 1], a guest
    train/approx_kl            how far an update moved the actions, a guest
    train/clip_fraction        share of guests whose probability ratio left the clip range
    train/std                  standard deviation of an action, in [-1, 1] units
    train/explained_variance   of the returns by the value, before the update; 1 is perfect
    train/minibatches          optimiser steps of the update; fewer than planned: it stopped at the
                               largest KL divergence
    train/learning_rate        as it falls

"Rollout" scalars are means over one rollout, under exploring actions.
"""

import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm

from agents.learned.checkpoint import Progress, capture
from agents.learned.ppo import GuestPPO
from agents.learned.shelf import Shelf

RECENT_ITERATIONS = 5  # rollouts whose mean progress the card tells
QUIET_S = 30.0  # between lines of the bar when nobody watches a terminal


def advanced(progress: Progress, mean_progress: float) -> Progress:
    """The standing after one more iteration whose rollout made `mean_progress`."""
    recent = (*progress.recent, mean_progress)[-RECENT_ITERATIONS:]
    return progress._replace(iteration=progress.iteration + 1, recent=recent)


def bar(label: str, total: int, done: int = 0) -> "tqdm[Any]":
    """A progress bar over environment steps."""
    watched = sys.stderr.isatty()
    return tqdm(
        desc=label,
        total=total,
        initial=done,
        unit="frame",
        unit_scale=True,
        mininterval=0.5 if watched else QUIET_S,
        dynamic_ncols=watched,
    )


def _scalars(info: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in info.items():
        if isinstance(value, float):
            yield prefix + name, value
        elif isinstance(value, dict):
            yield from _scalars(value, f"{prefix}{name}_")


class Recorder(BaseCallback):
    """Between iterations: log what the rollout was like, write a checkpoint, move the bar."""

    model: GuestPPO

    def __init__(self, shelf: Shelf, progress: Progress, shown: "tqdm[Any]") -> None:
        """Store where checkpoints go, where the run stands and the bar to move."""
        super().__init__()
        self.shelf, self.progress, self.shown = shelf, progress, shown
        self.sums: defaultdict[str, float] = defaultdict(float)
        self.steps = 0  # of hosts in this rollout
        self.begun_s = time.perf_counter()
        self.begun_steps = 0
        self.learned = True  # whether the state since the last checkpoint is the same

    def _on_training_start(self) -> None:
        self.begun_s, self.begun_steps = time.perf_counter(), self.model.num_timesteps
        if self.progress.iteration == 0:
            self.shelf.put(capture(self.model, self.progress), 0)

    def _on_rollout_start(self) -> None:
        self._iteration_over()

    def _on_step(self) -> bool:
        self.steps += self.training_env.num_envs
        self.sums["reward"] += float(self.locals["rewards"].sum())
        for info in self.locals["infos"]:
            for name, value in _scalars(info):
                self.sums[name] += value
        self.shown.update(self.training_env.num_envs)
        return True

    def _on_rollout_end(self) -> None:
        means = {name: total / self.steps for name, total in self.sums.items()}
        self.progress = advanced(self.progress, means.get("progress", means["reward"]))
        elapsed_s = time.perf_counter() - self.begun_s
        rate = (self.model.num_timesteps - self.begun_steps) / max(elapsed_s, 1e-9)
        for name, mean in means.items():
            self.logger.record(f"rollout/{name}", mean)
        self.logger.record("time/fps", rate)
        if "progress" in means:
            self.shown.set_postfix(progress=f"{means['progress']:.3f}")
        self.learned = False
        self.sums.clear()
        self.steps = 0

    def _on_training_end(self) -> None:
        self._iteration_over()

    def _iteration_over(self) -> None:
        """After the update that followed a rollout: log and keep."""
        if self.learned:
            return
        self.learned = True
        self.logger.dump(self.model.num_timesteps)
        self.shelf.put(capture(self.model, self.progress), self.progress.iteration)
