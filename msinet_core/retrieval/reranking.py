"""k-reciprocal re-ranking (Zhong et al., CVPR 2017) on a sparse graph of neighbours.

    R(i, k)   k-reciprocal neighbours: those of the k nearest of i that have i among their k nearest
    R*(i)     R(i, k1) and every R(j, k1 / 2), j in R(i, k1), that has over 2/3 of its members there
    V_i       exp(-d(i, j)) for j in R*(i), 0 elsewhere, divided by its sum; then the mean of V over
              the k2 nearest of i
    Jaccard   1 - m / (2 - m), m = sum_j min(V_ij, V_gj), as each V sums to 1
    distance  (1 - lambda) * Jaccard + lambda * d, d = squared distance / largest of the row

The usual code sorts an (Q + G) x (Q + G) matrix and multiplies dense encodings of that size. Only
the k1 + 1 nearest of each image enter the definition, and an encoding has some hundred entries, so
here nothing is quadratic but the blocks of one matrix product that pass through the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy import sparse

from msinet_core.data.matches import Matches
from msinet_core.errors import ReidError
from msinet_core.retrieval.device import (
    Mixer,
    computes,
    count_in_blocks,
    nearest_on_device,
    place_of,
)
from msinet_core.retrieval.features import (
    BLOCKS,
    feature_pair,
    in_parts,
    unit_rows,
)
from msinet_core.retrieval.metrics import Ranking, RankList
from msinet_core.retrieval.nearest import nearest_rows
from msinet_core.retrieval.ranking import count_given, list_given
from msinet_core.speed import tf32


def rerank(
    query: Any,
    gallery: Any,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    *,
    device: torch.device | str | None = None,
) -> np.ndarray:
    """Re-ranked distances, Q x G float32, 0 to 1, of features Q x D and G x D.

    Equal distances are ordered as in `rank`. `device`: where to compute, by default where the
    features are; a GPU's distances are within 1e-6 of a processor's. Memory beyond the features and
    the result: about 2 KB an image. For results too large to hold: `Reranking`. Raises `ReidError`
    for features that cannot be ranked, and for k1 or k2 that the set is too small for.
    """
    device = place_of(query, gallery) if device is None else device
    query, gallery = feature_pair(query, gallery)
    result = np.empty((len(query), len(gallery)), np.float32)
    prepared = Reranking.prepare(query, gallery, k1, k2, lambda_value, result, device=device)
    if not computes(device):
        prepared.mix(result, 0)
        return result
    for first, block in prepared.on_device().blocks():
        result[first : first + len(block)] = block.cpu().numpy()
    return result


@dataclass(frozen=True)
class Reranking:
    """Re-ranked distances of Q queries to G gallery rows, computed a block of queries at a time.

    `rows(first, last)` gives any block; nothing of size Q x G is held. `rank` computes on `device`,
    all else on the processor.
    """

    unit: np.ndarray  # (Q + G) x D, float32: queries, then gallery
    num_queries: int
    half: np.ndarray  # Q + G, half the squared lengths
    farthest: np.ndarray  # Q + G, largest squared distance of each row
    encodings: sparse.csr_matrix  # (Q + G) x (Q + G), V
    gallery: sparse.csc_matrix  # G x (Q + G), the gallery's V by column
    lambda_value: float
    device: torch.device | str = "cpu"

    @classmethod
    def prepare(
        cls,
        query: Any,
        gallery: Any,
        k1: int = 20,
        k2: int = 6,
        lambda_value: float = 0.3,
        similarity: np.ndarray | None = None,
        *,
        device: torch.device | str | None = None,
    ) -> Reranking:
        """Everything that does not grow with Q x G; arguments as of `rerank`. `similarity` (Q x G)
        takes the dot products of queries and gallery met on the way, on a processor.
        """
        device = place_of(query, gallery) if device is None else device
        query, gallery = feature_pair(query, gallery)
        _check(k1, k2, lambda_value, len(query) + len(gallery))
        unit = np.concatenate([unit_rows(query, "query"), unit_rows(gallery, "gallery")])
        half = 0.5 * np.einsum("nd,nd->n", unit, unit, dtype=np.float64)  # exact, see `counting`
        most = max(k1 + 1, k2)
        if computes(device):
            index, farthest = nearest_on_device(unit, half, most, device)
        else:
            index, farthest = nearest_rows(unit, half, most, similarity=similarity)
        encodings = encode(unit, half, farthest, index, k1, k2)
        theirs = encodings[len(query) :].tocsc().astype(np.float32)
        return cls(unit, len(query), half, farthest, encodings, theirs, lambda_value, device)

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
        with tf32():  # off, whatever the user has set
            torch.mm(unit[first:last], unit[self.num_queries :].T, out=torch.from_numpy(block))
        self.mix(block, first)
        return block

    def mix(self, block: np.ndarray, first: int) -> None:
        """Turn dot products of queries from `first` on with the whole gallery into distances, in
        place.
        """
        from msinet_core.retrieval.neighbours import mix

        mine, theirs = self._parts

        def work(a: int, b: int) -> None:
            mix(block, self.half, mine, theirs, self.farthest, self.lambda_value, first, a, b)

        in_parts(len(block), work)

    @property
    def _parts(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Starts, indices and weights of both encodings."""
        return [(v.indptr, v.indices, v.data) for v in (self.encodings, self.gallery)]

    def on_device(self) -> Mixer:
        """What gives the distances on the device."""
        arrays = self.unit, self.half, self.farthest
        return Mixer.on(self.device, arrays, self._parts, self.num_gallery, self.lambda_value)

    def rank(self, matches: Matches) -> Ranking:
        """Metrics by re-ranked distances, without ever holding them all."""
        if computes(self.device):
            closer = self._count_on_device(matches)
        else:
            closer = np.zeros(len(matches.rows), np.int64)
            for first, block in self.blocks():
                count_given(block, first, matches, closer)
        return Ranking.from_ranks(matches, closer, partial(self.rank_list, matches))

    def _count_on_device(self, matches: Matches) -> np.ndarray:
        kept = torch.from_numpy(np.flatnonzero(matches.kept_columns)).to(self.device)
        blocks = ((first, block[:, kept].neg_()) for first, block in self.on_device().blocks())
        return count_in_blocks(blocks, matches.without_junk())

    def rank_list(self, matches: Matches, index: int, k: int) -> RankList:
        """The head of one query's list."""
        return list_given(self.rows(index, index + 1)[0], matches, index, k)

    def blocks(self, size: int = BLOCKS[0]) -> Iterator[tuple[int, np.ndarray]]:
        """All queries in order, `size` at a time: first query and distances, which the next ones
        overwrite.
        """
        buffer = np.empty((min(size, self.num_queries), self.num_gallery), np.float32)
        for first in range(0, self.num_queries, size):
            last = min(first + size, self.num_queries)
            yield first, self.rows(first, last, buffer[: last - first])


def _check(k1: int, k2: int, lambda_value: float, count: int) -> None:
    if k1 < 1 or k2 < 1:
        raise ReidError(f"k1 and k2 must be at least 1, not {k1} and {k2}")
    if not 0 <= lambda_value <= 1:
        raise ReidError(f"lambda_value is a share from 0 to 1, not {lambda_value}")
    if count < max(k1 + 1, k2):
        raise ReidError(
            f"re-ranking with k1 = {k1} and k2 = {k2} needs {max(k1 + 1, k2)} images, but queries "
            f"and gallery are {count} together; choose smaller ones"
        )


def encode(
    unit: np.ndarray, half: np.ndarray, farthest: np.ndarray, index: np.ndarray, k1: int, k2: int
) -> sparse.csr_matrix:
    """V of all N rows, N x N, from their nearest rows (index: N x at least k1 + 1)."""
    wide = _reciprocal(index, k1 + 1)
    close = _reciprocal(index, int(np.around(k1 / 2)) + 1)
    joins = (wide @ close.T).multiply(wide).tocsr()  # how many of R(j, k1 / 2) lie in R(i, k1)
    joins.data = (3 * joins.data > 2 * close.getnnz(axis=1)[joins.indices]).astype(np.int32)
    members = (wide + joins @ close).tocsr()
    members.eliminate_zeros()
    members.data = np.exp(-_distances(unit, half, members) / np.repeat(farthest, _sizes(members)))
    total = np.asarray(members.sum(axis=1)).ravel()
    members.data /= np.repeat(total, _sizes(members))
    return members if k2 == 1 else (_nearest(index, k2) @ members / k2).tocsr()


def _nearest(index: np.ndarray, k: int) -> sparse.csr_matrix:
    """N x N: 1 where a column is among the k nearest of a row."""
    count = len(index)
    where = index[:, :k].ravel(), np.arange(0, count * k + 1, k)
    return sparse.csr_matrix((np.ones(count * k, np.int32), *where), (count, count))


def _reciprocal(index: np.ndarray, k: int) -> sparse.csr_matrix:
    """N x N: 1 where a column is in R(row, k)."""
    near = _nearest(index, k)
    return near.multiply(near.T).tocsr()


def _sizes(rows: sparse.csr_matrix) -> np.ndarray:
    return np.diff(rows.indptr)


def _distances(unit: np.ndarray, half: np.ndarray, pairs: sparse.csr_matrix) -> np.ndarray:
    """Squared distances of the pairs (row, column) that a matrix has entries for."""
    from msinet_core.retrieval.counting import match_scores

    dots = np.empty(pairs.nnz)
    starts, columns = pairs.indptr, pairs.indices
    in_parts(len(unit), lambda a, b: match_scores(unit, unit, columns, starts, a, b, dots))
    return 2.0 * (np.repeat(half, _sizes(pairs)) + half[columns] - dots)
