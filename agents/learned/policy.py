"""The learned policy as stable-baselines3 sees it.

SB3's own actor-critic keeps one log-std per slot and one flat linear head, which ties a guest to
its slot, and its distribution never learns which slots are empty.  This subclass replaces both
networks and every method that forms a distribution.

Observations are the environment's Dict: `guests` (B, G*F), `host` (B, Fh), `present` (B, G) and,
in training only, `privileged` (B, P), which no actor reads.
"""

from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor

from agents.learned.distribution import MaskedGaussian, draw, entropy, guest_log_prob
from agents.learned.network import PooledCritic, SharedActor, initialise, masked

ADAM_EPSILON = 1e-5  # as SB3 sets it for PPO
ACTOR_START_GAIN = 0.01  # last layer: the first actions are the start action for every guest
CRITIC_START_GAIN = 0.1  # the first values are near the mean of the returns


class HostBatch(NamedTuple):
    """One batch of observations in the shapes the networks take."""

    guests: Tensor  # (B, G, F) float32, zero where absent
    host: Tensor  # (B, Fh) float32
    present: Tensor  # (B, G) bool
    privileged: Tensor | None  # (B, P) float32


class Evaluation(NamedTuple):
    """What PPO needs of past actions under the present weights."""

    value: Tensor  # (B,) in the critic's scaled units
    log_prob: Tensor  # (B, G) per guest, zero where absent
    entropy: Tensor  # (B,)
    excess: Tensor  # (B, G) how far the mean action is out of [-1, 1]


def box_size(space: spaces.Dict, key: str) -> int:
    """Length of the one-dimensional Box or MultiBinary under `key`."""
    shape = space[key].shape
    if shape is None or len(shape) != 1:
        raise ValueError(f"observation space {key!r}: shape {shape}, expected one dimension")
    return shape[0]


class GuestSetPolicy(ActorCriticPolicy):
    """Shared actor over guests, pooled critic over hosts, one state-independent log-std."""

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        use_sde: bool = False,
        width: int = 64,
        message_width: int = 32,
        log_std_init: float = -0.5,
        start_action: float = 0.0,
    ) -> None:
        """Take the sizes from the spaces; SB3 calls `_build` for the networks.

        Args:
            observation_space: the environment's Dict.
            action_space: Box(-1, 1, (G,)).
            lr_schedule: learning rate by remaining progress, 1 to 0.
            use_sde: SB3 passes it; only False is supported.
            width: hidden units of actor and critic.
            message_width: channels of the pooled view of the other guests.
            log_std_init: where the shared log-std starts.
            start_action: mean action of every guest before any training.

        Raises:
            ValueError: spaces that do not fit each other, or `use_sde`.
        """
        if use_sde:
            raise ValueError("use_sde=True: state-dependent exploration is not supported")
        self.width, self.message_width, self.start_action = width, message_width, start_action
        slots = box_size(observation_space, "present")
        rows = box_size(observation_space, "guests")
        if rows % slots or action_space.shape != (slots,):
            raise ValueError(
                f"spaces disagree: present {slots} slots, guests {rows} numbers, "
                f"actions {action_space.shape}; expected guests a multiple and actions ({slots},)"
            )
        self.guest_features = rows // slots
        self.host_features = box_size(observation_space, "host")
        self.privileged_features = (
            box_size(observation_space, "privileged")
            if "privileged" in observation_space.spaces
            else 0
        )
        super().__init__(observation_space, action_space, lr_schedule, log_std_init=log_std_init)

    def _build(self, lr_schedule: Schedule) -> None:
        features = (self.guest_features, self.host_features)
        actor = SharedActor(*features, self.width, self.message_width)
        self.critic = PooledCritic(*features, self.privileged_features, self.width)
        initialise(actor, last_gain=ACTOR_START_GAIN)
        initialise(self.critic, last_gain=CRITIC_START_GAIN)
        torch.nn.init.constant_(actor.last.bias, self.start_action)
        self.actor = actor
        _, self.log_std = MaskedGaussian().proba_distribution_net(actor, self.log_std_init)
        self.optimizer = torch.optim.Adam(
            self.parameters(), lr=lr_schedule(1), eps=ADAM_EPSILON, fused=True
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "width": self.width,
            "message_width": self.message_width,
            "log_std_init": self.log_std_init,
            "start_action": self.start_action,
        }

    def batch(self, obs: PyTorchObs) -> HostBatch:
        """Observations (B, G*F), ... in the shapes that the networks take."""
        if isinstance(obs, Tensor):
            raise TypeError("observation is one tensor, expected a dict with guests, host, present")
        present = obs["present"].bool()
        guests = obs["guests"].reshape(*present.shape, self.guest_features)
        return HostBatch(masked(guests, present), obs["host"], present, obs.get("privileged"))

    def mean_action(self, batch: HostBatch) -> Tensor:
        """Mean action (B, G), not clipped."""
        mean: Tensor = self.actor(batch.guests, batch.host, batch.present)
        return mean

    def scaled_value(self, batch: HostBatch) -> Tensor:
        """Value (B,) in the critic's own units."""
        value: Tensor = self.critic(*batch)
        return value

    def forward(
        self, obs: PyTorchObs, deterministic: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Act: actions (B, G), values (B, 1), joint log-densities (B,)."""
        batch = self.batch(obs)
        mean = self.mean_action(batch)
        actions = mean if deterministic else draw(mean, self.log_std, batch.present)
        log_prob = guest_log_prob(actions, mean, self.log_std, batch.present).sum(dim=1)
        values = self.critic.unscaled(self.scaled_value(batch)).unsqueeze(-1)
        return actions, values, log_prob

    def evaluate_guests(self, batch: HostBatch, actions: Tensor) -> Evaluation:
        """Past actions (B, G) under the present weights, guest by guest."""
        mean = self.mean_action(batch)
        log_prob = guest_log_prob(actions, mean, self.log_std, batch.present)
        value, spread = self.scaled_value(batch), entropy(self.log_std, batch.present)
        return Evaluation(value, log_prob, spread, (mean.abs() - 1.0).clamp(min=0.0))

    def evaluate_actions(
        self, obs: PyTorchObs, actions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """SB3's view of the same: values (B, 1), joint log-densities (B,), entropies (B,)."""
        seen = self.evaluate_guests(self.batch(obs), actions)
        values = self.critic.unscaled(seen.value).unsqueeze(-1)
        return values, seen.log_prob.sum(dim=1), seen.entropy

    def get_distribution(self, obs: PyTorchObs) -> MaskedGaussian:
        """The action distribution of these observations."""
        batch = self.batch(obs)
        return MaskedGaussian().proba_distribution(
            self.mean_action(batch), self.log_std, batch.present
        )

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        return self.get_distribution(observation).get_actions(deterministic=deterministic)

    def predict_values(self, obs: PyTorchObs) -> Tensor:
        """Values (B, 1) as sums of rewards."""
        return self.critic.unscaled(self.scaled_value(self.batch(obs))).unsqueeze(-1)
