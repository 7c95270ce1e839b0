"""A ledger for people: a table for each span between marks, what mechanisms did in it, the jobs."""

from collections.abc import Iterator
from typing import Any

MIB = 2**20
COLUMNS = {  # title -> counter of the ledger, in MiB
    "host swap in": "host_swap_in_bytes",
    "out": "host_swap_out_bytes",
    "dropped": "discarded_bytes",
    "guest swap in": "guest_swap_in_bytes",
    "disk read": "disk_read_bytes",
}
MECHANISMS = {  # words -> counter of a guest, told where it is not 0
    "MiB given up": "inflated_bytes",
    "MiB got back": "deflated_bytes",
    "MiB reported free": "reported_bytes",
    "huge pages by fault": "thp_fault_alloc",
    "huge pages collapsed": "thp_collapse_alloc",
    "huge pages split": "thp_split",
    "huge pages of the host": "host_thp_fault",
    "huge pages of the host split": "host_thp_split",
    "kills by its own kernel": "oom_kills",
    "kills by the host": "host_kills",
}
OFTEN = 3  # kills by the host that are no bad luck any more
MERGED = {  # words -> gauge of the host
    "of guests' pages are in shared frames": "ksm_sharing_bytes",
    "are the zero page": "ksm_zero_bytes",
}


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The lines of it.

    Args:
        found: what `scenarios.ledger.ledger` gave.
    """
    ends = found["marks"][1:]
    if all(span["seconds"] == 0 for span in found["between"]):
        yield f"nothing happened: the run ended at its last mark, at {ends[-1]['time_s']:g} s"
    for span, end in zip(found["between"], ends, strict=False):
        if span["seconds"] == 0:
            continue
        yield f"{span['from']} to {span['to']}, {span['seconds']:.3f} s [MiB]"
        yield f"  {'':16}" + "".join(f"{title:>15}" for title in COLUMNS)
        for guest, counters in span["guests"].items():
            cells = (f"{counters[field] / MIB:15.1f}" for field in COLUMNS.values())
            yield f"  {guest:16}" + "".join(cells)
        for guest, counters in span["guests"].items():
            if told := list(_mechanisms(counters, end["guests"][guest])):
                yield f"  {guest}: {', '.join(told)}"
        if told := list(_host(span["host"], end["host"])):
            yield f"  host: {', '.join(told)}"
    if found["missed_marks"]:
        missed = ", ".join(found["missed_marks"])
        yield f"never came to {missed}: the scenario was over before, at {ends[-1]['time_s']:g} s"
    for task in found["tasks"]:
        who = f"{task['guest']} {task['task']}"
        if task["seconds"] is not None:
            yield f"{who}: done in {task['seconds']:.3f} s"
        elif task["job"]:
            began = task["started_s"] is not None
            yield f"{who}: {'not done' if began else 'not begun'} when the run ended"
    for guest, fate in found["guests"].items():
        if fate["host_kills"] >= OFTEN:
            yield (
                f"{guest}: the host killed it {fate['host_kills']} times; what it uses at once"
                " does not fit into RAM and swap, or into its cgroup's limit"
            )


def _mechanisms(counters: dict[str, Any], at_end: dict[str, Any]) -> Iterator[str]:
    for words, field in MECHANISMS.items():
        if count := counters[field]:
            yield (
                f"{count / MIB:.1f} {words}" if field.endswith("_bytes") else f"{count:.0f} {words}"
            )
    size = at_end["largest_bytes"] - at_end["taken_bytes"]
    if at_end["target_bytes"] is not None and abs(size - at_end["target_bytes"]) >= MIB:
        yield f"{size / MIB:.1f} MiB at the end, asked for {at_end['target_bytes'] / MIB:.1f}"
    if merged := at_end["merged_bytes"]:
        yield f"{merged / MIB:.1f} MiB merged by KSM at the end"
    if throttled := counters["cgroup"]["throttled_s"]:
        yield f"throttled for {throttled:.2f} s above memory.high"


def _host(counters: dict[str, Any], at_end: dict[str, int]) -> Iterator[str]:
    if counters["psi_some_s"]:
        yield f"memory pressure some {counters['psi_some_s']:.2f} s"
        yield f"full {counters['psi_full_s']:.2f} s"
    for words, field in MERGED.items():
        if at_end[field]:
            yield f"{at_end[field] / MIB:.1f} MiB {words} at the end"
    if counters["ksmd_s"]:
        yield f"ksmd ran {counters['ksmd_s']:.2f} s"
