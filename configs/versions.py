"""Versions of what numbers may depend on beside the project's own code."""

import importlib.metadata
import platform
from collections.abc import Sequence


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of Python, the machine and packages by name."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
