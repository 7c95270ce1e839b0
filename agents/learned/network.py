"""The networks of the learned policy: one shared actor for every guest, one pooled critic.

Both see a host as a set of guests.  A guest's action depends on its own row, on the host's row and
on a pooled view of the other guests, so the order of the slots carries no meaning and any number
of guests fits the same weights.  Rows of absent slots come in as zeros (`masked`) and are zeros
again before each pool.  Hidden values are never negative, so zero is the neutral element of sum
and maximum alike and an empty slot changes nothing.

Axis letters: B batch, G guest slots, F features of a guest row, D width, M message width.
"""

import math

import torch
from torch import Tensor, nn

SMALLEST_SPREAD = 1e-4  # of returns that are all alike, in units of reward


def masked(rows: Tensor, present: Tensor) -> Tensor:
    """Rows (B, G, F) with zeros in the slots that `present` (B, G) bool leaves out, NaN or not."""
    return torch.where(present.unsqueeze(-1), rows, torch.zeros_like(rows))


def mean_of_others(messages: Tensor, weight: Tensor) -> Tensor:
    """For each guest the mean message of the other present guests, zero when it has none.

    Args:
        messages: (B, G, M), zero where absent.
        weight: (B, G, 1), one where present, else zero.

    Returns:
        (B, G, M); rows of absent slots mean nothing.
    """
    others = weight.sum(dim=1, keepdim=True) - weight
    total = messages.sum(dim=1, keepdim=True) - messages
    return total / others.clamp(min=1.0)


def max_of_others(messages: Tensor) -> Tensor:
    """For each guest the largest message of the other guests, per channel; zero when it has none.

    That is the largest of all, or the second largest for the one guest that holds the largest.

    Args:
        messages: (B, G, M), not negative, zero where absent.

    Returns:
        (B, G, M).
    """
    first = messages.amax(dim=1, keepdim=True)
    leads = (messages == first).to(messages.dtype)
    follows = 1.0 - leads
    second = (messages * follows).amax(dim=1, keepdim=True)
    second = torch.where(leads.sum(dim=1, keepdim=True) > 1.0, first, second)
    return first * follows + second * leads


class Rows(nn.Module):
    """Joins each guest's row with its host's row: (B, G, F), (B, Fh) -> (B, G, D), not negative."""

    def __init__(self, guest_features: int, host_features: int, width: int) -> None:
        super().__init__()
        self.guest = nn.Linear(guest_features, width)
        self.host = nn.Linear(host_features, width, bias=False)

    def forward(self, guests: Tensor, host: Tensor) -> Tensor:
        """Hidden rows; those of absent slots are finite and mean nothing."""
        return torch.relu(self.guest(guests) + self.host(host).unsqueeze(1))


class SharedActor(nn.Module):
    """One network for every guest: the mean action of each, not clipped, zero where absent."""

    def __init__(
        self, guest_features: int, host_features: int, width: int, message_width: int
    ) -> None:
        super().__init__()
        self.rows = Rows(guest_features, host_features, width)
        self.message = nn.Linear(width, message_width)
        self.own = nn.Linear(width, width)
        self.others = nn.Linear(2 * message_width, width, bias=False)
        self.last = nn.Linear(width, 1)

    def forward(self, guests: Tensor, host: Tensor, present: Tensor) -> Tensor:
        """(B, G, F), (B, Fh), (B, G) bool -> mean action (B, G)."""
        hidden, weight = self.rows(guests, host), present.unsqueeze(-1).to(guests.dtype)
        messages = torch.relu(self.message(hidden)) * weight
        others = torch.cat((mean_of_others(messages, weight), max_of_others(messages)), dim=-1)
        hidden = torch.relu(self.own(hidden) + self.others(others))
        action: Tensor = self.last(hidden) * weight
        return action.squeeze(-1)


class PooledCritic(nn.Module):
    """Value of a whole host from its guests pooled by mean and maximum.

    `privileged_features` is the length of the truth that only training sees (0: none).  The value
    is learned in units of its running spread: `scale` and `shift` turn it into units of reward.
    """

    scale: Tensor  # () float32, spread of the returns
    shift: Tensor  # () float32, mean of the returns
    begun: Tensor  # () bool, whether the units were ever set

    def __init__(
        self, guest_features: int, host_features: int, privileged_features: int, width: int
    ) -> None:
        super().__init__()
        self.rows = Rows(guest_features, host_features, width)
        self.pooled = nn.Linear(2 * width + host_features + privileged_features, width)
        self.last = nn.Linear(width, 1)
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("shift", torch.zeros(()))
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    def forward(
        self, guests: Tensor, host: Tensor, present: Tensor, privileged: Tensor | None
    ) -> Tensor:
        """(B, G, F), (B, Fh), (B, G) bool, (B, P) or None -> value in scaled units (B,)."""
        weight = present.unsqueeze(-1).to(guests.dtype)
        hidden = self.rows(guests, host) * weight
        mean = hidden.sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)
        seen = [mean, hidden.amax(dim=1), host]
        if privileged is not None:
            seen.append(privileged)
        hidden = torch.relu(self.pooled(torch.cat(seen, dim=-1)))
        value: Tensor = self.last(hidden).squeeze(-1)
        return value

    def unscaled(self, value: Tensor) -> Tensor:
        """A value in scaled units as a sum of rewards."""
        return value * self.scale + self.shift

    def begin(self, mean: float, spread: float) -> None:
        """Take first units; predictions move to the mean of the returns with them."""
        self.scale.fill_(max(spread, SMALLEST_SPREAD))
        self.shift.fill_(mean)
        self.begun.fill_(True)

    def follow(self, mean: float, spread: float, step: float) -> None:
        """Move the units a `step` (0 to 1) towards these; the first time, begin with them."""
        if not self.begun:
            self.begin(mean, spread)
            return
        moved = (1.0 - step) * float(self.shift) + step * mean
        square = (1.0 - step) * (float(self.scale) ** 2 + float(self.shift) ** 2)
        square += step * (spread**2 + mean**2)
        self.rescale(moved, max(square - moved**2, 0.0) ** 0.5)

    def rescale(self, mean: float, spread: float) -> None:
        """Change the units so that no prediction changes (PopArt, van Hasselt et al. 2016)."""
        spread = max(spread, SMALLEST_SPREAD)
        with torch.no_grad():
            self.last.weight.mul_(self.scale / spread)
            self.last.bias.mul_(self.scale).add_(self.shift - mean).div_(spread)
            self.scale.fill_(spread)
            self.shift.fill_(mean)


def initialise(module: nn.Module, last_gain: float) -> None:
    """Orthogonal weights and zero biases; the module's `last` layer gets `last_gain`."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            gain = last_gain if name == "last" else math.sqrt(2.0)
            nn.init.orthogonal_(layer.weight, gain=gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
