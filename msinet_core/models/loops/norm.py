"""Batch norm and ReLU over the positions of channels-last maps: two passes forward, two backward.

A map N x C x H x W that lies channels-last is a matrix of M = N*H*W rows, a position each. torch
goes over it for the mean, the variance, the norm and the ReLU in turn, and memory is what that
waits for.

Sums are float32 over 128 rows and float64 beyond. bf16 is widened on the way in and rounded on the
way out.
"""

# mypy:
# disable-error-code="call-arg,call-overload,index,no-untyped-def,operator,type-var,var-annotated"
# (numba finds the types, and hands an intrinsic its first argument)

from __future__ import annotations

import numpy as np
from numba import carray, njit

from msinet_core.models.loops.threads import (
    FAST,
    TILE,
    barrier,
    pointer,
    read,
    share,
    thread_count,
    thread_number,
    values_at,
    written,
)

WIDEST = 512  # values of a row made of several positions
ZERO = np.float32(0)
SAVED, GRADIENTS = (
    4,
    2,
)  # rows of values that are kept for the pass back, and that are found there (of gain and shift)
SUMS, WORK = 4, 5  # rows of float32 that a thread needs for its float64 sums and its work


def matrix(positions: int, channels: int, stride: int) -> dict[str, int]:
    """Rows, channels, copies and stride of the matrix a map is taken as.

    Of narrow maps several positions make a row: short loops cost more in their beginnings than in
    their bodies.
    """
    copies = 1
    while stride == channels and 2 * copies * channels <= WIDEST and positions % (2 * copies) == 0:
        copies *= 2
    return {
        "rows": positions // copies,
        "channels": channels,
        "copies": copies,
        "stride": stride * copies,
    }


def room(shape: dict[str, int], threads: int) -> int:
    """Bytes that a norm's passes work in."""
    return 4 * threads * (SUMS + WORK) * shape["channels"] * shape["copies"]


@njit(**FAST)
def _fold(part, sums):
    """A tile's float32 sums onto the float64 ones."""
    for c in range(part.shape[1]):
        sums[0, c] += part[0, c]
        sums[1, c] += part[1, c]


@njit(**FAST)
def moments(x, origin, part, sums, first, last):
    """Sums of x - origin and of its square over some rows."""
    sums[:] = 0
    for start in range(first, last, TILE):
        part[:] = 0
        stop = min(start + TILE, last)
        fours = start + (stop - start) // 4 * 4
        for row in range(
            start, fours, 4
        ):  # four at once: the sums are fetched and put back a quarter as often
            for c in range(len(origin)):
                one, two = read(x[row, c]) - origin[c], read(x[row + 1, c]) - origin[c]
                three, four = read(x[row + 2, c]) - origin[c], read(x[row + 3, c]) - origin[c]
                part[0, c] += (one + two) + (three + four)
                part[1, c] += (one * one + two * two) + (three * three + four * four)
        for row in range(fours, stop):
            for c in range(len(origin)):
                value = read(x[row, c]) - origin[c]
                part[0, c] += value
                part[1, c] += value * value
        _fold(part, sums)


@njit(**FAST)
def normalise(x, y, scale, offset, first, last, relu):
    for row in range(first, last):
        for c in range(len(scale)):
            value = read(x[row, c]) * scale[c] + offset[c]
            if relu:
                value = ZERO if value < ZERO else value
            y[row, c] = written(value, x[row, c])


@njit(**FAST)
def gradient_sums(x, gradient, scale, offset, mean, part, sums, first, last, relu):
    """Sums of the gradient behind the ReLU, and of its product with x - mean, over some rows."""
    sums[:] = 0
    for start in range(first, last, TILE):
        part[:] = 0
        for row in range(start, min(start + TILE, last)):
            for c in range(len(scale)):
                value, got = read(x[row, c]), read(gradient[row, c])
                if relu:
                    got = ZERO if value * scale[c] + offset[c] <= ZERO else got
                part[0, c] += got
                part[1, c] += got * (value - mean[c])
        _fold(part, sums)


@njit(**FAST)
def _hand_back(x, gradient, back, scale, offset, mean, slopes, first, last, relu):
    """Into `back`: slope * (the gradient behind the ReLU) + bend * (x - mean) + level."""
    slope, bend, level = slopes[0], slopes[1], slopes[2]
    for row in range(first, last):
        for c in range(len(slope)):
            value, got = read(x[row, c]), read(gradient[row, c])
            if relu:
                got = ZERO if value * scale[c] + offset[c] <= ZERO else got
            back[row, c] = written(
                slope[c] * got + bend[c] * (value - mean[c]) + level[c], x[row, c]
            )


@njit(**FAST)
def _total(sums, which, c, channels):
    """A channel's sum over all threads and over the places it has in a row."""
    total = 0.0
    for thread in range(sums.shape[0]):
        for place in range(c, sums.shape[2], channels):
            total += sums[thread, which, place]
    return total


@njit(**FAST)
def statistics(job, origin, sums, saved, scale, offset):
    """Scale and offset from all threads' sums; the first thread keeps them and moves the running
    statistics.
    """
    channels, positions = job.channels, job.rows * job.copies
    gain, shift = (
        carray(pointer(job.gain), (channels,), np.float32),
        carray(pointer(job.shift), (channels,), np.float32),
    )
    running_mean = carray(pointer(job.mean), (channels,), np.float32)
    running_variance = carray(pointer(job.variance), (channels,), np.float32)
    for c in range(channels):
        away = _total(sums, 0, c, channels) / positions
        variance = _total(sums, 1, c, channels) / positions - away * away
        variance = 0.0 if variance < 0 else variance
        mean, rate = origin[c] + away, 1 / np.sqrt(variance + job.eps)
        for place in range(c, len(scale), channels):
            scale[place] = gain[c] * rate
            offset[place] = shift[c] - gain[c] * rate * mean
        if thread_number() == 0:
            for place in range(c, len(scale), channels):
                saved[0, place], saved[1, place], saved[2, place], saved[3, place] = (
                    scale[c],
                    offset[c],
                    mean,
                    rate,
                )
            running_mean[c] += job.momentum * (mean - running_mean[c])
            unbiased = variance * positions / max(1, positions - 1)
            running_variance[c] += job.momentum * (unbiased - running_variance[c])


@njit(**FAST)
def slopes_of(job, gain, sums, which, saved, gradients, slopes):
    """What a map's gradient is made of, from all threads' sums; the first thread keeps those of
    gain and shift.

    In `sums`, row 0 holds the sums of the gradient and row `which` those of its product with x -
    mean.
    """
    channels, positions = job.channels, job.rows * job.copies
    for c in range(channels):
        rate = np.float64(saved[3, c])
        total, along = _total(sums, 0, c, channels), _total(sums, which, c, channels) * rate
        pull = gain[c] * rate * rate * along / positions
        for place in range(c, slopes.shape[1], channels):
            slopes[0, place], slopes[1, place] = gain[c] * rate, -pull
            slopes[2, place] = -gain[c] * rate * total / positions
        if thread_number() == 0:
            gradients[0, c], gradients[1, c] = along, total


@njit(**FAST)
def share_of_norm(job):
    """This thread's rows; what is saved, the gradients of gain and shift, all threads' sums, this
    thread's work.
    """
    thread, threads, width = thread_number(), thread_count(), job.channels * job.copies
    saved = carray(pointer(job.saved), (SAVED, width), np.float32)
    gradients = carray(pointer(job.gradients), (GRADIENTS, job.channels), np.float32)
    sums = carray(pointer(job.room), (threads, SUMS // 2, width), np.float64)
    work = carray(
        pointer(job.room + 4 * threads * SUMS * width), (threads, WORK, width), np.float32
    )[thread]
    return *share(job.rows), saved, gradients, sums, work


@njit(**FAST)
def matrix_of(job, address, like):
    return values_at(address, (job.rows, job.channels * job.copies), like)


@njit(**FAST)
def matrix_of_x(job, like):
    return values_at(job.x, (job.rows, job.stride), like)


@njit(**FAST)
def norm_statistics(job, like):
    """A map's statistics, without the norm."""
    x = matrix_of_x(job, like)
    first, last, saved, _, sums, work = share_of_norm(job)
    origin, scale, offset = work[2], work[3], work[4]
    for c in range(
        len(origin)
    ):  # a value of the channel's own, so that no large mean drowns the variance
        origin[c] = read(x[0, c % job.channels])
    moments(x, origin, work[:2], sums[thread_number()], first, last)
    barrier()
    statistics(job, origin, sums, saved, scale, offset)
    return first, last, scale, offset


@njit(**FAST)
def norm_forward(job, like):
    first, last, scale, offset = norm_statistics(job, like)
    x, y = matrix_of_x(job, like), matrix_of(job, job.y, like)
    normalise(x, y, scale, offset, first, last, job.relu != 0)


@njit(**FAST)
def norm_backward(job, like):
    x, gradient = matrix_of_x(job, like), matrix_of(job, job.gradient, like)
    back = values_at(job.back, (job.rows, job.stride), like)  # lies as x does
    first, last, saved, gradients, sums, work = share_of_norm(job)
    scale, offset, mean = saved[0], saved[1], saved[2]
    gain = carray(pointer(job.gain), (job.channels,), np.float32)
    gradient_sums(
        x,
        gradient,
        scale,
        offset,
        mean,
        work[:2],
        sums[thread_number()],
        first,
        last,
        job.relu != 0,
    )
    barrier()
    slopes_of(job, gain, sums, 1, saved, gradients, work[2:])
    _hand_back(x, gradient, back, scale, offset, mean, work[2:], first, last, job.relu != 0)
