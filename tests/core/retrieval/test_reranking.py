"""k-reciprocal re-ranking against the dense definition and the golden case."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msinet_core.data import Protocol
from msinet_core.errors import ReidError
from msinet_core.retrieval import (
    Matches,
    Reranking,
    counting,
    rank_distance,
    rerank,
)
from msinet_core.retrieval.features import unit_rows
from msinet_core.retrieval.nearest import nearest_rows


def dense(query, gallery, k1, k2, share, whole_numbers):
    """The definition of Zhong et al., word for word, with full matrices."""
    unit = whole_numbers(np.concatenate([query, gallery])) / 2**26
    lengths = (unit**2).sum(1)
    squared = np.maximum(lengths[:, None] + lengths[None] - 2 * unit @ unit.T, 0)
    np.fill_diagonal(squared, 0)
    distance = squared / squared.max(1, keepdims=True)
    count, half = len(unit), int(np.around(k1 / 2))
    order = np.argsort(squared.round(14), axis=1, kind="stable")

    def reciprocal(i, k):
        near = order[i, : k + 1]
        return np.array([j for j in near if i in order[j, : k + 1]], int)

    encoding = np.zeros((count, count))
    for i in range(count):
        members = mine = reciprocal(i, k1)
        for j in mine:
            other = reciprocal(j, half)
            if len(np.intersect1d(mine, other)) > 2 / 3 * len(other):
                members = np.union1d(members, other)
        weight = np.exp(-distance[i, members])
        encoding[i, members] = weight / weight.sum()
    if k2 > 1:
        encoding = np.stack([encoding[order[i, :k2]].mean(0) for i in range(count)])
    overlap = np.stack([np.minimum(encoding[i], encoding).sum(1) for i in range(len(query))])
    jaccard = 1 - overlap / (2 - overlap)
    return ((1 - share) * jaccard + share * distance[: len(query)])[:, len(query) :]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_random_cases_equal_the_dense_definition(naive, seed):
    rng = np.random.default_rng(seed)
    queries, gallery, length = rng.integers(1, 12), rng.integers(20, 60), rng.integers(2, 20)
    k1, k2, share = int(rng.integers(1, 19)), int(rng.integers(1, 9)), float(rng.random())
    features = rng.normal(size=(queries + gallery, length))
    features[rng.integers(0, len(features), 5)] = features[0]  # copies: tied neighbours
    query, store = features[:queries], features[queries:]
    expected = dense(query, store, k1, k2, share, naive.whole_numbers)
    np.testing.assert_allclose(rerank(query, store, k1, k2, share), expected, atol=1e-5)


def matches_of(query_identity, gallery_identity, query_camera=None, gallery_camera=None):
    tables = (
        pd.DataFrame({"identity": identity} | ({} if camera is None else {"camera": camera}))
        for identity, camera in (
            (query_identity, query_camera),
            (gallery_identity, gallery_camera),
        )
    )
    return Matches.find(*tables, Protocol(junk_identities=(-1,)))


def test_golden_case(golden_file):
    case = golden_file("evaluation.safetensors")
    features = case["query_feature"], case["gallery_feature"]
    labels = [
        case[f"{side}_{what}"] for what in ("identity", "camera") for side in ("query", "gallery")
    ]
    distance = rerank(*features, k1=20, k2=6, lambda_value=0.3)
    assert distance.shape == (40, 300)
    assert distance.dtype == np.float32
    np.testing.assert_allclose(distance, case["reranked_distance_k20_k6_l0.3"], atol=1e-5)
    matches = matches_of(*labels)
    whole = rank_distance(distance, matches)
    streamed = Reranking.prepare(*features).rank(matches)
    for ranking in (whole, streamed):
        assert ranking.mean_average_precision == pytest.approx(
            float(case["map_reranked"]), abs=1e-7
        )
        np.testing.assert_allclose(ranking.cmc, case["cmc_reranked"].numpy(), atol=1e-7)
    for q in range(5):
        np.testing.assert_array_equal(
            whole.rank_list(q, 9).gallery_index, streamed.rank_list(q, 9).gallery_index
        )


def test_blocks_of_queries_are_parts_of_the_whole(crowd):
    case = crowd(1, queries=45)
    prepared = Reranking.prepare(case.query, case.gallery)
    whole = rerank(case.query, case.gallery)
    for first, block in prepared.blocks(7):
        np.testing.assert_allclose(block, whole[first : first + len(block)], atol=1e-6)
    np.testing.assert_allclose(prepared.rows(11, 12)[0], whole[11], atol=1e-6)
    assert (prepared.num_queries, prepared.num_gallery) == (45, 200)


def test_it_helps_where_identities_form_clusters(crowd):
    case = crowd(2, queries=60, gallery=600, identities=30, spread=0.9)
    labels = matches_of(case.query_identity, case.gallery_identity)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (case.query, case.gallery)]
    plain = rank_distance(2 - 2 * unit[0] @ unit[1].T, labels)
    again = rank_distance(rerank(case.query, case.gallery), labels)
    assert again.mean_average_precision > plain.mean_average_precision + 0.02
    with_lambda_one = rank_distance(rerank(case.query, case.gallery, lambda_value=1.0), labels)
    assert with_lambda_one.mean_average_precision == pytest.approx(
        plain.mean_average_precision, abs=1e-3
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k1": 0}, "k1 and k2 must be at least 1"),
        ({"k2": 0}, "k1 and k2 must be at least 1"),
        ({"lambda_value": 1.5}, "a share from 0 to 1"),
        ({"k1": 230}, "needs 231 images, but queries and gallery are 230 together"),
    ],
)
def test_impossible_settings(crowd, options, message):
    case = crowd(3)
    with pytest.raises(ReidError, match=message):
        rerank(case.query, case.gallery, **options)


def test_bad_features(crowd):
    case = crowd(4)
    case.gallery[17, 3] = np.nan
    with pytest.raises(ReidError, match="row 18 of the gallery features has NaN"):
        rerank(case.query, case.gallery)


@pytest.mark.parametrize("spare", [0, 1, 11, 60])
@pytest.mark.parametrize("size", [3, 16, 40, 64])
def test_nearest_rows_whatever_the_blocks(size, spare):
    """Also with equal rows, whose order decides, and where candidates do not suffice."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 8))[rng.integers(0, 40, 47)]  # some rows twice
    unit = unit_rows(features, "rows")
    half = np.array([0.5 * counting.dot(row, row) for row in unit])
    similarity = np.full((13, 34), np.nan, np.float32)
    index, farthest = nearest_rows(unit, half, 6, size, spare=spare, similarity=similarity)
    exact = np.array([[counting.dot(one, two) for two in unit] for one in unit])
    np.testing.assert_allclose(similarity, exact[:13, 13:], atol=1e-6)
    squared = 2 * (half[:, None] + half[None, :] - exact)
    for row, found in enumerate(index):
        expected = np.lexsort((np.arange(len(unit)), -(exact[row] - half)))[:6]
        assert found.tolist() == expected.tolist()
    np.testing.assert_allclose(farthest, squared.max(axis=1), atol=1e-6)


@pytest.mark.parametrize("copies", [2, 15, 60])
def test_copies_of_images_are_ordered_by_row(copies):
    """More equal rows than candidates: the earliest ones are the nearest, as everywhere."""
    rng = np.random.default_rng(1)
    unit = unit_rows(np.repeat(rng.normal(size=(5, 16)), copies, axis=0), "rows")
    half = np.array([0.5 * counting.dot(row, row) for row in unit])
    index, _ = nearest_rows(unit, half, 2, size=32)
    first = np.arange(len(unit)) // copies * copies
    np.testing.assert_array_equal(index, first[:, None] + np.arange(2))
