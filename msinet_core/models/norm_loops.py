"""Batch norm, a sum and ReLU over the positions of channels-last maps: two passes forward, two backward.

A map N x C x H x W that lies channels-last is a matrix of M = N*H*W rows, a position each. torch goes over it for
the mean, the variance, the norm, the sum and the ReLU in turn, and memory is what that waits for. The loops here
are compiled by numba and run on the very threads that torch's own loops run on (OpenMP's), as a second set of
threads would fight with those over the processor.

What is computed: y = relu(norm(x) + rest + more), without what is not asked for. Sums are float32 over
128 rows and float64 beyond. bf16 is widened on the way in and rounded on the way out.
"""

# mypy: disable-error-code="call-arg,var-annotated,no-untyped-def"
# (numba finds the types, and hands an intrinsic its first argument)

from __future__ import annotations

import ctypes
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np
import torch
from llvmlite import binding, ir
from numba import carray, cfunc, njit, types
from numba.extending import intrinsic

TILE = 128  # rows summed in float32
WIDEST = 512  # values of a row made of several positions
ZERO = np.float32(0)
SAVED, GRADIENTS, SUMS, WORK = 4, 2, 4, 5  # rows of C values in a norm's room; of sums (float64) and work for each thread
OPENMP = {"omp_get_thread_num": "msinet_thread", "omp_get_num_threads": "msinet_threads", "GOMP_barrier": "msinet_barrier"}
# Not "nnan": a value that is not finite has to come out at the other end.
FAST: Any = {"error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}, "cache": True}

# Maps and vectors by their addresses, 0 for none; `stride` is the values from a row of x to the next.
ADDRESSES = ("x", "y", "rest", "more", "gradient", "back", "rest_back", "gain", "shift", "mean", "variance", "room")
JOB = np.dtype(
    [(name, np.int64) for name in (*ADDRESSES, "rows", "channels", "copies", "stride", "relu")] + [("eps", float), ("momentum", float)]
)
PACKED = Struct(f"{len(ADDRESSES) + 5}q2d")

_openmp = ctypes.CDLL(str(next(Path(torch.__file__).parent.glob("lib/libgomp*"))))  # the one that torch runs on
_parallel = _openmp.GOMP_parallel
_parallel.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint]
_parallel.restype = None
for _name, _alias in OPENMP.items():  # under names of our own: another OpenMP may be loaded as well
    binding.add_symbol(_alias, ctypes.cast(getattr(_openmp, _name), ctypes.c_void_p).value)
_thread = types.ExternalFunction(OPENMP["omp_get_thread_num"], types.int32())
_threads = types.ExternalFunction(OPENMP["omp_get_num_threads"], types.int32())
_barrier = types.ExternalFunction(OPENMP["GOMP_barrier"], types.void())
_BYTE, _BITS = ir.IntType(8), ir.IntType(32)


@intrinsic
def _pointer(typing: Any, address: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], _BYTE.as_pointer())

    return types.voidptr(types.int64), build


@intrinsic
def _read(typing: Any, stored: Any) -> Any:
    """float32 of a float32, or of the bits of a bf16."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if signature.args[0] == types.float32:
            return arguments[0]
        return builder.bitcast(builder.shl(builder.zext(arguments[0], _BITS), _BITS(16)), ir.FloatType())

    return types.float32(stored), build


@intrinsic
def _written(typing: Any, value: Any, like: Any) -> Any:
    """A float32 as it is, or the bits of the bf16 nearest to it, of two equally near ones the even one."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if signature.return_type == types.float32:
            return arguments[0]
        bits = builder.bitcast(arguments[0], _BITS)
        odd = builder.and_(builder.lshr(bits, _BITS(16)), _BITS(1))
        rounded = builder.add(bits, builder.add(odd, _BITS(0x7FFF)))
        # Rounding could carry a NaN's bits over into another number's.
        lost = builder.fcmp_unordered("uno", arguments[0], arguments[0])
        return builder.trunc(builder.lshr(builder.select(lost, _BITS(0x7FC00000), rounded), _BITS(16)), ir.IntType(16))

    return like(types.float32, like), build


@njit(**FAST)
def _fold(part, sums):
    """A tile's float32 sums onto the float64 ones."""
    for c in range(part.shape[1]):
        sums[0, c] += part[0, c]
        sums[1, c] += part[1, c]


@njit(**FAST)
def _moments(x, origin, part, sums, first, last):
    """Sums of x - origin and of its square over some rows."""
    sums[:] = 0
    for start in range(first, last, TILE):
        part[:] = 0
        stop = min(start + TILE, last)
        fours = start + (stop - start) // 4 * 4
        for row in range(start, fours, 4):  # four at once: the sums are fetched and put back a quarter as often
            for c in range(len(origin)):
                one, two = _read(x[row, c]) - origin[c], _read(x[row + 1, c]) - origin[c]
                three, four = _read(x[row + 2, c]) - origin[c], _read(x[row + 3, c]) - origin[c]
                part[0, c] += (one + two) + (three + four)
                part[1, c] += (one * one + two * two) + (three * three + four * four)
        for row in range(fours, stop):
            for c in range(len(origin)):
                value = _read(x[row, c]) - origin[c]
                part[0, c] += value
                part[1, c] += value * value
        _fold(part, sums)


@njit(**FAST)
def _normalise(x, rest, more, y, scale, offset, first, last, add, add_more, relu):
    for row in range(first, last):
        for c in range(len(scale)):
            value = _read(x[row, c]) * scale[c] + offset[c]
            if add:
                value += _read(rest[row, c])
            if add_more:
                value += _read(more[row, c])
            if relu:
                value = ZERO if value < ZERO else value
            y[row, c] = _written(value, x[row, c])


@njit(**FAST)
def _gradient_sums(x, y, gradient, scale, offset, mean, part, sums, first, last, add, relu):
    """Sums of the gradient behind the ReLU, and of its product with x - mean, over some rows."""
    sums[:] = 0
    for start in range(first, last, TILE):
        part[:] = 0
        for row in range(start, min(start + TILE, last)):
            for c in range(len(scale)):
                value, got = _read(x[row, c]), _read(gradient[row, c])
                if relu:  # without a rest, x tells the result's sign and is at hand
                    sign = _read(y[row, c]) if add else value * scale[c] + offset[c]
                    got = ZERO if sign <= ZERO else got
                part[0, c] += got
                part[1, c] += got * (value - mean[c])
        _fold(part, sums)


@njit(**FAST)
def _hand_back(x, y, gradient, back, rest_back, scale, offset, mean, slopes, first, last, add, relu):
    """Into `back`: slope * (the gradient behind the ReLU) + bend * (x - mean) + level. Into `rest_back`: that gradient."""
    slope, bend, level = slopes[0], slopes[1], slopes[2]
    for row in range(first, last):
        for c in range(len(slope)):
            value, got = _read(x[row, c]), _read(gradient[row, c])
            if relu:
                sign = _read(y[row, c]) if add else value * scale[c] + offset[c]
                got = ZERO if sign <= ZERO else got
                if add:
                    rest_back[row, c] = _written(got, x[row, c])
            back[row, c] = _written(slope[c] * got + bend[c] * (value - mean[c]) + level[c], x[row, c])


@njit(**FAST)
def _total(sums, which, c, channels):
    """A channel's sum over all threads and over the places it has in a row."""
    total = 0.0
    for thread in range(sums.shape[0]):
        for place in range(c, sums.shape[2], channels):
            total += sums[thread, which, place]
    return total


@njit(**FAST)
def _statistics(job, origin, sums, saved, scale, offset):
    """Scale and offset from all threads' sums; the first thread keeps them and moves the running statistics."""
    channels, positions = job.channels, job.rows * job.copies
    gain, shift = carray(_pointer(job.gain), (channels,), np.float32), carray(_pointer(job.shift), (channels,), np.float32)
    running_mean = carray(_pointer(job.mean), (channels,), np.float32)
    running_variance = carray(_pointer(job.variance), (channels,), np.float32)
    for c in range(channels):
        away = _total(sums, 0, c, channels) / positions
        variance = _total(sums, 1, c, channels) / positions - away * away
        variance = 0.0 if variance < 0 else variance
        mean, rate = origin[c] + away, 1 / np.sqrt(variance + job.eps)
        for place in range(c, len(scale), channels):
            scale[place] = gain[c] * rate
            offset[place] = shift[c] - gain[c] * rate * mean
        if _thread() == 0:
            for place in range(c, len(scale), channels):
                saved[0, place], saved[1, place], saved[2, place], saved[3, place] = scale[c], offset[c], mean, rate
            running_mean[c] += job.momentum * (mean - running_mean[c])
            unbiased = variance * positions / max(1, positions - 1)
            running_variance[c] += job.momentum * (unbiased - running_variance[c])


@njit(**FAST)
def _slopes(job, sums, saved, gradients, slopes):
    """What a map's gradient is made of, from all threads' sums; the first thread keeps those of gain and shift."""
    channels, positions = job.channels, job.rows * job.copies
    gain = carray(_pointer(job.gain), (channels,), np.float32)
    for c in range(channels):
        rate = np.float64(saved[3, c])
        total, along = _total(sums, 0, c, channels), _total(sums, 1, c, channels) * rate
        pull = gain[c] * rate * rate * along / positions
        for place in range(c, slopes.shape[1], channels):
            slopes[0, place], slopes[1, place] = gain[c] * rate, -pull
            slopes[2, place] = -gain[c] * rate * total / positions
        if _thread() == 0:
            gradients[0, c], gradients[1, c] = along, total


@njit(**FAST)
def _share(job):
    """This thread's rows; in the norm's room what is saved, the gradients, all threads' sums, this thread's work."""
    thread, threads, width = _thread(), _threads(), job.channels * job.copies
    saved = carray(_pointer(job.room), (SAVED, width), np.float32)
    gradients = carray(_pointer(job.room + 4 * SAVED * width), (GRADIENTS, width), np.float32)
    after = job.room + 4 * (SAVED + GRADIENTS) * width
    sums = carray(_pointer(after), (threads, SUMS // 2, width), np.float64)
    work = carray(_pointer(after + 4 * threads * SUMS * width), (threads, WORK, width), np.float32)[thread]
    return job.rows * thread // threads, job.rows * (thread + 1) // threads, saved, gradients, sums, work


@njit(**FAST)
def _forward(job, x, y, rest, more):
    first, last, saved, _, sums, work = _share(job)
    origin, scale, offset = work[2], work[3], work[4]
    for c in range(len(origin)):  # a value of the channel's own, so that no large mean drowns the variance
        origin[c] = _read(x[0, c % job.channels])
    _moments(x, origin, work[:2], sums[_thread()], first, last)
    _barrier()
    _statistics(job, origin, sums, saved, scale, offset)
    _normalise(x, rest, more, y, scale, offset, first, last, job.rest != 0, job.more != 0, job.relu != 0)


@njit(**FAST)
def _backward(job, x, y, gradient, back, rest_back):
    first, last, saved, gradients, sums, work = _share(job)
    add, relu = job.y != 0, job.relu != 0
    scale, offset, mean = saved[0], saved[1], saved[2]
    _gradient_sums(x, y, gradient, scale, offset, mean, work[:2], sums[_thread()], first, last, add, relu)
    _barrier()
    _slopes(job, sums, saved, gradients, work[2:])
    _hand_back(x, y, gradient, back, rest_back, scale, offset, mean, work[2:], first, last, add, relu)


@njit(**FAST)
def _map(job, address, like):
    return carray(_pointer(address), (job.rows, job.channels * job.copies), like)


@njit(**FAST)
def _map_of_x(job, like):
    return carray(_pointer(job.x), (job.rows, job.stride), like)


@cfunc(types.void(types.voidptr), cache=True)
def _forward_float(data):
    job = carray(data, (1,), JOB)[0]
    rest, more = _map(job, job.rest, np.float32), _map(job, job.more, np.float32)
    _forward(job, _map_of_x(job, np.float32), _map(job, job.y, np.float32), rest, more)


@cfunc(types.void(types.voidptr), cache=True)
def _forward_half(data):
    job = carray(data, (1,), JOB)[0]
    rest, more = _map(job, job.rest, np.uint16), _map(job, job.more, np.uint16)
    _forward(job, _map_of_x(job, np.uint16), _map(job, job.y, np.uint16), rest, more)


@cfunc(types.void(types.voidptr), cache=True)
def _backward_float(data):
    job = carray(data, (1,), JOB)[0]
    y, gradient = _map(job, job.y, np.float32), _map(job, job.gradient, np.float32)
    back, rest_back = _map(job, job.back, np.float32), _map(job, job.rest_back, np.float32)
    _backward(job, _map_of_x(job, np.float32), y, gradient, back, rest_back)


@cfunc(types.void(types.voidptr), cache=True)
def _backward_half(data):
    job = carray(data, (1,), JOB)[0]
    y, gradient = _map(job, job.y, np.uint16), _map(job, job.gradient, np.uint16)
    back, rest_back = _map(job, job.back, np.uint16), _map(job, job.rest_back, np.uint16)
    _backward(job, _map_of_x(job, np.uint16), y, gradient, back, rest_back)


PASSES = {
    torch.float32: {"forward": _forward_float.address, "backward": _backward_float.address},
    torch.bfloat16: {"forward": _forward_half.address, "backward": _backward_half.address},
}


def matrix(positions: int, channels: int, stride: int) -> tuple[int, int, int, int]:
    """Rows, channels, copies and stride of the matrix a map is taken as.

    Of narrow maps several positions make a row: short loops cost more in their beginnings than in their bodies.
    """
    copies = 1
    while stride == channels and 2 * copies * channels <= WIDEST and positions % (2 * copies) == 0:
        copies *= 2
    return positions // copies, channels, copies, stride * copies


def room(shape: tuple[int, int, int, int], threads: int) -> tuple[int, int]:
    """Of the float32 values that a norm needs beside its maps: the first `SAVED` rows for the pass back, then `GRADIENTS`."""
    return SAVED + GRADIENTS + threads * (SUMS + WORK), shape[1] * shape[2]


def run(name: str, dtype: torch.dtype, threads: int, *values: float) -> None:
    """A pass, "forward" or "backward", over maps of one type; `values` as in `JOB`."""
    _parallel(PASSES[dtype][name], PACKED.pack(*values), threads, 0)
