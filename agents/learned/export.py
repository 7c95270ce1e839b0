"""From torch to the file that runs on hosts: `model.onnx`, and `contract.json` beside it.

The model takes any number of hosts and guests, has its weights inside, and gives the mean action,
clipped to [-1, 1].  Each export is checked against torch before it gets its name.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from agents.learned.network import SharedActor, masked
from agents.learned.policy import GuestSetPolicy
from agents.onnx_policy import CONTRACT, DIGEST_KEY, INPUTS, MODEL
from configs.loading import write_atomic
from contract.version import Contract, write_contract

OPSET = 20
TOLERANCE = 1e-5  # largest difference between torch and onnxruntime, in action units
CHECKED_SHAPES = ((1, 1), (1, 3), (5, 8), (2, 16))  # (hosts, slots)


class ExportError(Exception):
    """The exported model does not do what the torch model does."""


class Deployed(nn.Module):
    """The actor as it runs on hosts."""

    def __init__(self, actor: SharedActor) -> None:
        super().__init__()
        self.actor = actor

    def forward(self, guests: Tensor, host: Tensor, present: Tensor) -> Tensor:
        """(B, G, F), (B, Fh), (B, G) bool -> (B, G) in [-1, 1], 0 where absent."""
        action: Tensor = self.actor(masked(guests, present), host, present)
        return action.clamp(-1.0, 1.0)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Leave out what torch's exporter says about its own insides; its errors still raise."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _example(policy: GuestSetPolicy, hosts: int, slots: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(hosts * 1000 + slots)
    guests = torch.rand(hosts, slots, policy.guest_features, generator=generator) * 2 - 1
    host = torch.rand(hosts, policy.host_features, generator=generator) * 2 - 1
    present = torch.rand(hosts, slots, generator=generator) < 0.7
    return guests, host, present


def to_onnx(policy: GuestSetPolicy, digest: str) -> bytes:
    """The actor as a serialised ONNX model that names its contract.

    Raises:
        ExportError: onnxruntime and torch differ by more than `TOLERANCE`.
    """
    deployed = Deployed(policy.actor).eval()
    batch, guests = torch.export.Dim("batch", min=1), torch.export.Dim("guests", min=1)
    with _quiet_exporter():
        program = torch.onnx.export(
            deployed,
            _example(policy, 2, 3),
            input_names=list(INPUTS),
            output_names=["action"],
            dynamic_shapes=({0: batch, 1: guests}, {0: batch}, {0: batch, 1: guests}),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise ExportError("torch.onnx.export returned no program")
    model = program.model_proto
    onnx.helper.set_model_props(model, {DIGEST_KEY: digest})
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    _compare(deployed, content, policy)
    return content


def _compare(deployed: Deployed, content: bytes, policy: GuestSetPolicy) -> None:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for hosts, slots in CHECKED_SHAPES:
        example = _example(policy, hosts, slots)
        with torch.no_grad():
            expected = deployed(*example).numpy()
        feeds = {name: part.numpy() for name, part in zip(INPUTS, example, strict=True)}
        found = session.run(None, feeds)[0]
        difference = float(np.abs(found - expected).max())
        if not difference <= TOLERANCE:
            raise ExportError(
                f"{hosts} hosts, {slots} slots: onnxruntime and torch differ by {difference}, "
                f"expected at most {TOLERANCE}"
            )


def export(policy: GuestSetPolicy, contract: Contract, folder: Path) -> None:
    """Write `model.onnx` and `contract.json` into a folder.

    Raises:
        ExportError: as `to_onnx`; nothing is written.
    """
    content = to_onnx(policy, contract.digest)
    folder.mkdir(parents=True, exist_ok=True)
    write_contract(folder / CONTRACT, contract)
    write_atomic(folder / MODEL, content)
