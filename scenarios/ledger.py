"""A run as plain data: what every guest did between marks, what it held there, when jobs ended."""

import math
from typing import Any

from scenarios.build import ACCESS_BYTES
from scenarios.outcome import END, Outcome, Span

PAGES = {  # field of memsim.state.guest_dtype -> name in bytes
    "host_swap_in": "host_swap_in_bytes",
    "host_swap_out": "host_swap_out_bytes",
    "discarded": "discarded_bytes",
    "guest_swap_in": "guest_swap_in_bytes",
    "guest_swap_out": "guest_swap_out_bytes",
    "refaults": "refaulted_bytes",
    "disk_read": "disk_read_bytes",
    "disk_written": "disk_written_bytes",
    "inflated": "inflated_bytes",
    "deflated": "deflated_bytes",
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
)
GAUGES = {
    "resident_pages": "resident_bytes",
    "host_swapped_pages": "host_swapped_bytes",
    "free_pages": "free_bytes",
    "anon_pages": "anon_bytes",
    "file_pages": "file_bytes",
    "taken_pages": "taken_bytes",
}
TASK = ("nominal_s", "served", "dropped", "latency_s", "restarts")


def ledger(outcome: Outcome) -> dict[str, Any]:
    """Everything between marks and at them, by guest, and all tasks, as JSON can hold it.

    Bytes, seconds and events; None where a job is not over.
    """
    names = [name for name, _ in outcome.marks]
    spans = [
        Span(first, last, outcome.page_bytes, outcome.guests, outcome.tasks)
        for (_, first), (_, last) in zip(outcome.marks, outcome.marks[1:], strict=False)
    ]
    return {
        "marks": [
            {"name": name, "time_s": mark.time_s, "guests": _gauges(outcome, number)}
            for number, (name, mark) in enumerate(outcome.marks)
        ],
        "between": [
            {"from": first, "to": last, "seconds": span.seconds} | _rises(span)
            for first, last, span in zip(names, names[1:], spans, strict=False)
        ],
        "tasks": _tasks(outcome),
    }


def _rises(span: Span) -> dict[str, Any]:
    return {
        "host": {
            "swap_in_bytes": int(span.host_bytes("swap_in_pages")),
            "swap_out_bytes": int(span.host_bytes("swap_out_pages")),
            "kswapd_s": span.host("kswapd_s"),
            "io_busy_s": span.host("io_busy_s"),
        },
        "guests": {
            guest: {name: int(span.guest_bytes(field, guest)) for field, name in PAGES.items()}
            | {field: span.guest(field, guest) for field in PLAIN}
            | {"tasks": _work(span, guest)}
            for guest in span.guests
        },
    }


def _work(span: Span, guest: str) -> dict[str, dict[str, float]]:
    tasks = span.tasks[span.guests.index(guest)]
    small = span.page_bytes / ACCESS_BYTES
    return {
        task: {"accesses": span.task("done", task, guest) * small}
        | {field: span.task(field, task, guest) for field in TASK}
        for task in tasks
    }


def _gauges(outcome: Outcome, number: int) -> dict[str, dict[str, int]]:
    records = outcome.marks[number][1].guest
    return {
        guest: {
            name: int(records[field][slot]) * outcome.page_bytes for field, name in GAUGES.items()
        }
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
        }
        for slot, guest in enumerate(outcome.guests)
        for place, task in enumerate(outcome.tasks[slot])
    ]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
