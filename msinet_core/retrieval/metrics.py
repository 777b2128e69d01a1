"""Retrieval metrics from the ranks of the matches (`docs/method.md`, evaluation).

A query's matches stand at ranks r_1 < r_2 < ... < r_m among the gallery rows that are kept for it:

    AP   = 1/m * sum_k k / r_k          average precision; mAP is its mean over the queries
    CMC  at k = share of the queries with r_1 <= k
    INP  = m / r_m                      inverse negative penalty; mINP is its mean

Queries without a match do not count. (Zheng et al., ICCV 2015 for mAP and CMC; Ye et al., TPAMI
2021 for mINP.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from msinet_core.data.matches import Matches
from msinet_core.errors import ReidError

MAX_RANK = 50


@dataclass(frozen=True)
class RankList:
    """The head of one query's ranked gallery: row numbers of the gallery, distances, and which
    match.
    """

    gallery_index: np.ndarray  # k, int64
    distance: np.ndarray  # k, float64, ascending
    is_match: np.ndarray  # k, bool


Lister = Callable[[int, int], RankList]  # (query, k) -> the head of its list


@dataclass(frozen=True)
class Ranking:
    """Metrics of Q queries. Queries without a match do not count: their AP is NaN, their first
    match 0.
    """

    average_precision: np.ndarray  # Q, float64
    first_match_rank: np.ndarray  # Q, int64, from 1
    inverse_negative_penalty: np.ndarray  # Q, float64: number of matches / rank of the last one
    num_matches: np.ndarray  # Q, int64
    max_rank: int = MAX_RANK
    lister: Lister | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_ranks(
        cls, matches: Matches, closer: np.ndarray, lister: Lister | None = None
    ) -> Ranking:
        """From closer[k], the number of kept gallery rows that come before match k."""
        queries = len(matches.starts) - 1
        owner, ranks = matches.owner[matches.kept], closer[matches.kept] + 1
        order = np.lexsort((ranks, owner))
        owner, ranks = owner[order], ranks[order]
        count = np.bincount(owner, minlength=queries)
        first = np.cumsum(count) - count  # where a query's ranks begin
        nth = np.arange(len(ranks)) - first[owner] + 1  # matches so far, this one included
        precision = np.bincount(owner, weights=nth / ranks, minlength=queries)
        with np.errstate(invalid="ignore"):
            average_precision = precision / count
        has = count > 0
        first_match, penalty = np.zeros(queries, np.int64), np.full(queries, np.nan)
        first_match[has] = ranks[first[has]]
        penalty[has] = count[has] / ranks[(first + count - 1)[has]]
        return cls(average_precision, first_match, penalty, count.astype(np.int64), lister=lister)

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
                f"there is no query of index {query_index}; of {self.num_queries} queries the "
                f"index is 0 to {self.num_queries - 1}"
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
        counts = f"{self.num_counted} of {self.num_queries} queries count"
        return f"Ranking({in_percent(self.metrics())}; {counts})"


def in_percent(metrics: dict[str, float]) -> str:
    """`mAP 21.80 %, rank1 30.00 %, ...`"""
    names = ("mAP", "rank1", "rank5", "rank10", "mINP")
    return ", ".join(f"{name} {100 * metrics[name]:.2f} %" for name in names)
