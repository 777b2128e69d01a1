"""Paired comparison of two results."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from msinet_core.data import Protocol
from msinet_core.errors import ReidError
from msinet_core.retrieval import (
    Bootstrap,
    Ranking,
    RetrievalResult,
    compare,
    comparison_table,
    metric_intervals,
)


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
    with pytest.raises(ReidError, match="the first at query 1"):
        compare(good, other)
    nameless = good.query_table.drop(columns="path")
    other = RetrievalResult.score(
        case.query, case.gallery, nameless, good.gallery_table, Protocol()
    )
    for one, two in ((good, other), (other, other)):
        with pytest.raises(ReidError, match="does not say which queries are the same"):
            compare(one, two)
    shuffled = np.random.default_rng(0).permutation(120)
    for table, message in (
        (good.query_table.iloc[shuffled], "the same queries in another order"),
        (
            good.query_table.assign(identity=good.query_table["identity"].to_numpy()[::-1]),
            "not over",
        ),
        (good.query_table.assign(camera=7), "not over the same queries"),
    ):
        other = RetrievalResult.score(
            case.query, case.gallery, table, good.gallery_table, Protocol()
        )
        with pytest.raises(ReidError, match=message):
            compare(good, other)
        with pytest.raises(ReidError, match=message):
            comparison_table({"a": good, "b": bad, "c": other})


def test_a_result_is_the_same_when_it_was_saved(pair, tmp_path):
    case, good, _ = pair
    boxes = np.where(np.arange(120) % 2, 3.5, np.nan)
    gallery = good.gallery_table.drop(columns="camera")
    for table in (
        good.query_table.assign(camera=pd.NA),
        good.query_table.drop(columns="camera").assign(x1=boxes, y1=boxes, x2=boxes, y2=boxes),
    ):
        result = RetrievalResult.score(case.query, case.gallery, table, gallery, Protocol())
        result.save(tmp_path / "saved")
        assert compare(result, RetrievalResult.load(tmp_path / "saved")).difference == 0
    other = RetrievalResult.score(
        case.query, case.gallery, table.assign(x1=1.0), gallery, Protocol()
    )
    with pytest.raises(ReidError, match="the first at query 1"):
        compare(result, other)


def test_rank1_parts_and_several_results(pair):
    _, good, bad = pair
    found = compare(good, bad)
    assert found.rank1_difference == pytest.approx(
        bad.ranking.rank_k(1) - good.ranking.rank_k(1), abs=1e-12
    )
    assert found.rank1_interval[0] < found.rank1_difference < found.rank1_interval[1]
    parts = found.breakdown("camera")
    assert parts["queries"].sum() == len(found.table)
    weighted = (parts["mAP_difference"] * parts["queries"]).sum() / parts["queries"].sum()
    assert weighted == pytest.approx(found.difference)
    assert (parts[["won", "lost", "equal"]].sum(axis=1) == parts["queries"]).all()
    with pytest.raises(ReidError, match="no column 'view'"):
        found.breakdown("view")
    table = comparison_table({"good": good, "bad": bad, "again": good})
    assert table.loc["bad", "mAP_difference"] == found.difference
    assert table.loc["again", ["mAP_low", "mAP_high", "won", "lost"]].tolist() == [0, 0, 0, 0]
    assert np.isnan(table.loc["good", "mAP_difference"])
    with pytest.raises(ReidError, match="two or more"):
        comparison_table({"good": good})


def of_scores(precision, first):
    """A result of given scores; its features tell nothing."""
    count = len(precision)
    table = pd.DataFrame({"path": map(str, range(count)), "identity": 0, "camera": pd.NA})
    ranking = Ranking(precision, first, precision, np.ones(count, int))
    return RetrievalResult(np.eye(2), np.eye(2), table, table, Protocol(), ranking)


def coverage(rng, simulations, queries, interval):
    """How often the interval of a difference holds the true one, for mAP and rank-1: pairs of
    results over queries of a population whose networks agree on what is hard.
    """

    def population(count):
        hard = rng.normal(size=count)
        logits = [1.0 + hard + 0.8 * rng.normal(size=count), 1.2 + hard + rng.normal(size=count)]
        precision = [1 / (1 + np.exp(-logit)) for logit in logits]
        return precision, [np.where(rng.random(count) < one**0.5, 1, 3) for one in precision]

    precision, first = population(1_000_000)
    truth = [np.mean(b - a) for a, b in (precision, [(one == 1).astype(float) for one in first])]
    held = np.zeros(2)
    for seed in range(simulations):
        results = [of_scores(*scores) for scores in zip(*population(queries), strict=True)]
        for place, (low, high) in enumerate(interval(*results, seed)):
            held[place] += low <= truth[place] <= high
    return held / simulations


@pytest.mark.parametrize("queries", [40, 200])
def test_intervals_cover_the_truth_in_95_of_100_pairs_of_results(queries):
    def paired(a, b, seed):
        found = compare(a, b, draws=600, seed=seed)
        return found.interval, found.rank1_interval

    share = coverage(np.random.default_rng(queries), 1000, queries, paired)
    assert ((share >= 0.93) & (share <= 0.97)).all(), share


def test_intervals_of_queries_that_are_not_paired_are_far_too_wide():
    def unpaired(a, b, seed):
        rng, found = np.random.default_rng(seed), []
        for one, two in ((a.ranking.average_precision, b.ranking.average_precision),):
            draws = [
                two[rng.integers(0, len(two), len(two))].mean()
                - one[rng.integers(0, len(one), len(one))].mean()
                for _ in range(300)
            ]
            found.append(np.quantile(draws, [0.025, 0.975]))
        return found

    assert coverage(np.random.default_rng(0), 300, 100, unpaired)[0] > 0.97


def test_intervals_of_one_result(pair):
    _, good, _ = pair
    table = metric_intervals(good)
    assert table["value"].to_dict() == pytest.approx(
        {name: good.metrics()[name] for name in ("mAP", "rank1", "rank5", "rank10", "mINP")}
    )
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    assert table.loc["mAP", "low"] < table.loc["mAP", "value"] < table.loc["mAP", "high"]
    wider = metric_intervals(good, Bootstrap("identity"))
    assert (wider["high"] - wider["low"])["mAP"] > (table["high"] - table["low"])["mAP"]


def test_whole_identities_are_drawn():
    """By hand: two identities, one always right, one never: means are 0, a half or 1."""
    identity = np.arange(16) % 2
    values = identity[:, None].astype(float)
    assert Bootstrap("identity").intervals(values, identity) == [(0.0, 1.0)]
    ((low, high),) = Bootstrap("query").intervals(values, np.arange(16))
    assert 0 < low < 0.5 < high < 1


def test_options_that_cannot_be(pair):
    _, good, bad = pair
    for options, message in (
        ({"unit": "camera"}, "unit is 'query' or 'identity'"),
        ({"draws": 0}, "draws must"),
        ({"confidence": 1}, "between 0 and 1"),
    ):
        with pytest.raises(ReidError, match=message):
            compare(good, bad, **options)
