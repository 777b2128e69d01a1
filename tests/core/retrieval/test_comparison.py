"""Paired comparison of two results."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from msinet_core.data import Protocol
from msinet_core.errors import ReidError
from msinet_core.retrieval import RetrievalResult, compare


def score(case, query):
    tables = [
        pd.DataFrame(
            {"path": [f"{n}" for n in range(len(identity))], "identity": identity, "camera": camera}
        )
        for identity, camera in (
            (case.query_identity, case.query_camera),
            (case.gallery_identity, case.gallery_camera),
        )
    ]
    return RetrievalResult.score(query, case.gallery, *tables, Protocol())


@pytest.fixture
def pair(crowd):
    case = crowd(0, queries=120, gallery=400)
    noise = np.random.default_rng(1).normal(size=case.query.shape)
    return case, score(case, case.query), score(case, case.query + 0.7 * noise)


def test_difference_interval_and_table(pair):
    _, good, bad = pair
    found = compare(good, bad)
    difference = bad.ranking.average_precision - good.ranking.average_precision
    assert found.difference == pytest.approx(bad.metrics()["mAP"] - good.metrics()["mAP"])
    assert (found.better, found.worse) == ((difference > 0).sum(), (difference < 0).sum())
    # The percentile interval of a mean is close to the normal one.
    error = difference.std() / np.sqrt(len(difference))
    np.testing.assert_allclose(
        found.interval, found.difference + 1.96 * error * np.array([-1, 1]), atol=0.1 * error
    )
    assert found.significant
    assert found.interval[1] < 0
    np.testing.assert_allclose(found.table["difference"], difference)
    wider = compare(good, bad, confidence=0.99)
    assert wider.interval[0] < found.interval[0]
    back = compare(bad, good)
    assert back.difference == -found.difference
    assert "points" in repr(found)
    assert compare(good, bad).interval == found.interval  # seeded


def test_equal_results_do_not_differ(pair):
    _, good, _ = pair
    found = compare(good, good)
    assert (found.difference, found.interval, found.better, found.worse) == (0, (0, 0), 0, 0)
    assert not found.significant


def test_whole_identities_can_be_drawn(pair):
    case, good, bad = pair
    found = compare(good, bad, unit="identity")
    difference = bad.ranking.average_precision - good.ranking.average_precision
    rng = np.random.default_rng(5)
    groups = [
        difference[case.query_identity == identity] for identity in np.unique(case.query_identity)
    ]
    means = [
        np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))]).mean()
        for _ in range(4000)
    ]
    np.testing.assert_allclose(found.interval, np.quantile(means, [0.025, 0.975]), atol=0.006)


def test_only_queries_that_count_in_both(crowd):
    case = crowd(2)
    case.query_identity[4] = 99
    good, other = score(case, case.query), score(case, case.query)
    found = compare(good, other)
    assert len(found.table) == 29
    assert 4 not in found.table.index


def test_what_cannot_be_paired(pair):
    case, good, bad = pair
    shorter = RetrievalResult.score(
        case.query[1:], case.gallery, good.query_table[1:], good.gallery_table, Protocol()
    )
    with pytest.raises(ReidError, match="not over the same queries"):
        compare(good, shorter)
    other = RetrievalResult.score(
        case.query, case.gallery, good.query_table[::-1], good.gallery_table, Protocol()
    )
    with pytest.raises(ReidError, match="not over the same queries"):
        compare(good, other)
    strangers = good.query_table.assign(path=[f"other {n}" for n in range(120)])
    other = RetrievalResult.score(
        case.query, case.gallery, strangers, good.gallery_table, Protocol()
    )
    with pytest.raises(ReidError, match="the first at query 0"):
        compare(good, other)
    nameless = good.query_table.drop(columns="path")
    other = RetrievalResult.score(
        case.query, case.gallery, nameless, good.gallery_table, Protocol()
    )
    with pytest.raises(ReidError, match="not over the same queries"):
        compare(good, other)
    for options, message in (
        ({"unit": "camera"}, "unit is 'query' or 'identity'"),
        ({"draws": 0}, "draws must"),
        ({"confidence": 1}, "between 0 and 1"),
    ):
        with pytest.raises(ReidError, match=message):
            compare(good, bad, **options)
