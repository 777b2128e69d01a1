"""Compiled loops of re-ranking: nearest neighbours, reciprocal neighbours, sparse sums."""

from __future__ import annotations

import numpy as np
from numba import njit, types

from msinet_core.retrieval.counting import before, dot

PIECE = 64  # similarities looked at in one go: most hold nothing near, and those are left at once


@njit(nogil=True, cache=True)
def half_squares(unit, first, last, half):  # type: ignore[no-untyped-def]
    """half[n] = |unit[n]|^2 / 2: a half but for the rounding of the unit vectors."""
    for n in range(first, last):
        half[n] = 0.5 * dot(unit[n], unit[n])


@njit(nogil=True, cache=True, fastmath={"reassoc", "nnan", "nsz"})
def _extremes(values):  # type: ignore[no-untyped-def]
    least = most = values[0]
    for i in range(1, values.shape[0]):
        least, most = min(least, values[i]), max(most, values[i])
    return least, most


@njit(nogil=True, cache=True)
def candidates(similarity, first_row, first_column, first, last, value, index, least):  # type: ignore[no-untyped-def]
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
def _lower_each(values, low, least):  # type: ignore[no-untyped-def]
    """Lowers `least` to what is smaller, one by one; gives how many values exceed `low`."""
    found = 0
    for i in range(values.shape[0]):
        least[i] = min(least[i], values[i])
        if values[i] > low[i]:
            found += 1
    return int(found)


@njit(nogil=True, cache=True)
def candidates_down(similarity, first_row, first_column, first, last, value, index, least):  # type: ignore[no-untyped-def]
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
def _keep(similarity, j, value, index):  # type: ignore[no-untyped-def]
    place = value.shape[0] - 1
    while place > 0 and similarity > value[place - 1]:
        value[place], index[place] = value[place - 1], index[place - 1]
        place -= 1
    value[place], index[place] = similarity, j


@njit(nogil=True, cache=True)
def settle(unit, half, value, candidate, first, last, margin, key, index, proven):  # type: ignore[no-untyped-def]
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
def nearest(similarity, rows, unit, half, first, last, margin, key, index):  # type: ignore[no-untyped-def]
    """The exact k nearest of rows[first:last] (numbers of rows) from their similarities to all
    rows, as `settle` has them.
    """
    for r in range(first, last):
        i = rows[r]
        for j in range(similarity.shape[1]):
            if similarity[r, j] > key[i, -1] + 0.5 - margin:
                _insert(dot(unit[i], unit[j]) - half[j], j, key[i], index[i])


@njit(nogil=True, cache=True)
def _insert(value, j, key, index):  # type: ignore[no-untyped-def]
    place = key.shape[0] - 1
    if not before(value, j, key[place], index[place]):
        return
    while place > 0 and before(value, j, key[place - 1], index[place - 1]):
        key[place], index[place] = key[place - 1], index[place - 1]
        place -= 1
    key[place], index[place] = value, j


@njit(nogil=True, cache=True)
def reciprocal(index, k, first, last, members, counts):  # type: ignore[no-untyped-def]
    """members[i, :counts[i]] = those of the k nearest of i that have i among their k nearest."""
    for i in range(first, last):
        count = 0
        for place in range(k):
            j = index[i, place]
            for other in range(k):
                if index[j, other] == i:
                    members[i, count] = j
                    count += 1
                    break
        counts[i] = count


@njit(nogil=True, cache=True)
def _holds(values, count, wanted):  # type: ignore[no-untyped-def]
    for place in range(count):  # noqa: SIM110 - compiled
        if values[place] == wanted:
            return True
    return False


@njit(nogil=True, cache=True)
def expand(wide, wide_counts, close, close_counts, first, last, members, counts):  # type: ignore[no-untyped-def]
    """Adds the close reciprocal neighbours of each wide one that shares more than 2/3 of them
    (Zhong, eq. 5).
    """
    for i in range(first, last):
        count = wide_counts[i]
        members[i, :count] = wide[i, :count]
        for place in range(wide_counts[i]):
            j = wide[i, place]
            shared = 0
            for other in range(close_counts[j]):
                shared += _holds(wide[i], wide_counts[i], close[j, other])
            if 3 * shared > 2 * close_counts[j]:
                for other in range(close_counts[j]):
                    if not _holds(members[i], count, close[j, other]):
                        members[i, count] = close[j, other]
                        count += 1
        counts[i] = count


@njit(nogil=True, cache=True)
def encode(unit, half, farthest, members, counts, starts, first, last, columns, weights):  # type: ignore[no-untyped-def]
    """Row i of the sparse encoding: exp(-distance) over its members, divided by their sum."""
    for i in range(first, last):
        total = 0.0
        for place in range(counts[i]):
            j = members[i, place]
            distance = 2.0 * (half[i] + half[j] - dot(unit[i], unit[j])) / farthest[i]
            columns[starts[i] + place] = j
            weights[starts[i] + place] = np.exp(-distance)
            total += weights[starts[i] + place]
        for place in range(starts[i], starts[i + 1]):
            weights[place] /= total


@njit(nogil=True, cache=True)
def average(
    index, k, starts, columns, weights, first, last, into_starts, into_columns, into_weights
):  # type: ignore[no-untyped-def]
    """Mean of the encodings of the k nearest (local query expansion, eq. 11).

    With empty `into_columns` it only counts: into_starts[i + 1] = entries of row i.
    """
    size = starts.shape[0] - 1
    total = np.zeros(size)
    touched = np.empty(size, np.int64)
    for i in range(first, last):
        count = 0
        for place in range(k):
            j = index[i, place]
            for entry in range(starts[j], starts[j + 1]):
                if total[columns[entry]] == 0:
                    touched[count] = columns[entry]
                    count += 1
                total[columns[entry]] += weights[entry] / k
        if into_columns.shape[0] == 0:
            into_starts[i + 1] = count
        for place in range(count):
            if into_columns.shape[0]:
                into_columns[into_starts[i] + place] = touched[place]
                into_weights[into_starts[i] + place] = total[touched[place]]
            total[touched[place]] = 0.0


@njit(nogil=True, cache=True)
def invert(starts, columns, weights, first_row, by_column, rows, values):  # type: ignore[no-untyped-def]
    """Entries of rows first_row.. by column: rows[by_column[c]:by_column[c + 1]], numbered from
    first_row.
    """
    place = by_column[:-1].copy()
    for i in range(first_row, starts.shape[0] - 1):
        for entry in range(starts[i], starts[i + 1]):
            c = columns[entry]
            rows[place[c]] = i - first_row
            values[place[c]] = weights[entry]
            place[c] += 1


@njit(nogil=True, cache=True)
def mix(
    similarity,
    half,
    starts,
    columns,
    weights,
    by_column,
    rows,
    values,
    farthest,
    share,
    first_query,
    first,
    last,
):  # type: ignore[no-untyped-def]
    """Turns rows of similarities (queries by gallery) into (1 - share) * Jaccard + share *
    distance, in place.

    The Jaccard distance of two encodings that each sum to 1 is 1 - m / (2 - m), m the sum of their
    minima.
    """
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
