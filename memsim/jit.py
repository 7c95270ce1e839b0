"""Two decorators for compiled code, with a cache that follows all of memsim's sources.

numba's own cache does not see an edit in another file, so the cache folder is named by a hash of
all sources.  Kernels run without reference counts (`_nrt=False`): they never allocate, and counts
on shared arrays cost more than the work in between, most of all from two threads at once.

Left to itself numba optimises every function, together with all that it calls, for use from
Python: along a chain of calls the same code is compiled again at every link, and again for each
mix of integer widths that callers pass.  Here only entries are.  A kernel is kept as unoptimised
LLVM code until an entry takes it in, and its integers are 64 bits wide; that compiles three times
faster and runs no slower.
"""

import hashlib
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from numba import config, njit, types
from numba._dynfunc import make_function
from numba.core import codegen
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering

F = TypeVar("F", bound=Callable[..., object])


def _cache_folder() -> str:
    digest = hashlib.sha256(os.environ.get("NUMBA_BOUNDSCHECK", "").encode())
    for source in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return str(root / "memsim" / digest.hexdigest()[:16])


CACHE_FOLDER = _cache_folder()
# Both: numba re-reads its environment whenever a NUMBA_* variable changes.
_settings: Any = config
_settings.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"] = CACHE_FOLDER


@cache
def say_if_cold() -> None:
    """Say that kernels are going to be compiled, if they are not in the cache yet."""
    if not any(Path(CACHE_FOLDER).rglob("*.nbi")):
        print(
            f"Compiling the simulator's kernels into {CACHE_FOLDER}: a minute or two, once ...",
            file=sys.stderr,
            flush=True,
        )


class _KernelLibrary(codegen.JITCodeLibrary):
    """LLVM code of a kernel and of all that it calls, to be linked into an entry."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _KernelLowering(NativeLowering):
    """Turns a kernel into LLVM code, and stops there."""

    _name = "kernel_lowering"

    def run_pass(self, state: Any) -> bool:  # noqa: ANN401  numba has no types
        """Lower one kernel into a library of its own, with a handle that refuses to be called."""
        context = state.targetctx
        library = _KernelLibrary(context.codegen(), state.func_id.func_qualname)
        library.enable_object_caching()
        state.library = library
        state.flags.no_compile = True
        super().run_pass(state)
        library.finalize()
        name = state.func_id.func_name
        result = state["cr"]
        # What numba would call from Python; there is nothing to be called.
        handle = make_function(
            result.fndesc.lookup_module(), name, f"kernel {name}", 0, result.env, (library,)
        )
        state["cr"] = result._replace(cfunc=handle)
        context.insert_user_function(handle, result.fndesc, [library])
        return True


class _KernelCompiler(CompilerBase):
    """numba's pipeline with `_KernelLowering` in place of its own."""

    def define_pipelines(self) -> list[Any]:
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        at = [step for step, _ in manager.passes].index(NativeLowering)
        manager.passes[at] = (_KernelLowering, "kernel lowering")
        manager.finalize()
        return [manager]


_OPTIONS: dict[str, Any] = {
    "error_model": "numpy",
    "fastmath": False,
    "nogil": True,
    "_nrt": False,
}
_KERNEL: dict[str, Any] = {
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "pipeline_class": _KernelCompiler,
}


def _wide(kind: Any) -> Any:  # noqa: ANN401  numba has no types
    narrow = isinstance(kind, types.Integer) and kind != types.uint64
    return types.int64 if narrow else kind


def _widen(compiled: Any) -> Any:  # noqa: ANN401  numba has no types
    if _settings.DISABLE_JIT:
        return compiled
    resolve = compiled.get_call_template
    compiled.get_call_template = lambda args, kws: resolve(tuple(map(_wide, args)), kws)
    return compiled


def kernel(function: F) -> F:
    """Compile a function that other kernels call; it may raise nothing and allocate nothing.

    It cannot be called from Python.
    """
    compiled: F = _widen(njit(**_OPTIONS, **_KERNEL)(function))
    return compiled


def entry(function: F) -> F:
    """Compile a kernel that Python calls too."""
    compiled: F = _widen(njit(cache=True, **_OPTIONS)(function))
    return compiled
