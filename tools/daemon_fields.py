"""Write `docs/daemon-fields.md`: the daemon's configuration and metrics, from what declares them.

`python -m tools.daemon_fields`; a test holds the page to the code.
"""

from pathlib import Path

from configs.loading import write_atomic
from overcommitd import metrics
from overcommitd.config import DaemonConfig
from overcommitd.options import LibvirtOptions, QmpOptions
from scenarios.daemon import SimulatedOptions
from tools import fields

PAGE = Path(__file__).parents[1] / "docs" / "daemon-fields.md"
HEAD = """\
# Fields and metrics of the daemon

Made by `python -m tools.daemon_fields`; do not edit. How they are used is told in
[operating.md](operating.md). A *size* is bytes (`300MiB`), a *time* seconds (`200ms`). A field
without a default is required; one whose default is *none* is left out unless you say something.
What is wrong in a file is told with the file, the field, the value and what was expected, all at
once.

"""
METRICS = """
## Metrics

All begin with `overcommit_`; counters end in `_total` and count since the daemon began. Sizes are
bytes. What is unknown is not there. Guests are labelled with their name.

| metric | kind | meaning |
|---|---|---|
"""
STATES = {
    "up": "1: the last reading succeeded",
    "mode": "1 for the one in force, by the label `mode`",
    "decided_by": "1 for who decided last: policy, held, fallback, by the label `decided_by`",
    "paused": "1: nothing is sent until resume",
    "guests": "how many the daemon sees",
}


def page() -> str:
    """The whole page."""
    chosen = fields.models(DaemonConfig, QmpOptions, LibvirtOptions, SimulatedOptions)
    return HEAD + fields.sections(chosen) + METRICS + "\n".join(_metrics()) + "\n"


def _metrics() -> list[str]:
    rows = [(name, "gauge", meaning) for name, meaning in STATES.items()]
    rows += [(f"{name}_total", "counter", text) for name, text in metrics.COUNTERS.items()]
    rows.append(("decision_seconds_total", "counter", "spent deciding"))
    rows.append(("interventions_total", "counter", "of the guard, by the label `kind`"))
    rows += [(name, "gauge", text) for name, (_, text) in metrics.HOST_GAUGES.items()]
    rows += [(name, "gauge", text) for name, (_, text) in metrics.GUEST_GAUGES.items()]
    return [f"| `{metrics.PREFIX}{name}` | {kind} | {text} |" for name, kind, text in rows]


if __name__ == "__main__":
    write_atomic(PAGE, page())
