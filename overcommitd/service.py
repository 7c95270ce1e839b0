"""The daemon's loop: read, decide, guard, apply, record; and what operators ask in between."""

import logging
import threading
import time
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np

from contract.arrays import UNKNOWN
from contract.decision import Decision, beyond, only
from contract.growth import reserve_bytes
from contract.host import BackendUnavailable, HostError
from contract.interventions import NAMES, count
from contract.recording import Moment
from contract.telemetry import Telemetry
from overcommitd import core, explain, policies, state
from overcommitd.backend import Backend
from overcommitd.config import DaemonConfig, Mode, OnStop
from overcommitd.control import Answer, Control
from overcommitd.core import By, CoreState, Outcome, Plan
from overcommitd.log import say
from overcommitd.metrics import Page, Totals
from overcommitd.notify import Systemd
from overcommitd.recorder import Recorder

LONGEST_BACKOFF_S = 60.0  # [s] between two tries to reach a hypervisor
LONGEST_WAIT_S = 60.0  # [s] between two readings, however seldom the policy decides
HOST_COLUMNS = (
    "total_bytes",
    "available_bytes",
    "swap_used_bytes",
    "psi_some_avg10",
    "psi_full_avg10",
)


class Service:
    """One host, one policy, until told to stop."""

    def __init__(
        self, config: DaemonConfig, backend: Backend, plan: Plan, control: Control | None = None
    ) -> None:
        """Store the parts, and go on where the last daemon stopped."""
        self.config, self.backend, self.plan = config, backend, plan
        self.totals, self.systemd = Totals(), Systemd()
        self.page = Page(self.totals)
        self.wake = threading.Event()
        self.outcome: Outcome | None = None
        self._control, self._stop, self._paused = control, False, ""
        self._core: CoreState | None = None
        self._identity = {
            "policy": policies.identity(config.policy, config.settings),
            "fallback": policies.identity(config.fallback.policy, config.fallback.settings),
        }
        self._recorder = self._open_recorder()
        self._failures, self._problem = 0, ""
        self._resume()

    @property
    def state_file(self) -> Path:
        """What survives a restart."""
        return Path(self.config.state_dir, "state.npz")

    @property
    def applies(self) -> bool:
        """Whether decisions are sent."""
        return self.config.mode is Mode.ACT and not self._paused

    def attach(self, control: Control) -> None:
        """Answer an operator's questions from now on."""
        self._control = control

    def stop(self) -> None:
        """End after the turn that is under way."""
        self._stop = True
        self.wake.set()

    def run(self) -> None:
        """Take turns until stopped, then do with the guests what is configured."""
        self.systemd.tell("READY=1")
        while not self._stop:
            self.systemd.tell("WATCHDOG=1")
            self._wait(self.turn())
        self.systemd.tell("STOPPING=1")
        if self.config.on_stop is OnStop.RELEASE and self.config.mode is Mode.ACT:
            try:
                say(logging.WARNING, "released on stop", **self._release([]))
            except HostError as error:
                say(logging.ERROR, "could not release on stop", error=str(error))

    def close(self) -> None:
        """End the recording."""
        if self._recorder is not None:
            self._recorder.close()

    def turn(self) -> float:
        """Take one turn; returns when the next is due, on the host's clock."""
        try:
            telemetry = self.backend.read()
        except BackendUnavailable as error:
            return self._out_of_reach(error)
        if self._failures:
            say(logging.WARNING, "back in reach", after=self._failures)
            self._failures = 0
        self.totals.add("turns")
        outcome = self._decide(telemetry)
        self.outcome = outcome
        if outcome.turn.due.any():
            self._count(outcome)
            if self.applies:
                self._apply(outcome.turn.applied)
            self._record(outcome)
            self._save()
        self.page.show(self._status())
        assert self._core is not None
        now_s = float(telemetry.time_s[0])
        return min(float(self._core.wake_at_s[0]), now_s + LONGEST_WAIT_S)

    def _decide(self, telemetry: Telemetry) -> Outcome:
        if self._core is None:
            self._core = core.start(self.plan, telemetry.guest_id.shape[1])
        slots = telemetry.guest_id.shape[1]
        self._core = state.widened(self._core, self.plan, slots)
        began = time.perf_counter()
        if self.config.mode is Mode.OBSERVE:
            outcome, self._core = core.watch(self.plan, telemetry, self._core)
        else:
            outcome, self._core = core.turn(self.plan, telemetry, self._core, self.applies)
        self.totals.decision_s += time.perf_counter() - began
        problem = outcome.problem
        if problem:
            self.totals.add("policy_failures")
            self._problem = problem
            say(logging.ERROR, "policy failed", problem=problem, by=outcome.by.value)
        elif self._problem and outcome.by is By.POLICY:
            self._problem = ""
            say(logging.WARNING, "policy works again")
        return outcome

    def _apply(self, decision: Decision) -> None:
        strange = beyond(decision, self.backend.supports)
        if strange:
            say(logging.DEBUG, "left out: not on this host", columns=sorted(strange))
        try:
            self.backend.apply(only(decision, self.backend.supports))
        except HostError as error:
            self.totals.add("apply_failures")
            say(logging.WARNING, "could not send", error=str(error))
        self.totals.add("targets_sent", int((decision.target_bytes >= 0).sum()))

    def _count(self, outcome: Outcome) -> None:
        if self.config.mode is not Mode.OBSERVE:
            self.totals.add("decisions")
        for name, times in zip(NAMES, count(outcome.turn.interventions)[0], strict=True):
            self.totals.interventions[name] += int(times)

    def _out_of_reach(self, error: BackendUnavailable) -> float:
        """Nobody can be read: guests stay as they are, and we come back more and more seldom."""
        self.totals.add("backend_failures")
        self.page.show(None)
        if not self._failures:
            say(logging.ERROR, "out of reach", error=str(error))
        pause_s = min(LONGEST_BACKOFF_S, 2.0**self._failures)
        self._failures += 1
        return self.backend.now_s() + pause_s

    def _wait(self, until_s: float) -> None:
        """Wait for the next turn; answer questions and the watchdog meanwhile."""
        while not self._stop:
            self._answer_all()
            now_s = self.backend.now_s()
            if now_s >= until_s or self._stop:
                return
            self.wake.clear()
            if self._control is not None and not self._control.questions.empty():
                continue
            step_s = until_s if self.backend.simulated else now_s + self.systemd.watchdog_s / 3
            self.backend.wait_until(min(until_s, step_s), self.wake)
            self.systemd.tell("WATCHDOG=1")

    # What operators ask

    def _answer_all(self) -> None:
        while self._control is not None:
            try:
                question = self._control.questions.get_nowait()
            except Empty:
                return
            try:
                answer = self.answer(question.command, question.arguments)
            except HostError as error:
                answer = {"error": str(error)}
            question.answer.put(answer)

    def answer(self, command: str, arguments: dict[str, Any]) -> Answer:
        """Carry out an operator's command; {"error": ...} if it cannot be."""
        if command == "status":
            return {"status": self._status()} if self.outcome else {"error": self._nothing_yet()}
        if command == "pause":
            self._set_paused("by an operator")
            return {"paused": self._paused}
        if command == "resume":
            self._set_paused("")
            return {"paused": ""}
        if command == "release":
            return self._answer_release(arguments.get("guests", []))
        if command == "explain":
            return self._answer_explain(str(arguments.get("guest", "")))
        return {"error": f"{command!r}: expected status, pause, resume, release or explain"}

    def _answer_explain(self, name: str) -> Answer:
        if self.outcome is None:
            return {"error": self._nothing_yet()}
        records = explain.guests(self.outcome, self.backend.names(), self.applies)
        found = [one for one in records if one["name"] == name]
        if not found:
            return {"error": f"{name!r}: expected one of {', '.join(r['name'] for r in records)}"}
        mode = f"{self.config.mode.value}{', paused' if self._paused else ''}"
        return {"guest": found[0], "text": explain.in_words(found[0], mode)}

    def _answer_release(self, names: object) -> Answer:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return {"error": "guests: expected a list of names"}
        if self.config.mode is not Mode.ACT:
            return {"error": f"mode {self.config.mode.value}: nothing was taken by this daemon"}
        known = self.backend.names().values()
        strange = [name for name in names if name not in known]
        if strange:
            return {"error": f"{strange[0]!r}: expected one of {', '.join(sorted(known))}"}
        self._set_paused("released by an operator")
        return self._release(names)

    def _release(self, names: list[str]) -> Answer:
        """Send guests (all, if none is named) their largest size, whatever the host has."""
        telemetry = self.backend.read()
        by_id = self.backend.names()
        chosen = telemetry.present & (telemetry.max_bytes > 0)
        if names:
            ids = [guest for guest, name in by_id.items() if name in names]
            chosen &= np.isin(telemetry.guest_id, ids)
        else:
            chosen &= telemetry.weight != 0
        growth = np.where(chosen, telemetry.max_bytes - telemetry.resident_bytes, 0)
        promised = int(np.maximum(growth, 0).sum())
        has = int(telemetry.available_bytes[0] - reserve_bytes(telemetry.total_bytes)[0])
        answer: Answer = {
            "released": sorted(by_id[int(g)] for g in telemetry.guest_id[chosen]),
            "promised_bytes": promised,
            "host_has_bytes": max(0, has),
            "too_much": promised > has,
            "paused": self._paused,
        }
        targets = np.where(chosen, telemetry.max_bytes, UNKNOWN)
        try:
            self.backend.apply(Decision(targets))
        except HostError as error:
            answer["failed"] = str(error)
        self._save()
        return answer

    def _set_paused(self, why: str) -> None:
        self._paused = why
        say(logging.WARNING, "paused" if why else "resumed", why=why)
        if self.outcome is not None:
            self.page.show(self._status())
        self._save()

    def _nothing_yet(self) -> str:
        return "out of reach: the hypervisor has not been read yet; see the log"

    def _status(self) -> dict[str, Any]:
        assert self.outcome is not None and self._core is not None
        telemetry = self.outcome.turn.telemetry
        host = {name: float(getattr(telemetry, name)[0]) for name in HOST_COLUMNS}
        return {
            "mode": self.config.mode.value,
            "paused": self._paused,
            "policy": self.config.policy,
            "by": self.outcome.by.value,
            "problem": self._problem,
            "reachable": not self._failures,
            "read_age_s": self.backend.now_s() - float(telemetry.time_s[0]),
            "host": {
                name: None if np.isnan(value) or value == UNKNOWN else value
                for name, value in host.items()
            },
            "guests": explain.guests(self.outcome, self.backend.names(), self.applies),
        }

    # What is kept

    def _open_recorder(self) -> Recorder | None:
        wanted = self.config.record
        if wanted is None:
            return None
        try:
            return Recorder(self.config.record_folder, wanted.size, wanted.files)
        except OSError as error:
            self.totals.add("record_failures")
            say(logging.ERROR, "cannot record", error=str(error))
            return None

    def _record(self, outcome: Outcome) -> None:
        if self._recorder is None:
            return
        turn, decides = outcome.turn, self.config.mode is not Mode.OBSERVE
        moment = Moment(
            turn.telemetry,
            time.time(),
            turn.asked if decides else None,
            turn.applied if decides else None,
            self.backend.names(),
            outcome.by.value,
        )
        try:
            self._recorder.add(moment)
        except OSError as error:
            self.totals.add("record_failures")
            say(logging.ERROR, "could not record", error=str(error))

    def _save(self) -> None:
        if self._core is None:
            return
        try:
            state.save(
                self.state_file,
                self._core,
                self.backend.incarnation,
                self._identity,
                self.backend.as_dict(),
                self._paused,
            )
        except OSError as error:
            self.totals.add("state_failures")
            say(logging.ERROR, "could not save", error=str(error))

    def _resume(self) -> None:
        try:
            saved = state.read(self.state_file)
            if saved is None:
                return
            self._paused = saved.paused  # an operator's word outlives even the host
            if saved.incarnation != self.backend.incarnation or not saved.incarnation:
                say(logging.INFO, "begins anew: the host was started since")
                return
            resumed = state.resume(saved, self.plan, self._identity)
            self.backend.load(saved.backend)
            self._core = resumed
            say(logging.INFO, "goes on where it stopped", paused=self._paused)
        except (state.StateError, ValueError) as error:
            aside = self.state_file.with_suffix(".damaged")
            say(logging.ERROR, "cannot go on, begins anew", error=str(error), kept=str(aside))
            self.state_file.replace(aside)
