"""PPO on stable-baselines3, with the ratio clipped guest by guest and a critic in its own units.

Collecting rollouts, time limits and advantages are SB3's.  The update is ours, for four reasons:

- All guests of a host share one reward, so the advantage is the team's, but the probability ratio
  is clipped for each guest alone: with a joint ratio one guest's large step stops the learning of
  all others (compare "independent ratio" in Sun et al. 2022, "Trust Region Bounds for
  Decentralized PPO").  `ratio: joint` gives the textbook form.
- Rewards have no natural size, so the critic learns in units of the returns' running spread, and
  actor and critic clip their gradients apart.
- Actions are clipped to [-1, 1] where they are carried out.  A mean far outside would make every
  sample the same action, and nothing more could be learned; its square distance is a loss.
- The rollout becomes tensors once an update, not once a minibatch.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import DictRolloutBuffer
from stable_baselines3.common.utils import explained_variance
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from agents.learned.policy import GuestSetPolicy, HostBatch
from agents.learned.settings import NetworkSettings, PpoSettings

HOSTS_A_SEED = 2**20  # host i of a run draws from HOSTS_A_SEED * (seed + 1) + i
SCALE_STEP = 0.2  # weight of the newest rollout in the running mean and spread of the returns


class Rollout(NamedTuple):
    """One rollout of N = steps x hosts transitions, or a minibatch of it."""

    batch: HostBatch
    actions: Tensor  # (N, G)
    log_prob: Tensor  # (N, G) under the weights that acted
    advantage: Tensor  # (N,) normalised
    returns: Tensor  # (N,) in the critic's units


class Losses(NamedTuple):
    """What one minibatch adds up to, and what the log shows of it."""

    policy: Tensor
    value: Tensor
    entropy: Tensor
    excess: Tensor  # mean square, a guest
    kl: Tensor  # estimated KL divergence a guest
    clipped: Tensor  # share of guests whose ratio left the clip range


def take(rollout: Rollout, rows: Tensor) -> Rollout:
    """The transitions at `rows` (n,)."""
    batch = HostBatch(
        *(None if field is None else field[rows] for field in rollout.batch)  # type: ignore[arg-type] # only `privileged` may be None, and stays so
    )
    return Rollout(batch, *(field[rows] for field in rollout[1:]))


def surrogate(
    log_ratio: Tensor,
    present: Tensor,
    advantage: Tensor,
    clip_range: float,
    ratio: Literal["guest", "joint"],
) -> Tensor:
    """PPO's clipped objective (to be maximised), averaged over hosts.

    Args:
        log_ratio: (N, G) new minus old log-probability, zero where absent.
        present: (N, G) bool.
        advantage: (N,).
        clip_range: half width of the interval around 1.
        ratio: `guest` sums one clipped term a guest, `joint` clips the product of all ratios.
    """
    if ratio == "joint":
        log_ratio, counted = log_ratio.sum(dim=1, keepdim=True), torch.ones_like(log_ratio[:, :1])
    else:
        counted = present.to(log_ratio.dtype)
    probability = torch.exp(log_ratio)
    team = advantage.unsqueeze(-1)
    clipped = probability.clamp(1.0 - clip_range, 1.0 + clip_range)
    gain = torch.minimum(probability * team, clipped * team)
    return (gain * counted).sum(dim=1).mean()


class GuestPPO(PPO):
    """PPO for `GuestSetPolicy` on a stable-baselines3 VecEnv."""

    policy: GuestSetPolicy
    rollout_buffer: DictRolloutBuffer

    def __init__(
        self,
        env: VecEnv,
        settings: PpoSettings,
        network: NetworkSettings,
        seed: int,
        tensorboard_log: str | None = None,
    ) -> None:
        """Build policy and rollout buffer on the CPU; `seed` seeds torch, numpy and the VecEnv."""
        self.settings = settings
        super().__init__(
            GuestSetPolicy,
            env,
            learning_rate=settings.rate_at,
            n_steps=settings.rollout_steps,
            batch_size=settings.minibatch_hosts,
            n_epochs=settings.epochs,
            gamma=settings.gamma,
            gae_lambda=settings.gae_lambda,
            clip_range=settings.clip_range,
            ent_coef=settings.entropy_weight,
            vf_coef=settings.value_weight,
            max_grad_norm=settings.max_gradient,
            target_kl=settings.target_kl,
            policy_kwargs=network.model_dump(),
            tensorboard_log=tensorboard_log,
            seed=seed,
            device="cpu",
        )

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed torch, numpy and python with `seed`, the hosts apart from any other seed's."""
        super().set_random_seed(seed)
        if seed is not None and self.env is not None:
            self.env.seed(HOSTS_A_SEED * (seed + 1))

    def train(self) -> None:
        """One update from the rollout buffer (SB3 calls it after each rollout)."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        explained = explained_variance(
            self.rollout_buffer.values.ravel(), self.rollout_buffer.returns.ravel()
        )
        returns = self.rollout_buffer.returns
        self.policy.critic.follow(float(returns.mean()), float(returns.std()), SCALE_STEP)
        losses = []
        for part in self._minibatches(self._rollout()):
            losses.append(self._losses(part))
            if self.target_kl is not None and losses[-1].kl > 1.5 * self.target_kl:
                break
            self._descend(losses[-1])
        self._n_updates += 1
        self._record(losses, float(explained))

    def _rollout(self) -> Rollout:
        """The buffer as tensors, step-major, with each guest's log-probability when it acted."""
        buffer = self.rollout_buffer

        def rows(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array.reshape(-1, *array.shape[2:]))

        with torch.no_grad():
            batch = self.policy.batch({key: rows(obs) for key, obs in buffer.observations.items()})
            actions = rows(buffer.actions)
            log_prob = self.policy.evaluate_guests(batch, actions).log_prob
            advantage = rows(buffer.advantages)
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            critic = self.policy.critic
            returns = (rows(buffer.returns) - critic.shift) / critic.scale
        return Rollout(batch, actions, log_prob, advantage, returns)

    def _minibatches(self, rollout: Rollout) -> Iterator[Rollout]:
        """Every transition once an epoch, in random order."""
        for _ in range(self.n_epochs):
            order = torch.randperm(len(rollout.actions))
            for start in range(0, len(order), self.batch_size):
                yield take(rollout, order[start : start + self.batch_size])

    def _losses(self, part: Rollout) -> Losses:
        """Losses of one minibatch under the present weights."""
        seen = self.policy.evaluate_guests(part.batch, part.actions)
        log_ratio, clip_range = seen.log_prob - part.log_prob, self.settings.clip_range
        present = part.batch.present
        gain = surrogate(log_ratio, present, part.advantage, clip_range, self.settings.ratio)
        guests = present.sum().clamp(min=1)
        with torch.no_grad():
            kl = (torch.expm1(log_ratio) - log_ratio).sum() / guests
            clipped = (torch.expm1(log_ratio).abs() > clip_range).sum() / guests
        value = torch.nn.functional.mse_loss(seen.value, part.returns)
        excess = seen.excess.square().sum() / guests
        return Losses(-gain, value, -seen.entropy.mean(), excess, kl, clipped)

    def _descend(self, losses: Losses) -> None:
        """One optimiser step; while the critic warms up, the actor's weights stay."""
        loss = self.vf_coef * losses.value
        if self._n_updates >= self.settings.critic_warm_up:
            loss = loss + losses.policy + self.ent_coef * losses.entropy
            loss = loss + self.settings.excess_weight * losses.excess
        policy = self.policy
        policy.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves Tensor.backward untyped
        critic = list(policy.critic.parameters())
        actor = [*policy.actor.parameters(), policy.log_std]
        for parameters in (actor, critic):
            torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        policy.optimizer.step()

    def _record(self, losses: list[Losses], explained: float) -> None:
        """Scalars under SB3's names; `agents.learned.progress` documents them."""
        mean = Losses(*(torch.stack(column).mean() for column in zip(*losses, strict=True)))
        scalars = {
            "policy_gradient_loss": mean.policy,
            "value_loss": mean.value,
            "entropy_loss": mean.entropy,
            "excess": mean.excess,
            "approx_kl": mean.kl,
            "clip_fraction": mean.clipped,
            "std": self.policy.log_std.exp(),
            "value_spread": self.policy.critic.scale,
        }
        for name, value in scalars.items():
            self.logger.record(f"train/{name}", float(value.detach()))
        self.logger.record("train/explained_variance", explained)
        self.logger.record("train/minibatches", len(losses))
