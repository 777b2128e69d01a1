"""Compiled loops of re-ranking: nearest neighbours and Jaccard distances."""

from __future__ import annotations

import numpy as np
from numba import njit, types

from msinet_core.retrieval.counting import before, dot

PIECE = 64  # similarities looked at in one go: most hold nothing near, and those are left at once


@njit(nogil=True, cache=True, fastmath={"reassoc", "nnan", "nsz"})
def _extremes(values):
    least = most = values[0]
    for i in range(1, values.shape[0]):
        least, most = min(least, values[i]), max(most, values[i])
    return least, most


@njit(nogil=True, cache=True)
def candidates(similarity, first_row, first_column, first, last, value, index, least):
    """Merges rows first..last of a block of similarities into the lists of the most similar rows,
    as rounded.

    Row r of the block belongs to row first_row + r of the features, column c to first_column + c.
    value and index (N x K, best first) hold the K largest; `least` (N) keeps the smallest
    similarity met.
    """
    for r in range(first, last):
        i = first_row + r
        row = similarity[r]
        for start in range(0, row.shape[0], PIECE):
            piece = row[start : start + PIECE]
            smallest, largest = _extremes(piece)
            least[i] = min(least[i], smallest)
            if largest <= value[i, -1]:
                continue
            for c in range(piece.shape[0]):
                if piece[c] > value[i, -1]:
                    _keep(piece[c], first_column + start + c, value[i], index[i])


@njit(nogil=True, cache=True, locals={"found": types.uint32}, fastmath={"reassoc", "nnan", "nsz"})
def _lower_each(values, low, least):
    """Lowers `least` to what is smaller, one by one; gives how many values exceed `low`."""
    found = 0
    for i in range(values.shape[0]):
        least[i] = min(least[i], values[i])
        if values[i] > low[i]:
            found += 1
    return int(found)


@njit(nogil=True, cache=True)
def candidates_down(similarity, first_row, first_column, first, last, value, index, least):
    """`candidates` for the columns of a block, first..last of them: the block read as its own
    transpose.

    Row by row, so that memory is read as it lies, with a threshold for each column.
    """
    low = value[first_column + first : first_column + last, -1].copy()
    for r in range(similarity.shape[0]):
        row = similarity[r]
        for start in range(first, last, PIECE):
            stop = min(start + PIECE, last)
            here, own = first_column + start, low[start - first : stop - first]
            if _lower_each(row[start:stop], own, least[here : here + stop - start]) == 0:
                continue
            for c in range(stop - start):
                if row[start + c] > own[c]:
                    _keep(row[start + c], first_row + r, value[here + c], index[here + c])
                    own[c] = value[here + c, -1]


@njit(nogil=True, cache=True)
def _keep(similarity, j, value, index):
    place = value.shape[0] - 1
    while place > 0 and similarity > value[place - 1]:
        value[place], index[place] = value[place - 1], index[place - 1]
        place -= 1
    value[place], index[place] = similarity, j


@njit(nogil=True, cache=True)
def settle(unit, half, value, candidate, first, last, margin, key, index, proven):
    """The exact k nearest rows out of K candidates, and whether no other row can be among them.

    key and index (N x k, best first) are ordered by the exact key dot(a, b) - |b|^2 / 2, which
    falls as the distance grows, and then by row; a similarity minus a half is within `margin` of
    the key.
    """
    count = unit.shape[0]
    for i in range(first, last):
        for place in range(candidate.shape[1]):
            j = candidate[i, place]
            if j < count:  # else there are fewer rows than places
                _insert(dot(unit[i], unit[j]) - half[j], j, key[i], index[i])
        proven[i] = candidate[i, -1] == count or value[i, -1] - 0.5 + margin < key[i, -1]


@njit(nogil=True, cache=True)
def nearest(similarity, rows, unit, half, first, last, margin, key, index):
    """The exact k nearest of rows[first:last] (numbers of rows) from their similarities to all
    rows, as `settle` has them.
    """
    for r in range(first, last):
        i = rows[r]
        for j in range(similarity.shape[1]):
            if similarity[r, j] > key[i, -1] + 0.5 - margin:
                _insert(dot(unit[i], unit[j]) - half[j], j, key[i], index[i])


@njit(nogil=True, cache=True)
def _insert(value, j, key, index):
    place = key.shape[0] - 1
    if not before(value, j, key[place], index[place]):
        return
    while place > 0 and before(value, j, key[place - 1], index[place - 1]):
        key[place], index[place] = key[place - 1], index[place - 1]
        place -= 1
    key[place], index[place] = value, j


@njit(nogil=True, cache=True)
def mix(similarity, half, mine, theirs, farthest, share, first_query, first, last):
    """Turns rows of similarities (queries by gallery) into (1 - share) * Jaccard + share *
    distance, in place. `mine` holds encodings by row, `theirs` the gallery's by column, both as
    (starts, indices, weights) of a sparse matrix.
    """
    starts, columns, weights = mine
    by_column, rows, values = theirs
    queries = half.shape[0] - similarity.shape[1]
    overlap = np.zeros(similarity.shape[1])
    for r in range(first, last):
        i = first_query + r
        overlap[:] = 0.0
        for entry in range(starts[i], starts[i + 1]):
            c, weight = columns[entry], weights[entry]
            for place in range(by_column[c], by_column[c + 1]):
                overlap[rows[place]] += min(weight, values[place])
        row = similarity[r]
        for g in range(row.shape[0]):
            distance = max(0.0, 2.0 * (half[i] + half[queries + g] - row[g])) / farthest[i]
            jaccard = 1.0 - overlap[g] / (2.0 - overlap[g])
            row[g] = (1.0 - share) * jaccard + share * distance
