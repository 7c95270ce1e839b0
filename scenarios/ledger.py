"""A run as plain data: what host and guests did between marks and held there, when jobs ended."""

import math
from typing import Any

from memsim.account import CLASSES, FIRST_LOST
from scenarios.build import ACCESS_BYTES
from scenarios.outcome import END, Outcome, Span

PAGES = {  # field of memsim.state.guest_dtype -> name in bytes
    "host_swap_in": "host_swap_in_bytes",
    "host_swap_out": "host_swap_out_bytes",
    "discarded": "discarded_bytes",
    "reported": "reported_bytes",
    "guest_swap_in": "guest_swap_in_bytes",
    "guest_swap_out": "guest_swap_out_bytes",
    "refaults": "refaulted_bytes",
    "disk_read": "disk_read_bytes",
    "disk_written": "disk_written_bytes",
    "inflated": "inflated_bytes",
    "deflated": "deflated_bytes",
    "silent_writes": "silent_write_bytes",
    "stale_reads": "stale_read_bytes",
    "false_reads": "false_read_bytes",
}
PLAIN = (
    "host_major",
    "guest_major",
    "guest_minor",
    "hypercalls",
    "oom_kills",
    "host_kills",
    "resize_s",
    "psi_some_s",
    "psi_full_s",
    "alloc_stalls",
    "thp_fault_alloc",
    "thp_fault_fallback",
    "thp_split",
    "thp_collapse_alloc",
    "compact_stall",
    "compact_success",
    "host_thp_fault",
    "host_thp_split",
)
CGROUP = ("psi_some_s", "psi_full_s", "high_events", "throttled_s")
HOST = ("psi_some_s", "psi_full_s", "kswapd_s", "ksmd_s", "io_busy_s", "direct_reclaims")
HOST_GAUGES = {
    "free_pages": "free_bytes",
    "cached_pages": "cached_bytes",
    "swap_used_pages": "swap_used_bytes",
    "ksm_shared": "ksm_shared_bytes",
    "ksm_sharing": "ksm_sharing_bytes",
    "ksm_zero": "ksm_zero_bytes",
}
GAUGES = {
    "pages": "largest_bytes",
    "resident_pages": "resident_bytes",
    "merged_pages": "merged_bytes",
    "host_swapped_pages": "host_swapped_bytes",
    "free_pages": "free_bytes",
    "anon_pages": "anon_bytes",
    "file_pages": "file_bytes",
    "taken_pages": "taken_bytes",
}
TASK = ("nominal_s", "served", "dropped", "latency_s", "restarts")


def ledger(outcome: Outcome) -> dict[str, Any]:
    """Everything between marks and at them, by guest, and all tasks, as JSON can hold it.

    Bytes, seconds and events; None where a job is not over.  Where a run ends by its last mark,
    the part of a second until it stops is no span.
    """
    names = [name for name, _ in outcome.marks]
    spans = [
        Span(first, last, outcome.page_bytes, outcome.guests, outcome.tasks)
        for (_, first), (_, last) in zip(outcome.marks, outcome.marks[1:], strict=False)
    ]
    return {
        "marks": [
            {"name": name, "time_s": mark.time_s} | _gauges(outcome, number)
            for number, (name, mark) in enumerate(outcome.marks)
        ],
        "between": [
            {"from": first, "to": last, "seconds": span.seconds} | _rises(span)
            for first, last, span in zip(names, names[1:], spans, strict=False)
            if last != END or not outcome.by_mark
        ],
        "missed_marks": list(outcome.missed),
        "guests": _guests(outcome),
        "tasks": _tasks(outcome),
    }


def _rises(span: Span) -> dict[str, Any]:
    return {
        "host": {
            "swap_in_bytes": int(span.host_bytes("swap_in_pages")),
            "swap_out_bytes": int(span.host_bytes("swap_out_pages")),
        }
        | {field: span.host(field) for field in HOST},
        "guests": {
            guest: {name: int(span.guest_bytes(field, guest)) for field, name in PAGES.items()}
            | {field: span.guest(field, guest) for field in PLAIN}
            | {"cgroup": {field: span.cgroup(field, guest) for field in CGROUP}}
            | {"tasks": _work(span, guest)}
            for guest in span.guests
        },
    }


def _work(span: Span, guest: str) -> dict[str, dict[str, Any]]:
    tasks = span.tasks[span.guests.index(guest)]
    small = span.page_bytes / ACCESS_BYTES

    def one(task: str) -> dict[str, Any]:
        return {
            "accesses": span.task("done", task, guest) * small,
            **{field: span.task(field, task, guest) for field in TASK},
            "lost_s": {cause: span.lost_s(cause, task, guest) for cause in CLASSES[FIRST_LOST:]},
        }

    return {task: one(task) for task in tasks}


def _gauges(outcome: Outcome, number: int) -> dict[str, Any]:
    mark = outcome.marks[number][1]

    def sizes(record: Any, fields: dict[str, str]) -> dict[str, int]:  # noqa: ANN401  one row
        return {name: int(record[field]) * outcome.page_bytes for field, name in fields.items()}

    def one(record: Any) -> dict[str, int | None]:  # noqa: ANN401  one row
        asked = int(record["target_pages"])
        target = asked * outcome.page_bytes if asked >= 0 else None
        return sizes(record, GAUGES) | {"target_bytes": target}

    guests = {guest: one(mark.guest[slot]) for slot, guest in enumerate(outcome.guests)}
    return {"host": sizes(mark.host, HOST_GAUGES), "guests": guests}


def series(outcome: Outcome) -> dict[str, Any]:
    """The samples of a run: times, and a list for each guest, as JSON can hold them; bytes."""
    samples = outcome.samples
    of_guests = ("resident", "host_swapped", "free", "free_whole", "file", "taken")
    return {
        "time_s": samples.time_s.tolist(),
        "swap_used_bytes": samples.swap_used.tolist(),
        "guests": {
            guest: {
                f"{field}_bytes": getattr(samples, field)[:, slot].tolist() for field in of_guests
            }
            for slot, guest in enumerate(outcome.guests)
        },
    }


def _guests(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """What became of each guest in the whole run."""
    last = outcome.at(END).guest
    return {
        guest: {"host_kills": int(last["host_kills"][slot])}
        for slot, guest in enumerate(outcome.guests)
    }


def _tasks(outcome: Outcome) -> list[dict[str, Any]]:
    view = outcome.at(END).task
    return [
        {
            "guest": guest,
            "task": task,
            "started_s": _known(view["started_s"][slot, place]),
            "finished_s": _known(view["finished_s"][slot, place]),
            "seconds": _known(outcome.job_s(task, guest)),
            "job": outcome.jobs[slot][place],
        }
        for slot, guest in enumerate(outcome.guests)
        for place, task in enumerate(outcome.tasks[slot])
    ]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
