"""How far metrics would move with other identities: a bootstrap."""

from __future__ import annotations

import numpy as np
import pandas as pd

from msinet_core.retrieval import RetrievalResult

DRAWS, CONFIDENCE = 2000, 0.95


def metric_intervals(result: RetrievalResult, seed: int = 0) -> pd.DataFrame:
    """Rows mAP, rank1, rank5, rank10, mINP; columns value, low, high (fractions): percentiles over
    redrawn identities, all queries of one together. Empty where no query counts.
    """
    ranking = result.ranking
    counted = ranking.counted
    if not counted.any():
        return pd.DataFrame(columns=["value", "low", "high"])
    first = ranking.first_match_rank
    values = pd.DataFrame(
        {
            "mAP": ranking.average_precision,
            **{f"rank{k}": first <= k for k in (1, 5, 10)},
            "mINP": ranking.inverse_negative_penalty,
        }
    )[counted].astype(float)
    groups = values.groupby(pd.factorize(result.query_table["identity"][counted])[0])
    sums, sizes = groups.sum().to_numpy(), groups.size().to_numpy()
    rng = np.random.default_rng(seed)
    count = len(sizes)
    times = rng.multinomial(count, np.full(count, 1 / count), DRAWS)  # how often each is drawn
    means = times @ sums / (times @ sizes)[:, None]
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return pd.DataFrame({"value": values.mean(), "low": low, "high": high})
