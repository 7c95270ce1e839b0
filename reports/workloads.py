"""The scenarios of an evaluation as they are run, and which traces they replay."""

from pathlib import Path
from typing import NamedTuple

import scenarios
from reports.settings import Evaluation
from scenarios import datasets, traces
from scenarios.schema import Scenario


class Workloads(NamedTuple):
    """What is run, in words too."""

    scenarios: tuple[Scenario, ...]
    traces: tuple[str, ...]  # sentences for people
    content: str  # names, sizes and times of the trace files; empty without measured traces


def prepare(config: Evaluation) -> Workloads:
    """Load the scenarios, give them the evaluation's lengths, and choose the traces.

    Raises:
        configs.loading.ConfigError: a scenario cannot be used.
        scenarios.traces.TraceError: `traces_folder` was named and holds no traces.
    """
    loaded = [scenarios.load(use.scenario, use.set) for use in config.scenarios]
    measured = config.traces != "synthetic" and _measured(config)
    source = "folder" if measured else "synthetic"
    prepared = tuple(_prepared(scenario, config, source) for scenario in loaded)
    folder = traces.folder(config.traces_folder)
    if not any(scenario.replay for scenario in prepared):
        return Workloads(prepared, ("Workloads are synthetic; no trace is replayed.",), "")
    if measured:
        names = ", ".join(dataset.name for dataset in datasets.measured(folder))
        said = f"Replays measured traces: {names}, from {folder} (split {config.split})."
        return Workloads(prepared, (said,), _fingerprint(folder))
    said = f"Replays the synthetic traces that ship (split {config.split})"
    if config.traces != "synthetic":
        said += f"; no measured traces in {folder} ({traces.VARIABLE} or --traces names another)"
    return Workloads(prepared, (said + ".",), "")


def _measured(config: Evaluation) -> bool:
    """Whether there are measured traces; a folder that was named must have some."""
    if config.traces_folder is not None:
        datasets.measured(Path(config.traces_folder))
        return True
    return datasets.available()


def _prepared(scenario: Scenario, config: Evaluation, source: str) -> Scenario:
    changes: dict[str, object] = {"warm_up": config.warm_up, "length": config.scored}
    if scenario.replay is not None:
        wanted = {"source": source, "split": config.split, "folder": None}
        if source == "folder":
            wanted["folder"] = config.traces_folder
        changes["replay"] = scenario.replay.model_copy(update=wanted)
    return scenario.model_copy(update=changes)


def _fingerprint(folder: Path) -> str:
    files = sorted(path for path in (folder, *folder.rglob("*")) if path.is_file())
    return "\n".join(
        f"{path.relative_to(folder.parent)} {path.stat().st_size} {path.stat().st_mtime_ns}"
        for path in files
    )
