"""`Machine`: one host's arrays, handed to kernels as a single pointer.

A kernel that took two dozen arrays would pass some 170 words at every call, and compile for
minutes.  Here it takes the address of a small table of (data, length, width) instead; `m.page` and
the like are turned into arrays where they are used.  In Python a Machine is a plain object with
arrays as attributes, so everything also runs without the compiler.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_getattr_generic
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    infer_getattr,
    models,
    register_model,
    typeof_impl,
    unbox,
)
from numba.np import numpy_support
from numba.np.arrayobj import make_array, populate_array

from memsim import state

# name, dtype, number of axes; shapes are (rows,) or (rows, width)
FIELDS: tuple[tuple[str, np.dtype[Any], int], ...] = (
    ("host", state.host_dtype, 1),  # one row
    ("guest", state.guest_dtype, 1),
    ("task", state.task_dtype, 1),  # guest by guest: the script's, then the guest kernel's
    ("cpu", state.cpu_dtype, 1),  # guest by guest, then the host's threads
    ("page", state.page_dtype, 1),  # guest by guest
    ("ksm", state.ksm_dtype, 1),  # as `page`; one row without KSM, as the next two
    ("image", np.dtype(np.uint32), 1),  # first content: a row a vpage, then those of phases
    ("bucket", state.bucket_dtype, 1),
    ("vpage", state.vpage_dtype, 1),  # guest by guest, region by region
    ("block", state.block_dtype, 1),
    ("slot", np.dtype(np.int32), 1),  # page that a host swap slot holds, or NOBODY
    ("cluster", np.dtype(np.int32), 1),  # used slots of each cluster
    ("gslot", np.dtype(np.int32), 1),  # virtual page in a guest's swap slot, or NOBODY
    ("lists", state.list_dtype, 1),
    ("group", state.group_dtype, 1),  # 1 + cgroups
    ("device", state.device_dtype, 1),
    ("request", state.request_dtype, 1),
    ("phase", state.phase_dtype, 1),
    ("region", state.region_dtype, 1),
    ("curve", state.curve_dtype, 1),
    ("point", state.point_dtype, 1),
    ("alias", state.alias_dtype, 1),
    ("stream", np.dtype(np.int32), 1),
    ("loud", np.dtype(np.uint64), 1),  # bit sets of phases, see `quiet`
    ("loud_count", np.dtype(np.int32), 1),  # loud pages of each block
    ("loud_tree", np.dtype(np.float64), 1),  # Fenwick trees over blocks
    ("share", np.dtype(np.float64), 1),  # probability of a page of each block
    ("signal", state.signal_dtype, 1),
    ("entry", state.entry_dtype, 1),
    ("event", state.event_dtype, 1),
    ("iso", np.dtype(np.int32), 2),  # (cpus, RECLAIM_BATCH) pages a reclaimer holds
    ("book", np.dtype(np.float64), 2),  # (rows, N_CLASSES) [s], see `waits`
)
NAMES = tuple(name for name, _, _ in FIELDS)
_WORDS = 3  # of a field in the table: data, rows, width


class _Record(np.record):
    """A row whose fields hide what numpy scalars have of the same name (`max`, `resize`)."""

    def __getattribute__(self, name: str) -> Any:
        fields = np.void.__getattribute__(self, "dtype").fields
        return self[name] if name in fields else super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class Machine:
    """One host's rows: arrays as attributes, named and typed as in FIELDS."""

    def __init__(self, *arrays: np.ndarray) -> None:
        self._table = np.zeros((len(FIELDS), _WORDS), np.int64)
        for i, ((name, dtype, axes), array) in enumerate(zip(FIELDS, arrays, strict=True)):
            if array.dtype != dtype or array.ndim != axes or not array.flags.c_contiguous:
                raise ValueError(f"Machine.{name}: {dtype} with {axes} axes expected")
            setattr(self, name, array.view(np.dtype((_Record, dtype))) if dtype.names else array)
            self._table[i] = array.ctypes.data, len(array), array.shape[-1]
        self.address = int(self._table.ctypes.data)

    def __getattr__(self, name: str) -> Any:
        """Say which attribute is missing; arrays are set one by one, so types are not known."""
        raise AttributeError(f"Machine has no array {name!r}")

    def __iter__(self) -> Iterator[np.ndarray]:
        """Go through the arrays in the order of FIELDS."""
        return (getattr(self, name) for name in NAMES)


class MachineType(types.Type):
    """Type of a Machine in kernels."""

    def __init__(self) -> None:
        super().__init__(name="Machine")


_machine_type = MachineType()


@typeof_impl.register(Machine)
def _typeof(value: Machine, context: Any) -> MachineType:
    return _machine_type


register_model(MachineType)(models.OpaqueModel)  # a pointer


@unbox(MachineType)
def _unbox(typ: MachineType, obj: Any, c: Any) -> NativeValue:
    number = c.pyapi.object_getattr_string(obj, "address")
    address = c.pyapi.number_as_ssize_t(number)
    c.pyapi.decref(number)
    pointer = c.builder.inttoptr(address, cgutils.voidptr_t)
    return NativeValue(pointer, is_error=cgutils.is_not_null(c.builder, c.pyapi.err_occurred()))


def _array_type(i: int) -> types.Array:
    _, dtype, axes = FIELDS[i]
    return types.Array(numpy_support.from_dtype(dtype), axes, "C")


@infer_getattr
class _MachineAttributes(AttributeTemplate):
    key = MachineType

    def generic_resolve(self, typ: MachineType, attr: str) -> types.Array | None:
        return _array_type(NAMES.index(attr)) if attr in NAMES else None


@lower_getattr_generic(MachineType)
def _getattr(context: Any, builder: Any, typ: MachineType, value: Any, attr: str) -> Any:
    i = NAMES.index(attr)
    word = ir.IntType(64)
    table = builder.bitcast(value, word.as_pointer())

    def load(j: int) -> Any:
        place = builder.gep(table, [ir.Constant(word, i * _WORDS + j)])
        loaded = builder.load(place)
        # The table does not change while a kernel runs: let it be read once.
        loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
        return loaded

    array_type = _array_type(i)
    array = make_array(array_type)(context, builder)
    itemsize = ir.Constant(word, FIELDS[i][1].itemsize)
    data = builder.inttoptr(load(0), array.data.type)
    rows = load(1)
    shape = [rows]
    strides = [itemsize]
    if FIELDS[i][2] == 2:
        width = load(2)
        shape = [rows, width]
        strides = [builder.mul(width, itemsize), itemsize]
    populate_array(array, data=data, shape=shape, strides=strides, itemsize=itemsize, meminfo=None)
    return array._getvalue()
