"""Pairs, ROC, thresholds against loops over all pairs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from msinet_core.data import Protocol
from msinet_core.errors import ReidError
from msinet_core.retrieval import Pairs, RetrievalResult, count_pairs, count_pairs_within


def all_pairs(case, *, cameras=True, junk=(-1,), distractors=()):
    """Distances of positive and of negative query-gallery pairs."""
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (case.query, case.gallery)]
    positive, negative = [], []
    for q in range(len(case.query)):
        for g in range(len(case.gallery)):
            same = case.query_identity[q] == case.gallery_identity[g]
            if case.gallery_identity[g] in junk or (
                same and cameras and case.query_camera[q] == case.gallery_camera[g]
            ):
                continue
            same &= case.gallery_identity[g] not in distractors
            (positive if same else negative).append(np.linalg.norm(unit[0][q] - unit[1][g]))
    return np.array(positive), np.array(negative)


def scored(case, **rules):
    tables = [
        pd.DataFrame(
            {
                "identity": getattr(case, f"{side}_identity"),
                "camera": getattr(case, f"{side}_camera"),
            }
        )
        for side in ("query", "gallery")
    ]
    return RetrievalResult.score(case.query, case.gallery, *tables, Protocol(**rules))


@pytest.mark.parametrize("cameras", [True, False])
def test_pairs_and_rates_equal_loops(crowd, cameras):
    case = crowd(0, queries=50, gallery=300)
    case.gallery_identity[:30] = -1
    case.gallery_identity[30:50] = case.query_identity[:20] = 8
    positive, negative = all_pairs(case, cameras=cameras, distractors=(8,))
    result = scored(
        case, exclude_same_camera=cameras, junk_identities=(-1,), distractor_identities=(8,)
    )
    if (
        cameras
    ):  # the ranking removes a distractor of the query's identity and camera no more than this does
        positive, negative = all_pairs(case, cameras=False, distractors=(8,))
        same = (case.query_identity[:, None] == case.gallery_identity) & (
            case.query_camera[:, None] == case.gallery_camera
        )
        assert same.any()
        positive = positive_without_same_camera(case)
    pairs = count_pairs(result)
    assert pairs.positive.sum() == len(positive)
    assert pairs.negative.sum() == len(negative)
    roc = pairs.roc()
    for rate in (0.5, 0.1, 0.02, 1e-2):
        allowed = int(np.floor(rate * len(negative)))
        threshold = np.sort(negative)[allowed]  # this one must not be called the same any more
        assert roc.true_positive_rate_at(rate) == pytest.approx(
            (positive < threshold).mean(), abs=0.003
        )
    for distance in (0.3, 0.9, 1.2, 1.9, 2.0):
        rates = roc.at(distance)
        assert rates["true_positive_rate"] == pytest.approx(
            (positive <= distance).mean(), abs=0.003
        )
        assert rates["false_positive_rate"] == pytest.approx(
            (negative <= distance).mean(), abs=0.003
        )
    error, threshold = roc.equal_error
    assert error == pytest.approx((positive > threshold).mean(), abs=0.01)
    assert error == pytest.approx((negative <= threshold).mean(), abs=0.01)
    assert 0 < roc.true_positive_rate_at(1e-4) < roc.true_positive_rate_at(1e-1) < 1


def positive_without_same_camera(case):
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (case.query, case.gallery)]
    keep = (case.query_identity[:, None] == case.gallery_identity) & (
        case.query_camera[:, None] != case.gallery_camera
    )
    keep &= ~np.isin(case.gallery_identity, (-1, 8))
    return np.linalg.norm(unit[0][:, None] - unit[1][None], axis=2)[keep]


def test_pairs_within_one_set_equal_loops(crowd):
    case = crowd(1, gallery=150)
    unit = case.gallery / np.linalg.norm(case.gallery, axis=1, keepdims=True)
    for cameras in (None, case.gallery_camera):
        positive, negative = [], []
        for i in range(150):
            for j in range(i):
                same = case.gallery_identity[i] == case.gallery_identity[j]
                if not (same and cameras is not None and cameras[i] == cameras[j]):
                    (positive if same else negative).append(np.linalg.norm(unit[i] - unit[j]))
        pairs = count_pairs_within(case.gallery, case.gallery_identity, cameras)
        assert (pairs.positive.sum(), pairs.negative.sum()) == (len(positive), len(negative))
        table = pairs.histogram(20)
        for name, distances in (("positive", positive), ("negative", negative)):
            expected = np.histogram(distances, np.linspace(0, 2, 21))[0] / len(distances)
            np.testing.assert_allclose(table[name], expected, atol=0.005)
        assert table["distance"].iloc[0] == pytest.approx(0.05)


def test_a_threshold_chosen_on_some_identities_holds_on_others(crowd):
    case = crowd(2, queries=200, gallery=800, identities=80, length=32)
    train, test = case.gallery_identity < 40, case.gallery_identity >= 40
    threshold = (
        count_pairs_within(case.gallery[train], case.gallery_identity[train]).roc().threshold(1e-2)
    )
    rates = count_pairs_within(case.gallery[test], case.gallery_identity[test]).roc().at(threshold)
    assert 0.002 < rates["false_positive_rate"] < 0.03
    assert rates["true_positive_rate"] > 0.5
    equal = count_pairs_within(case.gallery[train], case.gallery_identity[train]).roc()
    assert equal.threshold() == equal.equal_error[1]


def test_summary_and_curve(crowd):
    roc = count_pairs(scored(crowd(3))).roc()
    assert list(roc.summary()) == [
        *(f"TPR at FPR {rate}" for rate in ("0.1", "0.01", "0.001", "0.0001")),
        "equal error rate",
        "threshold",
    ]
    curve = roc.curve()
    assert curve["true_positive_rate"].is_monotonic_increasing
    assert curve["true_positive_rate"].iloc[-1] == 1
    assert "equal error rate" in repr(roc)


def test_without_pairs_of_a_kind():
    nothing = np.zeros(1 << 16, np.int64)
    with pytest.raises(ReidError, match="no pair of same identities"):
        Pairs(nothing, nothing + 1).roc()
    with pytest.raises(ReidError, match="no pair of different identities"):
        Pairs(nothing + 1, nothing).roc()
