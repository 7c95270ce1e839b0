"""Who takes part: policies by the name of a baseline, a run folder or a class of anyone's."""

import hashlib
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from agents import bounds
from agents.baselines import UnknownPolicy, load_policy
from agents.baselines import names as baselines
from agents.bounds import Bound
from agents.onnx_policy import CONTRACT, MODEL, ModelError, OnnxPolicy
from contract.guard import GuardConfig
from contract.policy import Policy
from contract.version import ContractError, read_contract
from reports import tuned
from reports.episodes import BASELINE_SEED, BOUND
from reports.settings import Evaluation, Setting
from scenarios.schema import Arm

FULL_GUARD = " (full guard)"
USUAL_REFERENCES = ("slides-tuned", "slides")  # the talk's rule at its best, else as it is


class EntrantError(Exception):
    """A policy that cannot take part; the message says why and what to do."""


@dataclass(frozen=True)
class Member:
    """A policy as it was found."""

    policy: Policy[Any] | Bound
    training_seed: int  # BASELINE_SEED if it was not trained
    content: str  # digest of what it is made of, beside the project's own code
    source: str  # in words


@dataclass(frozen=True)
class Entrant:
    """One policy under one guard and one set of mechanisms."""

    label: str  # policy's column in the results
    member: Member
    guard: GuardConfig = field(default_factory=GuardConfig)
    arm: str = ""
    mechanisms: Arm = field(default_factory=Arm)

    @property
    def learned(self) -> bool:
        """Whether it was trained."""
        return self.member.training_seed != BASELINE_SEED


def entrants(config: Evaluation) -> tuple[Entrant, ...]:
    """Everyone who takes part, in the order of the configuration.

    Raises:
        EntrantError: a policy does not exist or cannot be used; all of them at once.
    """
    problems: list[str] = []
    found: list[Entrant] = []
    guard = GuardConfig(level=config.guard)
    uses = [(arm.policy, arm.name, arm.mechanisms) for arm in config.arms]
    for text, arm, mechanisms in uses or [(text, "", Arm()) for text in config.policies]:
        try:
            label, members = read(text, config.settings)
        except EntrantError as error:
            problems.append(str(error))
            continue
        found += [Entrant(label, member, guard, arm, mechanisms) for member in members]
        also_full = config.full_guard_too and config.guard == "limits" and not arm
        if also_full and any(member.training_seed != BASELINE_SEED for member in members):
            full = GuardConfig(level="full")
            found += [Entrant(label + FULL_GUARD, member, full) for member in members]
    taken = Counter((part.arm, part.label, part.member.training_seed) for part in found)
    problems += [
        f"policies: {label!r} stands for more than one; expected a label of its own, as in"
        f" another={label}"
        for (_, label, _), count in taken.items()
        if count > 1
    ]
    if problems:
        raise EntrantError("\n".join(problems))
    return tuple(found)


def read(text: str, settings: Mapping[str, Mapping[str, Setting]]) -> tuple[str, list[Member]]:
    """The label and the policies behind `NAME` or `LABEL=NAME+NAME`.

    Raises:
        EntrantError: one cannot be used.
    """
    label, equals, names = text.partition("=")
    sources = (names if equals else label).split("+")
    if not all(sources) or not label:
        raise EntrantError(f"policy {text!r}: expected NAME, or LABEL=NAME+NAME")
    members = [_member(source, settings.get(source, {})) for source in sources]
    seeds = [member.training_seed for member in members]
    if len(members) > 1 and (BASELINE_SEED in seeds or len(set(seeds)) < len(seeds)):
        raise EntrantError(
            f"policy {text!r}: training seeds {seeds}: expected run folders of different seeds;"
            " train them with --set seed=..."
        )
    if any(isinstance(member.policy, Bound) for member in members):
        label += BOUND
    return label, members


def _member(source: str, settings: Mapping[str, Setting]) -> Member:
    if source in bounds.names():
        return _bound(source, settings)
    if source in baselines() or (":" in source and not Path(source).exists()):
        return _plain(source, settings)
    if source.removesuffix(tuned.SUFFIX) in baselines() and not Path(source).is_dir():
        return _tuned(source, settings)
    folder = Path(source)
    if folder.is_dir():
        return _trained(folder)
    raise EntrantError(
        f"policy {source!r}: there is no such baseline or run folder. Baselines:"
        f" {', '.join(baselines())}. Tuned: {', '.join(tuned.names()) or 'none'}. Bounds:"
        f" {', '.join(bounds.names())}. A run folder comes from"
        f" `python train.py configs/train/demo.yaml --name {folder.name}`; a class of your own is"
        " my_module:MyPolicy"
    )


def _plain(source: str, settings: Mapping[str, Setting]) -> Member:
    try:
        policy = load_policy(source, dict(settings))
    except UnknownPolicy as error:
        raise EntrantError(str(error)) from error
    if source in baselines():
        changed = f" with {dict(settings)}" if settings else ""
        content = f"{source} {sorted(settings.items())}"  # a label need not name it
        return Member(policy, BASELINE_SEED, content, "baseline" + changed)
    module = type(policy).__module__
    digest = hashlib.sha256(repr(sorted(settings.items())).encode())
    for file in _neighbours(module):
        digest.update(file.read_bytes())
    words = f"class of {module}, sha256 {digest.hexdigest()[:12]}"
    return Member(policy, BASELINE_SEED, digest.hexdigest(), words)


def _tuned(source: str, settings: Mapping[str, Setting]) -> Member:
    try:
        found = tuned.find(source)
    except ValueError as error:
        raise EntrantError(str(error)) from error
    member = _plain(found.policy, {**found.settings, **settings})
    return replace(member, source=f"tuned {member.source}")


def _bound(source: str, settings: Mapping[str, Setting]) -> Member:
    try:
        found = bounds.load(source, settings)
    except ValueError as error:
        raise EntrantError(str(error)) from error
    words = "bound: sees the truth and the future; no policy for a real host"
    return Member(found, BASELINE_SEED, f"{source} {sorted(settings.items())}", words)


def _neighbours(name: str) -> list[Path]:
    """The file of a module and of all Python that was imported from its folder or below."""
    own = Path(str(sys.modules[name].__file__)).resolve()
    found = {Path(file).resolve() for file in map(_file, list(sys.modules.values()))}
    installed = Path(sys.prefix).resolve()
    return sorted(
        file
        for file in found
        if file.suffix == ".py"
        and file.is_file()
        and file.is_relative_to(own.parent)
        and not file.is_relative_to(installed)
    )


def _file(module: ModuleType) -> str:
    found = getattr(module, "__file__", None)
    return found if isinstance(found, str) and found.endswith(".py") else "."


def _trained(folder: Path) -> Member:
    missing = [name for name in (MODEL, CONTRACT) if not (folder / name).is_file()]
    if missing:
        hint = (
            f"its training has not finished; `python train.py --resume {folder}` goes on"
            if (folder / "checkpoints").is_dir()
            else "it is not the folder of a training run"
        )
        raise EntrantError(f"policy {str(folder)!r}: no {' and no '.join(missing)}: {hint}")
    try:
        rule = read_contract(folder / CONTRACT).decoding.rule
        policy = OnnxPolicy(folder, name=str(folder), rule=load_policy(rule) if rule else None)
    except (ContractError, ModelError) as error:
        raise EntrantError(f"policy {str(folder)!r}: {error}; train it anew") from error
    digest = hashlib.sha256()
    for name in (MODEL, CONTRACT):
        digest.update((folder / name).read_bytes())
    content, seed = digest.hexdigest(), _seed(folder / "seed")
    return Member(policy, seed, content, f"trained with seed {seed}, sha256 {content[:12]}")


def _seed(path: Path) -> int:
    """The training seed that the run folder names."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise EntrantError(f"{path}: expected the training seed: {error}") from error


def labels(found: Sequence[Entrant]) -> dict[str, str]:
    """Label of every policy or arm -> what it is, in words."""
    words: dict[str, list[str]] = {}
    for entrant in found:
        name = entrant.member.source
        if entrant.arm:
            changed = entrant.mechanisms.model_dump(exclude_none=True)
            set_ = ", ".join(f"{key} {value}" for key, value in changed.items())
            name = f"policy {entrant.label}; {set_ or 'mechanisms of the scenario'}"
        words.setdefault(entrant.arm or entrant.label, []).append(name)
    return {label: "; ".join(dict.fromkeys(parts)) for label, parts in words.items()}


def reference_label(config: Evaluation, found: Sequence[Entrant]) -> str:
    """The policy or arm that all others are compared with.

    Raises:
        EntrantError: the configuration names one that does not take part.
    """
    names = list(labels(found))
    if config.reference is None:
        return next((name for name in USUAL_REFERENCES if name in names), names[0])
    if config.reference not in names:
        raise EntrantError(f"reference: {config.reference!r}: expected one of {', '.join(names)}")
    return config.reference
