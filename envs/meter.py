"""Reads off the truth what a step did to guests: totals before and after, and their difference."""

from typing import NamedTuple

import numpy as np

from contract.arrays import Bools, Floats, Ints
from memsim.account import FIRST_LOST, NOMINAL
from scenarios.hosts import Truth


class Meter(NamedTuple):
    """Totals of H hosts with G slots at one moment; none of them ever falls."""

    on: Bools  # (H, G) switched on, be it booting
    nominal_s: Floats  # (H, G) [s] of work, over a guest's tasks
    lost_s: Floats  # (H, G) [s] lost, to any cause
    kills: Ints  # (H, G) by the guest's own kernel or by the host
    io_busy_s: Floats  # (H,) [s] that the swap device was busy


class Change(NamedTuple):
    """What happened to H hosts with G slots in one step."""

    counted: Bools  # (H, G) on at the beginning or the end
    nominal_s: Floats  # (H, G)
    lost_s: Floats  # (H, G)
    killed: Bools  # (H, G) at least once
    io_busy_s: Floats  # (H,)


def read(truth: Truth, guests: int) -> Meter:
    """Totals by guest, padded to G = `guests` slots.

    Tasks are summed one after the other: a batch may have room for more of them than a host has,
    and their zeros at the end must not change the last digit.
    """
    account, guest = truth.account, truth.guest
    hosts, slots, tasks, _ = account.shape
    nominal, lost = np.zeros((hosts, slots)), np.zeros((hosts, slots))
    for task in range(tasks):
        nominal += account[:, :, task, NOMINAL]
        lost += account[:, :, task, FIRST_LOST:].sum(axis=-1)
    return Meter(
        padded(guest["state"] > 0, guests),
        padded(nominal, guests),
        padded(lost, guests),
        padded(guest["oom_kills"] + guest["host_kills"], guests),
        np.array(truth.host["io_busy_s"]),
    )


def between(before: Meter, after: Meter) -> Change:
    """What happened from one moment to the next."""
    return Change(
        before.on | after.on,
        after.nominal_s - before.nominal_s,
        after.lost_s - before.lost_s,
        after.kills > before.kills,
        after.io_busy_s - before.io_busy_s,
    )


def padded(values: np.ndarray, guests: int) -> np.ndarray:
    """(H, S) -> (H, G) with zeros in the slots that the simulator has no room for yet."""
    if values.shape[1] == guests:
        return np.array(values)
    wide = np.zeros((len(values), guests), values.dtype)
    wide[:, : values.shape[1]] = values
    return wide
