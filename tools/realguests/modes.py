"""Ways to keep guests within their host: what each switches on, and who sets targets.

The first four are those of experiment A.  The others are rules as the daemon runs them: with
balloons and free page reporting, under the guard's full level, the limit of the guests' cgroup told
as the host's memory.
"""

from enum import StrEnum
from typing import Any

from agents import baselines
from configs.loading import build
from contract.guard import GuardConfig
from contract.policy import Policy
from scenarios.schema import Arm, Scenario
from tools.realguests.headroom import Headroom


class Mode(StrEnum):
    """Free page reporting, a balloon under the headroom policy, or both."""

    NOTHING = "nothing"
    REPORTING = "reporting"
    BALLOON = "balloon"
    BOTH = "both"
    SLIDES = "slides"
    PROXMOX = "proxmox"
    QEMUS_PI = "qemus_pi"
    CHROMEOS = "chromeos"
    NEON = "neon"

    @property
    def reports(self) -> bool:
        """Whether guests report free pages."""
        return self in (Mode.REPORTING, Mode.BOTH) or self.by_daemon

    @property
    def balloons(self) -> bool:
        """Whether a policy moves their balloons."""
        return self in (Mode.BALLOON, Mode.BOTH) or self.by_daemon

    @property
    def by_daemon(self) -> bool:
        """Whether the daemon runs a rule of that name."""
        return self in baselines.names()

    @property
    def guard(self) -> GuardConfig:
        """What stands between policy and guests."""
        return GuardConfig("full" if self.by_daemon else "limits")

    def policy(self) -> Policy[Any] | None:
        """Who sets targets."""
        if self.by_daemon:
            return baselines.load_policy(self)
        return Headroom() if self.balloons else None

    def arm(self) -> Arm:
        """What the mode changes in the simulator.

        Raises:
            configs.loading.ConfigError: the simulator has no free page reporting.
        """
        fields = {
            "async_faults": "off",
            "hinting": "reporting" if self.reports else "none",
            "resize": "balloon" if self.balloons else "none",
        }
        return build(Arm, fields, f"mode {self}")

    def of(self, scenario: Scenario) -> Scenario:
        """The scenario in this mode."""
        if self.by_daemon:
            groups = [name for name, group in scenario.host.cgroups.items() if group.max]
            sensors = scenario.sensors.model_copy(update={"cgroup": next(iter(groups), None)})
            scenario = scenario.model_copy(update={"sensors": sensors})
        return scenario.with_arm(self.arm())


CLASSIC = (Mode.NOTHING, Mode.REPORTING, Mode.BALLOON, Mode.BOTH)
