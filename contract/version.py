"""What a trained policy was made for: version and digest of the contract, and their file.

A policy runs only where the digest agrees: it covers the feature table, the meaning of actions and
the control period.  The guard is a setting of whoever runs the policy; the file tells which one
training used.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TypeVar

from contract.caution import CautionConfig
from contract.decode import Decoding
from contract.feature_table import FEATURES, MEANS_S
from contract.guard import GuardConfig

Settings = TypeVar("Settings", Decoding, CautionConfig, GuardConfig)

CONTRACT_VERSION = 1  # raise it when what a feature or an action means changes, not only its entry


class ContractError(Exception):
    """A contract file cannot be read, or a policy was made for another contract."""


def digest(decoding: Decoding, period_s: float) -> str:
    """Sha256, in hex, of all that a network's inputs and outputs depend on."""
    content = {
        "version": CONTRACT_VERSION,
        "features": [asdict(feature) for feature in FEATURES],
        "means_s": MEANS_S,
        "decoding": asdict(decoding),
        "period_s": float(period_s),
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Contract:
    """What stands in `contract.json` beside a trained policy."""

    decoding: Decoding = field(default_factory=Decoding)
    period_s: float = 5.0  # control period that it was trained at
    guard: GuardConfig = field(default_factory=GuardConfig)  # that it was trained under

    @property
    def digest(self) -> str:
        """The digest of decoding, period and the features of this code."""
        return digest(self.decoding, self.period_s)


def contract_json(contract: Contract) -> str:
    """The text of a contract file."""
    content = {
        "version": CONTRACT_VERSION,
        "digest": contract.digest,
        "period_s": contract.period_s,
        "decoding": asdict(contract.decoding),
        "guard": contract.guard.as_dict(),
        "features": [asdict(feature) for feature in FEATURES],
    }
    return json.dumps(content, indent=2) + "\n"


def write_contract(path: Path, contract: Contract) -> None:
    """Write a contract file, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(contract_json(contract), encoding="utf-8")
    os.replace(partial, path)


def read_contract(path: Path) -> Contract:
    """Read a contract file.

    Raises:
        ContractError: it cannot be read, or was written for other features than this code's.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ContractError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise ContractError(f"{path}: expected an object, found {type(content).__name__}")
    try:
        settings = dict(content["guard"])
        settings["caution"] = _build(CautionConfig, settings["caution"])
        contract = Contract(
            _build(Decoding, content["decoding"]),
            float(content["period_s"]),
            _build(GuardConfig, settings),
        )
        written = content["digest"]
    except (KeyError, TypeError, ValueError) as error:
        raise ContractError(f"{path}: {type(error).__name__}: {error}") from error
    if written != contract.digest:
        raise ContractError(
            f"{path}: digest: {written}, expected {contract.digest} "
            f"(contract version {content.get('version')} against {CONTRACT_VERSION})"
        )
    return contract


def _build(kind: type[Settings], settings: object) -> Settings:
    names = {entry.name for entry in fields(kind)}
    if not isinstance(settings, dict) or set(settings) != names:
        raise ValueError(f"{kind.__name__}: {settings!r}: expected the fields {sorted(names)}")
    return kind(**settings)
