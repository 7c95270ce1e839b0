"""A start from a rule: the actor learns to act like it, the critic what acting so is worth.

The rule's targets become actions by the inverse of the contract's decoding.  In the first round
the rule itself drives the hosts; in later rounds the clone does, and the rule says what it would
have done there (DAgger, Ross et al. 2011), so that the clone also sees where its own errors lead.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from agents.learned.lessons import Driver, Lessons, Teacher, flat, record, returns
from agents.learned.policy import GuestSetPolicy, HostBatch
from agents.learned.ppo import GuestPPO
from agents.learned.settings import CloneSettings

ADAM_EPSILON = 1e-5
HELD_OUT = 0.1  # share of the steps, the last ones, that judge the fit and are not learned from


class CloneReport(NamedTuple):
    """How well the clone acts like its teacher on steps that it did not learn from."""

    steps: int  # environment steps used, all hosts together
    spread: float  # standard deviation of the teacher's actions
    error_before: float  # root mean square difference of the actions, before
    error: float  # and after
    value_explained: float  # share of the variance of returns that the critic explains


def _take(batch: HostBatch, rows: Tensor) -> HostBatch:
    return HostBatch(
        batch.guests[rows],
        batch.host[rows],
        batch.present[rows],
        None if batch.privileged is None else batch.privileged[rows],
    )


def _squared_error(policy: GuestSetPolicy, batch: HostBatch, labels: Tensor) -> Tensor:
    """Mean square difference of mean action and label over the guests that are present."""
    difference = torch.where(batch.present, policy.mean_action(batch) - labels, torch.zeros(()))
    return difference.square().sum() / batch.present.sum().clamp(min=1)


def _minibatches(count: int, size: int, epochs: int) -> Iterator[Tensor]:
    for _ in range(epochs):
        order = torch.randperm(count)
        for start in range(0, count, size):
            yield order[start : start + size]


def fit_actor(
    policy: GuestSetPolicy, lessons: list[Lessons], settings: CloneSettings
) -> tuple[float, float, float]:
    """Regress the mean action on the labels.

    Returns:
        Spread of the held-out labels, root mean square error on them before and after.
    """
    kept = [max(1, int(len(part.labels) * (1 - HELD_OUT))) for part in lessons]
    learned = _join(policy, lessons, [slice(0, end) for end in kept])
    judged = _join(
        policy,
        lessons,
        [slice(end, len(part.labels)) for end, part in zip(kept, lessons, strict=True)],
    )
    spread = float(judged[1][judged[0].present].std())
    with torch.no_grad():
        before = float(_squared_error(policy, *judged).sqrt())
    optimiser = torch.optim.Adam(
        policy.actor.parameters(), settings.learning_rate, eps=ADAM_EPSILON, fused=True
    )
    parts = list(_minibatches(len(learned[1]), settings.minibatch_hosts, settings.epochs))
    for done, rows in enumerate(parts):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * (1.0 - 0.9 * done / len(parts))
        optimiser.zero_grad(set_to_none=True)
        _squared_error(policy, _take(learned[0], rows), learned[1][rows]).backward()  # type: ignore[no-untyped-call] # as torch ships it
        optimiser.step()
    with torch.no_grad():
        after = float(_squared_error(policy, *judged).sqrt())
    return spread, before, after


def _join(
    policy: GuestSetPolicy, lessons: list[Lessons], steps: list[slice]
) -> tuple[HostBatch, Tensor]:
    observations = {
        key: np.concatenate(
            [part.observations[key][:-1][rows] for part, rows in zip(lessons, steps, strict=True)]
        )
        for key in lessons[0].observations
    }
    labels = np.concatenate([part.labels[rows] for part, rows in zip(lessons, steps, strict=True)])
    return flat(policy, observations), torch.from_numpy(labels.reshape(-1, labels.shape[-1]))


def fit_critic(
    policy: GuestSetPolicy,
    lessons: Lessons,
    settings: CloneSettings,
    gamma: float,
    gae_lambda: float,
) -> float:
    """Fit the value to lambda-returns, formed anew each epoch; the explained share of variance."""
    batch = flat(policy, {key: part[:-1] for key, part in lessons.observations.items()})
    optimiser = torch.optim.Adam(
        policy.critic.parameters(), settings.learning_rate, eps=ADAM_EPSILON, fused=True
    )
    reward = lessons.rewards
    policy.critic.begin(reward.mean() / (1.0 - gamma), reward.std() / (1.0 - gamma * gae_lambda))
    for _ in range(settings.epochs):
        target = returns(policy, lessons, gamma, gae_lambda)
        policy.critic.follow(float(target.mean()), float(target.std()), step=1.0)
        scaled = torch.from_numpy(target.reshape(-1).astype(np.float32))
        scaled = (scaled - policy.critic.shift) / policy.critic.scale
        for rows in _minibatches(len(scaled), settings.minibatch_hosts, 1):
            optimiser.zero_grad(set_to_none=True)
            value = policy.scaled_value(_take(batch, rows))
            torch.nn.functional.mse_loss(value, scaled[rows]).backward()  # type: ignore[no-untyped-call] # as torch ships it
            optimiser.step()
    target = returns(policy, lessons, gamma, gae_lambda)
    with torch.no_grad():
        predicted = policy.critic.unscaled(policy.scaled_value(batch)).numpy()
    left = (target - predicted.reshape(target.shape)).var()
    return float(1.0 - left / max(target.var(), 1e-12))


def clone(
    algorithm: GuestPPO,
    teacher: Teacher,
    settings: CloneSettings,
    tick: Callable[[int], None] = lambda steps: None,
) -> CloneReport:
    """Make the algorithm's policy act like the teacher; its environment is reset and used.

    `tick` hears how many environment steps were just made.
    """
    env, policy = algorithm.env, algorithm.policy
    assert env is not None
    steps = max(settings.steps // (env.num_envs * settings.rounds), 2)
    lessons: list[Lessons] = []
    report = CloneReport(0, 0.0, 0.0, 0.0, 0.0)
    for number in range(settings.rounds):
        drive = _teacher_drives if number == 0 else _policy_drives(policy)
        lessons.append(record(env, teacher, drive, steps, tick))
        spread, before, error = fit_actor(policy, lessons, settings)
        report = CloneReport(
            steps * env.num_envs * (number + 1),
            spread,
            before if number == 0 else report.error_before,
            error,
            0.0,
        )
    explained = fit_critic(policy, lessons[-1], settings, algorithm.gamma, algorithm.gae_lambda)
    return report._replace(value_explained=explained)


def _teacher_drives(observation: dict[str, np.ndarray], label: np.ndarray) -> np.ndarray:
    return label


def _policy_drives(policy: GuestSetPolicy) -> Driver:
    def drive(observation: dict[str, np.ndarray], label: np.ndarray) -> np.ndarray:
        action, _ = policy.predict(observation, deterministic=True)
        return action

    return drive
