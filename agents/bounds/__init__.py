"""What there is to win: references that see the truth and the future of a simulated host.

A bound is no policy.  It decides only once it is bound to the simulated hosts that it looks into,
and nothing but an evaluation binds it; there is no way to a real host.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from agents.bounds._foresight import Foresee
from contract.guard import GuardConfig
from contract.policy import Policy
from scenarios.hosts import SimulatedHosts


@runtime_checkable
class Bound(Protocol):
    """A reference that has to see the hosts themselves."""

    @property
    def name(self) -> str:
        """What tables call it."""

    def lives(self, end_s: float) -> float:
        """How often hosts live to `end_s` under it: once, and each copy for what it lives."""

    def bind(self, hosts: SimulatedHosts, guard: GuardConfig, foresee: Foresee) -> Policy[Any]:
        """The policy for these hosts, which the loop must run with the same guard.

        Args:
            hosts: at the beginning of their lives.
            guard: of the loop.
            foresee: gives the evaluation's own future and judgement.
        """


def names() -> tuple[str, ...]:
    """Names of all bounds, sorted."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def load(name: str, settings: Mapping[str, Any] | None = None) -> Bound:
    """The bound of that name, with settings that differ from the defaults.

    Raises:
        ValueError: there is none, or the settings do not fit.
    """
    if name not in names():
        raise ValueError(f"bound {name!r}: expected one of {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    try:
        config = getattr(module, f"{name.capitalize()}Config")(**dict(settings or {}))
    except (TypeError, ValueError) as error:
        raise ValueError(f"bound {name!r}: settings {settings}: {error}") from error
    found: Bound = getattr(module, name.capitalize())(config)
    return found
