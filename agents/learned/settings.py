"""What a training run is configured by: `configs/train/*.yaml`, checked field by field."""

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from agents.baselines import load_policy
from configs.loading import Bytes, Config, Seconds
from contract.arrays import MIB
from contract.decode import Decoding, Mode
from envs.reward import Weights


def _known(name: str) -> str:
    load_policy(name)
    return name


Rule = Annotated[str, AfterValidator(_known)]  # a baseline, or my_module:MyPolicy
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
    excess_weight: Annotated[float, Field(ge=0.0)] = 10.0  # of mean actions outside of [-1, 1]
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

    baseline: Rule = "slides"
    steps: PositiveInt = 20_000  # environment steps, all hosts and rounds together
    rounds: PositiveInt = 2  # in the first the rule drives, in the others the clone
    epochs: PositiveInt = 10  # passes over all lessons so far, a round
    minibatch_hosts: PositiveInt = 512
    learning_rate: PositiveFloat = 1e-3  # falls to a tenth


class DecodingSettings(Config):
    """What an action means (`contract.decode`)."""

    mode: Mode = "change"
    target_quantum_bytes: Bytes = MIB
    change_share: PositiveFloat = 0.10  # mode change: of the largest size, added by action 1
    correction_share: PositiveFloat = 0.25  # mode correction: added to the rule's target
    rule: Rule | Literal[""] = ""  # mode correction: what is corrected

    def build(self) -> Decoding:
        """As the contract has it.

        Raises:
            ValueError: a combination that makes no sense.
        """
        return Decoding(**self.model_dump())

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        self.build()
        return self


class RewardSettings(Config):
    """What the terms of the reward count (`envs.reward`)."""

    progress: Annotated[float, Field(ge=0.0)] = 1.0
    tail: Annotated[float, Field(ge=0.0)] = 0.5
    oom: Annotated[float, Field(ge=1.0)] = 1.0
    resize: Annotated[float, Field(ge=0.0)] = 0.1

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        Weights.named(self.model_dump())
        return self


class EnvironmentSettings(Config):
    """Who lives on the hosts, what an action does there, and what it is worth."""

    scenarios: Annotated[tuple[str, ...], Field(min_length=1)] = ("default",)  # hosts take turns
    hosts: PositiveInt = 64  # in the batch
    episode_steps: PositiveInt = 720  # control periods until an episode is cut
    period_s: Annotated[Seconds, Field(gt=0)] = 5.0  # control period
    warm_up_s: Annotated[Seconds, Field(ge=0)] | None = None  # null: the scenario's own
    pool: PositiveInt = 256  # hosts that episodes are drawn from
    decoding: DecodingSettings = DecodingSettings()
    guard: Literal["limits", "full"] = "limits"
    reward: RewardSettings = RewardSettings()
    privileged: bool = False  # show the critic the truth
    fast: bool = True  # jump over touches that change nothing: equal in law, with other draws
    threads: PositiveInt | None = None  # of the simulator; null: all cores


class CheckpointSettings(Config):
    """What is kept of a run; one file an iteration."""

    keep: PositiveInt = 3  # last iterations


class TrainConfig(Config):
    """A training run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]  # folder under runs/
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    steps: PositiveInt = 1_000_000  # environment steps (one host, one period) of learning
    environment: EnvironmentSettings = EnvironmentSettings()
    network: NetworkSettings = NetworkSettings()
    ppo: PpoSettings = PpoSettings()
    clone: CloneSettings | None = CloneSettings()  # null: learn from nothing
    checkpoints: CheckpointSettings = CheckpointSettings()

    @field_validator("clone")
    @classmethod
    def _starts_from_one_rule(
        cls, clone: CloneSettings | None, info: ValidationInfo
    ) -> CloneSettings | None:
        environment = info.data.get("environment")  # None if it has problems of its own
        if clone and environment and environment.decoding.mode == "correction":
            raise ValueError(
                "expected null with environment.decoding.mode correction, where the rule acts from "
                "the start"
            )
        return clone

    @property
    def iterations(self) -> int:
        """Rollouts and updates: as many as `steps` fills, the last one rounded up."""
        return -(-self.steps // (self.ppo.rollout_steps * self.environment.hosts))
