"""A trained policy where it runs: its ONNX network between the contract's encode and decode.

Needs onnxruntime and the contract, nothing of the training stack.  A run folder holds `model.onnx`
and `contract.json`; both must be of the contract that this code speaks.

The network is run host by host, on the guests that are present.  Matrix products of other shapes
round differently, by some 1e-7; near the edge between two target quanta that would make a decision
depend on which other hosts share a batch, or on how many empty slots a host has.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from contract import features
from contract.arrays import Floats, Floats32
from contract.decision import Decision
from contract.decode import decode
from contract.features import GUEST_FEATURES, HOST_FEATURES, EncoderState, Observation
from contract.policy import Policy, PolicyError
from contract.telemetry import Telemetry
from contract.version import read_contract

MODEL, CONTRACT = "model.onnx", "contract.json"
DIGEST_KEY = "contract_digest"  # in the model's metadata: the contract that it was exported for
INPUTS = {
    "guests": (3, "tensor(float)", len(GUEST_FEATURES)),
    "host": (2, "tensor(float)", len(HOST_FEATURES)),
    "present": (2, "tensor(bool)", None),
}  # name: axes, element type, length of the last axis (None: any)


class ModelError(Exception):
    """A run folder whose network cannot be used; the message names file, finding, expectation."""


class OnnxState(NamedTuple):
    """What a learned policy remembers: what its encoder does, and its rule in mode correction."""

    encoder: EncoderState
    rule: Any  # state of the rule, None without one


class OnnxPolicy:
    """A policy from a run folder; the deterministic one, which acts by the mean."""

    def __init__(self, folder: str | Path, name: str = "", rule: Policy[Any] | None = None) -> None:
        """Open the network and check that it fits.

        Args:
            folder: holds model.onnx and contract.json.
            name: what tables call it; the folder's name if empty.
            rule: the baseline that the policy corrects, if it was trained in mode `correction`.

        Raises:
            ModelError: a file is missing or damaged, or model, contract and rule do not fit.
            ContractError: contract.json is of another contract.
        """
        self.folder = Path(folder)
        self.contract = read_contract(self.folder / CONTRACT)
        self.name = name or self.folder.resolve().name
        self.rule = rule
        wanted = self.contract.decoding.rule
        if bool(wanted) != (rule is not None):
            given = "none" if rule is None else rule.name
            raise ModelError(
                f"{self.folder / CONTRACT}: decoding.rule: {wanted!r}: the rule given is {given}"
            )
        self._session = _open(self.folder / MODEL)
        _check(self._session, self.folder / MODEL, self.contract.digest)

    @property
    def period_s(self) -> float:
        """The control period that the policy was trained at, and wakes at."""
        return self.contract.period_s

    def reset(self, hosts: int, guests: int) -> OnnxState:
        """The state before the first wake."""
        rule = self.rule.reset(hosts, guests) if self.rule else None
        return OnnxState(features.reset(hosts, guests), rule)

    def act(self, observation: Observation) -> Floats32:
        """Mean actions (H, G) in [-1, 1], 0 where no guest is.

        Raises:
            PolicyError: the network gives no numbers.
        """
        action = np.zeros(observation.present.shape, np.float32)
        for host, present in enumerate(observation.present):
            if present.any():
                rows = {
                    "guests": observation.guests[None, host, present],
                    "host": observation.host[None, host],
                    "present": present[None, present],
                }
                action[host, present] = self._session.run(None, rows)[0][0]
        if not np.isfinite(action).all():
            raise PolicyError(f"policy {self.name}: the network's answer is not finite")
        return action

    def decide(self, telemetry: Telemetry, state: OnnxState) -> tuple[Decision, OnnxState, Floats]:
        """Choose targets; wakes again after the period."""
        observation, encoder = features.encode(telemetry, state.encoder)
        rule_state, rule_target_bytes = state.rule, None
        if self.rule is not None:
            asked, rule_state, _ = self.rule.decide(telemetry, state.rule)
            rule_target_bytes = asked.target_bytes
        action = self.act(observation)
        decision = decode(action, telemetry, self.contract.decoding, rule_target_bytes)
        encoder = features.remember(encoder, decision.target_bytes)
        wake_at_s = telemetry.time_s + self.period_s
        return decision, OnnxState(encoder, rule_state), wake_at_s


def _open(path: Path) -> Any:  # noqa: ANN401 # onnxruntime has no types
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file; a run folder holds one when it finished")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # the number of guests changes from call to call
    failures = (
        onnxruntime.capi.onnxruntime_pybind11_state.InvalidProtobuf,
        onnxruntime.capi.onnxruntime_pybind11_state.InvalidGraph,
        onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument,
        onnxruntime.capi.onnxruntime_pybind11_state.Fail,
    )
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except failures as error:
        raise ModelError(f"{path}: is not a whole ONNX model: {error}") from error


def _check(session: Any, path: Path, digest: str) -> None:  # noqa: ANN401 # as above
    written = session.get_modelmeta().custom_metadata_map.get(DIGEST_KEY)
    if written != digest:
        raise ModelError(
            f"{path}: {DIGEST_KEY}: {written}, expected {digest} as in {CONTRACT} beside it"
        )
    found = {
        entry.name: (len(entry.shape), entry.type, entry.shape) for entry in session.get_inputs()
    }
    wrong = (
        [f"inputs {sorted(found)}, expected {sorted(INPUTS)}"] if set(found) != set(INPUTS) else []
    )
    for name, (axes, kind, length) in INPUTS.items():
        if name not in found:
            continue
        found_axes, found_kind, shape = found[name]
        if (found_axes, found_kind) != (axes, kind):
            wrong.append(f"input {name}: {found_kind} {shape}, expected {kind} with {axes} axes")
        elif length is not None and shape[-1] != length:
            wrong.append(f"input {name}: {shape[-1]} features, expected {length}")
        elif any(isinstance(size, int) for size in shape[: axes if length is None else axes - 1]):
            wrong.append(f"input {name}: {shape}, expected free batch and guest axes")
    if wrong:
        raise ModelError(f"{path}: " + "; ".join(wrong))
