"""The few statistics that the diagnostics need: rank correlation, a place among others, a mean's
interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from msinet_core.errors import ReidError

# 97.5 % quantiles of Student's t with 1, 2, ... 30 degrees of freedom.
T_QUANTILES = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
    2.120,
    2.110,
    2.101,
    2.093,
    2.086,
    2.080,
    2.074,
    2.069,
    2.064,
    2.060,
    2.056,
    2.052,
    2.048,
    2.045,
    2.042,
)


def kendall_tau_b(x: Any, y: Any) -> float:
    """Rank correlation with correction for ties, -1 to 1; NaN where one side is constant.

    >>> kendall_tau_b([1, 2, 3], [1, 2, 3]), kendall_tau_b([1, 2, 3], [3, 2, 1])
    (1.0, -1.0)
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in (x, y))
    if first.shape != second.shape or first.ndim != 1:
        raise ReidError(
            f"two rankings of the same things are needed; got shapes {first.shape} and {second.shape}"
        )
    upper = np.triu_indices(len(first), 1)
    one = np.sign(first[:, None] - first)[upper]
    two = np.sign(second[:, None] - second)[upper]
    scale = np.sqrt((one**2).sum() * (two**2).sum())
    return float((one * two).sum() / scale) if scale else float("nan")


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
    below, equal = float((values < score).sum()), float((values == score).sum())
    at_least = float((values >= score).sum())
    return Place(
        float(score),
        tuple(values.tolist()),
        100 * (below + equal / 2) / len(values),
        (1 + at_least) / (len(values) + 1),
    )


def mean_interval(values: Any) -> tuple[float, float, float]:
    """Mean and the ends of its 95 % interval by Student's t; infinitely wide for a single value.

    >>> mean_interval([1.0, 1.0, 1.0])
    (1.0, 1.0, 1.0)
    """
    array = np.asarray(values, dtype=np.float64)
    if not len(array):
        raise ReidError("a mean needs at least one value")
    mean = float(array.mean())
    if len(array) == 1:
        return mean, -float("inf"), float("inf")
    quantile = T_QUANTILES[min(len(array) - 1, len(T_QUANTILES)) - 1]
    half = quantile * float(array.std(ddof=1)) / np.sqrt(len(array))
    return mean, float(mean - half), float(mean + half)
