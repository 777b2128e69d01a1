"""Open set and multi-query, against loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from msinet_core.data import Protocol
from msinet_core.errors import ReidError
from msinet_core.retrieval import (
    RetrievalResult,
    count_pairs,
    count_pairs_within,
    open_set,
    transfer,
)


def scored(case, **rules):
    tables = [
        pd.DataFrame(
            {
                "path": [f"{side}{row}" for row in range(len(getattr(case, side)))],
                "identity": getattr(case, f"{side}_identity"),
                "camera": getattr(case, f"{side}_camera"),
            }
        )
        for side in ("query", "gallery")
    ]
    return RetrievalResult.score(case.query, case.gallery, *tables, Protocol(**rules))


def unit(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def naive(case, junk=-1):
    """Of each query: distance of the nearest, of the first match, and that one's rank."""
    found = []
    for q in range(len(case.query)):
        distances = np.linalg.norm(unit(case.gallery) - unit(case.query)[q], axis=1)
        same = case.gallery_identity == case.query_identity[q]
        out = (case.gallery_identity == junk) | (
            same & (case.gallery_camera == case.query_camera[q])
        )
        distances[out] = np.inf
        matches = distances[same & ~out]
        first = matches.min() if len(matches) else np.inf
        found.append((distances.min(), first, 1 + (distances < first).sum()))
    return np.array(found).T


def test_rates_equal_loops(crowd):
    case = crowd(0, queries=80, gallery=300, identities=25)
    case.gallery_identity[:20] = -1
    stranger = np.isin(case.query_identity, (3, 8, 9, 10, 11, 12))
    case.gallery_identity[np.isin(case.gallery_identity, (3, 8, 9, 10, 11, 12))] = 99
    nearest, first, rank = naive(case)
    found = open_set(scored(case, junk_identities=(-1,)))
    known = np.isfinite(first)
    assert (~known)[stranger].all()
    assert (len(found.known_rank), len(found.unknown_distance)) == (known.sum(), (~known).sum())
    np.testing.assert_allclose(found.known_distance, first[known], atol=1e-5)
    np.testing.assert_array_equal(found.known_rank, rank[known])
    np.testing.assert_allclose(found.unknown_distance, nearest[~known], atol=1e-5)
    for rate in (0.0, 0.1, 0.3, 0.77, 1.0):
        threshold = found.threshold(rate)
        alarms = (nearest[~known] < threshold - 1e-6).mean()
        assert alarms <= rate
        assert rate == 1 or (nearest[~known] <= threshold + 1e-6).mean() > rate
        for k in (1, 5):
            hits = (first[known] < threshold - 1e-6) & (rank[known] <= k)
            assert found.identification_rate(rate, k) == pytest.approx(hits.mean(), abs=0.02)
    assert found.identification_rate(1.0) == scored(case, junk_identities=(-1,)).ranking.rank_k(1)
    curve = found.curve()
    assert curve["identification_rate"].is_monotonic_increasing
    assert set(found.at(found.threshold(0.1))) == {"distance", "DIR", "FAR"}
    assert list(found.summary()) == ["DIR at FAR 0.1", "known queries", "unknown queries"]


def test_strangers_are_made_by_taking_gallery_entries_out(crowd):
    result = scored(crowd(1, queries=100, gallery=400, identities=20))
    with pytest.raises(ReidError, match="there is no unknown query: give unknown_share"):
        open_set(result)
    half = open_set(result, 0.5)
    assert 30 < len(half.unknown_distance) < 70
    assert len(half.known_rank) + len(half.unknown_distance) == 100
    assert (open_set(result, 0.5).unknown_distance == half.unknown_distance).all()  # seeded
    assert len(open_set(result, 0.5, seed=3).unknown_distance) > 0
    assert (open_set(result.reranked(), 0.5).known_rank == half.known_rank).all()
    with pytest.raises(ReidError, match="between 0 and 1"):
        open_set(result, 1.0)
    with pytest.raises(ReidError, match="between 0 and 1"):
        half.threshold(2)


def test_a_threshold_is_chosen_elsewhere_and_its_transfer_told(crowd):
    case = crowd(2, queries=150, gallery=600, identities=60, length=32)
    here = case.query_identity < 30
    test = scored(case)
    roc = count_pairs(test).roc()
    train = count_pairs_within(case.query[~here], case.query_identity[~here]).roc()
    moved = transfer(train, roc, 1e-2)
    assert moved.chosen["false_positive_rate"] <= 1e-2
    assert moved.here == roc.at(train.threshold(1e-2))
    assert moved.here["false_positive_rate"] != moved.chosen["false_positive_rate"]
    assert "where chosen TPR" in str(moved)
    assert list(moved.table.index) == ["chosen", "here"]
    equal = transfer(train, roc)
    assert equal.chosen["distance"] == train.equal_error[1]


def test_multi_query_averages_unit_vectors_of_a_column(crowd):
    case = crowd(3, queries=40, gallery=200, identities=6)
    case.query *= np.random.default_rng(0).uniform(0.1, 9, (40, 1)).astype(np.float32)
    result = scored(case)
    result.query_table["tracklet"] = [None, None, *np.arange(38) // 5]
    many = result.averaged("tracklet")
    groups = result.query_table.groupby(["tracklet", "identity", "camera"]).groups
    assert len(many.query_table) == len(groups) + 2
    for row, line in enumerate(many.query_table.itertuples()):
        same = result.query_table["path"] == line.path
        if not pd.isna(line.tracklet):
            same = (
                result.query_table[["tracklet", "identity", "camera"]]
                == (line.tracklet, line.identity, line.camera)
            ).all(axis=1)
        assert line.averaged == same.sum()
        mean = unit(case.query)[same.to_numpy()].mean(0)
        np.testing.assert_allclose(many.query_features[row], mean, atol=1e-6)
    by_identity = result.averaged("identity")  # the usual multi-query of Market-1501
    assert len(by_identity.query_table) == len(result.query_table.groupby(["identity", "camera"]))
    assert by_identity.metrics()["mAP"] > result.metrics()["mAP"]
    assert result.reranked().averaged("identity").reranked_by == (20, 6, 0.3)
    with pytest.raises(ReidError, match="no column 'track'"):
        result.averaged("track")
