"""How hosts are when an episode begins: warmed up under a baseline that their key draws.

A warm-up depends on the host alone, so it is run once and kept: in memory, and on disk under
XDG_CACHE_HOME or ~/.cache, by all that it depends on (the host as drawn, its baseline, settings,
code).  Where nothing can be kept on disk, it is run again by the next process.
"""

import io
import os
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

import agents.baselines
import configs
import contract
import envs
import memsim
import scenarios
from agents.baselines import load_policy
from configs.loading import write_atomic
from contract import features, guard, loop
from contract.decision import only
from contract.features import EncoderState
from contract.guard import GuardConfig, GuardState
from contract.loop import EARLY_S
from contract.state import put_rows, take_rows
from contract.telemetry import Telemetry, select
from envs import pack
from scenarios import fingerprint
from scenarios.draw import draw
from scenarios.hosts import SimulatedHosts, Snapshot, digest
from scenarios.randomness import Key, stream
from scenarios.schema import Scenario

BASELINES = ("static", "equal", "slides")  # a warm-up runs under one of them
PACKAGES = (contract, agents.baselines, memsim, scenarios, configs, envs)
KEPT = 1024  # starts in memory
CODES_KEPT = 4  # versions of the code whose starts stay on disk


class Start(NamedTuple):
    """One host at the end of its warm-up, before its first observation."""

    hosts: Snapshot
    guard: GuardState
    encoder: EncoderState


class Wanted(NamedTuple):
    """Which host."""

    scenario: Scenario
    key: Key


class Starts:
    """Warmed-up hosts, each run once."""

    def __init__(self, guests: int, period_s: float, threads: int | None) -> None:
        """Store how hosts are to be: G slots, observed every `period_s`."""
        self.guests, self.period_s, self.threads = guests, period_s, threads
        self._kept: dict[tuple[int, Key], Start] = {}
        self._digests: dict[int, str] = {}
        self._writable = True

    def get(self, wanted: Sequence[Wanted]) -> list[Start]:
        """Starts of hosts, those that nobody knows yet simulated in one go."""
        names = [(id(one.scenario), one.key) for one in wanted]
        missing = {
            name: one for name, one in zip(names, wanted, strict=True) if name not in self._kept
        }
        files = {name: self._file(one) for name, one in missing.items()}
        found = {name: self._read(path) for name, path in files.items()}
        to_do = [name for name, start in found.items() if start is None]
        fresh = rehearse(
            [missing[name] for name in to_do], self.guests, self.period_s, self.threads
        )
        for name, start in zip(to_do, fresh, strict=True):
            self._keep(files[name], start)
            found[name] = start
        self._kept |= {name: start for name, start in found.items() if start is not None}
        starts = [self._kept[name] for name in names]
        while len(self._kept) > KEPT:
            self._kept.pop(next(iter(self._kept)))
        return starts

    def _file(self, one: Wanted) -> Path:
        """Named by the host as drawn too: traces and profiles are files of their own."""
        number = id(one.scenario)
        if number not in self._digests:
            self._digests[number] = digest(one.scenario)
        host = draw(one.scenario, one.key).spec
        name = fingerprint.of(
            self._digests[number],
            one.key,
            baseline_of(one.key),
            host,
            self.guests,
            self.period_s,
        )
        return cache_folder() / fingerprint.code(*PACKAGES)[:16] / f"{name[:32]}.npz"

    def _keep(self, path: Path, start: Start) -> None:
        """Write a start; the first time that the disk refuses is the last that it is asked."""
        if not self._writable:
            return
        try:
            _write(path, start)
        except OSError as error:
            self._writable = False
            warnings.warn(
                f"{cache_folder()}: cannot be written ({error.strerror}): warm-ups will be run "
                "again each time; set XDG_CACHE_HOME to a folder with room",
                stacklevel=2,
            )

    def _read(self, path: Path) -> Start | None:
        """A kept start; None if there is none, or none that can be read."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as members:
                arrays = dict(members)
            return Start(
                pack.unpack(pack.under(arrays, "hosts")),
                pack.unflatten(guard.reset(1, self.guests), arrays, "guard"),
                pack.unflatten(features.reset(1, self.guests), arrays, "encoder"),
            )
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None


def cache_folder() -> Path:
    """Where starts are kept."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "overcommit" / "starts"


def _write(path: Path, start: Start) -> None:
    arrays = {f"hosts/{name}": part for name, part in pack.pack(start.hosts).items()}
    arrays |= pack.flatten(start.guard, "guard") | pack.flatten(start.encoder, "encoder")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    if not path.parent.is_dir():
        _forget_old_code(path.parent.parent)
    write_atomic(path, buffer.getvalue())


def _forget_old_code(folder: Path) -> None:
    """Make room for one more version of the code: only the latest stay."""
    if folder.is_dir():
        latest = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in latest[CODES_KEPT - 1 :]:
            shutil.rmtree(old, ignore_errors=True)


def baseline_of(key: Key) -> str:
    """The baseline under which the host of a key warms up."""
    return BASELINES[int(stream(key, "warm-up baseline").integers(len(BASELINES)))]


def rehearse(
    wanted: Sequence[Wanted], guests: int, period_s: float, threads: int | None
) -> list[Start]:
    """Warm hosts up, all those of a baseline as one batch; results in the order of `wanted`."""
    groups: dict[str, list[int]] = {}
    for number, one in enumerate(wanted):
        groups.setdefault(baseline_of(one.key), []).append(number)
    starts: dict[int, Start] = {}
    for baseline, numbers in groups.items():
        chosen = [wanted[number] for number in numbers]
        for number, start in zip(
            numbers, _run(baseline, chosen, guests, period_s, threads), strict=True
        ):
            starts[number] = start
    return [starts[number] for number in range(len(wanted))]


def _run(
    baseline: str, wanted: Sequence[Wanted], guests: int, period_s: float, threads: int | None
) -> list[Start]:
    """The baseline decides when it wants to; the encoder also looks every `period_s`."""
    count, policy, config = len(wanted), load_policy(baseline), GuardConfig("limits")
    hosts = SimulatedHosts([one.scenario for one in wanted], count, threads, guests)
    hosts.reset(range(count), [one.key for one in wanted])
    end_s = np.array([one.scenario.warm_up for one in wanted])
    state = loop.start(policy, count, guests)
    encoder = features.reset(count, guests)
    while (running := hosts.time_s < end_s - EARLY_S).any():
        telemetry = hosts.read()
        turn, state = loop.step(policy, config, telemetry, state, end_s)
        hosts.apply(only(turn.applied, hosts.supports))
        encoder = _look(telemetry, turn.asked.target_bytes, encoder, np.flatnonzero(running))
        next_s = (np.floor(hosts.time_s / period_s + EARLY_S) + 1) * period_s
        hosts.advance(np.minimum(np.minimum(next_s, state.wake_at_s), end_s))
    copied = hosts.snapshot(range(count))
    return [
        Start(
            pack.one_host(copied, row),
            take_rows(state.guard, np.array([row])),
            take_rows(encoder, np.array([row])),
        )
        for row in range(count)
    ]


def _look(
    telemetry: Telemetry, asked: np.ndarray, encoder: EncoderState, rows: np.ndarray
) -> EncoderState:
    """Let the encoder see the hosts in `rows` (R,), and what was asked of them."""
    seen, kept = select(telemetry, rows), take_rows(encoder, rows)
    _, after = features.encode(seen, kept)
    return put_rows(encoder, rows, features.remember(after, asked[rows]))
