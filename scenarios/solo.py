"""Each guest of a host by itself: what its slowdown and the worth of its memory are measured on."""

from collections.abc import Sequence
from dataclasses import replace

from memsim.spec import Act, Entry, HostSpec, Resize, Start

SPARE_BYTES = 256 * 2**20  # of an ample host beside twice what the guest can need
POWER = (Act.START_GUEST, Act.STOP_GUEST)


def alone(host: HostSpec, slot: int, resized: bool = False) -> HostSpec:
    """The host of one guest by itself: ample, and never resized unless it is to be.

    Of the timeline only the guest's own power switch is left; an entry that follows a wait for
    something else comes without that wait.
    """
    guest = host.guests[slot]
    needed = guest.pages + guest.emulator_pages
    memory = Start.RESIDENT if guest.start is Start.RECLAIMED else guest.start
    resize = guest.resize if resized else Resize.NONE
    return replace(
        host,
        ram_pages=host.reserved_pages + 2 * needed + SPARE_BYTES // host.page_bytes,
        guests=(
            replace(
                guest,
                cgroup=-1,
                max_pages=-1,
                high_pages=-1,
                low_pages=0,
                resize=resize,
                start=memory,
            ),
        ),
        cores=max(host.cores, guest.vcpus),
        cgroups=(),
        slice_low_pages=-1,
        timeline=tuple(_own_entries(host.timeline, slot)),
    )


def _own_entries(timeline: Sequence[Entry], slot: int) -> list[Entry]:
    clock_s, own = 0.0, []
    for entry in timeline:
        clock_s = max(clock_s, entry.at_s) if entry.at_s >= 0 else clock_s + entry.after_s
        if entry.act in POWER and entry.guest == slot:
            own.append(replace(entry, at_s=clock_s, after_s=0.0, guest=0))
    return own
