"""A policy with a time limit: who answers too late is not obeyed, who hangs hangs nobody else."""

import threading
from queue import Empty, SimpleQueue
from typing import Any

from contract.arrays import Floats
from contract.decision import Decision
from contract.policy import Policy, PolicyError
from contract.telemetry import Telemetry

Answer = tuple[Decision, Any, Floats]


class Patient:
    """Asks a policy in a thread of its own and waits for a limited time."""

    def __init__(self, policy: Policy[Any], within_s: float) -> None:
        """Store the policy and the limit [s]."""
        self.policy, self.name, self.within_s = policy, policy.name, within_s
        self._busy: threading.Thread | None = None

    def reset(self, hosts: int, guests: int) -> Any:  # noqa: ANN401  the policy's own state
        """The policy's state before its first wake."""
        return self.policy.reset(hosts, guests)

    def decide(self, telemetry: Telemetry, state: Any) -> Answer:  # noqa: ANN401
        """The policy's answer.

        Raises:
            PolicyError: it takes longer, or still thinks about an earlier question.
        """
        if self._busy is not None and self._busy.is_alive():
            raise PolicyError(f"policy {self.name}: still busy with an earlier reading")
        answers: SimpleQueue[Answer | BaseException] = SimpleQueue()

        def think() -> None:
            try:
                answers.put(self.policy.decide(telemetry, state))
            except BaseException as error:  # handed to whoever asked
                answers.put(error)

        self._busy = threading.Thread(target=think, name="policy", daemon=True)
        self._busy.start()
        try:
            answer = answers.get(timeout=self.within_s)
        except Empty:
            raise PolicyError(f"policy {self.name}: no answer within {self.within_s:g} s") from None
        self._busy.join()
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Broken:
    """Stands for a policy that could not be loaded; every question is answered with the reason."""

    def __init__(self, name: str, reason: str) -> None:
        """Store what to say."""
        self.name, self._reason = name, reason

    def reset(self, hosts: int, guests: int) -> None:
        """There is nothing to remember."""
        return None

    def decide(self, telemetry: Telemetry, state: None) -> Answer:
        """Fail.

        Raises:
            PolicyError: always.
        """
        raise PolicyError(self._reason)
