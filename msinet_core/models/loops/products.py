"""The gradient of a 1x1 convolution's kernels: a product of two maps over all their positions.

dW = G^T X for X, positions x inputs, and G, positions x outputs. Libraries turn one of the two first; here both are
packed as they lie, some positions at a time, into panels of sixteen channels that stay in the nearer caches, and
eight rows of dW by two vectors are kept in registers along a panel. bf16 goes by pairs of positions, which is how the
processor multiplies it, and is summed in float32.
"""

# mypy: disable-error-code="call-arg,call-overload,index,no-untyped-def,operator,type-var,var-annotated"
# (numba finds the types, and hands an intrinsic its first argument)

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from msinet_core.models.loops.threads import (
    FAST,
    FLOAT,
    barrier,
    share,
    size_of,
    thread_count,
    thread_number,
)
from msinet_core.models.loops.vectors import (
    BFLOAT,
    FLAGS,
    LANES,
    VECTOR,
    load,
    multiplies_halves,
    processor,
    store,
    zero,
)

ROWS, COLUMNS = 8, 2 * LANES  # of dW that are kept in registers
DEPTH = 128  # steps of a panel: positions, or pairs of them
LINE = 4 * LANES
# A panel is one step longer than what it holds, so that the same step of all panels does not lie in one cache set.
PITCH = LINE * (DEPTH + 1)
_INDEX = ir.IntType(64)


def takes_product(half: bool, inputs: int, outputs: int) -> bool:
    """Whether the channels fill its blocks, and the processor has registers as wide as it needs, or, for bf16, its instruction."""
    fits = inputs % COLUMNS == outputs % LANES == 0
    return fits and (multiplies_halves() if half else "avx512f" in processor())


def products_room(threads: int, inputs: int, outputs: int) -> int:
    """Bytes that the product works in."""
    return threads * _room_of_thread(inputs, outputs)


def _room_of_thread(inputs: int, outputs: int) -> int:
    return (inputs + outputs) // LANES * PITCH + 4 * inputs * outputs


_share_of_room = njit(**FAST)(_room_of_thread)


@intrinsic
def _paired(typing, first, second):
    """bf16 of two positions, side by side in each channel's 32 bits; of the first alone if the second's address is 0."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        narrow, wide = ir.VectorType(ir.IntType(16), LANES), ir.VectorType(ir.IntType(32), LANES)

        def widened(address: Any) -> Any:
            return builder.zext(builder.load(builder.inttoptr(address, narrow.as_pointer()), align=2), wide)

        result = cgutils.alloca_once_value(builder, widened(arguments[0]))
        with builder.if_then(builder.icmp_unsigned("!=", arguments[1], arguments[1].type(0))):
            high = builder.shl(widened(arguments[1]), ir.Constant(wide, [16] * LANES))
            builder.store(builder.or_(builder.load(result), high), result)
        return builder.bitcast(builder.load(result), ir.VectorType(ir.FloatType(), LANES))

    return VECTOR(types.int64, types.int64), build


def _multiply_add(builder: Any, total: Any, one: Any, two: Any, half: bool) -> Any:
    """total + one * two; of pairs of bf16, the sum of both products."""
    if not half:
        return builder.fadd(total, builder.fmul(one, two, flags=FLAGS), flags=FLAGS)
    pairs = ir.VectorType(BFLOAT, 2 * LANES)
    kind = ir.FunctionType(total.type, [total.type, pairs, pairs])
    product = builder.module.declare_intrinsic("llvm.x86.avx512bf16.dpbf16ps.512", fnty=kind)
    return builder.call(product, [total, builder.bitcast(one, pairs), builder.bitcast(two, pairs)])


@intrinsic
def _multiply(typing, rows, columns, target, line, depth, like):
    """ROWS x COLUMNS values at `target`, `line` bytes from row to row, plus a panel's rows times two panels' columns."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, columns, target, line, depth, _ = arguments
        half = signature.args[5] == types.uint16
        vector, number = ir.VectorType(ir.FloatType(), LANES), ir.FloatType()

        def at(address: Any, kind: Any) -> Any:
            return builder.inttoptr(address, kind.as_pointer())

        def beyond(address: Any, step: int) -> Any:
            return builder.add(address, _INDEX(step))

        places = [[beyond(builder.add(target, builder.mul(line, _INDEX(r))), LINE * v) for v in range(2)] for r in range(ROWS)]
        totals = [[cgutils.alloca_once_value(builder, builder.load(at(p, vector), align=4)) for p in pair] for pair in places]
        with cgutils.for_range(builder, depth) as loop:
            step = builder.mul(loop.index, _INDEX(LINE))
            here = builder.add(columns, step)
            sides = [builder.load(at(beyond(here, PITCH * v), vector), align=4) for v in range(2)]
            for r, pair in enumerate(totals):
                factor = builder.load(at(beyond(builder.add(rows, step), 4 * r), number), align=4)
                spread = builder.insert_element(ir.Constant(vector, ir.Undefined), factor, ir.IntType(32)(0))
                spread = builder.shuffle_vector(spread, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), LANES), None))
                for side, total in zip(sides, pair, strict=True):
                    builder.store(_multiply_add(builder, builder.load(total), spread, side, half), total)
        for r in range(ROWS):
            for place, total in zip(places[r], totals[r], strict=True):
                builder.store(builder.load(total), at(place, vector), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64, types.int64, like), build


@njit(**FAST)
def _pack(source, first, last, channels, target, like):
    """Some rows of a map as panels; gives their depth."""
    size = size_of(like)
    each = 4 // size  # positions a step
    depth = (last - first + each - 1) // each
    for k in range(depth):
        row = source + (first + k * each) * channels * size
        second = row + channels * size if first + k * each + 1 < last else 0
        for c in range(0, channels, LANES):
            place = target + c // LANES * PITCH + k * LINE
            if each == 1:
                store(place, load(row + c * size, FLOAT), FLOAT)
            else:
                store(place, _paired(row + c * size, second + c * size if second != 0 else 0), FLOAT)
    return depth


@njit(**FAST)
def kernel_gradient(job, like):
    """Into `back`, outputs x inputs float32: the product of `gradient` and `x`, rows x outputs and rows x inputs."""
    inputs, outputs = job.channels, job.outputs
    room = _share_of_room(inputs, outputs)
    columns = job.room + thread_number() * room
    rows = columns + inputs // LANES * PITCH
    own = rows + outputs // LANES * PITCH
    target = job.back if thread_number() == 0 else own
    for c in range(0, inputs * outputs, LANES):
        store(target + 4 * c, zero(), FLOAT)
    first, last = share(job.rows)
    tile = DEPTH * 4 // size_of(like)
    for start in range(first, last, tile):
        stop = min(start + tile, last)
        _pack(job.x, start, stop, inputs, columns, like)
        depth = _pack(job.gradient, start, stop, outputs, rows, like)
        for c in range(0, inputs, COLUMNS):
            for r in range(0, outputs, ROWS):
                place = rows + r // LANES * PITCH + r % LANES * 4
                _multiply(place, columns + c // LANES * PITCH, target + 4 * (r * inputs + c), 4 * inputs, depth, like)
    barrier()
    first, last = share(inputs * outputs // LANES)
    for thread in range(1, thread_count()):
        part = own + (thread - thread_number()) * room
        for c in range(first * LANES, last * LANES, LANES):
            store(job.back + 4 * c, load(job.back + 4 * c, FLOAT) + load(part + 4 * c, FLOAT), FLOAT)
