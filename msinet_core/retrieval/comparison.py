"""Two results on the same queries, compared query by query."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from msinet_core.errors import ReidError
from msinet_core.retrieval.result import RetrievalResult


@dataclass(frozen=True)
class Comparison:
    """mAP of `b` minus that of `a` over the queries that count in both, with a paired bootstrap
    interval.

    `table` has the query table's columns and average_precision_a, average_precision_b, difference,
    first_match_rank_a, first_match_rank_b; only queries that count, index: their number.
    """

    difference: float
    interval: tuple[float, float]
    confidence: float
    better: int  # queries whose AP is higher in b
    worse: int
    table: pd.DataFrame = field(repr=False)

    @property
    def significant(self) -> bool:
        """Whether the interval leaves zero out."""
        return not self.interval[0] <= 0 <= self.interval[1]

    def __repr__(self) -> str:
        low, high = (100 * value for value in self.interval)
        return (
            f"Comparison(mAP {100 * self.difference:+.2f} points, {100 * self.confidence:g} % "
            f"interval {low:+.2f} to {high:+.2f}; {self.better} queries better, {self.worse} worse "
            f"of {len(self.table)})"
        )


def compare(
    a: RetrievalResult,
    b: RetrievalResult,
    *,
    unit: Literal["query", "identity"] = "query",
    draws: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Paired bootstrap (percentile) of the difference in mAP.

    Whole queries are drawn with replacement, both results' AP together; with `unit="identity"` all
    queries of an identity together, which is the wider and more honest interval where an identity
    has several queries. `ReidError` if the results are not over the same queries.
    """
    if unit not in ("query", "identity"):
        raise ReidError(f"unit is 'query' or 'identity', not {unit!r}")
    if draws < 1 or not 0 < confidence < 1:
        raise ReidError(
            f"draws must be at least 1 and confidence between 0 and 1; got {draws}, {confidence}"
        )
    require_same_queries(a, b)
    counted = a.ranking.counted & b.ranking.counted
    if not counted.any():
        raise ReidError("no query counts in both results, so there is nothing to compare")
    table = a.query_table[counted].assign(
        average_precision_a=a.ranking.average_precision[counted],
        average_precision_b=b.ranking.average_precision[counted],
        difference=(b.ranking.average_precision - a.ranking.average_precision)[counted],
        first_match_rank_a=a.ranking.first_match_rank[counted],
        first_match_rank_b=b.ranking.first_match_rank[counted],
    )
    difference = table["difference"].to_numpy()
    groups = np.arange(len(table)) if unit == "query" else pd.factorize(table["identity"])[0]
    means = _bootstrap(difference, groups, draws, seed)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Comparison(
        float(difference.mean()),
        (float(low), float(high)),
        confidence,
        int((difference > 0).sum()),
        int((difference < 0).sum()),
        table,
    )


def require_same_queries(a: RetrievalResult, b: RetrievalResult) -> None:
    """`ReidError` unless the two results are over the same query images in the same order: by path,
    identity and camera, or whatever of these both tables have.
    """
    one, two = (
        result.query_table.reindex(columns=["path", "identity", "camera"]).astype(object)
        for result in (a, b)
    )
    if len(one) != len(two) or not one.equals(two):
        place = "" if len(one) != len(two) else f", the first at query {_first_other(one, two)}"
        raise ReidError(
            "the two results are not over the same queries in the same order, so they cannot be "
            f"paired: {len(one):,} and {len(two):,} queries{place}"
        )


def _first_other(one: pd.DataFrame, two: pd.DataFrame) -> int:
    differs = (one != two) & ~(one.isna() & two.isna())
    return int(np.argmax(differs.any(axis=1).to_numpy(bool)))


def _bootstrap(values: np.ndarray, groups: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Means of `draws` resamples of whole groups."""
    rng = np.random.default_rng(seed)
    sums, sizes = np.bincount(groups, weights=values), np.bincount(groups)
    means = np.empty(draws)
    step = max(1, 2_000_000 // len(sums))  # draws at once, so that memory stays small
    for start in range(0, draws, step):
        chosen = rng.integers(0, len(sums), (min(step, draws - start), len(sums)))
        means[start : start + len(chosen)] = sums[chosen].sum(1) / sizes[chosen].sum(1)
    return means
