"""Choose among today's rules and the oracle's fillings with foresight.

Each is tried on copies of the host to the end of its life (`_foresight`).  It brings what choosing
the best rule for each host, and changing over in time, brings to who knows the future.
"""

from dataclasses import dataclass, field
from typing import Any

from agents.baselines import load_policy
from agents.bounds import oracle
from agents.bounds._foresight import Foresee, Foresight, check, lives, simulated
from agents.bounds.oracle import OracleConfig
from contract.guard import GuardConfig
from contract.policy import Policy
from scenarios.hosts import SimulatedHosts


@dataclass(frozen=True)
class PlannerConfig:
    """What is tried, and how often."""

    candidates: tuple[str, ...] = (
        "static",
        "neon",
        "senpai",
        "slides",
        "equal",
        "proxmox",
        "xenmm",
        "esx",
    )
    fillings: bool = True  # the oracle's are tried too
    oracle: OracleConfig = field(default_factory=OracleConfig)
    search_s: float = 1800.0
    margin: float = 0.001  # of J, for which it goes over to another rule

    def __post_init__(self) -> None:
        """Refuse settings without sense."""
        check(self.search_s, self.margin)
        if not self.candidates or len(set(self.candidates)) < len(self.candidates):
            raise ValueError(f"candidates: {self.candidates}: expected different rules")


class Planner:
    """The bound: sees nothing before it is bound."""

    name = "planner"

    def __init__(self, config: PlannerConfig | None = None) -> None:
        """Store the settings."""
        self.config = config or PlannerConfig()

    def lives(self, end_s: float) -> float:
        """How often hosts live under it: under each rule, and alone for the oracle's."""
        c = self.config
        more = oracle.count(c.oracle) if c.fillings else 0
        alone = c.oracle.sizes if c.fillings else 0
        return alone + lives(len(c.candidates) + more, c.search_s, end_s)

    def bind(self, hosts: SimulatedHosts, guard: GuardConfig, foresee: Foresee) -> Policy[Any]:
        """The policy that looks into these hosts.

        Raises:
            TypeError: they are not simulated.
        """
        own, c = simulated(self.name, hosts), self.config
        rules: list[Policy[Any]] = [load_policy(name) for name in c.candidates]
        if c.fillings:
            rules += oracle.fillings(c.oracle, own, foresee().end_s)
        return Foresight(self.name, rules, own, guard, foresee, c.search_s, c.margin)
