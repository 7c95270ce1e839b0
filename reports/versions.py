"""Versions of what an evaluation's numbers may depend on beside the project's own code."""

import configs.versions

PACKAGES = ("overcommit", "numba", "numpy", "onnxruntime", "pyarrow", "scipy")


def versions() -> dict[str, str]:
    """By name."""
    return configs.versions.versions(PACKAGES)
