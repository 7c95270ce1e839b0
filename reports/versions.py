"""Versions of what numbers may depend on beside the project's own code."""

import importlib.metadata
import platform
from collections.abc import Mapping

PACKAGES = ("overcommit", "numba", "numpy", "onnxruntime", "pyarrow", "scipy")


def versions() -> Mapping[str, str]:
    """Versions of what the numbers may depend on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
