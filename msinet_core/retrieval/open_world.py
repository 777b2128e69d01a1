"""Open set: queries of identities that the gallery does not hold must raise no alarm.

With a threshold t on the distance, of queries whose identity is in the gallery (known) and of
others (unknown):

    FAR(t)    = share of unknown queries with any gallery entry nearer than t    false alarm rate
    DIR(t, k) = share of known queries whose first match ranks k or better and is nearer than t

DIR is the detection and identification rate; at FAR 1 it is CMC at k. (Phillips et al., Handbook of
Face Recognition; Liao et al., arXiv 1408.0872, for persons.)
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from msinet_core.errors import ReidError
from msinet_core.retrieval.features import feature_array, product_blocks, unit_rows
from msinet_core.retrieval.result import RetrievalResult

FALSE_ALARM_RATES = (1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class OpenSet:
    """Distances are Euclidean between L2-normalised features."""

    known_distance: np.ndarray = field(repr=False)  # of the first match of each known query
    known_rank: np.ndarray = field(repr=False)  # of that match, from 1
    unknown_distance: np.ndarray = field(repr=False)  # of what is nearest to each unknown query

    def threshold(self, false_alarm_rate: float) -> float:
        """The largest distance t for which FAR(t) is at most this rate."""
        if not 0 <= false_alarm_rate <= 1:
            raise ReidError(f"a false alarm rate lies between 0 and 1, not {false_alarm_rate}")
        allowed = int(np.floor(false_alarm_rate * len(self.unknown_distance) + 1e-9))
        if allowed == len(self.unknown_distance):
            return float("inf")
        return float(np.partition(self.unknown_distance, allowed)[allowed])

    def identification_rate(self, false_alarm_rate: float, k: int = 1) -> float:
        """DIR at rank k where the threshold allows this false alarm rate."""
        near = self.known_distance < self.threshold(false_alarm_rate)
        return float((near & (self.known_rank <= k)).mean())

    def at(self, distance: float, k: int = 1) -> dict[str, float]:
        """Both rates at a threshold that was chosen elsewhere."""
        known = (self.known_distance < distance) & (self.known_rank <= k)
        return {
            "distance": distance,
            "DIR": float(known.mean()),
            "FAR": float((self.unknown_distance < distance).mean()),
        }

    def curve(self, k: int = 1, points: int = 200) -> pd.DataFrame:
        """For drawing: false_alarm_rate (log-spaced, from that of one query to 1) and
        identification_rate.
        """
        rates = np.geomspace(1 / len(self.unknown_distance), 1, points)
        found = [self.identification_rate(rate, k) for rate in rates]
        return pd.DataFrame({"false_alarm_rate": rates, "identification_rate": found})

    def summary(self, k: int = 1) -> dict[str, float]:
        """DIR at FAR 0.1, 1 and 10 % (those that so few unknown queries can show), and counts."""
        least = 1 / len(self.unknown_distance)
        rates = {
            f"DIR at FAR {rate:g}": self.identification_rate(rate, k)
            for rate in FALSE_ALARM_RATES
            if rate >= least
        }
        known, unknown = len(self.known_distance), len(self.unknown_distance)
        return {**rates, "known queries": known, "unknown queries": unknown}

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in self.summary().items())
        return f"OpenSet({shown})"


def open_set(result: RetrievalResult, unknown_share: float = 0.0, seed: int = 0) -> OpenSet:
    """The queries of a result as known and unknown ones.

    Unknown are queries that no gallery entry matches under the protocol. Where the data has none,
    or too few, the gallery entries of this share of the identities, drawn with `seed`, are taken
    out, which makes strangers of their queries. By the distances of the features (a re-ranked
    distance of one query depends on the others, and serves no threshold).
    """
    if not 0 <= unknown_share < 1:
        raise ReidError(f"unknown_share lies between 0 and 1, not {unknown_share}")
    if unknown_share:
        result = _without_identities(result, unknown_share, seed)
    elif result.reranked_by is not None:
        result = _scored_again(result, np.ones(len(result.gallery_table), bool))
    nearest, first = _distances(result)
    known = result.ranking.counted
    if not known.any() or known.all():
        kind = "unknown" if known.all() else "known"
        raise ReidError(
            f"there is no {kind} query: give unknown_share (--open-set 0.5), which takes the "
            "gallery entries of so many identities out"
        )
    return OpenSet(first[known], result.ranking.first_match_rank[known], nearest[~known])


def _without_identities(result: RetrievalResult, share: float, seed: int) -> RetrievalResult:
    table = result.gallery_table
    tested = np.sort(result.query_table["identity"][result.ranking.counted].unique())
    count = min(max(1, round(share * len(tested))), len(tested) - 1)
    gone = np.random.default_rng(seed).permutation(tested)[:count]
    return _scored_again(result, ~table["identity"].isin(gone).to_numpy(bool))


def _scored_again(result: RetrievalResult, kept: np.ndarray) -> RetrievalResult:
    features = result.query_features, result.gallery_features[kept]
    tables = result.query_table, result.gallery_table[kept]
    return RetrievalResult.score(*features, *tables, result.protocol, device=result.device)


def _distances(result: RetrievalResult) -> tuple[np.ndarray, np.ndarray]:
    """Of each query the distance of the nearest ranked gallery row, and of its first match
    (infinity where there is none).
    """
    matches = result.matches
    query = unit_rows(feature_array(result.query_features, "query features"), "query")
    gallery = feature_array(result.gallery_features, "gallery features")
    gallery, matches = unit_rows(gallery, "gallery", matches.kept_columns), matches.without_junk()
    best = np.full((2, len(query)), -np.inf)  # cosines: of any row, of a match
    for i, j, block in product_blocks(query, gallery):
        for row, cosine in enumerate(block, i):
            part = slice(matches.starts[row], matches.starts[row + 1])
            own, kept = matches.rows[part] - j, matches.kept[part]
            here = (own >= 0) & (own < len(cosine))
            best[1, row] = max(best[1, row], cosine[own[here & kept]].max(initial=-np.inf))
            cosine[own[here & ~kept]] = -np.inf
            best[0, row] = max(best[0, row], cosine.max(initial=-np.inf))
    nearest, first = np.sqrt(np.maximum(2 - 2 * best, 0))
    return nearest, first
