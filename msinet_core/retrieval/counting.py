"""Compiled loops over similarities. All release the interpreter lock; callers split rows among
threads.

Why no sort: the rank of a match is one plus the number of kept gallery entries that come before it.

Why exact: a float32 matrix product depends in its last bits on how it was blocked, so it only
decides what it can decide for certain. The few pairs closer than its rounding error are decided by
`dot`, which is exact: unit vectors are rounded to multiples of 2^-26, so that products are
multiples of 2^-52 and, since no partial sum of the dot product of unit vectors exceeds 1, float64
rounds nowhere, whatever the order of summation. Equal there means tied, and ties go by gallery
order.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

GRID = 2.0**26
CHUNK = 512  # similarities scanned at once: small enough that looking again for near ties is cheap


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def dot(a, b):
    """Exact dot product of two rows that `normalise` made."""
    total = 0.0
    for i in range(a.shape[0]):
        total += np.float64(a[i]) * np.float64(b[i])
    return total


@njit(nogil=True, cache=True)
def before(score, index, other_score, other_index):
    """Whether a gallery row comes before another: larger score, or equal score and earlier row."""
    return score > other_score or (score == other_score and index < other_index)


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _length(row, unit):
    """Euclidean length of a row, in multiples of `unit`."""
    total = 0.0
    for i in range(row.shape[0]):
        value = np.float64(row[i]) / unit
        total += value * value
    return np.sqrt(total)


@njit(nogil=True, cache=True)
def normalise(features, rows, first, last, result):
    """result[n] = unit vector of features[rows[n]], in multiples of 1 / GRID, for n in first..last.

    Gives the first n whose row is zero or not finite, or -1.
    """
    for n in range(first, last):
        row = features[rows[n]]
        scale = _length(row, 1.0)
        if not 1e-140 < scale < 1e140:  # zero, not finite, or its squares are beyond float64
            largest = np.abs(row).max()
            if not 0 < largest < np.inf:  # true for NaN
                return n
            scale = largest * _length(row, largest)
        for i in range(row.shape[0]):
            result[n, i] = np.rint(np.float64(row[i]) / scale * GRID) / GRID
    return -1


@njit(nogil=True, cache=True)
def match_scores(query, gallery, matches, starts, first, last, scores):
    """scores[k] = similarity of gallery row matches[k] to its query, for queries first..last."""
    for q in range(first, last):
        for k in range(starts[q], starts[q + 1]):
            scores[k] = dot(query[q], gallery[matches[k]])


@njit(nogil=True, cache=True, locals={"above_low": types.uint32, "above_high": types.uint32})
def _count_above(values, low, high):
    """How many of `values` exceed `low` and how many `high`. 32-bit counters, so that it vectorises
    fully.
    """
    above_low = 0
    above_high = 0
    for i in range(values.shape[0]):
        if values[i] > low:
            above_low += 1
        if values[i] > high:
            above_high += 1
    return int(above_low), int(above_high)


@njit(nogil=True, cache=True)
def _count_near(chunk, low, high, probe, gallery, place, score):
    """Of the entries in (low, high], how many come before match place[1]; the chunk begins at row
    place[0].
    """
    closer = 0
    for start in range(0, chunk.shape[0], CHUNK // 8):
        piece = chunk[start : start + CHUNK // 8]
        above_low, above_high = _count_above(piece, low, high)
        if above_low == above_high:
            continue
        for c in range(piece.shape[0]):
            g = place[0] + start + c
            if low < piece[c] <= high and g != place[1]:
                closer += before(dot(probe, gallery[g]), g, score, place[1])
    return closer


@njit(nogil=True, cache=True)
def count_closer(similarity, place, rows, query, gallery, matches, scores, margin, closer):
    """Adds to closer[k] the gallery rows of this block that come before match k.

    `similarity` is a block of the float32 product: row r belongs to query place[0] + r, column c to
    gallery row place[1] + c. Rows rows[0]..rows[1] of it are done. `matches` are (rows, starts,
    kept) of a `Matches`; those that the protocol removes (kept False) are passed over.
    """
    found, starts, kept = matches
    width = similarity.shape[1]
    for r in range(rows[0], rows[1]):
        q = place[0] + r
        row = similarity[r]  # in two steps, or numba forgets that a chunk is contiguous
        for start in range(0, width, CHUNK):
            first = place[1] + start
            chunk = row[start : min(start + CHUNK, width)]
            for k in range(starts[q], starts[q + 1]):
                if not kept[k]:
                    continue
                low = np.float32(scores[k] - margin)
                high = np.float32(scores[k] + margin)
                above_low, above_high = _count_above(chunk, low, high)
                closer[k] += above_high
                near = above_low - above_high
                own = first <= found[k] < first + chunk.shape[0]
                if near > own:  # besides the match itself
                    pair = (first, found[k])
                    closer[k] += _count_near(chunk, low, high, query[q], gallery, pair, scores[k])


@njit(nogil=True, cache=True)
def remove_excluded(matches, starts, scores, kept, first, last, closer):
    """Takes entries that the protocol removes (kept False) back out of their query's counts."""
    for q in range(first, last):
        for x in range(starts[q], starts[q + 1]):
            if kept[x]:
                continue
            for k in range(starts[q], starts[q + 1]):
                if kept[k] and before(scores[x], matches[x], scores[k], matches[k]):
                    closer[k] -= 1


@njit(nogil=True, cache=True, locals={"total": types.uint32})
def _count_given(distances, kept, threshold, equal_too):
    total = 0
    for i in range(distances.shape[0]):
        if kept[i] and (distances[i] < threshold or (equal_too and distances[i] == threshold)):
            total += 1
    return int(total)


@njit(nogil=True, cache=True)
def count_closer_given(distance, rows, matches, starts, kept, kept_columns, closer):
    """closer[k] for given distances (Q x G): smaller is closer, ties by column; with those that the
    protocol removes. Does rows rows[0]..rows[1].
    """
    for q in range(rows[0], rows[1]):
        row = distance[q]
        for k in range(starts[q], starts[q + 1]):
            if not kept[k]:
                continue
            threshold, place = row[matches[k]], matches[k]
            total = _count_given(row[:place], kept_columns[:place], threshold, True)
            total += _count_given(row[place + 1 :], kept_columns[place + 1 :], threshold, False)
            closer[k] = total


@njit(nogil=True, cache=True)
def count_pairs(cosine, place, rows, matches, starts, kept, once, counts):
    """Adds pairs to counts[matching, bin], bins being equal steps of cosine from -1 to 1.

    Rows rows[0]..rows[1] of a block that begins at query place[0] and gallery row place[1]. A match
    that is not kept is no pair of either kind. `once` passes over all pairs of a row with itself
    and with earlier ones.
    """
    bins, width = counts.shape[1], cosine.shape[1]
    for r in range(rows[0], rows[1]):
        q = place[0] + r
        row = cosine[r]
        first = min(max(q + 1 - place[1], 0), width) if once else 0
        for c in range(first, width):
            counts[0, _bin(row[c], bins)] += 1
        for k in range(starts[q], starts[q + 1]):
            c = matches[k] - place[1]
            if first <= c < width:
                counts[0, _bin(row[c], bins)] -= 1
                if kept[k]:
                    counts[1, _bin(row[c], bins)] += 1


@njit(nogil=True, cache=True)
def _bin(cosine, bins):
    place = int((np.float64(cosine) + 1.0) * (bins * 0.5))
    return min(max(place, 0), bins - 1)
