"""Codes of the integer columns that name one thing out of a few; -1 is always unknown."""

from enum import IntEnum


class GuestState(IntEnum):
    """What a guest that is present is doing."""

    UNKNOWN = -1
    BOOTING = 1
    RUNNING = 2
    MIGRATING = 3
    PAUSED = 4


class ResizeMechanism(IntEnum):
    """How a guest follows its target."""

    UNKNOWN = -1
    NONE = 0  # targets are ignored
    BALLOON = 1
    FREE_TARGET = 2  # the guest keeps more memory free, hinting gives it to the host
    VIRTIO_MEM = 3


class Hinting(IntEnum):
    """How the host learns which guest pages are free."""

    UNKNOWN = -1
    NONE = 0
    BITMAP = 1  # one bit a page, read by the host at swap-out and swap-in
    REPORTING = 2  # virtio free page reporting


class AsyncMode(IntEnum):
    """What a vCPU does while the host reads a swapped page of its guest."""

    UNKNOWN = -1
    OFF = 0  # it stops
    HALT = 1  # it halts, a timer interrupt may switch task
    USER = 2  # the task sleeps if it was in user mode, else halt
    ANY = 3  # the task also sleeps in sleepable kernel context


class SwapClass(IntEnum):
    """What the host swaps to."""

    UNKNOWN = -1
    NONE = 0
    ROTATING = 1
    SOLID = 2
    ZRAM = 3
