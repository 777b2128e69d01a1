"""Compiled loops over similarities. All release the interpreter lock; callers split rows among threads.

Why no sort: the rank of a match is one plus the number of kept gallery entries that come before it.
Why exact: a float32 matrix product depends in its last bits on how it was blocked, so it only
decides what it can decide for certain. The few pairs closer than its rounding error are decided by
`dot` in float64, whose value depends on nothing but the two rows. Equal there means tied, and ties
go by gallery order.
"""

from __future__ import annotations

import numpy as np
from numba import njit

CHUNK = 512  # similarities scanned at once: small enough that looking again for near ties is cheap


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def dot(a, b):  # type: ignore[no-untyped-def]
    """Dot product of two float32 rows, summed in float64; the same bits wherever it is called."""
    total = 0.0
    for i in range(a.shape[0]):
        total += np.float64(a[i]) * np.float64(b[i])
    return total


@njit(nogil=True, cache=True)
def before(score, index, other_score, other_index):  # type: ignore[no-untyped-def]
    """Whether a gallery row comes before another: larger score, or equal score and earlier row."""
    return score > other_score or (score == other_score and index < other_index)


@njit(nogil=True, cache=True)
def match_scores(query, gallery, matches, starts, first, last, scores):  # type: ignore[no-untyped-def]
    """scores[k] = similarity of gallery row matches[k] to its query, for queries first..last."""
    for q in range(first, last):
        for k in range(starts[q], starts[q + 1]):
            scores[k] = dot(query[q], gallery[matches[k]])


@njit(nogil=True, cache=True, fastmath={"reassoc"})
def _count_above(row, low, high):  # type: ignore[no-untyped-def]
    """How many of `row` exceed `low` and how many `high`; in float32, so that it vectorises fully."""
    above_low = np.float32(0)
    above_high = np.float32(0)
    for value in row:
        above_low += np.float32(1) if value > low else np.float32(0)
        above_high += np.float32(1) if value > high else np.float32(0)
    return int(above_low), int(above_high)


@njit(nogil=True, cache=True)
def count_closer(  # type: ignore[no-untyped-def]
    similarity, query, gallery, first_query, first_gallery, rows, matches, starts, kept, scores, margin, closer
):
    """Adds to closer[k] the gallery rows of this block that come before match k.

    `similarity` is a block of the float32 product: row r belongs to query first_query + r, column
    c to gallery row first_gallery + c. Rows rows[0]..rows[1] of it are done. Matches of query q are
    matches[starts[q]:starts[q + 1]]; those that the protocol removes (kept False) are passed over.
    """
    width = similarity.shape[1]
    for r in range(rows[0], rows[1]):
        q = first_query + r
        for start in range(0, width, CHUNK):
            chunk = similarity[r, start : min(start + CHUNK, width)]
            for k in range(starts[q], starts[q + 1]):
                if not kept[k]:
                    continue
                low = np.float32(scores[k] - margin)
                high = np.float32(scores[k] + margin)
                possible, certain = _count_above(chunk, low, high)
                closer[k] += certain
                if possible == certain:
                    continue
                for c in range(chunk.shape[0]):
                    if chunk[c] > low and not chunk[c] > high:
                        g = first_gallery + start + c
                        if g != matches[k] and before(dot(query[q], gallery[g]), g, scores[k], matches[k]):
                            closer[k] += 1


@njit(nogil=True, cache=True)
def remove_excluded(matches, starts, scores, kept, first, last, closer):  # type: ignore[no-untyped-def]
    """Takes entries that the protocol removes (kept False) back out of the counts of their query."""
    for q in range(first, last):
        for x in range(starts[q], starts[q + 1]):
            if kept[x]:
                continue
            for k in range(starts[q], starts[q + 1]):
                if kept[k] and before(scores[x], matches[x], scores[k], matches[k]):
                    closer[k] -= 1


@njit(nogil=True, cache=True)
def count_closer_given(distance, rows, matches, starts, kept, kept_columns, closer):  # type: ignore[no-untyped-def]
    """closer[k] for given distances (Q x G): smaller is closer, ties by column. Does rows rows[0]..rows[1]."""
    for q in range(rows[0], rows[1]):
        row = distance[q]
        for k in range(starts[q], starts[q + 1]):
            if not kept[k]:
                continue
            threshold, place = row[matches[k]], matches[k]
            total = 0
            for g in range(place):
                total += kept_columns[g] and row[g] <= threshold
            for g in range(place + 1, row.shape[0]):
                total += kept_columns[g] and row[g] < threshold
            for x in range(starts[q], starts[q + 1]):  # counted above, but removed by the camera rule
                if not kept[x] and (row[matches[x]] < threshold or (row[matches[x]] == threshold and matches[x] < place)):
                    total -= 1
            closer[k] = total
