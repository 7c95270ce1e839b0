"""What a host is: it can be read and commanded, and nothing else.

Simulated hosts are one implementation, QMP and libvirt are others.  Waiting is not a host's
business: the loop is given a `wait_until`.
"""

from typing import Protocol

from contract.decision import Decision
from contract.telemetry import Telemetry


class HostError(Exception):
    """Something between us and a host or a guest failed."""


class GuestGone(HostError):
    """A guest left while it was being read or commanded; the next reading shows who is there."""


class BackendUnavailable(HostError):
    """The host cannot be reached at all; worth trying again later."""


class Refused(HostError):
    """The host understood a command and will not carry it out."""


class Host(Protocol):
    """A batch of hosts; a real machine is a batch of one."""

    @property
    def supports(self) -> frozenset[str]:
        """Names of the columns of a Decision that can be carried out."""

    def read(self) -> Telemetry:
        """Take a reading.

        Raises:
            BackendUnavailable: nothing can be read.
        """

    def apply(self, decision: Decision) -> None:
        """Send a decision and remember its targets with the time they were first sent.

        Returns at once: guests follow later, in part, or never.

        Raises:
            BackendUnavailable, GuestGone, Refused.
        """
