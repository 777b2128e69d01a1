"""Results on the same queries, compared query by query.

Intervals are of a paired bootstrap: whole queries are drawn with replacement, each with its scores
under both results, since what one network finds hard is hard for the other too. Percentiles are
widened for few queries as Student's t is (Hesterberg, The American Statistician 2015).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import ndtr, stdtrit  # of `scipy.stats`, which takes half a second to import

from msinet_core.data.boxes import BOX
from msinet_core.errors import ReidError
from msinet_core.retrieval.result import RetrievalResult

Interval = tuple[float, float]
KEY = ("path", *BOX, "identity", "camera")  # what tells one query from another


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are drawn.

    unit: what is drawn: a `query`, or an `identity` with all its queries, which is the wider and
        more honest interval where another set would have other identities. draws: resamples.
    """

    unit: Literal["query", "identity"] = "query"
    draws: int = 10_000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.unit not in ("query", "identity"):
            raise ReidError(f"unit is 'query' or 'identity', not {self.unit!r}")
        if self.draws < 1 or not 0 < self.confidence < 1:
            raise ReidError(
                "draws must be at least 1 and confidence between 0 and 1; got "
                f"{self.draws}, {self.confidence}"
            )

    def groups(self, table: pd.DataFrame) -> np.ndarray:
        """The number of the unit that each row belongs to."""
        if self.unit == "query":
            return np.arange(len(table))
        return pd.factorize(table["identity"])[0]

    def intervals(self, values: np.ndarray, groups: np.ndarray) -> list[Interval]:
        """Of the mean of each column of `values` (N x V), rows of a group drawn together."""
        counts = np.bincount(groups)
        sums = np.stack([np.bincount(groups, weights=column) for column in values.T], axis=1)
        means, rng = np.empty((self.draws, values.shape[1])), np.random.default_rng(self.seed)
        step = max(1, 2_000_000 // len(counts))  # draws at once, so that memory stays small
        for start in range(0, self.draws, step):
            shape = min(step, self.draws - start), len(counts)
            chosen = rng.integers(0, len(counts), shape)
            part = means[start : start + shape[0]]
            part[:] = np.stack([column[chosen].sum(1) for column in sums.T], axis=1)
            part /= counts[chosen].sum(1)[:, None]
        tail = self._tail(len(counts))
        low, high = np.quantile(means, [tail, 1 - tail], axis=0)
        return list(zip(low.tolist(), high.tolist(), strict=True))

    def _tail(self, count: int) -> float:
        """The share of the draws below an interval: less than (1 - confidence) / 2 for few units,
        whose resamples vary too little, by sqrt((n - 1) / n), and whose spread is itself a guess.
        """
        tail = (1 - self.confidence) / 2
        if count < 2:
            return tail
        return float(ndtr(np.sqrt(count / (count - 1)) * stdtrit(count - 1, tail)))


@dataclass(frozen=True)
class Comparison:
    """Scores of `b` minus those of `a` over the queries that count in both, with intervals of a
    paired bootstrap.

    `table` has the query table's columns and average_precision_a, average_precision_b, difference,
    first_match_rank_a, first_match_rank_b; only queries that count, index: their number.
    """

    difference: float  # in mAP
    interval: Interval
    rank1_difference: float
    rank1_interval: Interval
    better: int  # queries whose AP is higher in b
    worse: int
    how: Bootstrap
    table: pd.DataFrame = field(repr=False)

    @property
    def confidence(self) -> float:
        return self.how.confidence

    @property
    def significant(self) -> bool:
        """Whether the interval of mAP leaves zero out."""
        return not self.interval[0] <= 0 <= self.interval[1]

    def breakdown(self, column: str = "camera") -> pd.DataFrame:
        """The same of the queries of each value of a column of the query table."""
        if column not in self.table:
            columns = ", ".join(map(str, self.table.columns))
            raise ReidError(f"the query table has no column {column!r}; it has {columns}")
        rows = {
            value: _row(_of_queries(part, self.how))
            for value, part in self.table.groupby(column, sort=True, dropna=False)
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis(column)

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
    """Paired bootstrap of the differences in mAP and rank-1; options as in `Bootstrap`.

    `ReidError` if the results are not over the same queries.
    """
    return compared(a, b, Bootstrap(unit, draws, confidence, seed))


def compared(a: RetrievalResult, b: RetrievalResult, how: Bootstrap) -> Comparison:
    """`compare`, with its options as one value."""
    require_same_queries(a, b)
    counted = a.ranking.counted & b.ranking.counted
    if not counted.any():
        raise ReidError("no query counts in both results, so there is nothing to compare")
    one, two = a.ranking, b.ranking
    table = a.query_table[counted].assign(
        average_precision_a=one.average_precision[counted],
        average_precision_b=two.average_precision[counted],
        difference=(two.average_precision - one.average_precision)[counted],
        first_match_rank_a=one.first_match_rank[counted],
        first_match_rank_b=two.first_match_rank[counted],
    )
    return _of_queries(table, how)


def _of_queries(table: pd.DataFrame, how: Bootstrap) -> Comparison:
    difference = table["difference"].to_numpy()
    first = [(table[f"first_match_rank_{side}"] == 1).to_numpy(float) for side in "ab"]
    values = np.stack([difference, first[1] - first[0]], axis=1)
    intervals = how.intervals(values, how.groups(table))
    return Comparison(
        float(difference.mean()),
        intervals[0],
        float(values[:, 1].mean()),
        intervals[1],
        int((difference > 0).sum()),
        int((difference < 0).sum()),
        how,
        table,
    )


def comparison_table(
    results: Mapping[str, RetrievalResult], how: Bootstrap = Bootstrap()
) -> pd.DataFrame:
    """A row for each result: mAP and rank-1 (fractions) and, against the first one, differences,
    their intervals, and queries won, lost and equal. `ReidError` unless all have the same queries.
    """
    if len(results) < 2:
        raise ReidError("one result cannot be compared; give two or more")
    names = list(results)
    rows = {}
    for name in names:
        metrics = results[name].ranking.metrics()
        rows[name] = {"mAP": metrics["mAP"], "rank1": metrics["rank1"]}
    for name in names[1:]:
        rows[name] |= _row(compared(results[names[0]], results[name], how))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("result")


def metric_intervals(result: RetrievalResult, how: Bootstrap = Bootstrap()) -> pd.DataFrame:
    """mAP, rank-1, 5 and 10, and mINP of one result (fractions), each with its interval: columns
    value, low, high. `ReidError` if no query counts.
    """
    ranking, counted = result.ranking, result.ranking.counted
    if not counted.any():
        raise ReidError("no query counts, so there is nothing to measure")
    columns = {
        "mAP": ranking.average_precision,
        **{f"rank{k}": (ranking.first_match_rank <= k).astype(float) for k in (1, 5, 10)},
        "mINP": ranking.inverse_negative_penalty,
    }
    values = np.stack([column[counted] for column in columns.values()], axis=1)
    intervals = how.intervals(values, how.groups(result.query_table[counted]))
    table = pd.DataFrame(intervals, index=list(columns), columns=["low", "high"])
    table.insert(0, "value", values.mean(0))
    return table.rename_axis("metric")


def require_same_queries(*results: RetrievalResult) -> None:
    """`ReidError` unless all results are over the same queries in the same order: by path and box,
    and by identity and camera. Rows alone tell nothing: a table could have been shuffled.
    """
    for one, two in pairwise(result.query_table for result in results):
        if any("path" not in table for table in (one, two)):
            raise ReidError(
                "a query table without the column path does not say which queries are the same; "
                "add the paths of the images"
            )
        keys = [_keys(table) for table in (one, two)]
        if keys[0].equals(keys[1]):
            continue
        told = sorted(map(str, keys[0].to_numpy().tolist()))
        if told == sorted(map(str, keys[1].to_numpy().tolist())):
            raise ReidError(
                "the results have the same queries in another order (not over the same queries in "
                f"the same order), the first at query {_first_other(*keys)}; score both with one "
                "table"
            )
        place = "" if len(one) != len(two) else f", the first at query {_first_other(*keys)}"
        raise ReidError(
            "the results are not over the same queries, so they cannot be paired: "
            f"{len(one):,} and {len(two):,} queries{place}"
        )


def _keys(table: pd.DataFrame) -> pd.DataFrame:
    """What tells queries apart; nothing, however it is written, as an empty text."""
    keys = table.reindex(columns=KEY).astype(object)
    return keys.mask(keys.isna(), "").reset_index(drop=True)


def _first_other(one: pd.DataFrame, two: pd.DataFrame) -> int:
    return 1 + int(np.argmax((one != two).any(axis=1).to_numpy(bool)))


def _row(found: Comparison) -> dict[str, float]:
    """A comparison as a row of numbers."""
    return {
        "queries": len(found.table),
        "mAP_difference": found.difference,
        "mAP_low": found.interval[0],
        "mAP_high": found.interval[1],
        "rank1_difference": found.rank1_difference,
        "rank1_low": found.rank1_interval[0],
        "rank1_high": found.rank1_interval[1],
        "won": found.better,
        "lost": found.worse,
        "equal": len(found.table) - found.better - found.worse,
    }
