"""State as a flat dictionary of named arrays, and back: what fits into an .npz without pickle."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

import numpy as np

from contract.state import take_rows
from memsim.fleet import Mark
from memsim.fleet import Snapshot as FleetSnapshot
from memsim.machine import NAMES
from scenarios import sensors
from scenarios.hosts import Remembered, Snapshot

Arrays = dict[str, np.ndarray]
T = TypeVar("T")

_MARK = Mark._fields
# Any Remembered will do as a pattern: only its shape as a tree counts.
_REMEMBERED = Remembered(np.empty(0, np.int64), np.empty(0), sensors.no_answers(0, 0))


def flatten(state: object, prefix: str) -> Arrays:
    """The arrays of nested NamedTuples, named by the path of their fields; None is left out."""
    if state is None:
        return {}
    if isinstance(state, np.ndarray):
        return {prefix: state}
    fields = cast(Any, state)._asdict()
    parts = [flatten(value, f"{prefix}/{name}") for name, value in fields.items()]
    return {name: array for part in parts for name, array in part.items()}


def unflatten(like: T, arrays: Mapping[str, np.ndarray], prefix: str) -> T:
    """What `flatten` took apart, in the form of `like`.

    Raises:
        KeyError: an array is missing.
    """
    if like is None:
        return like
    if isinstance(like, np.ndarray):
        return cast(T, arrays[prefix].copy())
    fields = cast(Any, like)._asdict()
    parts = {name: unflatten(value, arrays, f"{prefix}/{name}") for name, value in fields.items()}
    whole: T = cast(Any, type(like))(**parts)
    return whole


def under(arrays: Mapping[str, np.ndarray], prefix: str) -> Arrays:
    """The arrays whose names begin with `prefix/`, by the rest of their names."""
    start = f"{prefix}/"
    return {name[len(start) :]: part for name, part in arrays.items() if name.startswith(start)}


def pack(hosts: Snapshot) -> Arrays:
    """A copy of simulated hosts as arrays with leading axis H, but for the marks."""
    fleet = hosts.fleet
    arrays = {
        "key": np.array(hosts.keys, np.int64).reshape(-1, 2),
        "scenario": np.array(hosts.scenarios, np.str_),
        "task": fleet.task,
        "account": fleet.account,
        **flatten(hosts.remembered, "remembered"),
    }
    for number, name in enumerate(NAMES):
        arrays[f"machine/{name}"] = np.stack([machine[number] for machine in fleet.machines])
    arrays["marks"] = np.array([len(marks) for marks in fleet.marks], np.int64)
    for host, marks in enumerate(fleet.marks):
        for number, mark in enumerate(marks):
            for name, value in mark._asdict().items():
                arrays[f"mark/{host}/{number}/{name}"] = np.asarray(value)
    return arrays


def unpack(arrays: Mapping[str, np.ndarray]) -> Snapshot:
    """What `pack` made arrays of.

    Raises:
        KeyError: an array is missing.
    """
    machines = [arrays[f"machine/{name}"] for name in NAMES]
    hosts = range(len(arrays["key"]))
    fleet = FleetSnapshot(
        tuple(tuple(rows[host] for rows in machines) for host in hosts),
        arrays["task"],
        arrays["account"],
        tuple(
            tuple(_mark(arrays, host, number) for number in range(arrays["marks"][host]))
            for host in hosts
        ),
    )
    return Snapshot(
        tuple((int(seed), int(episode)) for seed, episode in arrays["key"]),
        tuple(str(name) for name in arrays["scenario"]),
        fleet,
        unflatten(_REMEMBERED, arrays, "remembered"),
    )


def _mark(arrays: Mapping[str, np.ndarray], host: int, number: int) -> Mark:
    values = {name: arrays[f"mark/{host}/{number}/{name}"] for name in _MARK}
    return Mark(int(values["number"]), float(values["time_s"]), *(values[n] for n in _MARK[2:]))


def one_host(hosts: Snapshot, row: int) -> Snapshot:
    """The copy of one host out of a copy of several."""
    fleet = hosts.fleet
    return Snapshot(
        (hosts.keys[row],),
        (hosts.scenarios[row],),
        FleetSnapshot(
            (fleet.machines[row],),
            fleet.task[row : row + 1],
            fleet.account[row : row + 1],
            (fleet.marks[row],),
        ),
        take_rows(hosts.remembered, np.array([row])),
    )


def join(hosts: Sequence[Snapshot]) -> Snapshot:
    """Copies of hosts as one copy; those of hosts with fewer slots or tasks are padded."""
    fleets = [one.fleet for one in hosts]
    slots, tasks = np.max([fleet.task.shape[1:] for fleet in fleets], axis=0)
    return Snapshot(
        tuple(key for one in hosts for key in one.keys),
        tuple(name for one in hosts for name in one.scenarios),
        FleetSnapshot(
            tuple(machine for fleet in fleets for machine in fleet.machines),
            np.concatenate([_wide(fleet.task, slots, tasks) for fleet in fleets]),
            np.concatenate([_wide(fleet.account, slots, tasks) for fleet in fleets]),
            tuple(marks for fleet in fleets for marks in fleet.marks),
        ),
        joined([one.remembered for one in hosts]),
    )


def joined(states: Sequence[T]) -> T:
    """The states of some hosts and of others as one state, in this order."""
    first = states[0]
    if first is None:
        return first
    if isinstance(first, np.ndarray):
        return cast(T, np.concatenate(cast(Sequence[np.ndarray], states)))
    parts = zip(*cast(Sequence[tuple[Any, ...]], states), strict=True)
    return cast(T, cast(Any, type(first))(*(joined(part) for part in parts)))


def _wide(values: np.ndarray, slots: int, tasks: int) -> np.ndarray:
    """(H, G, T, ...) with room for more guests and tasks."""
    wide = np.zeros((len(values), slots, tasks, *values.shape[3:]), values.dtype)
    wide[:, : values.shape[1], : values.shape[2]] = values
    return wide
