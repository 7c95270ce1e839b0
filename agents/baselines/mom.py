"""oVirt MOM with its upstream rules: all guests shrink below 20 % of free host memory, else grow.

Source: oVirt/mom @ 3de1c8e6, doc/balloon.rules and doc/ksm.rules; see `_mom` for the manager, its
statistics and what is odd about them.  Sampled every 5 s, evaluated every 10 s.  A guest that
lacks a statistic is skipped.  A guest that grows is given 20 % of its size to spare.  Merging of
same pages (`ksm`) is off as shipped: the controller is not among the default ones.
"""

from dataclasses import dataclass

import numpy as np

from agents.baselines import _mom_ksm
from agents.baselines._mom import (
    RANGES,
    GuestSamples,
    HostSamples,
    Manager,
    MomSettings,
    free_share,
    grow,
    scaled,
    shrink,
)
from agents.baselines._mom_ksm import KsmControls, KsmSeen
from contract.arrays import Floats


@dataclass(frozen=True)
class MomConfig(MomSettings):
    """Settings as shipped upstream."""


TUNABLE = RANGES


def rule(host: HostSamples, guests: GuestSamples, c: MomConfig) -> Floats:
    """The balloon policy: (H, G) [KiB] targets before they are cut to integers, NaN nothing."""
    free = free_share(host)[:, None]
    smaller = shrink(guests, scaled(free, c), c)
    larger = grow(guests, c.min_guest_free_percent, c)
    return np.where(free < c.pressure_threshold, smaller, np.where(np.isnan(free), free, larger))


def ksm_rule(seen: KsmSeen, c: MomConfig) -> KsmControls:
    """The KSM policy of one host."""
    return _mom_ksm.upstream(seen, c)


class Mom(Manager):
    """MOM with its own rules."""

    name = "mom"

    def __init__(self, config: MomConfig | None = None) -> None:
        """Store the settings."""
        self.config = config or MomConfig()
        super().__init__(self.config)

    def _targets(self, host: HostSamples, guests: GuestSamples) -> Floats:
        return rule(host, guests, self.config)

    def _control(self, seen: KsmSeen) -> KsmControls:
        return ksm_rule(seen, self.config)
