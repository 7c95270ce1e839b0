"""The four ways of experiment A to keep guests within their host: what each switches on."""

from enum import StrEnum

from configs.loading import build
from scenarios.schema import Arm, Scenario
from tools.realguests.headroom import Headroom


class Mode(StrEnum):
    """Free page reporting, a balloon under the headroom policy, or both."""

    NOTHING = "nothing"
    REPORTING = "reporting"
    BALLOON = "balloon"
    BOTH = "both"

    @property
    def reports(self) -> bool:
        """Whether guests report free pages."""
        return self in (Mode.REPORTING, Mode.BOTH)

    @property
    def balloons(self) -> bool:
        """Whether a policy moves their balloons."""
        return self in (Mode.BALLOON, Mode.BOTH)

    def policy(self) -> Headroom | None:
        """Who sets targets."""
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
        return scenario.with_arm(self.arm())
