"""The action distribution: one Gaussian per guest with one shared spread, absent guests left out.

Log-probability and entropy are sums over the guests that are present.  A slot that holds no guest
acts 0 and adds nothing to either, so a host with two guests in sixteen slots learns exactly as it
would in two.
"""

import math

import torch
from stable_baselines3.common.distributions import Distribution
from torch import Tensor, nn

HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def guest_log_prob(actions: Tensor, mean: Tensor, log_std: Tensor, present: Tensor) -> Tensor:
    """Log-density of each guest's action, zero where absent: (B, G) -> (B, G)."""
    deviation = (actions - mean) * torch.exp(-log_std)
    density = -0.5 * deviation.square() - log_std - HALF_LOG_TWO_PI
    return torch.where(present, density, torch.zeros_like(density))


def entropy(log_std: Tensor, present: Tensor) -> Tensor:
    """Entropy of a host's joint action (B,): guests present times that of one Gaussian."""
    return present.sum(dim=1) * (0.5 + HALF_LOG_TWO_PI + log_std)


def draw(mean: Tensor, log_std: Tensor, present: Tensor) -> Tensor:
    """One action per guest (B, G), not clipped, zero where absent."""
    noise = torch.randn_like(mean) * torch.exp(log_std)
    return torch.where(present, mean + noise, torch.zeros_like(mean))


class MaskedGaussian(Distribution):
    """What `get_distribution` returns: the functions above behind SB3's interface."""

    mean: Tensor  # (B, G)
    log_std: Tensor  # ()
    present: Tensor  # (B, G) bool

    def __init__(self) -> None:
        """Nothing is set before `proba_distribution` (the base class keeps no state either)."""

    def proba_distribution_net(
        self, actor: nn.Module, log_std_init: float
    ) -> tuple[nn.Module, nn.Parameter]:
        """The network that gives the mean, as it came, and the one free parameter."""
        return actor, nn.Parameter(torch.tensor(log_std_init))

    def proba_distribution(
        self, mean: Tensor, log_std: Tensor, present: Tensor
    ) -> "MaskedGaussian":
        """Set the parameters and return self."""
        self.mean, self.log_std, self.present = mean, log_std, present
        return self

    def log_prob(self, actions: Tensor) -> Tensor:
        """Joint log-density (B,) of actions (B, G)."""
        return guest_log_prob(actions, self.mean, self.log_std, self.present).sum(dim=1)

    def entropy(self) -> Tensor:
        """Joint entropy (B,)."""
        return entropy(self.log_std, self.present)

    def sample(self) -> Tensor:
        """A random action (B, G)."""
        return draw(self.mean, self.log_std, self.present)

    def mode(self) -> Tensor:
        """The mean action (B, G)."""
        return self.mean

    def actions_from_params(
        self, mean: Tensor, log_std: Tensor, present: Tensor, deterministic: bool = False
    ) -> Tensor:
        """Set the parameters and act."""
        return self.proba_distribution(mean, log_std, present).get_actions(deterministic)

    def log_prob_from_params(
        self, mean: Tensor, log_std: Tensor, present: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Set the parameters, draw, and return (action, log-density)."""
        actions = self.actions_from_params(mean, log_std, present)
        return actions, self.log_prob(actions)
