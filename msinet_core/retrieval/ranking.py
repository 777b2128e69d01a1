"""`rank`: exact retrieval metrics from features, without sorting and without a distance matrix.

Conventions (METHOD: evaluation; Zheng et al., ICCV 2015 for mAP and CMC; Ye et al., TPAMI 2021 for
mINP). Distances are Euclidean between L2-normalised features. Equal distances rank in gallery
order: the earlier gallery row comes first. Unit vectors are rounded to multiples of 2^-26 and
compared exactly, so the result depends on no block size, no number of threads and no machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from msinet_core.errors import ReidError
from msinet_core.retrieval import counting
from msinet_core.retrieval.checks import (
    feature_array,
    in_parts,
    product_error,
    require_same_length,
    unit_rows,
)
from msinet_core.retrieval.device import count_closer
from msinet_core.retrieval.matches import JUNK, Matches, find_matches
from msinet_core.retrieval.products import BLOCKS, full_precision_products, product_blocks


@dataclass(frozen=True)
class RankList:
    """The head of one query's ranked gallery: row numbers of the gallery, distances, and which
    match.
    """

    gallery_index: np.ndarray  # k, int64
    distance: np.ndarray  # k, float64, ascending
    is_match: np.ndarray  # k, bool


@dataclass(frozen=True)
class Ranking:
    """Metrics of Q queries. Queries without a match do not count: their AP is NaN, their first
    match 0.
    """

    average_precision: np.ndarray  # Q, float64
    first_match_rank: np.ndarray  # Q, int64, from 1
    inverse_negative_penalty: np.ndarray  # Q, float64: number of matches / rank of the last one
    num_matches: np.ndarray  # Q, int64
    max_rank: int = 50
    lister: Callable[[int, int], RankList] | None = field(default=None, repr=False, compare=False)

    @property
    def counted(self) -> np.ndarray:
        """Q, bool: the queries that have at least one match."""
        return self.num_matches > 0

    @property
    def num_counted(self) -> int:
        return int(self.counted.sum())

    @property
    def num_queries(self) -> int:
        return len(self.num_matches)

    @property
    def mean_average_precision(self) -> float:
        """mAP, 0 to 1; NaN where no query counts."""
        return self._mean(self.average_precision)

    @property
    def mean_inverse_negative_penalty(self) -> float:
        """mINP, 0 to 1; NaN where no query counts."""
        return self._mean(self.inverse_negative_penalty)

    @property
    def cmc(self) -> np.ndarray:
        """cmc[k - 1] = share of counted queries whose first match ranks k or better; `max_rank`
        values.
        """
        if not self.num_counted:
            return np.full(self.max_rank, np.nan)
        first = self.first_match_rank[self.counted]
        hits = np.bincount(first[first <= self.max_rank], minlength=self.max_rank + 1)[1:]
        return np.cumsum(hits) / len(first)

    def rank_k(self, k: int) -> float:
        """Share of counted queries with a match among the first k; any k from 1."""
        return self._mean(self.first_match_rank <= k)

    def _mean(self, values: np.ndarray) -> float:
        return float(values[self.counted].mean()) if self.num_counted else float("nan")

    def rank_list(self, query_index: int, k: int = 10) -> RankList:
        """The k nearest kept gallery rows of one query (fewer if fewer are kept), nearest first."""
        if self.lister is None:
            raise ReidError("this ranking was loaded without features, so it cannot list ranks")
        if not 0 <= query_index < self.num_queries:
            raise ReidError(
                f"there is no query {query_index}; queries are 0 to {self.num_queries - 1}"
            )
        if k < 1:
            raise ReidError(f"a rank list has at least 1 entry, but k = {k}")
        return self.lister(query_index, k)

    def metrics(self, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
        """mAP, rank-k and mINP as fractions, with the number of queries that counted."""
        return {
            "mAP": self.mean_average_precision,
            **{f"rank{k}": self.rank_k(k) for k in ks},
            "mINP": self.mean_inverse_negative_penalty,
            "queries": self.num_queries,
            "counted": self.num_counted,
        }

    def __repr__(self) -> str:
        values = self.metrics()
        shown = ", ".join(
            f"{name} {100 * values[name]:.2f} %"
            for name in ("mAP", "rank1", "rank5", "rank10", "mINP")
        )
        return f"Ranking({shown}; {self.num_counted} of {self.num_queries} queries count)"


def metrics_from_closer(
    matches: Matches, closer: np.ndarray, max_rank: int, lister: Any
) -> Ranking:
    """Metrics from closer[k], the number of kept gallery rows that come before match k."""
    count = len(matches.starts) - 1
    owner = np.repeat(np.arange(count), np.diff(matches.starts))[matches.kept]
    ranks = closer[matches.kept] + 1
    order = np.lexsort((ranks, owner))
    owner, ranks = owner[order], ranks[order]
    num = np.bincount(owner, minlength=count)
    start = np.cumsum(num) - num
    nth = np.arange(len(ranks)) - start[owner] + 1  # matches so far, this one included
    has = num > 0
    precision = np.bincount(owner, weights=nth / ranks, minlength=count)
    with np.errstate(invalid="ignore"):
        average_precision = precision / num
    first, penalty = np.zeros(count, np.int64), np.full(count, np.nan)
    first[has] = ranks[start[has]]
    penalty[has] = num[has] / ranks[(start + num - 1)[has]]
    return Ranking(average_precision, first, penalty, num.astype(np.int64), max_rank, lister)


def rank(
    query: Any,
    gallery: Any,
    query_identity: Any,
    gallery_identity: Any,
    query_camera: Any = None,
    gallery_camera: Any = None,
    *,
    same_camera: Literal["exclude", "keep"] = "exclude",
    junk_identities: Sequence[Any] = JUNK,
    distractor_identities: Sequence[Any] = (),
    max_rank: int = 50,
    query_block: int = BLOCKS[0],
    gallery_block: int = BLOCKS[1],
    threads: int | None = None,
    device: torch.device | str = "cpu",
) -> Ranking:
    """Exact mAP, CMC, mINP, per-query AP and first-match rank of features.

    `query` Q x D and `gallery` G x D, floating point, numpy or torch; they need not be normalised.
    Identities and cameras: integers or strings, one each row; no cameras means that nothing is
    removed for its camera. A query's gallery rows of its own identity and camera are removed
    (`same_camera="keep"` keeps them), and so are gallery rows of `junk_identities`; those of
    `distractor_identities` stay and never match. Queries without a match do not count.

    Equal distances rank in gallery order (see the module). Block sizes bound the memory (4 *
    query_block * gallery_block bytes beyond unit copies of the features), not the result; nor do
    `threads` (torch's number by default) and `device` (a GPU, say). Raises `ReidError` for anything
    that cannot be ranked: NaN, zero rows, mismatched lengths, missing labels.
    """
    query, gallery = (
        feature_array(query, "query features"),
        feature_array(gallery, "gallery features"),
    )
    require_same_length(query, gallery)
    _require_positive(max_rank=max_rank, query_block=query_block, gallery_block=gallery_block)
    matches = find_matches(
        query_identity,
        gallery_identity,
        query_camera,
        gallery_camera,
        (len(query), len(gallery)),
        same_camera=same_camera,
        junk_identities=junk_identities,
        distractor_identities=distractor_identities,
    )
    lister = partial(list_from_features, query, gallery, matches)
    query, gallery = unit_rows(query, "query"), unit_rows(gallery, "gallery", matches.kept_columns)
    compact, blocks = matches.without_junk(), (query_block, gallery_block)
    if torch.device(device).type == "cpu":
        closer = _count_all(query, gallery, compact, blocks, threads)
    else:
        closer = _count_on_device(query, gallery, compact, blocks, device)
    return metrics_from_closer(matches, closer, max_rank, lister)


def rank_distance(
    distance: Any,
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
    """`rank` for given distances, Q x G (re-ranked ones, say): smaller is closer, ties in gallery
    order.
    """
    distance = feature_array(distance, "distances")
    if np.isnan(distance).any():
        raise ReidError("the distances contain NaN, which cannot be ranked")
    _require_positive(max_rank=max_rank)
    matches = find_matches(
        query_identity,
        gallery_identity,
        query_camera,
        gallery_camera,
        distance.shape,
        same_camera=same_camera,
        junk_identities=junk_identities,
        distractor_identities=distractor_identities,
    )
    closer = np.zeros(len(matches.rows), np.int64)
    count_given(distance, 0, matches, closer)
    return metrics_from_closer(
        matches, closer, max_rank, partial(_list_from_distance, distance, matches)
    )


def count_given(
    distance: np.ndarray, first_query: int, matches: Matches, closer: np.ndarray
) -> None:
    """Fills closer[k] for the matches of the queries of a block of distances (B x G), from
    `first_query` on.
    """
    rows, starts, kept = matches.rows, matches.starts[first_query:], matches.kept

    def count(a: int, b: int) -> None:
        counting.count_closer_given(
            distance, (a, b), rows, starts, kept, matches.kept_columns, closer
        )

    in_parts(len(distance), count)


def list_from_features(
    query: np.ndarray, gallery: np.ndarray, matches: Matches, index: int, k: int
) -> RankList:
    """The exact head of a rank list: float32 finds the candidates, float64 orders them."""
    probe = unit_rows(query[index : index + 1], "query")
    columns = matches.columns_of(index)
    rough = np.empty(len(gallery), np.float32)
    for start in range(0, len(gallery), 4096):
        block = gallery[start : start + 4096]
        length = np.sqrt(np.einsum("nd,nd->n", block, block, dtype=np.float64))
        rough[start : start + 4096] = (block @ probe[0].astype(block.dtype)) / length
    rough = rough[columns]
    if k < len(rough):
        threshold = np.partition(rough, len(rough) - k)[len(rough) - k]
        columns = columns[rough >= threshold - 4 * product_error(query.shape[1])]
    near = unit_rows(gallery[columns], "gallery")
    scores = np.array([counting.dot(probe[0], row) for row in near])
    order = np.lexsort((columns, -scores))[:k]
    own = counting.dot(probe[0], probe[0])  # 1 but for the rounding; so a copy is at distance 0
    distance = np.sqrt(np.maximum(2 * (own - scores[order]), 0))
    return RankList(columns[order], distance, np.isin(columns[order], matches.of(index)))


def _list_from_distance(distance: np.ndarray, matches: Matches, index: int, k: int) -> RankList:
    return order_given(distance[index], matches, index, k)


def order_given(distance: np.ndarray, matches: Matches, index: int, k: int) -> RankList:
    """The head of a rank list by one query's distances (G)."""
    columns = matches.columns_of(index)
    order = np.argsort(distance[columns], kind="stable")[:k]
    columns = columns[order]
    return RankList(columns, distance[columns].astype(float), np.isin(columns, matches.of(index)))


def _require_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ReidError(f"{name} must be at least 1, not {value}")


def _count_all(
    query: np.ndarray,
    gallery: np.ndarray,
    matches: Matches,
    blocks: tuple[int, int],
    threads: int | None,
) -> np.ndarray:
    """Number of kept gallery rows before each match, by blocks of the matrix product."""
    rows, starts, kept = matches.rows, matches.starts, matches.kept
    scores, closer = np.zeros(len(rows)), np.zeros(len(rows), np.int64)
    margin = product_error(query.shape[1])

    def score(a: int, b: int) -> None:
        counting.match_scores(query, gallery, rows, starts, a, b, scores)

    def count(i: int, j: int, block: np.ndarray, a: int, b: int) -> None:
        counting.count_closer(
            block, query, gallery, i, j, (a, b), rows, starts, kept, scores, margin, closer
        )

    def exclude(a: int, b: int) -> None:
        counting.remove_excluded(rows, starts, scores, kept, a, b, closer)

    with full_precision_products():
        in_parts(len(query), score, threads)
        for i, j, block in product_blocks(query, gallery, blocks):
            in_parts(len(block), partial(count, i, j, block), threads)
        in_parts(len(query), exclude, threads)
    return closer


def _count_on_device(
    query: np.ndarray,
    gallery: np.ndarray,
    matches: Matches,
    blocks: tuple[int, int],
    device: torch.device | str,
) -> np.ndarray:
    margin = product_error(query.shape[1])
    with full_precision_products():
        return count_closer(
            query, gallery, matches.rows, matches.starts, matches.kept, margin, blocks, device
        )
