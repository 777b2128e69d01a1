"""torch's own threads for loops compiled by numba, and how maps are handed to them: by their
addresses.

A second set of threads would fight with torch's over the processor, so the loops run on those of
its OpenMP.
"""

# mypy:
# disable-error-code="call-arg,call-overload,index,no-untyped-def,operator,type-var,var-annotated"
# (numba finds the types, and hands an intrinsic its first argument)

from __future__ import annotations

import ctypes
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np
import torch
from llvmlite import binding, ir
from numba import carray, njit, types
from numba.extending import intrinsic, overload

from msinet_core.models.loops.vectors import BFLOAT, multiplies_halves

OPENMP = {
    "omp_get_thread_num": "msinet_thread",
    "omp_get_num_threads": "msinet_threads",
    "GOMP_barrier": "msinet_barrier",
}
# Not "nnan": a value that is not finite has to come out at the other end.
FAST: Any = {"error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}
FLOAT, HALF = np.float32(0), np.uint16(0)  # what a map holds: float32, or the bits of bf16
TILE = 128  # positions summed in float32

# What a job is told, 0 where it does not say. `work` is the number of a pass. Maps and vectors by
# address; `stride` is the values from a row of x to the next.
ADDRESSES = (
    "x",
    "y",
    "rest",
    "gradient",
    "back",
    "rest_back",
    "gain",
    "shift",
    "mean",
    "variance",
    "saved",
    "gradients",
    "room",
    "parts",
    "source",
    "source_back",
    "kernel",
    "kernel_back",
    "scratch",
    "which",
)
NUMBERS = (
    "work",
    *ADDRESSES,
    "rows",
    "channels",
    "copies",
    "stride",
    "relu",
    "height",
    "width",
    "count",
    "outputs",
    "turned",
)
FACTORS = ("eps", "momentum")
FIELDS = (*NUMBERS, *FACTORS)
JOB = np.dtype([*((name, np.int64) for name in NUMBERS), *((name, float) for name in FACTORS)])
_PACKED = Struct(f"{len(NUMBERS)}q{len(FACTORS)}d")

_openmp = ctypes.CDLL(
    str(next(Path(torch.__file__).parent.glob("lib/libgomp*")))
)  # the one that torch runs on
_parallel = _openmp.GOMP_parallel
_parallel.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint]
_parallel.restype = None
for _name, _alias in OPENMP.items():  # under names of our own: another OpenMP may be loaded as well
    binding.add_symbol(_alias, ctypes.cast(getattr(_openmp, _name), ctypes.c_void_p).value)
thread_number = types.ExternalFunction(OPENMP["omp_get_thread_num"], types.int32())
thread_count = types.ExternalFunction(OPENMP["omp_get_num_threads"], types.int32())
barrier = types.ExternalFunction(OPENMP["GOMP_barrier"], types.void())
_BYTE, _BITS = ir.IntType(8), ir.IntType(32)


def run_on_threads(function: int, threads: int, values: dict[str, float]) -> None:
    """Call a compiled function, by address, on some threads, each with the same job; `values` by
    the names in `FIELDS`.
    """
    _parallel(function, _PACKED.pack(*[values.pop(name, 0) for name in FIELDS]), threads, 0)
    assert not values, f"a job has no {values}"


@intrinsic
def pointer(typing: Any, address: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], _BYTE.as_pointer())

    return types.voidptr(types.int64), build


@intrinsic
def read(typing: Any, stored: Any) -> Any:
    """float32 of a float32, or of the bits of a bf16."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if signature.args[0] == types.float32:
            return arguments[0]
        return builder.bitcast(
            builder.shl(builder.zext(arguments[0], _BITS), _BITS(16)), ir.FloatType()
        )

    return types.float32(stored), build


@intrinsic
def written(typing: Any, value: Any, like: Any) -> Any:
    """A float32 as it is, or the bits of the bf16 nearest to it, of two equally near ones the even
    one.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if signature.return_type == types.float32:
            return arguments[0]
        if multiplies_halves():
            return builder.bitcast(builder.fptrunc(arguments[0], BFLOAT), ir.IntType(16))
        bits = builder.bitcast(arguments[0], _BITS)
        odd = builder.and_(builder.lshr(bits, _BITS(16)), _BITS(1))
        rounded = builder.add(bits, builder.add(odd, _BITS(0x7FFF)))
        # Rounding could carry a NaN's bits over into another number's.
        lost = builder.fcmp_unordered("uno", arguments[0], arguments[0])
        return builder.trunc(
            builder.lshr(builder.select(lost, _BITS(0x7FC00000), rounded), _BITS(16)),
            ir.IntType(16),
        )

    return like(types.float32, like), build


def size_of(like):
    """Bytes of a value of a map."""


@overload(size_of)
def _size_of(like):
    return (lambda like: 4) if like == types.float32 else (lambda like: 2)


def values_at(address, shape, like):
    """The values from an address on, as an array."""


@overload(values_at)
def _values_at(address, shape, like):
    kind = np.float32 if like == types.float32 else np.uint16
    return lambda address, shape, like: carray(pointer(address), shape, kind)


@njit(**FAST)
def share(count):
    """This thread's part of `count` things: the first, and one beyond the last."""
    thread, threads = thread_number(), thread_count()
    return count * thread // threads, count * (thread + 1) // threads
