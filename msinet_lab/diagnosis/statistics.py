"""Statistics that the diagnostics share: a place among others, rank correlation, an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from msinet_core.errors import ReidError


def kendall_tau_b(x: Any, y: Any) -> float:
    """Rank correlation with correction for ties, -1 to 1; NaN where one side is constant.

    >>> kendall_tau_b([1, 2, 3], [1, 2, 3]), kendall_tau_b([1, 2, 3], [3, 2, 1])
    (1.0, -1.0)
    """
    shapes = np.shape(x), np.shape(y)
    if shapes[0] != shapes[1] or np.ndim(x) != 1:
        raise ReidError(
            f"two rankings of the same things are needed; got shapes {shapes[0]} and {shapes[1]}"
        )
    return float(stats.kendalltau(x, y).statistic)


@dataclass(frozen=True)
class Place:
    """Where a score lies among N others.

    percentile: per cent of the others below it, equal ones counted half. p: (1 + number at least as
    good) / (N + 1), the chance of doing so well by drawing at random.
    """

    score: float
    others: tuple[float, ...]
    percentile: float
    p: float


def place_among(score: float, others: Sequence[float]) -> Place:
    """The place of one score among others.

    >>> place = place_among(0.5, [0.1, 0.2, 0.3, 0.9])
    >>> place.percentile, place.p
    (75.0, 0.4)
    """
    if not len(others):
        raise ReidError("there is nothing to compare with; evaluate at least one random genotype")
    values = np.asarray(others, dtype=np.float64)
    percentile = float(stats.percentileofscore(values, score, kind="mean"))
    p = (1 + int((values >= score).sum())) / (len(values) + 1)
    return Place(float(score), tuple(values.tolist()), percentile, p)


def mean_interval(values: Any) -> tuple[float, float, float]:
    """Mean and the ends of its 95 % interval by Student's t; infinitely wide for a single value.

    >>> mean_interval([1.0, 1.0, 1.0])
    (1.0, 1.0, 1.0)
    """
    array = np.asarray(values, dtype=np.float64)
    if not len(array):
        raise ReidError("a mean needs at least one value")
    mean, freedom = float(array.mean()), len(array) - 1
    if not freedom:
        return mean, -float("inf"), float("inf")
    half = float(stats.t.ppf(0.975, freedom) * stats.sem(array))
    return mean, mean - half, mean + half
