"""The policies that a daemon may run: a baseline by its name, or a learned one by its folder."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.baselines import UnknownPolicy, load_policy, names
from contract.policy import Policy
from contract.version import ContractError, read_contract
from overcommitd.config import DaemonConfig
from overcommitd.core import Plan
from overcommitd.patience import Broken, Patient

CONTRACT, MODEL = "contract.json", "model.onnx"


class PolicyMissing(Exception):
    """A policy that cannot be used; the message says why."""


def plan(config: DaemonConfig) -> Plan:
    """Who decides.  A policy that cannot be loaded fails at every question, and is named.

    Raises:
        PolicyMissing: the fall-back rule cannot be loaded.
    """
    back = config.fallback
    try:
        policy = open_policy(config.policy, config.settings)
    except PolicyMissing as error:
        policy = Broken(config.policy, str(error))
    if back.policy not in names():
        raise PolicyMissing(
            f"fallback.policy: {back.policy!r}: expected one of {', '.join(names())}"
        )
    fallback = open_policy(back.policy, back.settings)
    return Plan(
        Patient(policy, back.decide_within),
        fallback,
        config.guard.build(),
        back.hold,
        back.retry,
        config.period,
    )


def open_policy(source: str, settings: Mapping[str, Any]) -> Policy[Any]:
    """A baseline, or the run folder of a learned policy.

    Raises:
        PolicyMissing: there is none, or it is of another contract.
    """
    folder = Path(source)
    if source in names() or not folder.is_dir():
        try:
            return load_policy(source, settings)
        except UnknownPolicy as error:
            raise PolicyMissing(f"{error}; or the folder of a learned one") from error
    if settings:
        raise PolicyMissing(f"{source}: settings {dict(settings)}: a learned policy has none")
    from agents.onnx_policy import ModelError, OnnxPolicy  # a baseline needs no runtime

    try:
        rule = read_contract(folder / CONTRACT).decoding.rule
        return OnnxPolicy(folder, rule=load_policy(rule) if rule else None)
    except (ContractError, ModelError, UnknownPolicy) as error:
        raise PolicyMissing(str(error)) from error


def identity(source: str, settings: Mapping[str, Any]) -> str:
    """What tells a policy from any other: its name and settings, or its files' digest."""
    folder = Path(source)
    content = hashlib.sha256()
    for file in (folder / CONTRACT, folder / MODEL):
        if file.is_file():
            content.update(file.read_bytes())
    return f"{source} {sorted(settings.items())} {content.hexdigest()[:16]}"
