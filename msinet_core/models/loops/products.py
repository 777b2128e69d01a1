"""The three products of a 1x1 convolution: forward, and the gradients of its input and of its
kernels.

For X, positions x inputs, W, outputs x inputs, and G, positions x outputs: Y = X W^T, dX = G W and
dW = G^T X. Eight rows of a result by two vectors are kept in registers along the sum. What is added
up by columns is packed before, into panels of sixteen channels that stay in the nearer caches: the
kernels whole, the maps some positions at a time, as they lie. bf16 goes by pairs along the sum,
which is how the processor multiplies it, and is summed in float32.
"""

# mypy:
# disable-error-code="call-arg,call-overload,index,no-untyped-def,operator,type-var,var-annotated"
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
    put,
    store,
    zero,
)

ROWS, COLUMNS = 8, 2 * LANES  # of a result that are kept in registers
DEPTH = 128  # steps of a panel of maps: positions, or pairs of them
TILE = 64  # rows of a result that go through all columns before the next
LINE = 4 * LANES
_INDEX, _NUMBER = ir.IntType(64), ir.FloatType()
_VECTOR = ir.VectorType(_NUMBER, LANES)


def takes_product(half: bool, positions: int, inputs: int, outputs: int) -> bool:
    """Whether positions and channels fill its blocks, and the processor has registers as wide as it
    needs, or, for bf16, its instruction.
    """
    fits = positions % ROWS == inputs % COLUMNS == outputs % COLUMNS == 0
    return fits and (multiplies_halves() if half else "avx512f" in processor())


def products_room(threads: int, inputs: int, outputs: int) -> int:
    """Bytes that any of the products works in."""
    return max(
        threads * _room_of_thread(inputs, outputs), 8 * inputs * outputs + LINE * (inputs + outputs)
    )


def _pitch(depth: int) -> int:
    """Bytes from a panel to the next; a step more than it holds, so that a step of all panels is
    not in one cache set.
    """
    return LINE * (depth + 1)


def _room_of_thread(inputs: int, outputs: int) -> int:
    return (inputs + outputs) // LANES * LINE * (DEPTH + 1) + 4 * inputs * outputs


_share_of_room, _step = njit(**FAST)(_room_of_thread), njit(**FAST)(_pitch)


@intrinsic
def _paired(typing, first, second):
    """bf16 of two positions, side by side in each channel's 32 bits; of the first alone if the
    second's address is 0.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        narrow, wide = ir.VectorType(ir.IntType(16), LANES), ir.VectorType(ir.IntType(32), LANES)

        def widened(address: Any) -> Any:
            return builder.zext(
                builder.load(builder.inttoptr(address, narrow.as_pointer()), align=2), wide
            )

        result = cgutils.alloca_once_value(builder, widened(arguments[0]))
        with builder.if_then(builder.icmp_unsigned("!=", arguments[1], arguments[1].type(0))):
            high = builder.shl(widened(arguments[1]), ir.Constant(wide, [16] * LANES))
            builder.store(builder.or_(builder.load(result), high), result)
        return builder.bitcast(builder.load(result), _VECTOR)

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
def _gathered(typing, address, line):
    """Sixteen values of 32 bits, `line` bytes apart."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, line = arguments
        result = ir.Constant(_VECTOR, ir.Undefined)
        for lane in range(LANES):
            place = builder.inttoptr(
                builder.add(address, builder.mul(line, _INDEX(lane))), _NUMBER.as_pointer()
            )
            result = builder.insert_element(
                result, builder.load(place, align=4), ir.IntType(32)(lane)
            )
        return result

    return VECTOR(types.int64, types.int64), build


def _spread(builder: Any, address: Any) -> Any:
    """One value of 32 bits in all lanes."""
    nothing, lanes = ir.Constant(_VECTOR, ir.Undefined), ir.VectorType(ir.IntType(32), LANES)
    value = builder.load(builder.inttoptr(address, _NUMBER.as_pointer()), align=4)
    return builder.shuffle_vector(
        builder.insert_element(nothing, value, ir.IntType(32)(0)), nothing, ir.Constant(lanes, None)
    )


def _multiplication(fresh: bool) -> Any:
    """The code of a product of ROWS x COLUMNS: onto what is at its target as float32, or, `fresh`,
    in place of it.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, apart, along, columns, pitch, target, line, depth, _ = arguments
        half = signature.args[8] == types.uint16
        size = 2 if fresh and half else 4

        def vector(address: Any) -> Any:
            return builder.inttoptr(address, _VECTOR.as_pointer())

        def places(first: Any, step: Any, count: int) -> list[Any]:
            return [
                builder.add(first, builder.mul(step, _INDEX(number))) for number in range(count)
            ]

        def begun(end: Any) -> Any:
            value = ir.Constant(_VECTOR, None) if fresh else builder.load(vector(end), align=4)
            return cgutils.alloca_once_value(builder, value)

        starts, sides = places(rows, apart, ROWS), places(columns, pitch, 2)
        ends = [places(row, _INDEX(size * LANES), 2) for row in places(target, line, ROWS)]
        totals = [[begun(end) for end in pair] for pair in ends]
        with cgutils.for_range(builder, depth) as loop:
            step, shift = builder.mul(loop.index, _INDEX(LINE)), builder.mul(loop.index, along)
            panels = [builder.load(vector(builder.add(side, step)), align=4) for side in sides]
            for start, pair in zip(starts, totals, strict=True):
                factor = _spread(builder, builder.add(start, shift))
                for panel, total in zip(panels, pair, strict=True):
                    builder.store(
                        _multiply_add(builder, builder.load(total), factor, panel, half), total
                    )
        for pair, sums in zip(ends, totals, strict=True):
            for end, total in zip(pair, sums, strict=True):
                put(builder, end, builder.load(total), size == 2)
        return context.get_dummy_value()

    return build


_ONTO, _FRESH = _multiplication(False), _multiplication(True)


@intrinsic
def _multiply(typing, rows, apart, along, columns, pitch, target, line, depth, like):
    """ROWS x COLUMNS float32 at `target`, `line` bytes from row to row, plus rows times columns
    summed over `depth` steps.

    A row's values lie `along` bytes apart, `apart` from row to row; columns are two panels, `pitch`
    bytes apart.
    """
    return types.void(*[types.int64] * 8, like), _ONTO


@intrinsic
def _multiply_new(typing, rows, apart, along, columns, pitch, target, line, depth, like):
    """The same, but nothing added, and written as values like `like`."""
    return types.void(*[types.int64] * 8, like), _FRESH


@njit(**FAST)
def _pack(source, first, last, channels, target, pitch, like):
    """Some rows of a map as panels; gives their depth."""
    size = size_of(like)
    each = 4 // size  # rows a step
    depth = (last - first + each - 1) // each
    for k in range(depth):
        row = source + (first + k * each) * channels * size
        second = row + channels * size if first + k * each + 1 < last else 0
        for c in range(0, channels, LANES):
            place = target + c // LANES * pitch + k * LINE
            if each == 1:
                store(place, load(row + c * size, FLOAT), FLOAT)
            else:
                store(
                    place, _paired(row + c * size, second + c * size if second != 0 else 0), FLOAT
                )
    return depth


@njit(**FAST)
def _pack_kernels(job, panels, pitch, depth, like):
    """The kernels as panels of the result's channels, by all threads; `turned` if they have these
    in their rows.
    """
    size = size_of(like)
    kernels = job.kernel
    if size != 4:  # round them first
        kernels = panels + job.outputs // LANES * pitch
        first, last = share(job.channels * job.outputs // LANES)
        for c in range(first * LANES, last * LANES, LANES):
            store(kernels + size * c, load(job.kernel + 4 * c, FLOAT), like)
        barrier()
    if job.turned != 0:
        first, last = share(depth)
        each = 4 // size
        _pack(kernels, first * each, last * each, job.outputs, panels + first * LINE, pitch, like)
    else:
        first, last = share(job.outputs // LANES)
        line = job.channels * size
        for panel in range(first, last):
            for k in range(depth):
                store(
                    panels + panel * pitch + k * LINE,
                    _gathered(kernels + panel * LANES * line + 4 * k, line),
                    FLOAT,
                )
    barrier()


@njit(**FAST)
def product(job, like):
    """Into `y`, rows x outputs: `x`, rows x channels, by the kernels: outputs x channels, or
    `turned`.
    """
    size = size_of(like)
    depth = job.channels * size // 4
    pitch, line = _step(depth), job.channels * size
    _pack_kernels(job, job.room, pitch, depth, like)
    first, last = share(job.rows // ROWS)
    for start in range(first * ROWS, last * ROWS, TILE):
        stop = min(start + TILE, last * ROWS)
        for c in range(0, job.outputs, COLUMNS):
            panel = job.room + c // LANES * pitch
            for row in range(start, stop, ROWS):
                target = job.y + (row * job.outputs + c) * size
                _multiply_new(
                    job.x + row * line,
                    line,
                    4,
                    panel,
                    pitch,
                    target,
                    job.outputs * size,
                    depth,
                    like,
                )


@njit(**FAST)
def kernel_gradient(job, like):
    """Into `back`, outputs x inputs float32: the product of `gradient` and `x`, rows x outputs and
    rows x inputs.
    """
    inputs, outputs = job.channels, job.outputs
    room, pitch = _share_of_room(inputs, outputs), _step(DEPTH)
    columns = job.room + thread_number() * room
    rows = columns + inputs // LANES * pitch
    own = rows + outputs // LANES * pitch
    target = job.back if thread_number() == 0 else own
    for c in range(0, inputs * outputs, LANES):
        store(target + 4 * c, zero(), FLOAT)
    first, last = share(job.rows)
    tile = DEPTH * 4 // size_of(like)
    for start in range(first, last, tile):
        stop = min(start + tile, last)
        _pack(job.x, start, stop, inputs, columns, pitch, like)
        depth = _pack(job.gradient, start, stop, outputs, rows, pitch, like)
        for c in range(0, inputs, COLUMNS):
            panel = columns + c // LANES * pitch
            for r in range(0, outputs, ROWS):
                place = rows + r // LANES * pitch + r % LANES * 4
                _multiply(
                    place,
                    4,
                    LINE,
                    panel,
                    pitch,
                    target + 4 * (r * inputs + c),
                    4 * inputs,
                    depth,
                    like,
                )
    barrier()
    first, last = share(inputs * outputs // LANES)
    for thread in range(1, thread_count()):
        part = own + (thread - thread_number()) * room
        for c in range(first * LANES, last * LANES, LANES):
            store(
                job.back + 4 * c, load(job.back + 4 * c, FLOAT) + load(part + 4 * c, FLOAT), FLOAT
            )
