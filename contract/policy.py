"""What a policy is: a pure, batch-first function from telemetry and state to a decision."""

from typing import Protocol, TypeVar

from contract.arrays import Floats
from contract.decision import Decision
from contract.telemetry import Telemetry

S = TypeVar("S")


class PolicyError(ValueError):
    """A policy broke its protocol; the message says which, what came and what was expected."""


class Policy(Protocol[S]):
    """Decides for a batch of hosts; keeps nothing between calls but the state it returns.

    The state is a NamedTuple of arrays with leading axis H (`contract.state`), and what it holds
    about guests follows their `guest_id`.  Hosts never see each other: a row of the decision
    depends on the same row of telemetry and state alone.
    """

    @property
    def name(self) -> str:
        """What tables call it."""

    def reset(self, hosts: int, guests: int) -> S:
        """The state before the first wake."""

    def decide(self, telemetry: Telemetry, state: S) -> tuple[Decision, S, Floats]:
        """Choose targets for exactly the hosts that are due.

        Returns:
            The decision, the new state, and `wake_at_s` (H,), when to be asked again on each
            host's clock, later than now; targets are held meanwhile.  inf: never again.
        """
