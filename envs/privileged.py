"""The truth that `privileged=True` adds to observations: for critics and teachers, never actors.

A row for each guest, then one for the host, all in [0, 1].  Shares of a guest are of its largest
size; what happened is that of the last step.
"""

import numpy as np

from contract.arrays import Floats32
from envs.meter import Change, padded
from scenarios.hosts import Truth

GUEST_TRUTH = {
    "used": "anonymous and kernel memory",
    "cache": "page cache",
    "dirty": "page cache that is not on disk yet",
    "free": "free memory, in or out of the balloon's reach",
    "taken": "what resizing keeps from the guest",
    "resident": "what the host has in frames",
    "host_swapped": "what the host has swapped out",
    "guest_swapped": "what the guest itself has swapped out",
    "busy": "work / (work + a step), in seconds of tasks",
    "lost": "lost time / (work + lost time)",
    "killed": "1 if it was killed",
}
HOST_TRUTH = {
    "free": "free RAM",
    "swap_used": "swap in use",
    "io_busy": "share of time that the swap device was busy",
}


def length(guests: int) -> int:
    """How many numbers there are for G slots."""
    return guests * len(GUEST_TRUTH) + len(HOST_TRUTH)


def describe(truth: Truth, change: Change, guests: int, period_s: float) -> Floats32:
    """(H, length(G)) float32; zeros for empty slots."""
    guest, host = truth.guest, truth.host
    size = np.maximum(guest["pages"], 1)
    shares = {
        "used": guest["anon_pages"] + guest["kernel_pages"],
        "cache": guest["file_pages"],
        "dirty": guest["dirty_pages"],
        "free": guest["free_pages"],
        "taken": guest["taken_pages"],
        "resident": guest["resident_pages"],
        "host_swapped": guest["host_swapped_pages"],
        "guest_swapped": guest["swap_used_pages"],
    }
    worked = change.nominal_s + change.lost_s
    columns = {name: padded(pages / size, guests) for name, pages in shares.items()}
    columns["busy"] = change.nominal_s / (change.nominal_s + period_s)
    columns["lost"] = np.divide(change.lost_s, worked, out=np.zeros_like(worked), where=worked > 0)
    columns["killed"] = change.killed
    rows = np.stack([columns[name] for name in GUEST_TRUTH], axis=-1)
    rows *= padded(guest["state"] > 0, guests)[..., None]
    totals = {
        "free": host["free_pages"] / host["ram_pages"],
        "swap_used": host["swap_used_pages"] / np.maximum(host["swap_pages"], 1),
        "io_busy": change.io_busy_s / period_s,
    }
    row = np.stack([totals[name] for name in HOST_TRUTH], axis=-1)
    numbers = np.concatenate([rows.reshape(len(rows), -1), row], axis=1)
    clipped: Floats32 = np.clip(numbers, 0.0, 1.0).astype(np.float32)
    return clipped
