"""The folder of an evaluation: results, report and figures, and whose they are.

runs/<name>/config.yaml       the whole configuration, as resolved
            seed              the first seed of the hosts
            versions.json     of everything that the numbers may depend on
            digest            of configuration, policies, traces and code; written last
            parts/            each policy on each scenario as it ended: `parts`
            lock              held while an evaluation writes
            episodes.parquet  and guests, memory, traffic: `storage`
            report.html       and figures/, tables/ (CSV and Markdown)
"""

import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import agents.baselines
import configs
import contract
import memsim
import reports
import scenarios
from agents import bounds, onnx_policy
from configs.loading import dump, write_atomic
from reports import figures, page, parts, plotstyle, storage, tables, talk
from reports.entrants import Entrant
from reports.episodes import Results
from reports.settings import Evaluation
from reports.standings import Standing
from reports.versions import versions
from reports.wins import Found
from reports.workloads import Workloads
from scenarios import fingerprint
from scenarios.draw import draw

LOCK = "lock"
CONFIG, SEED, VERSIONS, DIGEST, REPORT, FIGURES, TABLES = (
    "config.yaml",
    "seed",
    "versions.json",
    "digest",
    "report.html",
    "figures",
    "tables",
)
OF_TRAINING = ("checkpoints", "model.onnx")


class FolderError(Exception):
    """A folder that cannot be used; the message says why and what would do."""


def digest(config: Evaluation, entrants: Sequence[Entrant], workloads: Workloads) -> str:
    """What the results depend on: configuration, hosts as drawn, policies, code and versions."""
    hosts = [
        draw(scenario.with_arm(mechanisms), seed).spec
        for number, scenario in enumerate(workloads.scenarios)
        for mechanisms in dict.fromkeys(entrant.mechanisms for entrant in entrants)
        for seed in config.seeds_of(number)
    ]
    return fingerprint.of(
        dump(config),
        tuple(dump(scenario) for scenario in workloads.scenarios),
        tuple(hosts),
        tuple((part.label, part.guard.level, part.member.content) for part in entrants),
        code(),
        json.dumps(versions(), sort_keys=True),
    )


def code() -> str:
    """Digest of all code that the results depend on."""
    return fingerprint.code(*_CODE)


_CODE = (configs, contract, memsim, scenarios, agents.baselines, bounds, onnx_policy, reports)


def kept(folder: Path, wanted: str) -> Results | None:
    """The results in a folder if they are those wanted.

    Raises:
        FolderError: the folder is a training run's.
    """
    refuse_training(folder)
    try:
        if (folder / DIGEST).read_text(encoding="ascii").strip() != wanted:
            return None
        return storage.read(folder)
    except (OSError, storage.ResultsError):
        return None


def refuse_training(folder: Path) -> None:
    """Leave the folders of training runs alone.

    Raises:
        FolderError: it is one.
    """
    taken = [name for name in OF_TRAINING if (folder / name).exists()]
    if taken:
        raise FolderError(
            f"{folder}: holds {taken[0]} of a training run; choose another --name or --out"
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other evaluations out of a folder; the system lets go of it when a process ends.

    Raises:
        FolderError: another one is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderError(
                f"{folder}: another evaluation is writing there; wait for it or choose another"
                " --name or --out"
            ) from error
        try:
            yield
        finally:
            if {part.name for part in folder.iterdir()} == {LOCK}:  # nothing came of it
                shutil.rmtree(folder)


def forget(folder: Path) -> None:
    """Remove the results of an evaluation and the parts that it kept; densities stay.

    Raises:
        FolderError: the folder is a training run's, or another evaluation is at work there.
    """
    refuse_training(folder)
    if folder.is_dir():
        with locked(folder):
            (folder / DIGEST).unlink(missing_ok=True)
            shutil.rmtree(folder / parts.FOLDER, ignore_errors=True)


def write(folder: Path, config: Evaluation, results: Results, content: str) -> None:
    """Write configuration, versions and results; the digest comes last.

    The page and the figures of other results go first, so that a killed run leaves none behind.
    """
    for name in (DIGEST, REPORT):
        (folder / name).unlink(missing_ok=True)
    for name in (FIGURES, TABLES):
        shutil.rmtree(folder / name, ignore_errors=True)
    write_atomic(folder / CONFIG, dump(config))
    write_atomic(folder / SEED, f"{config.host_seeds[0]}\n")
    write_atomic(folder / VERSIONS, json.dumps(versions(), indent=2) + "\n")
    storage.write(folder, results)
    write_atomic(folder / DIGEST, content + "\n")


def write_report(
    folder: Path,
    results: Results,
    table: Sequence[Standing],
    verdict: Sequence[str],
    found: Found,
    provenance: page.Provenance,
    density: page.DensityPart | None = None,
) -> None:
    """Write the figures as files of their own, then the page."""
    pictures = {
        "comparison": figures.comparison(results, table, provenance.reference),
        "lost_time": figures.lost_time(results, table),
    }
    if provenance.arms:
        pictures["talk"] = talk.talk(results)
    for name, picture in pictures.items():
        write_atomic(folder / FIGURES / f"{name}.png", plotstyle.png(picture))
        write_atomic(folder / FIGURES / f"{name}.svg", plotstyle.svg(picture))
    tables.write(folder / TABLES, results, table, provenance.reference, found)
    write_atomic(folder / REPORT, page.render(results, table, verdict, found, provenance, density))
