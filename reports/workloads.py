"""The scenarios of an evaluation as they are run, and which traces they replay."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import scenarios
from configs.loading import ConfigError
from reports.settings import Evaluation
from scenarios import check, datasets, recordings, splits, traces
from scenarios.adapting import Adapted, adapt
from scenarios.recordings import Recording
from scenarios.schema import Scenario
from scenarios.traces import TraceError


class Workloads(NamedTuple):
    """What is run, in words too."""

    scenarios: tuple[Scenario, ...]
    traces: tuple[str, ...]  # sentences for people
    content: str  # names, sizes and times of the trace files; empty without measured traces


def prepare(config: Evaluation) -> Workloads:
    """Load the scenarios, give them the evaluation's lengths, and choose the traces.

    Raises:
        configs.loading.ConfigError: a scenario cannot be used.
        scenarios.traces.TraceError: `traces_folder` was named and holds no traces, or what there
            is cannot be replayed.
    """
    loaded = [scenarios.load(use.scenario, use.set) for use in config.uses]
    _refuse_twins([scenario.name for scenario in loaded])
    if config.traces_folder is not None and not Path(config.traces_folder).exists():
        raise TraceError(f"{config.traces_folder}: there is no such folder or file of traces")
    replays = any(scenario.replay for scenario in loaded)
    measured = replays and config.traces != "synthetic" and _measured(config)
    source = "folder" if measured else "synthetic"
    followed = {scenario.name: recordings.used(check.works_of(scenario)) for scenario in loaded}
    lacking = _lacking(config, followed)
    prepared = tuple(
        _prepared(scenario, config, source, "synthetic" if scenario.name in lacking else "folder")
        for scenario in loaded
    )
    _refuse_strangers(prepared, config)
    said, content = [], []
    if measured:
        adapted = tuple(_adapted(scenario) for scenario in prepared)
        prepared = tuple(one for one, _ in adapted)
        used = [found for _, found in adapted if found is not None]
        said.append(_about(used, _folder(config)))
        said += dict.fromkeys(sentence for found in used for sentence in found.said)
        content.append(_fingerprint(_folder(config)))
    elif replays:
        said.append(f"Replays the synthetic traces that ship (split {config.split}){_why(config)}.")
    if any(followed.values()):
        said += _about_recordings(config, followed, lacking)
    if not said:
        said.append("Workloads are synthetic; no trace is replayed.")
    return Workloads(prepared, tuple(said), "\n".join(content))


def _folder(config: Evaluation) -> Path:
    return traces.folder(config.traces_folder)


def _why(config: Evaluation) -> str:
    """Why no measured traces are used, if somebody might wonder."""
    if config.traces == "synthetic":
        return ""
    folder = _folder(config)
    return f"; no measured traces in {folder} ({traces.VARIABLE} or --traces names another)"


def _lacking(
    config: Evaluation, followed: Mapping[str, Sequence[Recording]]
) -> dict[str, tuple[str, ...]]:
    """The scenarios that follow stand-ins, and the recordings that there are not."""
    if config.traces == "synthetic":
        return dict.fromkeys(followed, ())
    found = {name: recordings.missing(used, _folder(config)) for name, used in followed.items()}
    return {name: lacks for name, lacks in found.items() if lacks}


def _about_recordings(
    config: Evaluation,
    followed: Mapping[str, Sequence[Recording]],
    lacking: Mapping[str, Sequence[str]],
) -> list[str]:
    """Which scenarios follow recorded page numbers and request rates, and which stand-ins."""
    said = []
    real = {name: used for name, used in followed.items() if used and name not in lacking}
    if real:
        names = dict.fromkeys(one.name for used in real.values() for one in used)
        said.append(
            f"Guests of {', '.join(real)} follow recordings: {', '.join(names)}, from"
            f" {_folder(config)} (split {config.split})."
        )
    invented = [name for name, used in followed.items() if used and name in lacking]
    if invented:
        absent = dict.fromkeys(one for name in invented for one in lacking[name])
        why = f"; no {', '.join(absent)} in {_folder(config)}" if absent else ""
        said.append(
            f"Guests of {', '.join(invented)} follow synthetic stand-ins for recordings"
            f" (split {config.split}){why}."
        )
    return said


def _refuse_twins(names: Sequence[str]) -> None:
    """Results are told apart by the scenario's name."""
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ConfigError(
            f"scenarios: {', '.join(twins)}: expected every scenario once; one that differs in its"
            " settings needs a name of its own, as in `set: [name=another]`"
        )


def _refuse_strangers(prepared: Sequence[Scenario], config: Evaluation) -> None:
    """Nobody is judged on what belongs to another split."""
    found = [said for scenario in prepared for said in splits.strangers(scenario, config.split)]
    if found:
        raise ConfigError("\n".join(found))


def _adapted(scenario: Scenario) -> tuple[Scenario, Adapted | None]:
    """A scenario whose replay has machines in the traces given."""
    if scenario.replay is None:
        return scenario, None
    found = adapt(scenario.replay, scenario.warm_up, scenario.end_s)
    return scenario.model_copy(update={"replay": found.replay}), found


def _about(used: Sequence[Adapted], folder: Path) -> str:
    names = ", ".join(dict.fromkeys(one.name for found in used for one in found.datasets))
    splits = " and ".join(dict.fromkeys(found.replay.split for found in used))
    return f"Replays measured traces: {names}, from {folder} (split {splits})."


def _measured(config: Evaluation) -> bool:
    """Whether there are measured traces; a folder that was named must have some."""
    if config.traces_folder is not None:
        datasets.measured(Path(config.traces_folder))
        return True
    return datasets.available()


def _prepared(scenario: Scenario, config: Evaluation, source: str, recorded: str) -> Scenario:
    changes: dict[str, object] = {"warm_up": config.warm_up, "length": config.scored}
    folder = config.traces_folder if recorded == "folder" else None
    own = {"source": recorded, "split": config.split, "folder": folder}
    changes["recordings"] = scenario.recordings.model_copy(update=own)
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
