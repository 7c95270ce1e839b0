"""Who lives on a simulated host and what they do: YAML in, hosts of the contract out."""

from collections.abc import Sequence
from pathlib import Path

import configs.loading
from scenarios.schema import Arm, Scenario

__all__ = ["Arm", "Scenario", "load"]


def load(source: str | Path, overrides: Sequence[str] = ()) -> Scenario:
    """Read a scenario: the name of one that ships (`talk`), or a path.

    Args:
        source: name or path.
        overrides: `path.to.field=value` each, as on the command line.

    Raises:
        configs.loading.ConfigError: what is wrong with the file, all at once.
    """
    name = str(source)
    bare = "/" not in name and not name.endswith(".yaml")
    if bare or f"scenarios/{name}" in configs.loading.packaged():  # as validation/v01_async_faults
        source = f"scenarios/{name}"
    return configs.loading.load(Scenario, source, overrides)
