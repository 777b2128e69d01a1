"""Small retrieval cases and what they should give, derived with loops."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

GRID = 2**26


def whole_numbers(features):
    """Unit vectors as the package rounds them, in multiples of 2^-26: N x D, int64, so that sums
    are exact.
    """
    features = np.asarray(features, np.float64)
    unit = features / np.sqrt((features**2).sum(axis=1, keepdims=True))
    return (np.float32(np.rint(unit * GRID) / GRID).astype(np.float64) * GRID).astype(np.int64)


def naive_order(query, gallery):
    """For each query the gallery rows, nearest first, the earlier row first where equally near."""
    score = whole_numbers(query) @ whole_numbers(gallery).T
    return [
        sorted(range(len(gallery)), key=lambda g, q=q: (-score[q, g], g)) for q in range(len(query))
    ]


def naive_ranking(
    orders,
    query_identity,
    gallery_identity,
    query_camera=None,
    gallery_camera=None,
    *,
    same_camera="exclude",
    junk=(-1, "-1"),
    distractors=(),
):
    """AP, rank of the first match and of the last, and number of matches of every query, with
    loops.
    """
    result = []
    for q, order in enumerate(orders):
        rank, found, precisions, places = 0, 0, [], []
        for g in order:
            same = query_identity[q] == gallery_identity[g]
            if gallery_identity[g] in junk:
                continue
            if (
                same
                and same_camera == "exclude"
                and query_camera is not None
                and query_camera[q] == gallery_camera[g]
            ):
                continue
            rank += 1
            if same and query_identity[q] not in (*junk, *distractors):
                found += 1
                precisions.append(found / rank)
                places.append(rank)
        ends = (places[0], places[-1]) if found else (0, 0)
        result.append((np.mean(precisions) if found else np.nan, *ends, found))
    ap, first, last, count = (
        (np.array(column, float) for column in zip(*result, strict=True)) if result else ([],) * 4
    )
    return SimpleNamespace(average_precision=ap, first=first, last=last, count=count)


@pytest.fixture(scope="session")
def naive():
    """`naive.order(query, gallery)` and `naive.ranking(orders, labels...)`."""
    return SimpleNamespace(order=naive_order, ranking=naive_ranking, whole_numbers=whole_numbers)


@pytest.fixture
def crowd():
    """`crowd(seed, ...)`: clustered features of queries and gallery with identities and cameras."""

    def make(seed=0, queries=30, gallery=200, identities=10, cameras=3, length=16, spread=1.0):
        rng = np.random.default_rng(seed)
        centres = rng.normal(size=(identities, length))
        query_identity, gallery_identity = (
            rng.integers(0, identities, queries),
            rng.integers(0, identities, gallery),
        )
        return SimpleNamespace(
            query=(centres[query_identity] + spread * rng.normal(size=(queries, length))).astype(
                np.float32
            ),
            gallery=(
                centres[gallery_identity] + spread * rng.normal(size=(gallery, length))
            ).astype(np.float32),
            query_identity=query_identity,
            gallery_identity=gallery_identity,
            query_camera=rng.integers(0, cameras, queries),
            gallery_camera=rng.integers(0, cameras, gallery),
        )

    return make
