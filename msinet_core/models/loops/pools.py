"""Norm, ReLU and a pool behind them, over channels-last maps: the largest of 3x3 at stride 2, or
the mean of 2x2.

What lies between norm and pool is never written, nor is its gradient. The passes back make this
gradient a row of the picture at a time, where it is needed: `gradient` behind the pool, spread over
the positions it came from. Of a largest value, `which` keeps the place in its window, row by row
from 0 to 8, or NOBODY where none is above 0.
"""

# mypy:
# disable-error-code="call-arg,call-overload,index,no-untyped-def,operator,type-var,var-annotated"
# (numba finds the types, and hands an intrinsic its first argument)

from __future__ import annotations

import numpy as np
from numba import carray, njit

from msinet_core.models.loops.norm import norm_statistics, share_of_norm, slopes_of
from msinet_core.models.loops.threads import (
    FAST,
    FLOAT,
    TILE,
    barrier,
    pointer,
    share,
    size_of,
    thread_number,
)
from msinet_core.models.loops.vectors import (
    LANES,
    filled,
    load,
    load_numbers,
    relu,
    store,
    store_numbers,
    where_above,
    where_equal,
    where_positive,
    zero,
)

SIDE, NOBODY = 3, 9
QUARTER = np.float32(0.25)


def pool_scratch(threads: int, channels: int, width: int) -> int:
    """Bytes that the pass back works in, besides those for a norm."""
    return 4 * threads * channels * width


@njit(**FAST)
def _largest(job, row, scale, offset, like):
    """A row of the result, `row` counted over all pictures."""
    size = size_of(like)
    step, high, wide = size * job.channels, (job.height + 1) // 2, (job.width + 1) // 2
    image, top = row // high * job.height, 2 * (row % high) - 1
    for c in range(0, job.channels, LANES):
        factor, level = load(scale + 4 * c, FLOAT), load(offset + 4 * c, FLOAT)
        for w in range(wide):
            best, which = zero(), filled(np.float32(NOBODY))  # that it begins at 0 is the ReLU
            for tap in range(SIDE * SIDE):
                y, x = top + tap // SIDE, 2 * w - 1 + tap % SIDE
                if 0 <= y < job.height and 0 <= x < job.width:
                    value = (
                        load(job.x + ((image + y) * job.width + x) * step + c * size, like) * factor
                        + level
                    )
                    which = where_above(value, best, filled(np.float32(tap)), which)
                    best = where_above(value, best, value, best)
            place = (row * wide + w) * job.channels + c
            store(job.y + place * size, best, like)
            store_numbers(job.which + place, which)


@njit(**FAST)
def _mean(job, row, scale, offset, like):
    size = size_of(like)
    step, wide = size * job.channels, job.width // 2
    begin, below = job.x + 2 * row * job.width * step, job.width * step
    quarter = filled(QUARTER)
    for w in range(wide):
        for c in range(0, job.channels, LANES):
            factor, level = load(scale + 4 * c, FLOAT), load(offset + 4 * c, FLOAT)
            at = begin + 2 * w * step + c * size
            one, two = (
                relu(load(at, like) * factor + level),
                relu(load(at + step, like) * factor + level),
            )
            at += below
            three, four = (
                relu(load(at, like) * factor + level),
                relu(load(at + step, like) * factor + level),
            )
            store(
                job.y + (row * wide + w) * step + c * size,
                ((one + two) + (three + four)) * quarter,
                like,
            )


@njit(**FAST)
def pool_forward(job, like):
    _, _, scale, offset = norm_statistics(job, like)
    rows = job.rows * job.copies // job.width // job.height  # pictures
    first, last = share(rows * ((job.height + 1) // 2))
    for row in range(first, last):
        if job.which != 0:
            _largest(job, row, scale.ctypes.data, offset.ctypes.data, like)
        else:
            _mean(job, row, scale.ctypes.data, offset.ctypes.data, like)


@njit(**FAST)
def _onto(target, value, add):
    store(target, load(target, FLOAT) + value if add else value, FLOAT)


@njit(**FAST)
def _spread_largest(job, row, tap, add, target, like):
    """The gradient of a row of the result, into or onto the row of the picture where `tap` and the
    two after it lie.
    """
    size, line, wide = size_of(like), 4 * job.channels, (job.width + 1) // 2
    for c in range(0, job.channels, LANES):
        left, middle, right = (
            filled(np.float32(tap)),
            filled(np.float32(tap + 1)),
            filled(np.float32(tap + 2)),
        )
        carried, at = zero(), target + 4 * c
        for w in range(wide):
            place = (row * wide + w) * job.channels + c
            got, which = load(job.gradient + place * size, like), load_numbers(job.which + place)
            if w > 0:
                _onto(at - line, carried + where_equal(which, left, got), add)
            _onto(at, where_equal(which, middle, got), add)
            carried = where_equal(which, right, got)
            at += 2 * line
        if 2 * wide == job.width:
            _onto(at - line, carried, add)


@njit(**FAST)
def _spread_mean(job, row, target, like):
    size, line, wide = size_of(like), 4 * job.channels, job.width // 2
    quarter = filled(QUARTER)
    for w in range(wide):
        for c in range(0, job.channels, LANES):
            got = load(job.gradient + ((row * wide + w) * job.channels + c) * size, like) * quarter
            store(target + 2 * w * line + 4 * c, got, FLOAT)
            store(target + (2 * w + 1) * line + 4 * c, got, FLOAT)


@njit(**FAST)
def _spread(job, row, target, like):
    """The gradient in front of the pool of one row of a picture, `row` counted over all pictures."""
    image, h, high = row // job.height, row % job.height, (job.height + 1) // 2
    if job.which == 0:
        _spread_mean(job, row // 2, target, like)
    elif h % 2 == 0:  # the middle of one window
        _spread_largest(job, image * high + h // 2, SIDE, False, target, like)
    else:  # the end of one, and the beginning of the next
        _spread_largest(job, image * high + h // 2, 2 * SIDE, False, target, like)
        if h // 2 + 1 < high:
            _spread_largest(job, image * high + h // 2 + 1, 0, True, target, like)


@njit(**FAST)
def _sum_row(job, row, target, saved, part, like):
    """Onto `part` a row's gradient behind the norm, and its product with x - mean."""
    size, line, wide = size_of(like), 4 * job.channels, 4 * job.channels * job.copies
    begin = job.x + row * job.width * job.channels * size
    for c in range(0, job.channels, LANES):
        at = 4 * c
        scale, offset, mean = (
            load(saved + at, FLOAT),
            load(saved + wide + at, FLOAT),
            load(saved + 2 * wide + at, FLOAT),
        )
        total, along = load(part + at, FLOAT), load(part + wide + at, FLOAT)
        for w in range(job.width):
            value = load(begin + (w * job.channels + c) * size, like)
            got = where_positive(value * scale + offset, load(target + w * line + at, FLOAT))
            total, along = total + got, along + got * (value - mean)
        store(part + at, total, FLOAT)
        store(part + wide + at, along, FLOAT)


@njit(**FAST)
def _hand_back_row(job, row, target, saved, slopes, like):
    size, line, wide = size_of(like), 4 * job.channels, 4 * job.channels * job.copies
    begin = row * job.width * job.channels * size
    for w in range(job.width):
        for c in range(0, job.channels, LANES):
            at, own = 4 * c, begin + (w * job.channels + c) * size
            value, got = load(job.x + own, like), load(target + w * line + at, FLOAT)
            got = where_positive(
                value * load(saved + at, FLOAT) + load(saved + wide + at, FLOAT), got
            )
            away = value - load(saved + 2 * wide + at, FLOAT)
            result = load(slopes + at, FLOAT) * got + load(slopes + wide + at, FLOAT) * away
            store(job.back + own, result + load(slopes + 2 * wide + at, FLOAT), like)


@njit(**FAST)
def pool_backward(job, like):
    _, _, saved, gradients, sums, work = share_of_norm(job)
    target = job.scratch + 4 * thread_number() * job.channels * job.width
    own, part, kept = sums[thread_number()], work[:2], saved.ctypes.data
    own[:] = 0
    part[:] = 0
    first, last = share(job.rows * job.copies // job.width)
    since = 0
    for row in range(first, last):
        _spread(job, row, target, like)
        _sum_row(job, row, target, kept, part.ctypes.data, like)
        since += job.width
        if since >= TILE or row + 1 == last:
            for c in range(job.channels):
                own[0, c] += part[0, c]
                own[1, c] += part[1, c]
            part[:] = 0
            since = 0
    barrier()
    gain = carray(pointer(job.gain), (job.channels,), np.float32)
    slopes_of(job, gain, sums, 1, saved, gradients, work[2:])
    for row in range(first, last):
        _spread(job, row, target, like)
        _hand_back_row(job, row, target, kept, work[2:].ctypes.data, like)
