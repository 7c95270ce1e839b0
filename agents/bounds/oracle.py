"""Fill the host by marginal value, to the degree of overcommit that turns out best for it.

`_marginal` says what each guest is to have once it is known how much is given out.  How much is
best depends on what that leaves out: whether the host's swap is a better place for idle memory than
the guests' own, what moving memory costs, what guests do to each other.  So each degree, the
highest of which leaves every guest at its maximum, is tried on copies of the host, for short and
for long sight (`_foresight`).

It is no upper bound: guests' sizes are valued one guest at a time and held for a whole life.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

from agents.bounds._foresight import Foresee, Foresight, check, lives, simulated
from agents.bounds._marginal import Filling, FillingConfig, Lives
from contract.guard import GuardConfig
from contract.policy import Policy
from scenarios.hosts import SimulatedHosts

WHOLE = 1e6  # degree of overcommit that leaves every guest at its maximum
RENEWALS = 12  # of sizes, in the time that is looked ahead


@dataclass(frozen=True)
class OracleConfig:
    """How finely and how far it looks, and what it tries."""

    sizes: int = 6  # at which each guest lives
    every_s: float = 10.0  # between samples of lives alone
    degrees: tuple[float, ...] = (1.0, 1.5, 2.5)  # times RAM, beside all at their maximum
    aheads_s: tuple[float, ...] = (120.0, 900.0)
    search_s: float = 1800.0
    margin: float = 0.001  # of J, for which it goes over to another degree

    def __post_init__(self) -> None:
        """Refuse settings without sense."""
        check(self.search_s, self.margin)
        if self.sizes < 2:
            raise ValueError(f"sizes: {self.sizes}: expected 2 at least")
        if not self.every_s > 0:
            raise ValueError(f"every_s: {self.every_s}: expected a positive time")
        for name in ("degrees", "aheads_s"):
            values = getattr(self, name)
            if not values or not all(value > 0 for value in values):
                raise ValueError(f"{name}: {values}: expected positive numbers")


def fillings(config: OracleConfig, hosts: SimulatedHosts, end_s: float) -> list[Policy[Any]]:
    """Filling to each degree, with all guests at their maximum first."""
    alone = Lives(hosts, config.sizes, config.every_s, end_s)
    tried = [(WHOLE, max(config.aheads_s)), *product(config.degrees, config.aheads_s)]
    return [
        Filling(FillingConfig(degree, ahead_s, ahead_s / RENEWALS), alone)
        for degree, ahead_s in tried
    ]


def count(config: OracleConfig) -> int:
    """How many fillings there are."""
    return 1 + len(config.degrees) * len(config.aheads_s)


class Oracle:
    """The bound: sees nothing before it is bound."""

    name = "oracle"

    def __init__(self, config: OracleConfig | None = None) -> None:
        """Store the settings."""
        self.config = config or OracleConfig()

    def lives(self, end_s: float) -> float:
        """How often hosts live under it: alone at each size, and for each degree."""
        return self.config.sizes + lives(count(self.config), self.config.search_s, end_s)

    def bind(self, hosts: SimulatedHosts, guard: GuardConfig, foresee: Foresee) -> Policy[Any]:
        """The policy that looks into these hosts.

        Raises:
            TypeError: they are not simulated.
        """
        own, c = simulated(self.name, hosts), self.config
        rules = fillings(c, own, foresee().end_s)
        return Foresight(self.name, rules, own, guard, foresee, c.search_s, c.margin)
