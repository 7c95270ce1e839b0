"""Compile all kernels into the cache: `python -m memsim.warm`, as `make install` does."""

import time

import numpy as np

from memsim.fleet import Fleet
from memsim.spec import (
    Device,
    DeviceKind,
    GuestSpec,
    HostSpec,
    Op,
    Phase,
    Region,
    RegionKind,
    Task,
)


def warm() -> None:
    """Run a host for a moment, so that every kernel is compiled and cached."""
    touch = Phase(Op.TOUCH, region=0, cost_s=1e-3)
    guest = GuestSpec(1, 64, (Region(RegionKind.ANON, 32),), (Task((touch,)),))
    disk = Device(DeviceKind.SOLID, 1e-4, 5e8)
    fleet = Fleet(1)
    fleet.reset([HostSpec(1 << 20, 256, (guest,), (disk,))])
    fleet.advance(np.array([0.1]))
    fleet.set_targets(np.array([[48]]))


def main() -> None:
    """Compile, telling how long it takes."""
    start = time.monotonic()
    warm()
    print(f"Kernels are ready after {time.monotonic() - start:.0f} s.")


if __name__ == "__main__":
    main()
