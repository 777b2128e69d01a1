"""k-reciprocal re-ranking (Zhong et al., CVPR 2017) on a sparse graph of neighbours.

The usual code sorts an (Q + G) x (Q + G) matrix and multiplies dense encodings of that size. Only
the k1 + 1 nearest of each image enter the definition, and an encoding has some hundred entries, so
here nothing is quadratic but the blocks of one matrix product that pass through the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from msinet_core.errors import ReidError
from msinet_core.retrieval import neighbours
from msinet_core.retrieval.checks import (
    feature_array,
    in_parts,
    require_same_length,
    unit_rows,
)
from msinet_core.retrieval.matches import JUNK, Matches, find_matches
from msinet_core.retrieval.nearest import nearest_rows
from msinet_core.retrieval.products import BLOCKS, full_precision_products
from msinet_core.retrieval.ranking import (
    Ranking,
    RankList,
    count_given,
    metrics_from_closer,
    order_given,
)


@dataclass(frozen=True)
class Sparse:
    """Rows of a sparse matrix: row i has columns[starts[i]:starts[i + 1]] and weights alike."""

    starts: np.ndarray  # N + 1, int64
    columns: np.ndarray  # int64
    weights: np.ndarray  # float64


@dataclass(frozen=True)
class Reranking:
    """Re-ranked distances of Q queries to G gallery rows, computed a block of queries at a time.

    `rows(first, last)` gives any block; nothing of size Q x G is held.
    """

    unit: np.ndarray  # (Q + G) x D, float32: queries, then gallery
    num_queries: int
    half: np.ndarray  # Q + G, half the squared lengths
    farthest: np.ndarray  # Q + G, largest squared distance of each row
    encodings: Sparse
    by_column: np.ndarray  # the gallery's encodings by column: starts, Q + G + 1
    gallery_rows: np.ndarray
    gallery_weights: np.ndarray
    lambda_value: float

    @property
    def num_gallery(self) -> int:
        return len(self.unit) - self.num_queries

    def rows(self, first: int, last: int, out: np.ndarray | None = None) -> np.ndarray:
        """Distances of queries first..last to the whole gallery: (last - first) x G, float32, 0 to
        1.

        `out`, of that shape, takes them instead of a new array.
        """
        unit = torch.from_numpy(self.unit)
        block = np.empty((last - first, self.num_gallery), np.float32) if out is None else out
        with full_precision_products():
            torch.mm(unit[first:last], unit[self.num_queries :].T, out=torch.from_numpy(block))
        self.mix(block, first)
        return block

    def mix(self, block: np.ndarray, first: int) -> None:
        """Turn dot products of queries from `first` on with the whole gallery into distances, in
        place.
        """
        sparse = self.encodings

        def work(a: int, b: int) -> None:
            neighbours.mix(
                block,
                self.half,
                sparse.starts,
                sparse.columns,
                sparse.weights,
                self.by_column,
                self.gallery_rows,
                self.gallery_weights,
                self.farthest,
                self.lambda_value,
                first,
                a,
                b,
            )

        in_parts(len(block), work)

    def rank_list(self, matches: Matches, index: int, k: int) -> RankList:
        """The head of one query's list."""
        return order_given(self.rows(index, index + 1)[0], matches, index, k)

    def blocks(self, size: int = BLOCKS[0]) -> Iterator[tuple[int, np.ndarray]]:
        """All queries in order, `size` at a time: first query and distances, which the next ones
        overwrite.
        """
        buffer = np.empty((min(size, self.num_queries), self.num_gallery), np.float32)
        for first in range(0, self.num_queries, size):
            last = min(first + size, self.num_queries)
            yield first, self.rows(first, last, buffer[: last - first])


def reranking(
    query: Any, gallery: Any, k1: int = 20, k2: int = 6, lambda_value: float = 0.3
) -> Reranking:
    """Everything about re-ranking that does not grow with Q x G; see `rerank` for the arguments."""
    return _prepare(*_checked(query, gallery, k1, k2, lambda_value), k1, k2, lambda_value)


def _checked(
    query: Any, gallery: Any, k1: int, k2: int, lambda_value: float
) -> tuple[np.ndarray, np.ndarray]:
    query, gallery = (
        feature_array(query, "query features"),
        feature_array(gallery, "gallery features"),
    )
    require_same_length(query, gallery)
    _check(k1, k2, lambda_value, len(query) + len(gallery))
    return query, gallery


def _prepare(
    query: np.ndarray,
    gallery: np.ndarray,
    k1: int,
    k2: int,
    lambda_value: float,
    similarity: np.ndarray | None = None,
) -> Reranking:
    """`similarity` (Q x G) takes the dot products of queries and gallery, which come up on the way."""
    count = len(query) + len(gallery)
    unit = np.concatenate([unit_rows(query, "query"), unit_rows(gallery, "gallery")])
    half = np.empty(count)
    in_parts(count, lambda a, b: neighbours.half_squares(unit, a, b, half))
    index, farthest = nearest_rows(unit, half, max(k1 + 1, k2), similarity=similarity)
    encodings = encode(unit, half, farthest, index, k1, k2)
    first = encodings.starts[len(query)]
    columns = encodings.columns[first:]
    by_column = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=count))]).astype(
        np.int64
    )
    rows, weights = np.empty(len(columns), np.int32), np.empty(len(columns), np.float32)
    neighbours.invert(
        encodings.starts, encodings.columns, encodings.weights, len(query), by_column, rows, weights
    )
    return Reranking(
        unit, len(query), half, farthest, encodings, by_column, rows, weights, lambda_value
    )


def rerank(
    query: Any, gallery: Any, k1: int = 20, k2: int = 6, lambda_value: float = 0.3
) -> np.ndarray:
    """Re-ranked distances, Q x G float32, 0 to 1, of features Q x D and G x D.

    `k1` nearest neighbours make the reciprocal sets, encodings are averaged over the `k2` nearest,
    and the result is (1 - lambda) * Jaccard distance + lambda * squared Euclidean distance over the
    largest of the query's. Equal distances are ordered as in `rank`. Memory beyond the features and
    the result: about 2 KB an image. For results too large to hold, `rank_reranked` and `reranking`.
    Raises `ReidError` for features that cannot be ranked, and for k1 or k2 that the set is too
    small for.
    """
    query, gallery = _checked(query, gallery, k1, k2, lambda_value)
    result = np.empty((len(query), len(gallery)), np.float32)
    _prepare(query, gallery, k1, k2, lambda_value, result).mix(result, 0)
    return result


def rank_reranked(
    prepared: Reranking,
    query_identity: Any,
    gallery_identity: Any,
    query_camera: Any = None,
    gallery_camera: Any = None,
    *,
    same_camera: Literal["exclude", "keep"] = "exclude",
    junk_identities: Sequence[Any] = JUNK,
    distractor_identities: Sequence[Any] = (),
    max_rank: int = 50,
) -> Ranking:
    """`rank` by re-ranked distances, without ever holding them all; labels and rules as there."""
    matches = find_matches(
        query_identity,
        gallery_identity,
        query_camera,
        gallery_camera,
        (prepared.num_queries, prepared.num_gallery),
        same_camera=same_camera,
        junk_identities=junk_identities,
        distractor_identities=distractor_identities,
    )
    closer = np.zeros(len(matches.rows), np.int64)
    for first, block in prepared.blocks():
        count_given(block, first, matches, closer)
    return metrics_from_closer(matches, closer, max_rank, partial(prepared.rank_list, matches))


def _check(k1: int, k2: int, lambda_value: float, count: int) -> None:
    if k1 < 1 or k2 < 1:
        raise ReidError(f"k1 and k2 must be at least 1, not {k1} and {k2}")
    if not 0 <= lambda_value <= 1:
        raise ReidError(f"lambda_value is a share from 0 to 1, not {lambda_value}")
    if count < max(k1 + 1, k2):
        raise ReidError(
            f"re-ranking with k1 = {k1} and k2 = {k2} needs {max(k1 + 1, k2)} images, but queries and gallery "
            f"are {count} together; choose smaller ones"
        )


def encode(
    unit: np.ndarray, half: np.ndarray, farthest: np.ndarray, index: np.ndarray, k1: int, k2: int
) -> Sparse:
    """The weighted k-reciprocal encodings of all rows, averaged over their k2 nearest."""
    count = len(unit)
    wide, wide_counts = _reciprocal(index, k1 + 1)
    close, close_counts = _reciprocal(index, int(np.around(k1 / 2)) + 1)
    most = wide.shape[1] * (close.shape[1] + 1)
    members, counts = np.empty((count, most), np.int32), np.empty(count, np.int64)
    in_parts(
        count,
        lambda a, b: neighbours.expand(
            wide, wide_counts, close, close_counts, a, b, members, counts
        ),
    )
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    columns, weights = np.empty(starts[-1], np.int64), np.empty(starts[-1])
    in_parts(
        count,
        lambda a, b: neighbours.encode(
            unit, half, farthest, members, counts, starts, a, b, columns, weights
        ),
    )
    sparse = Sparse(starts, columns, weights)
    return sparse if k2 == 1 else _averaged(sparse, index, k2)


def _reciprocal(index: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k-reciprocal neighbours of every row (N x k, int32) and how many there are (N)."""
    members, counts = np.empty((len(index), k), np.int32), np.empty(len(index), np.int64)
    in_parts(len(index), lambda a, b: neighbours.reciprocal(index, k, a, b, members, counts))
    return members, counts


def _averaged(sparse: Sparse, index: np.ndarray, k2: int) -> Sparse:
    count = len(index)
    starts = np.zeros(count + 1, np.int64)
    fields = sparse.starts, sparse.columns, sparse.weights
    columns, weights = np.empty(0, np.int64), np.empty(0)
    in_parts(
        count, lambda a, b: neighbours.average(index, k2, *fields, a, b, starts, columns, weights)
    )
    starts = np.cumsum(starts)
    columns, weights = np.empty(starts[-1], np.int64), np.empty(starts[-1])
    in_parts(
        count, lambda a, b: neighbours.average(index, k2, *fields, a, b, starts, columns, weights)
    )
    return Sparse(starts, columns, weights)
