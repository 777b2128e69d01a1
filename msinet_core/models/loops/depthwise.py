"""A depthwise 3x3 convolution with the norm and the ReLU behind it, over channels-last maps.

By itself such a convolution waits for memory: nine multiplications for each value that is fetched.
Here the norm's sums are taken where it writes, and backward the gradient in front of the norm is
made a row of the picture at a time, right where the convolution needs it, for both its input and
its kernels. Whatever a row needs fits the nearest cache: three rows as float32 with a position of
zeros at either end, of which each step replaces the oldest.

`source` N x H x W x C -> convolution -> `x` -> norm, ReLU -> `y`; a row is one of N * H, W
positions of C channels. `x` is not kept: it lies where every such layer has it, close to the
processor, and is made again for the pass back.
"""

# mypy:
# disable-error-code="call-arg,call-overload,index,no-untyped-def,operator,type-var,var-annotated"
# (numba finds the types, and hands an intrinsic its first argument)

from __future__ import annotations

import numpy as np
from numba import carray, njit

from msinet_core.models.loops.norm import (
    gradient_sums,
    matrix_of,
    matrix_of_x,
    normalise,
    share_of_norm,
    slopes_of,
    statistics,
)
from msinet_core.models.loops.threads import (
    FAST,
    FLOAT,
    TILE,
    barrier,
    pointer,
    share,
    size_of,
    thread_count,
    thread_number,
)
from msinet_core.models.loops.vectors import LANES, load, store, where_positive, zero

TAPS = 9
ROWS = 3  # of the picture at hand


def scratch(threads: int, channels: int, width: int) -> int:
    """Bytes that the passes work in, besides those for a norm."""
    return 4 * threads * channels * (ROWS * (width + 2) + 4 * TAPS)


@njit(**FAST)
def _scratch_of(job):
    """This thread's addresses: the kernel's sums (float64, TAPS x C), sums of a tile, taps, and
    three rows.
    """
    line = 4 * job.channels
    base = job.scratch + thread_number() * line * (ROWS * (job.width + 2) + 4 * TAPS)
    part, taps, rows = base + 2 * TAPS * line, base + 3 * TAPS * line, base + 4 * TAPS * line
    kernel = carray(pointer(job.kernel), (job.channels, TAPS), np.float32)
    turned = carray(pointer(taps), (TAPS, job.channels), np.float32)
    for c in range(job.channels):
        for tap in range(TAPS):
            turned[tap, c] = kernel[c, tap]
    values = carray(pointer(rows), (ROWS * (job.width + 2) * job.channels,), np.float32)
    values[:] = 0
    step = line * (job.width + 2)
    return base, part, taps, rows, rows + step, rows + 2 * step


@njit(**FAST)
def _widen(job, row, inside, target, like):
    """A row of the source as float32; zeros where it is outside of its picture."""
    count = job.width * job.channels
    begin = job.source + row * count * size_of(like)
    for c in range(0, count, LANES):
        value = load(begin + c * size_of(like), like) if inside else zero()
        store(target + 4 * (job.channels + c), value, FLOAT)


@njit(**FAST)
def _filter(job, row, above, here, below, taps, origin, part, like):
    """Convolve one row into `x`; onto `part` the sums of x - origin and of its square."""
    step, line = size_of(like) * job.channels, 4 * job.channels
    begin = job.x + row * job.width * step
    for c in range(0, job.channels, LANES):
        at = 4 * c
        k0, k1, k2 = (
            load(taps + at, FLOAT),
            load(taps + at + line, FLOAT),
            load(taps + at + 2 * line, FLOAT),
        )
        k3, k4, k5 = (
            load(taps + at + 3 * line, FLOAT),
            load(taps + at + 4 * line, FLOAT),
            load(taps + at + 5 * line, FLOAT),
        )
        k6, k7, k8 = (
            load(taps + at + 6 * line, FLOAT),
            load(taps + at + 7 * line, FLOAT),
            load(taps + at + 8 * line, FLOAT),
        )
        a0, b0, c0 = load(above + at, FLOAT), load(here + at, FLOAT), load(below + at, FLOAT)
        a1, b1, c1 = (
            load(above + at + line, FLOAT),
            load(here + at + line, FLOAT),
            load(below + at + line, FLOAT),
        )
        middle, total, squares = load(origin + at, FLOAT), zero(), zero()
        for w in range(job.width):
            right = at + (w + 2) * line
            a2, b2, c2 = (
                load(above + right, FLOAT),
                load(here + right, FLOAT),
                load(below + right, FLOAT),
            )
            value = (
                (a0 * k0 + a1 * k1 + a2 * k2)
                + (b0 * k3 + b1 * k4 + b2 * k5)
                + (c0 * k6 + c1 * k7 + c2 * k8)
            )
            store(begin + w * step + c * size_of(like), value, like)
            away = value - middle
            total, squares = total + away, squares + away * away
            a0, a1, b0, b1, c0, c1 = a1, a2, b1, b2, c1, c2
        store(part + at, load(part + at, FLOAT) + total, FLOAT)
        store(part + at + line, load(part + at + line, FLOAT) + squares, FLOAT)


@njit(**FAST)
def _fold(part, sums, count, width):
    """A tile's float32 sums onto the float64 ones, and to zero."""
    one = carray(pointer(part), (count, width), np.float32)
    for row in range(count):
        for c in range(width):
            sums[row, c] += one[row, c]
            one[row, c] = 0


@njit(**FAST)
def _origin(job, above, here, below, taps, origin, part, like):
    """A row's mean, in every channel, so that no large mean drowns the variance; the same on all
    threads.
    """
    row = job.height // 2
    one, two = (
        carray(pointer(origin), (job.channels,), np.float32),
        carray(pointer(part), (2, job.channels), np.float32),
    )
    one[:] = 0
    two[:] = 0
    _widen(job, max(row - 1, 0), row > 0, above, like)
    _widen(job, row, True, here, like)
    _widen(job, min(row + 1, job.height - 1), row + 1 < job.height, below, like)
    _filter(job, row, above, here, below, taps, origin, part, like)
    for c in range(job.channels):
        one[c] = two[0, c] / job.width
    two[:] = 0


@njit(**FAST)
def _filter_all(job, origin, sums, like):
    """This thread's rows, and their sums."""
    _, part, taps, above, here, below = _scratch_of(job)
    _origin(job, above, here, below, taps, origin, part, like)
    sums[:] = 0
    first, last = share(job.rows * job.copies // job.width)
    since = 0
    for row in range(first, last):
        h = row % job.height
        if row == first or h == 0:
            _widen(job, row - 1, h > 0, above, like)
            _widen(job, row, True, here, like)
        _widen(job, row + 1, h + 1 < job.height, below, like)
        _filter(job, row, above, here, below, taps, origin, part, like)
        above, here, below = here, below, above
        since += job.width
        if since >= TILE or row + 1 == last:
            _fold(part, sums, 2, job.channels)
            since = 0


@njit(**FAST)
def light_forward(job, like):
    first, last, saved, _, sums, work = share_of_norm(job)
    origin, scale, offset = work[2], work[3], work[4]
    _filter_all(job, origin.ctypes.data, sums[thread_number()], like)
    barrier()
    statistics(job, origin, sums, saved, scale, offset)
    x, y = matrix_of_x(job, like), matrix_of(job, job.y, like)
    normalise(x, y, scale, offset, first, last, True)


@njit(**FAST)
def _gradient_row(job, row, inside, saved, slopes, target, like):
    """The gradient in front of the norm, of one row; zeros outside of the picture."""
    line, step = 4 * job.channels, size_of(like) * job.channels
    if not inside:
        values = carray(pointer(target), ((job.width + 2) * job.channels,), np.float32)
        values[:] = 0
        return
    place = row * job.width * step
    wide = line * job.copies  # rows of `saved` and `slopes`
    for c in range(0, job.channels, LANES):
        at = 4 * c
        scale, offset, mean = (
            load(saved + at, FLOAT),
            load(saved + wide + at, FLOAT),
            load(saved + 2 * wide + at, FLOAT),
        )
        slope, bend, level = (
            load(slopes + at, FLOAT),
            load(slopes + wide + at, FLOAT),
            load(slopes + 2 * wide + at, FLOAT),
        )
        for w in range(job.width):
            here = place + w * step + c * size_of(like)
            value = load(job.x + here, like)
            got = where_positive(value * scale + offset, load(job.gradient + here, like))
            store(target + at + (w + 1) * line, slope * got + bend * (value - mean) + level, FLOAT)


@njit(**FAST)
def _unfilter(job, row, above, here, below, taps, part, like):
    """One row of the source's gradient, from three rows of the gradient behind it; onto `part` the
    kernel's.
    """
    line, step = 4 * job.channels, size_of(like) * job.channels
    place = row * job.width * step
    for c in range(0, job.channels, LANES):
        at = 4 * c
        k0, k1, k2 = (
            load(taps + at, FLOAT),
            load(taps + at + line, FLOAT),
            load(taps + at + 2 * line, FLOAT),
        )
        k3, k4, k5 = (
            load(taps + at + 3 * line, FLOAT),
            load(taps + at + 4 * line, FLOAT),
            load(taps + at + 5 * line, FLOAT),
        )
        k6, k7, k8 = (
            load(taps + at + 6 * line, FLOAT),
            load(taps + at + 7 * line, FLOAT),
            load(taps + at + 8 * line, FLOAT),
        )
        d0 = d1 = d2 = d3 = d4 = d5 = d6 = d7 = d8 = zero()
        a0, b0, c0 = load(above + at, FLOAT), load(here + at, FLOAT), load(below + at, FLOAT)
        a1, b1, c1 = (
            load(above + at + line, FLOAT),
            load(here + at + line, FLOAT),
            load(below + at + line, FLOAT),
        )
        for w in range(job.width):
            right, own = at + (w + 2) * line, place + w * step + c * size_of(like)
            a2, b2, c2 = (
                load(above + right, FLOAT),
                load(here + right, FLOAT),
                load(below + right, FLOAT),
            )
            x = load(
                job.source + own, like
            )  # before the next line writes to where its address may end alike
            value = (
                (a0 * k8 + a1 * k7 + a2 * k6)
                + (b0 * k5 + b1 * k4 + b2 * k3)
                + (c0 * k2 + c1 * k1 + c2 * k0)
            )
            store(job.source_back + own, value, like)
            d0, d1, d2 = d0 + x * c2, d1 + x * c1, d2 + x * c0
            d3, d4, d5 = d3 + x * b2, d4 + x * b1, d5 + x * b0
            d6, d7, d8 = d6 + x * a2, d7 + x * a1, d8 + x * a0
            a0, a1, b0, b1, c0, c1 = a1, a2, b1, b2, c1, c2
        for tap, d in enumerate((d0, d1, d2, d3, d4, d5, d6, d7, d8)):
            store(part + at + tap * line, load(part + at + tap * line, FLOAT) + d, FLOAT)


@njit(**FAST)
def _unfilter_all(job, saved, slopes, like):
    """This thread's rows of the source's gradient; the kernel's sums into the thread's scratch."""
    base, part, taps, above, here, below = _scratch_of(job)
    sums = carray(pointer(base), (TAPS, job.channels), np.float64)
    sums[:] = 0
    values = carray(pointer(part), (TAPS, job.channels), np.float32)
    values[:] = 0
    first, last = share(job.rows * job.copies // job.width)
    since = 0
    for row in range(first, last):
        h = row % job.height
        if row == first or h == 0:
            _gradient_row(job, row - 1, h > 0, saved, slopes, above, like)
            _gradient_row(job, row, True, saved, slopes, here, like)
        _gradient_row(job, row + 1, h + 1 < job.height, saved, slopes, below, like)
        _unfilter(job, row, above, here, below, taps, part, like)
        above, here, below = here, below, above
        since += job.width
        if since >= TILE or row + 1 == last:
            _fold(part, sums, TAPS, job.channels)
            since = 0


@njit(**FAST)
def _sum_kernels(job):
    """The kernel's gradient from all threads' sums, each thread some channels of it."""
    step = 4 * job.channels * (ROWS * (job.width + 2) + 4 * TAPS)
    result = carray(pointer(job.kernel_back), (job.channels, TAPS), np.float32)
    first, last = share(job.channels)
    for c in range(first, last):
        for tap in range(TAPS):
            total = 0.0
            for thread in range(thread_count()):
                total += carray(
                    pointer(job.scratch + thread * step), (TAPS, job.channels), np.float64
                )[tap, c]
            result[c, tap] = total


@njit(**FAST)
def light_backward(job, like):
    first, last, saved, gradients, sums, work = share_of_norm(job)
    _filter_all(job, work[4].ctypes.data, sums[thread_number()], like)
    barrier()
    x, gradient = matrix_of_x(job, like), matrix_of(job, job.gradient, like)
    scale, offset, mean = saved[0], saved[1], saved[2]
    gradient_sums(
        x, gradient, scale, offset, mean, work[:2], sums[thread_number()], first, last, True
    )
    barrier()
    gain = carray(pointer(job.gain), (job.channels,), np.float32)
    slopes_of(job, gain, sums, 1, saved, gradients, work[2:])
    _unfilter_all(job, saved.ctypes.data, work[2:].ctypes.data, like)
    barrier()
    _sum_kernels(job)
