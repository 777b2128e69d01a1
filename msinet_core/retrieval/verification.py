"""Same or different? Distances of matching and other pairs, ROC, and a threshold chosen on other
identities.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from msinet_core.data import Protocol
from msinet_core.data.matches import Matches
from msinet_core.errors import ReidError
from msinet_core.retrieval.features import (
    feature_array,
    in_parts,
    product_blocks,
    unit_rows,
)
from msinet_core.retrieval.ranking import label_table
from msinet_core.retrieval.result import RetrievalResult

BINS = 1 << 16  # of the cosine, -1 to 1: pairs are told apart to 3e-5
FALSE_POSITIVE_RATES = (1e-1, 1e-2, 1e-3, 1e-4)


@dataclass(frozen=True)
class Pairs:
    """How many pairs of the same identity (`positive`) and of different ones (`negative`) at each
    distance.

    Bin b of both (int64, BINS) holds cosines from -1 + 2b / BINS on. Distances are Euclidean
    between L2-normalised features: sqrt(2 - 2 cosine).
    """

    positive: np.ndarray
    negative: np.ndarray

    def histogram(self, bins: int = 50) -> pd.DataFrame:
        """Shares of both kinds in equal steps of distance from 0 to 2: columns distance (the
        middle), positive, negative.
        """
        middle = -1 + (2 * np.arange(BINS) + 1) / BINS
        where = np.minimum((np.sqrt(2 - 2 * middle) / 2 * bins).astype(int), bins - 1)
        table = {"distance": (np.arange(bins) + 0.5) * 2 / bins}
        for name in ("positive", "negative"):
            counts = np.bincount(where, weights=getattr(self, name), minlength=bins)
            table[name] = counts / max(counts.sum(), 1)
        return pd.DataFrame(table)

    def roc(self) -> Roc:
        """`ReidError` if there is no pair of one of the kinds."""
        if not self.positive.sum() or not self.negative.sum():
            kind = "same" if not self.positive.sum() else "different"
            raise ReidError(
                f"there is no pair of {kind} identities, so there is nothing to tell apart"
            )
        rates = [
            np.cumsum(counts[::-1]) / counts.sum() for counts in (self.positive, self.negative)
        ]
        return Roc(rates[1], rates[0])


@dataclass(frozen=True)
class Roc:
    """Receiver operating characteristic: rates when all pairs up to a distance are called the same.

    Entry i of both (BINS, ascending): pairs with a cosine of at least 1 - 2 (i + 1) / BINS.
    """

    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray

    def distance(self, entry: int) -> float:
        """The distance up to which pairs are called the same at an entry."""
        return float(np.sqrt(4 * (entry + 1) / BINS))

    def true_positive_rate_at(self, rate: float) -> float:
        """The largest true positive rate at a false positive rate of at most `rate`."""
        entry = int(np.searchsorted(self.false_positive_rate, rate, side="right")) - 1
        return float(self.true_positive_rate[entry]) if entry >= 0 else 0.0

    @property
    def equal_error(self) -> tuple[float, float]:
        """Equal error rate (0 to 1) and the distance at which it is reached."""
        misses = 1 - self.true_positive_rate
        entry = int(np.argmin(np.abs(misses - self.false_positive_rate)))
        return float((misses[entry] + self.false_positive_rate[entry]) / 2), self.distance(entry)

    def at(self, distance: float) -> dict[str, float]:
        """Both rates when pairs up to this distance are called the same."""
        entry = min(int(np.floor(distance**2 / 4 * BINS)), BINS) - 1
        rates = self.true_positive_rate, self.false_positive_rate
        true, false = (float(rate[entry]) if entry >= 0 else 0.0 for rate in rates)
        return {"distance": distance, "true_positive_rate": true, "false_positive_rate": false}

    def threshold(self, false_positive_rate: float | None = None) -> float:
        """The distance to call pairs the same up to: at the equal error rate, or at a false
        positive rate.
        """
        if false_positive_rate is None:
            return self.equal_error[1]
        entry = (
            int(np.searchsorted(self.false_positive_rate, false_positive_rate, side="right")) - 1
        )
        return self.distance(entry) if entry >= 0 else 0.0

    def curve(self, points: int = 200) -> pd.DataFrame:
        """For drawing: false_positive_rate (log-spaced from 1e-6 to 1), true_positive_rate."""
        rates = np.logspace(-6, 0, points)
        return pd.DataFrame(
            {
                "false_positive_rate": rates,
                "true_positive_rate": [self.true_positive_rate_at(rate) for rate in rates],
            }
        )

    def summary(self) -> dict[str, float]:
        """TPR at FPR 1e-1 to 1e-4, equal error rate, and its threshold."""
        rate, distance = self.equal_error
        found = {
            f"TPR at FPR {at:g}": self.true_positive_rate_at(at) for at in FALSE_POSITIVE_RATES
        }
        return {**found, "equal error rate": rate, "threshold": distance}

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in self.summary().items())
        return f"Roc({shown})"


@dataclass(frozen=True)
class Transfer:
    """A threshold chosen on one set of pairs and what it does on another: rates as `Roc.at` gives
    them.
    """

    chosen: dict[str, float]
    here: dict[str, float]

    @property
    def table(self) -> pd.DataFrame:
        """Rows `chosen` and `here`: distance, true and false positive rate."""
        return pd.DataFrame({"chosen": self.chosen, "here": self.here}).T

    def __repr__(self) -> str:
        words = (
            f"{name} TPR {100 * rates['true_positive_rate']:.2f} %, "
            f"FPR {100 * rates['false_positive_rate']:.3g} %"
            for name, rates in (("where chosen", self.chosen), ("here", self.here))
        )
        return f"threshold {self.chosen['distance']:.4f}: {'; '.join(words)}"


def transfer(chosen_on: Roc, here: Roc, false_positive_rate: float | None = None) -> Transfer:
    """The threshold of `Roc.threshold` on one ROC, and the rates that it brings on another.

    On the pairs that it is then shown on a threshold always looks as good as it was chosen to be:
    take training identities (`count_pairs_within`) or another split for choosing.
    """
    distance = chosen_on.threshold(false_positive_rate)
    return Transfer(chosen_on.at(distance), here.at(distance))


def count_pairs(result: RetrievalResult) -> Pairs:
    """Query-gallery pairs of a result, by its protocol: what the ranking leaves out is left out
    here.
    """
    matches = result.matches
    query = unit_rows(feature_array(result.query_features, "query features"), "query")
    gallery = feature_array(result.gallery_features, "gallery features")
    unit = unit_rows(gallery, "gallery", matches.kept_columns)
    return _count(query, unit, matches.without_junk(), False)


def count_pairs_within(features: Any, identities: Any, cameras: Any = None) -> Pairs:
    """All pairs of different rows of one set (N x D), such as the training images.

    With cameras, pairs of the same identity and camera do not count. For a threshold:
    `count_pairs_within(train_features, train_identities, train_cameras).roc().threshold()`, chosen
    on identities that the test does not see.
    """
    unit = unit_rows(feature_array(features, "features"), "features")
    table = label_table(identities, cameras, len(unit), "")
    return _count(unit, unit, Matches.find(table, table, Protocol()), True)


def _count(query: np.ndarray, gallery: np.ndarray, matches: Matches, once: bool) -> Pairs:
    """`once` takes only pairs of a row with later ones."""
    from msinet_core.retrieval import counting

    rows, starts, kept = matches.rows, matches.starts, matches.kept
    found: list[np.ndarray] = []

    def work(i: int, j: int, block: np.ndarray, a: int, b: int) -> None:
        counts = np.zeros((2, BINS), np.int64)
        counting.count_pairs(block, (i, j), (a, b), rows, starts, kept, once, counts)
        found.append(counts)

    total = np.zeros((2, BINS), np.int64)
    for i, j, block in product_blocks(query, gallery):
        in_parts(len(block), partial(work, i, j, block))
        total += np.sum(found, axis=0)
        found.clear()
    return Pairs(total[1], total[0])
