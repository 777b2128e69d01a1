"""Exact metrics against loops; ties; labels of all kinds; what must be refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msinet_core.data import Protocol
from msinet_core.errors import ReidError
from msinet_core.retrieval import Matches, Ranking, rank, rank_distance, rank_features
from msinet_core.retrieval.features import product_error, unit_rows
from msinet_core.retrieval.ranking import label_table


def matches_of(
    query_identity,
    gallery_identity,
    query_camera=None,
    gallery_camera=None,
    same_camera="exclude",
    distractors=(),
):
    protocol = Protocol(
        exclude_same_camera=same_camera == "exclude",
        junk_identities=(-1,),
        distractor_identities=distractors,
    )
    query = label_table(query_identity, query_camera, len(query_identity), "query")
    gallery = label_table(gallery_identity, gallery_camera, len(gallery_identity), "gallery")
    return Matches.find(query, gallery, protocol)


# Few different vectors, so that distances repeat: equal ones, opposite ones, scaled copies.
VECTORS = [(1, 0), (0, 1), (2, 0), (1, 1), (-1, 0), (1, 2), (2, 1), (3, 1), (-1, 2)]
vectors = st.sampled_from(VECTORS)
identities, cameras = st.sampled_from([-1, 0, 1, 2, 5]), st.sampled_from([0, 1])
query_row, gallery_row = (
    st.tuples(vectors, identities, cameras),
    st.tuples(vectors, identities, cameras),
)


def check(ranking: Ranking, expected) -> None:
    """All that a ranking says, against what the loops found."""
    np.testing.assert_allclose(ranking.average_precision, expected.average_precision, atol=1e-12)
    np.testing.assert_array_equal(ranking.first_match_rank, expected.first)
    np.testing.assert_array_equal(ranking.num_matches, expected.count)
    counted = expected.count > 0
    np.testing.assert_allclose(
        ranking.inverse_negative_penalty[counted],
        (expected.count / np.maximum(expected.last, 1))[counted],
    )
    assert ranking.num_counted == counted.sum()
    if not counted.any():
        assert np.isnan(ranking.mean_average_precision)
        assert np.isnan(ranking.cmc).all()
        return
    assert ranking.mean_average_precision == pytest.approx(
        expected.average_precision[counted].mean()
    )
    cmc = [(expected.first[counted] <= k).mean() for k in range(1, ranking.max_rank + 1)]
    np.testing.assert_allclose(ranking.cmc, cmc)
    assert ranking.rank_k(1) == cmc[0]


@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(query_row, min_size=1, max_size=4),
    st.lists(gallery_row, min_size=0, max_size=12),
    st.sampled_from(["exclude", "keep", "no cameras"]),
    st.sampled_from([(), (0,)]),
    st.booleans(),
    st.sampled_from([(1, 1), (2, 3), (512, 8192)]),
)
def test_thousands_of_small_cases_equal_loops(
    naive, queries, gallery, rule, distractors, as_text, blocks
):
    kind = str if as_text else int
    vectors_q, identity_q, camera_q = (list(column) for column in zip(*queries, strict=True))
    vectors_g, identity_g, camera_g = (
        (list(column) for column in zip(*gallery, strict=True)) if gallery else ([], [], [])
    )
    identity_q, identity_g = [kind(i) for i in identity_q], [kind(i) for i in identity_g]
    places = (None, None) if rule == "no cameras" else (camera_q, camera_g)
    same = "keep" if rule == "keep" else "exclude"
    distractors = tuple(kind(i) for i in distractors)
    query, store = np.array(vectors_q, np.float32), np.array(vectors_g, np.float32).reshape(-1, 2)
    matches = matches_of(identity_q, identity_g, *places, same_camera=same, distractors=distractors)
    ranking = replace(rank_features(query, store, matches, blocks=blocks), max_rank=5)
    orders = naive.order(query, store)
    expected = naive.ranking(
        orders, identity_q, identity_g, *places, same_camera=same, distractors=distractors
    )
    check(ranking, expected)


def test_larger_random_cases_equal_loops(naive):
    rng = np.random.default_rng(0)
    for _ in range(150):
        q, g, d, n = (
            rng.integers(1, 20),
            rng.integers(1, 120),
            rng.integers(1, 80),
            rng.integers(1, 12),
        )
        query, gallery = rng.normal(size=(q, d)), rng.normal(size=(g, d)).astype(np.float32)
        gallery[rng.integers(0, g, g // 3)] = gallery[0]  # copies
        labels = (
            rng.integers(-1, n, q),
            rng.integers(-1, n, g),
            rng.integers(0, 3, q),
            rng.integers(0, 3, g),
        )
        check(rank(query, gallery, *labels), naive.ranking(naive.order(query, gallery), *labels))


@pytest.mark.parametrize("device", ["threads", "torch"])
def test_the_result_depends_on_no_block_size_thread_or_device(crowd, device, monkeypatch):
    """Copies of gallery rows are tied with each other; a product's last bits must not break the
    tie.
    """
    case = crowd(1, queries=150, gallery=700, length=100, spread=0.3)
    rng = np.random.default_rng(2)
    case.gallery[rng.permutation(700)[:400]] = case.gallery[rng.integers(0, 700, 400)]
    labels = case.query_identity, case.gallery_identity, case.query_camera, case.gallery_camera
    if device == "torch":  # the GPU's code, on the CPU
        from msinet_core.retrieval import ranking as module

        def count(query, gallery, matches, blocks, threads):
            entries = blocks[0] * blocks[1]
            return module.count_on_device(query, gallery, matches, "cpu", entries)

        monkeypatch.setattr(module, "_count", count)
    matches = matches_of(*labels)
    first = rank_features(case.query, case.gallery, matches, threads=1)
    for blocks in ((150, 1), (7, 93), (64, 129), (150, 700)):
        again = rank_features(case.query, case.gallery, matches, blocks=blocks, threads=3)
        np.testing.assert_array_equal(first.average_precision, again.average_precision)
        np.testing.assert_array_equal(first.first_match_rank, again.first_match_rank)


def test_equal_distances_rank_in_gallery_order():
    gallery = np.array([[0, 1], [1, 0], [2, 0], [5, 0]], np.float32)
    ranking = rank(np.array([[1.0, 0]]), gallery, [7], [3, 4, 7, 7])
    assert ranking.rank_list(0, 4).gallery_index.tolist() == [1, 2, 3, 0]
    assert ranking.first_match_rank.tolist() == [2]
    assert ranking.average_precision[0] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert ranking.rank_list(0, 4).distance[:3].tolist() == [0, 0, 0]


def test_near_ties_are_decided_exactly(naive):
    """Thousands of vectors closer together than float32 products can tell."""
    rng = np.random.default_rng(3)
    base = rng.normal(size=64)
    gallery = (base + 2e-5 * rng.normal(size=(3000, 64))).astype(np.float32)
    query = (base + 0.3 * rng.normal(size=(5, 64))).astype(np.float32)
    labels = rng.integers(0, 300, 5), rng.integers(0, 300, 3000)
    check(rank(query, gallery, *labels), naive.ranking(naive.order(query, gallery), *labels))


def test_the_bound_on_rounding_holds_with_room():
    rng = np.random.default_rng(4)
    for length in (4, 64, 768):
        one, two = (
            unit_rows(np.abs(rng.normal(size=(300, length))).astype(np.float32), "")
            for _ in range(2)
        )
        error = (torch.from_numpy(one) @ torch.from_numpy(two).T).numpy() - one.astype(
            float
        ) @ two.astype(float).T
        assert np.abs(error).max() < product_error(length) / 2


@pytest.mark.parametrize("cameras", [True, False])
def test_golden_case(golden_file, cameras):
    case = golden_file("evaluation.safetensors")
    labels = [
        case[f"{side}_{what}"] for what in ("identity", "camera") for side in ("query", "gallery")
    ]
    name = "cross_camera" if cameras else "all_cameras"
    rule = "exclude" if cameras else "keep"
    for ranking in (
        rank(case["query_feature"], case["gallery_feature"], *labels, same_camera=rule),
        rank_distance(case["distance"], matches_of(*labels, same_camera=rule)),
    ):
        assert ranking.mean_average_precision == pytest.approx(float(case[f"map_{name}"]), abs=1e-7)
        np.testing.assert_allclose(ranking.cmc, case[f"cmc_{name}"].numpy(), atol=1e-7)
        assert (ranking.num_counted, ranking.num_queries) == (39, 40)
        assert "39 of 40 queries count" in repr(ranking)


def test_given_distances_equal_loops_and_their_rank_lists_too(naive):
    rng = np.random.default_rng(5)
    for dtype in (np.float32, np.float64):
        for _ in range(100):
            distance = rng.integers(0, 6, (5, 30)).astype(dtype)  # many equal ones
            labels = (
                rng.integers(-1, 4, 5),
                rng.integers(-1, 4, 30),
                rng.integers(0, 2, 5),
                rng.integers(0, 2, 30),
            )
            orders = [
                sorted(range(30), key=lambda g, q=q, d=distance: (d[q, g], g)) for q in range(5)
            ]
            ranking = rank_distance(distance, matches_of(*labels))
            check(ranking, naive.ranking(orders, *labels))
            removed = (labels[1] == -1) | (
                (labels[1] == labels[0][2]) & (labels[3] == labels[2][2])
            )
            assert (
                ranking.rank_list(2, 7).gallery_index.tolist()
                == [g for g in orders[2] if not removed[g]][:7]
            )


def test_rank_lists_say_what_was_scored(crowd, naive):
    case = crowd(6, gallery=300)
    labels = case.query_identity, case.gallery_identity, case.query_camera, case.gallery_camera
    ranking = rank(case.query, case.gallery, *labels)
    orders = naive.order(case.query, case.gallery)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (case.query, case.gallery)]
    for q in range(len(case.query)):
        kept = [
            g for g in orders[q] if labels[0][q] != labels[1][g] or labels[2][q] != labels[3][g]
        ]
        found = ranking.rank_list(q, 25)
        assert found.gallery_index.tolist() == kept[:25]
        assert found.is_match.tolist() == [bool(labels[0][q] == labels[1][g]) for g in kept[:25]]
        np.testing.assert_allclose(
            found.distance, np.linalg.norm(unit[0][q] - unit[1][kept[:25]], axis=1), atol=1e-5
        )
        everything = ranking.rank_list(q, 1000)
        assert everything.gallery_index.tolist() == kept
        assert 1 + everything.is_match.tolist().index(True) == ranking.first_match_rank[q]
    for index, k, message in (
        (99, 5, "there is no query of index 99; of"),
        (-1, 5, "no query of index -1"),
        (0, 0, "at least 1 entry"),
    ):
        with pytest.raises(ReidError, match=message):
            ranking.rank_list(index, k)


def test_any_form_of_features_and_labels_gives_the_same(crowd):
    case = crowd(7)
    labels = case.query_identity, case.gallery_identity, case.query_camera, case.gallery_camera
    expected = rank(case.query, case.gallery, *labels)

    def same(query, gallery, *given, **options):
        found = rank(query, gallery, *given, **options)
        np.testing.assert_array_equal(found.average_precision, expected.average_precision)

    query, gallery = torch.from_numpy(case.query), torch.from_numpy(case.gallery)
    same(query, gallery.requires_grad_(), *map(torch.from_numpy, labels))
    same(
        case.query.astype(np.float64),
        case.gallery[:, ::-1].copy()[:, ::-1],
        *(x.tolist() for x in labels),
    )
    same(1e30 * case.query, 1e-30 * case.gallery, *map(pd.Series, labels))
    same(
        1e200 * case.query.astype(float),
        1e-200 * case.gallery.astype(float),
        *(x.astype(np.int16) for x in labels),
    )
    texts = [[f"id{value:03d}" for value in x] for x in labels]
    same(case.query, case.gallery, *texts)
    same(case.query, case.gallery, *(pd.Series(x, dtype="category") for x in texts))
    same(case.query, case.gallery, *(pd.Series(x, dtype="string") for x in texts))
    same(
        case.query, case.gallery, *(x.astype(float) for x in labels)
    )  # as pandas makes them beside gaps
    half = rank(query.half(), gallery.half(), *labels)
    assert half.mean_average_precision == pytest.approx(expected.mean_average_precision, abs=0.01)
    coarse = rank(query.bfloat16(), gallery.bfloat16(), *labels)
    assert coarse.mean_average_precision == pytest.approx(expected.mean_average_precision, abs=0.05)


def test_missing_cameras_remove_nothing(crowd):
    case = crowd(8)
    kept = rank(
        case.query,
        case.gallery,
        case.query_identity,
        case.gallery_identity,
        *(case.query_camera, case.gallery_camera),
        same_camera="keep",
    )
    absent = (
        pd.Series([pd.NA] * len(case.query), dtype=object),
        pd.Series([None] * len(case.gallery), dtype=object),
    )
    for cameras in ((), absent):
        found = rank(case.query, case.gallery, case.query_identity, case.gallery_identity, *cameras)
        np.testing.assert_array_equal(found.average_precision, kept.average_precision)


def test_junk_and_distractors(crowd):
    case = crowd(9)
    text = case.gallery_identity.astype(str).astype(object)
    text[:20], case.gallery_identity[:20] = "-1", -1
    junk = rank(case.query, case.gallery, case.query_identity, case.gallery_identity)
    np.testing.assert_array_equal(
        junk.average_precision,
        rank(case.query, case.gallery, case.query_identity.astype(str), text).average_precision,
    )
    without = rank(case.query, case.gallery[20:], case.query_identity, case.gallery_identity[20:])
    np.testing.assert_array_equal(junk.average_precision, without.average_precision)
    kept = rank(
        case.query,
        case.gallery,
        case.query_identity,
        case.gallery_identity,
        junk_identities=(),
        distractor_identities=(-1,),
    )
    assert kept.mean_average_precision < junk.mean_average_precision
    case.gallery[5] = np.nan  # junk is not looked at
    np.testing.assert_array_equal(
        junk.average_precision,
        rank(
            case.query, case.gallery, case.query_identity, case.gallery_identity
        ).average_precision,
    )


GOOD = {
    "query": np.eye(2, 3),
    "gallery": np.eye(3),
    "query_identity": [1, 2],
    "gallery_identity": [1, 2, 3],
    "query_camera": [0, 0],
    "gallery_camera": [1, 1, 1],
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query": np.array([[1, np.nan, 0], [1, 0, 0]])}, "row 1 of the query features has NaN"),
        (
            {"gallery": np.array([[1, 0, 0], [0, np.inf, 0], [0, 0, 1]])},
            "row 2 of the gallery features has NaN or inf",
        ),
        ({"gallery": np.diag([1.0, 0, 1])}, "row 2 of the gallery features is all zeros"),
        ({"query": np.eye(2, 4)}, "length 4 and gallery features 3"),
        ({"query": np.eye(2, 3, dtype=int)}, "query features: the dtype is int64"),
        ({"query": np.eye(2, 3, dtype=bool)}, "the dtype is bool"),
        ({"query": np.array([["a", "b", "c"]] * 2)}, "floating point is expected"),
        ({"query": np.ones(3)}, "two axes are needed"),
        ({"query": [[1.0], [1.0, 2.0]]}, "not a rectangular array"),
        ({"query": np.ones((2, 0))}, "two axes are needed, the second not empty"),
        ({"query_identity": [1]}, "1 query identities for 2 rows"),
        ({"gallery_identity": [1, None, 3]}, "row 2 has no gallery identity"),
        ({"gallery_identity": [1, "2", 3]}, "all integers or all strings"),
        (
            {"gallery_identity": ["1", "2", "3"]},
            "query identities are integers but gallery identities are strings",
        ),
        ({"gallery_identity": [1, 2.5, 3]}, "all integers or all strings"),
        ({"gallery_camera": [1, np.nan, 1]}, "row 2 has no gallery camera"),
        ({"gallery_camera": None}, "missing on the gallery side only"),
        (
            {"query_camera": ["a", "a"]},
            "query cameras are strings but gallery cameras are integers",
        ),
        ({"same_camera": "remove"}, "same_camera is 'exclude' or 'keep'"),
    ],
)
def test_what_cannot_be_ranked_is_refused_in_one_sentence(changes, message):
    rank(**GOOD)
    with pytest.raises(ReidError, match=message):
        rank(**{**GOOD, **changes})


def test_no_queries_no_gallery():
    empty = rank(np.ones((2, 3)), np.zeros((0, 3)), [1, 2], [])
    assert (empty.num_counted, empty.num_queries) == (0, 2)
    assert rank(np.zeros((0, 3)), np.ones((2, 3)), [], [1, 2]).num_queries == 0
    assert empty.rank_list(0, 3).gallery_index.tolist() == []


def test_precision_settings_of_the_user_do_not_matter(crowd):
    case = crowd(10, queries=40, gallery=500, length=64)
    expected = rank(case.query, case.gallery, case.query_identity, case.gallery_identity)
    torch.set_float32_matmul_precision("medium")
    try:
        found = rank(case.query, case.gallery, case.query_identity, case.gallery_identity)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    np.testing.assert_array_equal(found.average_precision, expected.average_precision)
