"""Sixteen channels at once: a vector of float32 for numba, read and written by address.

LLVM makes vectors of plain loops where it can prove that nothing overlaps. A filter has too many
rows at hand for that, and wants its sums kept in registers along a row, so it says itself what is
computed side by side.
"""

# mypy:
# disable-error-code="call-arg,call-overload,index,no-untyped-def,operator,type-var,var-annotated"
# (numba hands an intrinsic its first argument)

from __future__ import annotations

import operator
from functools import cache
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic, models, overload, register_model

LANES = 16
LLVM = 18  # the version from which on it takes bf16 as a type of its own
FLAGS = ("contract", "reassoc", "nsz")
_FLOAT = ir.VectorType(ir.FloatType(), LANES)
_BITS, _HALF_BITS, _BYTES = (ir.VectorType(ir.IntType(width), LANES) for width in (32, 16, 8))


class _BFloat(ir.Type):
    """bf16, which llvmlite has no name for."""

    intrinsic_name = "bf16"

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


BFLOAT = _BFloat()


@cache
def processor() -> frozenset[str]:
    """What this processor can do, by LLVM's names."""
    return frozenset(name for name, there in binding.get_host_cpu_features().items() if there)


def multiplies_halves() -> bool:
    """Whether this processor multiplies and rounds bf16 by itself, and LLVM can tell it to."""
    return "avx512bf16" in processor() and binding.llvm_version_info[0] >= LLVM


class Vector(types.Type):
    """The type of sixteen float32 side by side."""

    def __init__(self) -> None:
        super().__init__(name="Vector")


VECTOR = Vector()


@register_model(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _FLOAT)


def _repeated(kind: ir.VectorType, number: int) -> ir.Constant:
    return ir.Constant(kind, [ir.Constant(kind.element, number)] * LANES)


@intrinsic
def load(typing, address, like):
    """Sixteen values from an address on: float32, or the bits of bf16 where `like` is uint16."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        half = signature.args[1] == types.uint16
        pointer = builder.inttoptr(arguments[0], (_HALF_BITS if half else _FLOAT).as_pointer())
        value = builder.load(pointer, align=2 if half else 4)
        if not half:
            return value
        return builder.bitcast(
            builder.shl(builder.zext(value, _BITS), _repeated(_BITS, 16)), _FLOAT
        )

    return VECTOR(types.int64, like), build


@intrinsic
def load_numbers(typing, address):
    """Sixteen whole numbers below 256, a byte each."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.uitofp(
            builder.load(builder.inttoptr(arguments[0], _BYTES.as_pointer()), align=1), _FLOAT
        )

    return VECTOR(types.int64), build


@intrinsic
def store_numbers(typing, address, value):
    """Write them."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = builder.fptoui(arguments[1], _BYTES)
        builder.store(value, builder.inttoptr(arguments[0], _BYTES.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, VECTOR), build


def put(builder: Any, address: Any, value: Any, half: bool) -> None:
    """Code that writes sixteen values; as bf16, rounded to nearest even, if `half`."""
    if half and multiplies_halves():
        value = builder.fptrunc(value, ir.VectorType(BFLOAT, LANES))
    elif half:
        bits = builder.bitcast(value, _BITS)
        odd = builder.and_(builder.lshr(bits, _repeated(_BITS, 16)), _repeated(_BITS, 1))
        rounded = builder.add(bits, builder.add(odd, _repeated(_BITS, 0x7FFF)))
        # Rounding could carry a NaN's bits over into another number's.
        lost = builder.fcmp_unordered("uno", value, value)
        rounded = builder.select(lost, _repeated(_BITS, 0x7FC00000), rounded)
        value = builder.trunc(builder.lshr(rounded, _repeated(_BITS, 16)), _HALF_BITS)
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=2 if half else 4)


@intrinsic
def store(typing, address, value, like):
    """Write sixteen values; as bf16, rounded to nearest even, where `like` is uint16."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        put(builder, arguments[0], arguments[1], signature.args[2] == types.uint16)
        return context.get_dummy_value()

    return types.void(types.int64, VECTOR, like), build


@intrinsic
def zero(typing):
    """Sixteen zeros."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(_FLOAT, None)

    return VECTOR(), build


@intrinsic
def filled(typing, value):
    """One number sixteen times."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        nothing = ir.Constant(_FLOAT, ir.Undefined)
        first = builder.insert_element(nothing, arguments[0], ir.IntType(32)(0))
        return builder.shuffle_vector(first, nothing, ir.Constant(_BITS, None))

    return VECTOR(types.float32), build


@intrinsic
def where_above(typing, one, two, value, other):
    """`value` where `one` is above `two` or no number, elsewhere `other`."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one, two, value, other = arguments
        above = builder.or_(
            builder.fcmp_ordered(">", one, two), builder.fcmp_unordered("uno", one, one)
        )
        return builder.select(above, value, other)

    return VECTOR(VECTOR, VECTOR, VECTOR, VECTOR), build


@intrinsic
def where_equal(typing, one, two, value):
    """`value` where `one` equals `two`, elsewhere 0."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        same = builder.fcmp_ordered("==", arguments[0], arguments[1])
        return builder.select(same, arguments[2], ir.Constant(_FLOAT, None))

    return VECTOR(VECTOR, VECTOR, VECTOR), build


@intrinsic
def where_positive(typing, sign, value):
    """`value` but 0 where `sign` is 0 or less: the way back through a ReLU. What is no number
    passes.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sign, value = arguments
        nothing = ir.Constant(_FLOAT, None)
        return builder.select(builder.fcmp_ordered("<=", sign, nothing), nothing, value)

    return VECTOR(VECTOR, VECTOR), build


@intrinsic
def relu(typing, value):
    """`value` but 0 where it is below 0. What is no number passes."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        nothing = ir.Constant(_FLOAT, None)
        return builder.select(
            builder.fcmp_ordered("<", arguments[0], nothing), nothing, arguments[0]
        )

    return VECTOR(VECTOR), build


def _arithmetic(operation: Any, instruction: str) -> None:
    """Teach numba one of +, - and * for vectors."""

    @intrinsic
    def calculate(typing, one, two):
        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, instruction)(*arguments, flags=FLAGS)

        return VECTOR(VECTOR, VECTOR), build

    @overload(operation)
    def found(one, two):
        if isinstance(one, Vector) and isinstance(two, Vector):
            return lambda one, two: calculate(one, two)
        return None


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
