"""What a training run is configured by: `configs/train/*.yaml`, checked field by field."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from configs.loading import Config

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class NetworkSettings(Config):
    """The shape of actor and critic, and where the actor starts."""

    width: PositiveInt = 64  # hidden units
    message_width: PositiveInt = 32  # channels of the pooled view of the other guests
    log_std_init: float = -0.5  # natural logarithm of the first spread of an action in [-1, 1]
    start_action: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.0  # mean action before training


class PpoSettings(Config):
    """Proximal policy optimisation."""

    rollout_steps: PositiveInt = 64  # environment steps a host between updates
    minibatch_hosts: PositiveInt = 1024  # transitions a minibatch
    epochs: PositiveInt = 4
    learning_rate: PositiveFloat = 5e-4
    final_learning_rate: Annotated[float, Field(ge=0.0)] = 5e-5  # reached linearly at the end
    gamma: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.98
    gae_lambda: Fraction = 0.95
    clip_range: PositiveFloat = 0.2
    ratio: Literal["guest", "joint"] = "guest"  # clip each guest's ratio, or their product
    entropy_weight: Annotated[float, Field(ge=0.0)] = 0.0
    value_weight: PositiveFloat = 0.5
    max_gradient: PositiveFloat = 0.5  # norm, for actor and critic apart
    target_kl: PositiveFloat | None = 0.03  # a guest; an update stops beyond 1.5 times this
    critic_warm_up: Annotated[int, Field(ge=0)] = 0  # first updates that leave the actor alone

    def rate_at(self, remaining: float) -> float:
        """Learning rate when `remaining` (1 to 0) of the budget is left."""
        return self.final_learning_rate + remaining * (
            self.learning_rate - self.final_learning_rate
        )


class CloneSettings(Config):
    """A start from a rule."""

    baseline: str = "slides"  # name of a baseline
    steps: PositiveInt = 20_000  # environment steps, all hosts and rounds together
    rounds: PositiveInt = 2  # in the first the rule drives, in the others the clone
    epochs: PositiveInt = 10  # passes over all lessons so far, a round
    minibatch_hosts: PositiveInt = 512
    learning_rate: PositiveFloat = 1e-3  # falls to a tenth
