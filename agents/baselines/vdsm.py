"""oVirt MOM with the policy that vdsm deploys: as shipped it only lets guests grow.

Source: oVirt/vdsm @ fd4b0df2, its mom.d policies, on oVirt/mom @ 3de1c8e6; see `_mom` for the
manager, its statistics and what is odd about them.  Sampled and evaluated every 15 s.  Other than
upstream, a guest below its guarantee is set to it, a guest that grows is given the host's own free
share of its size to spare (60 % on a host that is 60 % free), and a guest is skipped only for lack
of its size or its newest free memory.  Only guests that are up are known: one that boots, migrates
or is paused is left alone, and its samples are forgotten.

`balloon_enabled` is False as shipped: then guests grow however short the host is, and nobody
shrinks.  The controller of same-page merging is on as shipped.
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
from contract.arrays import Bools, Floats
from contract.telemetry import Telemetry, running


@dataclass(frozen=True)
class VdsmConfig(MomSettings):
    """Settings as deployed."""

    period_s: float = 15.0
    decision_period_s: float = 15.0
    balloon_enabled: bool = False  # guests shrink on a short host
    ksm: bool = True
    ksm_enabled: bool = True  # else merging is stopped and undone
    ksm_merge_across_nodes: int = 1  # 1 wanted, 0 not

    def __post_init__(self) -> None:
        """Refuse settings without sense."""
        super().__post_init__()
        if self.ksm_merge_across_nodes not in (0, 1):
            raise ValueError(
                f"ksm_merge_across_nodes: {self.ksm_merge_across_nodes}: expected 0 or 1"
            )


TUNABLE = RANGES


def rule(host: HostSamples, guests: GuestSamples, c: VdsmConfig) -> Floats:
    """The balloon policy: (H, G) [KiB] targets before they are cut to integers, NaN nothing."""
    free = free_share(host)[:, None]
    keep = scaled(free, c)
    target = grow(guests, keep, c)
    if c.balloon_enabled:
        target = np.where(free < c.pressure_threshold, shrink(guests, keep, c), target)
    now, least = guests.balloon_cur[..., -1], guests.balloon_min[..., -1]
    target = np.where(now < least, least, target)
    return np.where(np.isnan(now) | np.isnan(guests.mem_unused[..., -1]), np.nan, target)


def ksm_rule(seen: KsmSeen, c: VdsmConfig) -> KsmControls:
    """The KSM policy of one host."""
    return _mom_ksm.deployed(seen, c, enabled=c.ksm_enabled, across_nodes=c.ksm_merge_across_nodes)


class Vdsm(Manager):
    """MOM as vdsm deploys it."""

    name = "vdsm"

    def __init__(self, config: VdsmConfig | None = None) -> None:
        """Store the settings."""
        self.config = config or VdsmConfig()
        super().__init__(self.config)

    def _known(self, telemetry: Telemetry) -> Bools:
        """Those that are up."""
        return running(telemetry)

    def _sample(self, telemetry: Telemetry) -> tuple[GuestSamples, Bools]:
        """All fields are optional."""
        sample, _ = super()._sample(telemetry)
        return sample, np.ones(telemetry.present.shape, bool)

    def _targets(self, host: HostSamples, guests: GuestSamples) -> Floats:
        return rule(host, guests, self.config)

    def _control(self, seen: KsmSeen) -> KsmControls:
        return ksm_rule(seen, self.config)
