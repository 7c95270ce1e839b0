"""What the lowest packages may import at all; import-linter can only say what they may not."""

import sys

import grimp
import pytest

ALLOWED = {
    "contract": {"numpy"},
    "memsim": {"numpy", "numba", "llvmlite"},
    "agents.baselines": {"numpy", "contract"},
    "agents.onnx_policy": {"numpy", "contract", "onnxruntime"},
    "configs": {"pydantic", "pydantic_core", "yaml"},
}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(
        "contract", "memsim", "agents", "configs", include_external_packages=True, cache_dir=None
    )


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_a_low_package_imports_only_what_it_may(graph: grimp.ImportGraph, package: str) -> None:
    inside = {package} | graph.find_descendants(package)
    imported = {
        target
        for module in inside
        for target in graph.find_modules_directly_imported_by(module)
        if target not in inside
    }
    tops = {target.partition(".")[0] for target in imported}
    assert tops - sys.stdlib_module_names - {package} <= ALLOWED[package]
