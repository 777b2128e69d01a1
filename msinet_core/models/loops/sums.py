"""The end of a cell: two or three maps normed, each by itself, added, perhaps to one that is not,
and a ReLU.

Norm by norm, each sum would be written and read again. Here forward reads the maps once (after
their statistics) and writes the result, and backward makes all their gradients in one go. A job's
`parts` is a table with a row a map: the addresses of its values, its norm's gain, what is saved of
it, its gradient, and the gradients of gain and shift.
"""

# mypy:
# disable-error-code="call-arg,call-overload,index,no-untyped-def,operator,type-var,var-annotated"
# (numba finds the types, and hands an intrinsic its first argument)

from __future__ import annotations

import numpy as np
from numba import carray, njit

from msinet_core.models.loops.norm import SAVED, slopes_of
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
from msinet_core.models.loops.vectors import LANES, load, relu, store, where_positive

MOST = 3  # maps
VALUES, GAIN, KEPT, BACK, GRADIENTS = range(5)  # columns of the table
SUMS, SLOPES = (
    MOST + 1,
    3,
)  # rows of a thread's sums: the gradient's, and of its product with each map; of a map's slopes


def room_of_sum(width: int, threads: int) -> int:
    """Bytes that a sum's passes work in."""
    return 4 * threads * width * (3 * SUMS + SLOPES * MOST)


@njit(**FAST)
def _table(job):
    return carray(pointer(job.parts), (job.count, 5), np.int64)


@njit(**FAST)
def sum_forward(job, like):
    table, width, size = _table(job), job.channels * job.copies, size_of(like)
    first, last = share(job.rows)
    offset = carray(pointer(job.room), (thread_count(), width), np.float32)[thread_number()]
    offset[:] = 0
    for part in range(job.count):
        kept = carray(pointer(table[part, KEPT]), (SAVED, width), np.float32)
        for c in range(width):
            offset[c] += kept[1, c]
    offsets, third, rest = offset.ctypes.data, job.count == MOST, job.rest != 0
    x0, x1, x2 = table[0, VALUES], table[1, VALUES], table[job.count - 1, VALUES]
    s0, s1, s2 = (
        table[0, KEPT],
        table[1, KEPT],
        table[job.count - 1, KEPT],
    )  # a scale is what is kept first
    for row in range(first, last):
        for c in range(0, width, LANES):
            at, own = 4 * c, (row * width + c) * size
            value = load(x0 + own, like) * load(s0 + at, FLOAT) + load(offsets + at, FLOAT)
            value = value + load(x1 + own, like) * load(s1 + at, FLOAT)
            if third:
                value = value + load(x2 + own, like) * load(s2 + at, FLOAT)
            if rest:
                value = value + load(job.rest + own, like)
            store(job.y + own, relu(value), like)


@njit(**FAST)
def _sum_row(job, table, part, row, like):
    """Onto `part` one row's gradient behind the ReLU, and its product with x - mean of each map."""
    width, size, third = job.channels * job.copies, size_of(like), job.count == MOST
    line = 4 * width
    x0, x1, x2 = table[0, VALUES], table[1, VALUES], table[job.count - 1, VALUES]
    m0, m1, m2 = (
        table[0, KEPT] + 2 * line,
        table[1, KEPT] + 2 * line,
        table[job.count - 1, KEPT] + 2 * line,
    )
    for c in range(0, width, LANES):
        at, own = 4 * c, (row * width + c) * size
        got = where_positive(load(job.y + own, like), load(job.gradient + own, like))
        store(part + at, load(part + at, FLOAT) + got, FLOAT)
        along = load(part + at + line, FLOAT) + got * (load(x0 + own, like) - load(m0 + at, FLOAT))
        store(part + at + line, along, FLOAT)
        along = load(part + at + 2 * line, FLOAT) + got * (
            load(x1 + own, like) - load(m1 + at, FLOAT)
        )
        store(part + at + 2 * line, along, FLOAT)
        if third:
            along = load(part + at + 3 * line, FLOAT) + got * (
                load(x2 + own, like) - load(m2 + at, FLOAT)
            )
            store(part + at + 3 * line, along, FLOAT)


@njit(**FAST)
def _sum_all(job, table, part, sums, first, last, like):
    """The same over this thread's rows."""
    width = job.channels * job.copies
    values = carray(pointer(part), (SUMS, width), np.float32)
    sums[:] = 0
    for tile in range(first, last, TILE):
        values[:] = 0
        end = min(tile + TILE, last)
        for row in range(tile, end):
            _sum_row(job, table, part, row, like)
        for row in range(SUMS):
            for c in range(width):
                sums[row, c] += values[row, c]


@njit(**FAST)
def _hand_back_row(job, table, slopes, row, like):
    """All maps' gradients in one row."""
    width, size, third, rest = (
        job.channels * job.copies,
        size_of(like),
        job.count == MOST,
        job.rest_back != 0,
    )
    line = 4 * width
    x0, x1, x2 = table[0, VALUES], table[1, VALUES], table[job.count - 1, VALUES]
    back0, back1, back2 = table[0, BACK], table[1, BACK], table[job.count - 1, BACK]
    for c in range(0, width, LANES):
        at, own = slopes + 4 * c, (row * width + c) * size
        got = where_positive(load(job.y + own, like), load(job.gradient + own, like))
        # All are read before any is written: maps often lie whole pages apart, and a processor that
        # compares
        # the ends of addresses then waits for what was written to one before it reads from the
        # next.
        value0, value1, value2 = load(x0 + own, like), load(x1 + own, like), load(x2 + own, like)
        value0 = (
            load(at, FLOAT) * got + load(at + line, FLOAT) * value0 + load(at + 2 * line, FLOAT)
        )
        value1 = (
            load(at + 3 * line, FLOAT) * got
            + load(at + 4 * line, FLOAT) * value1
            + load(at + 5 * line, FLOAT)
        )
        store(back0 + own, value0, like)
        store(back1 + own, value1, like)
        if third:
            value2 = (
                load(at + 6 * line, FLOAT) * got
                + load(at + 7 * line, FLOAT) * value2
                + load(at + 8 * line, FLOAT)
            )
            store(back2 + own, value2, like)
        if rest:
            store(job.rest_back + own, got, like)


@njit(**FAST)
def sum_backward(job, like):
    table, width = _table(job), job.channels * job.copies
    thread, threads, line = thread_number(), thread_count(), 4 * width
    first, last = share(job.rows)
    sums = carray(pointer(job.room), (threads, SUMS, width), np.float64)
    work = carray(
        pointer(job.room + 2 * threads * SUMS * line),
        (threads, SUMS + SLOPES * MOST, width),
        np.float32,
    )[thread]
    _sum_all(job, table, work.ctypes.data, sums[thread], first, last, like)
    barrier()
    for part in range(job.count):
        gain = carray(pointer(table[part, GAIN]), (job.channels,), np.float32)
        kept = carray(pointer(table[part, KEPT]), (SAVED, width), np.float32)
        gradients = carray(pointer(table[part, GRADIENTS]), (2, job.channels), np.float32)
        begin = SUMS + SLOPES * part
        slopes_of(job, gain, sums, part + 1, kept, gradients, work[begin : begin + SLOPES])
        for c in range(width):  # level + bend * (x - mean) as one sum
            work[begin + 2, c] -= work[begin + 1, c] * kept[2, c]
    slopes = work.ctypes.data + SUMS * line
    for row in range(first, last):
        _hand_back_row(job, table, slopes, row, like)
