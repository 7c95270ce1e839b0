"""A run folder: what lies where, whose it is, and whether it is finished.

runs/<name>/config.yaml     the whole configuration, as resolved
            seed            the training seed
            versions.json   of everything that the result may depend on
            contract.json   decoding, period, guard and the digest of the features
            checkpoints/    the last few iterations
            tb/             TensorBoard logs
            model.onnx      the trained actor
            card.md         what the model is; written last, so it says that the run finished
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

import configs.versions
from agents.learned.settings import TrainConfig
from agents.learned.shelf import Shelf
from agents.onnx_policy import CONTRACT, MODEL
from configs.loading import dump, load, write_atomic
from contract.version import Contract, write_contract

CONFIG, SEED, VERSIONS, CARD = "config.yaml", "seed", "versions.json", "card.md"
CHECKPOINTS, TENSORBOARD, LOCK = "checkpoints", "tb", ".lock"
PACKAGES = (
    "overcommit",
    "gymnasium",
    "numba",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "stable-baselines3",
    "torch",
)
OF_EVALUATION = ("digest", "episodes.parquet", "parts")
MISSING = "(missing)"


class FolderError(Exception):
    """A run folder that cannot be used as asked; the message says why and what would do."""


class Difference(NamedTuple):
    """One field in which two configurations differ."""

    field: str
    there: object
    wanted: object


def differences(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Difference]:
    """The leaves in which two nested mappings differ, in the order of `wanted`."""
    found = []
    for key in [*wanted, *(key for key in there if key not in wanted)]:
        old, new = there.get(key, MISSING), wanted.get(key, MISSING)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += [
                Difference(f"{key}.{part.field}", part.there, part.wanted)
                for part in differences(old, new)
            ]
        elif old != new:
            found.append(Difference(key, old, new))
    return found


def versions() -> dict[str, str]:
    """Versions of what the numbers of a run may depend on."""
    return configs.versions.versions(PACKAGES) | {"threads": str(torch.get_num_threads())}


class RunFolder:
    """One run's folder."""

    def __init__(self, path: Path) -> None:
        """Store where; nothing is read or written."""
        self.path = path

    @property
    def exists(self) -> bool:
        """Whether a run was ever begun here."""
        return (self.path / CONFIG).is_file()

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return all((self.path / name).is_file() for name in (CARD, MODEL, CONTRACT))

    @property
    def tensorboard(self) -> Path:
        """Where the logs go."""
        return self.path / TENSORBOARD

    def shelf(self, keep: int) -> Shelf:
        """The checkpoints."""
        return Shelf(self.path / CHECKPOINTS, keep)

    def config(self) -> TrainConfig:
        """The configuration that the run was begun with.

        Raises:
            FolderError: there is no run here.
            ConfigError: config.yaml is not a training configuration.
        """
        if not self.exists:
            raise FolderError(f"{self.path}: is not a run folder: there is no {CONFIG} in it")
        return load(TrainConfig, self.path / CONFIG)

    def claim(self, config: TrainConfig) -> None:
        """Make the folder this configuration's, or find that it is.

        A folder whose run never came to its first checkpoint is free for any configuration.

        Raises:
            FolderError: it is another configuration's, or holds something else.
        """
        taken = [name for name in OF_EVALUATION if (self.path / name).exists()]
        if taken:
            raise FolderError(
                f"{self.path}: holds {taken[0]} of an evaluation; choose another --name or --runs"
            )
        begun = any((self.path / CHECKPOINTS).glob("*.npz"))
        if self.exists and (begun or self.finished):
            self._refuse_another(config)
            return
        strangers = self.path.iterdir() if self.path.is_dir() and not self.exists else ()
        if any(entry.name != LOCK for entry in strangers):
            raise FolderError(f"{self.path}: holds files but no run; choose another --name")
        write_atomic(self.path / CONFIG, dump(config))  # first: it makes this a run folder
        write_atomic(self.path / SEED, f"{config.seed}\n")
        write_atomic(self.path / VERSIONS, json.dumps(versions(), indent=2) + "\n")

    def _refuse_another(self, config: TrainConfig) -> None:
        try:
            there = yaml.safe_load((self.path / CONFIG).read_text())
        except yaml.YAMLError as error:
            raise FolderError(f"{self.path / CONFIG}: is not YAML: {error}") from error
        wanted = yaml.safe_load(dump(config))
        found = differences(there if isinstance(there, dict) else {}, wanted)
        if found:
            lines = "\n".join(
                f"  {part.field}: {part.there} there, {part.wanted} wanted" for part in found
            )
            raise FolderError(
                f"{self.path}: holds a run of another configuration; choose another --name, or "
                f"delete the folder:\n{lines}"
            )

    def version_changes(self) -> list[Difference]:
        """What changed since the run was begun."""
        try:
            there = json.loads((self.path / VERSIONS).read_text())
        except (OSError, ValueError) as error:
            raise FolderError(f"{self.path / VERSIONS}: {error}") from error
        return differences(there, versions())

    def write_contract(self, contract: Contract) -> None:
        """Write contract.json."""
        write_contract(self.path / CONTRACT, contract)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against other trainings; a process that dies lets go of it.

        Raises:
            FolderError: another process trains here.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderError(f"{self.path}: another process is training here") from error
        else:
            yield
        finally:
            os.close(descriptor)
