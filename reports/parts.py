"""Parts of an evaluation that are done: one policy on one scenario each, kept as it ends.

A part is a folder of `storage` tables and their checksums, named by the digest of all that its rows
depend on: hosts as drawn, lengths, policy, guard, and the code that simulates and counts.  So a run
that was killed goes on where it stopped, one more policy costs its own parts, and a page that is
made otherwise costs nothing.  Parts of other code serve nobody and are removed.
"""

import hashlib
import importlib
import json
import shutil
import warnings
from functools import cache
from pathlib import Path

from agents.bounds import Bound
from configs.loading import dump, write_atomic
from reports import storage
from reports.entrants import Entrant
from reports.episodes import Results
from reports.settings import Evaluation
from reports.versions import versions
from scenarios import fingerprint
from scenarios.draw import DrawnHost
from scenarios.schema import Scenario

FOLDER = "parts"  # of an evaluation's folder
SUMS = "sha256"  # of a part's folder: whose it is, and a checksum of each file; written last
# What rows are computed by.  By name, as some of these import this module.
_CODE = (
    "configs.loading",
    "contract",
    "memsim",
    "scenarios",
    "agents.baselines",
    "agents.onnx_policy",
    "reports.episodes",
    "reports.evaluation",
    "reports.measures",
    "reports.reference",
    "reports.rows",
    "reports.sampling",
    "reports.slowdown",
    "reports.storage",
)
_OF_BOUNDS = "agents.bounds"  # beside these; what is tried there is not to cost all others


def name(
    config: Evaluation,
    scenario: Scenario,
    drawn: tuple[DrawnHost, ...],
    seeds: tuple[int, ...],
    entrant: Entrant,
) -> str:
    """The digest of a part, after the beginning of that of the code.

    Args:
        config: says how long hosts live and how often they are looked at.
        scenario: with the entrant's mechanisms.
        drawn: its hosts.
        seeds: one for each.
        entrant: who decides.
    """
    code = _code(*_CODE)
    own = _code(_OF_BOUNDS) if isinstance(entrant.member.policy, Bound) else ""
    content = fingerprint.of(
        code,
        own,
        json.dumps(versions(), sort_keys=True),
        dump(scenario),
        tuple(host.spec for host in drawn),
        seeds,
        (config.period, config.warm_up, config.end_s),
        (entrant.label, entrant.arm, entrant.member.training_seed, entrant.member.content),
        entrant.guard,
    )
    return f"{code[:8]}-{content[:32]}"


def read(folder: Path, part: str) -> Results | None:
    """A part that was kept; None if there is none, or it is damaged or another's."""
    try:
        if (folder / part / SUMS).read_text(encoding="utf-8") != _sums(folder, part):
            return None
        return storage.read(folder / part)
    except (OSError, UnicodeDecodeError, storage.ResultsError):
        return None


def write(folder: Path, part: str, results: Results) -> None:
    """Keep a part; without room for it the evaluation goes on, and cannot be resumed there."""
    try:
        _remove_strangers(folder)
        storage.write(folder / part, results)
        write_atomic(folder / part / SUMS, _sums(folder, part))
    except OSError as error:
        warnings.warn(
            f"{folder}: cannot be written ({error.strerror}): what is done now will be done again"
            " if this run is stopped",
            stacklevel=2,
        )


def _sums(folder: Path, part: str) -> str:
    files = sorted((folder / part).glob("*.parquet"))
    found = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    return "".join([f"{part}\n", *found])


@cache
def _code(*modules: str) -> str:
    return fingerprint.code(*map(importlib.import_module, modules))


def _remove_strangers(folder: Path) -> None:
    for other in folder.glob("*-*"):
        if not other.name.startswith(_code(*_CODE)[:8]):
            shutil.rmtree(other, ignore_errors=True)
